# How long a random walk with drift `alpha` takes to leave an interval: one call for each row.
source(Sys.getenv("CQ_R"))
cq_serve(function(alpha, limit) {
  position <- 0
  steps <- 0L
  while (abs(position) < limit) {
    position <- position + alpha + rnorm(1)
    steps <- steps + 1L
  }
  list(steps = steps, end = position)
})

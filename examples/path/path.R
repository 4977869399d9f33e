source(Sys.getenv("CQ_R"))

fit <- function(penalty) {
  out <- system2("changepoint", c("--penalty", format(penalty, digits = 17), "../changepoint/Mono27ac.bedGraph"), stdout = TRUE)
  jsonlite::fromJSON(out)
}

between <- function(row, result, results) {
  known <- results[order(results$penalty), ]
  at <- which(known$penalty == row$penalty)
  penalties <- NULL
  for (i in c(at - 1, at)) if (i >= 1 && i < nrow(known)) {
    a <- known[i, ]
    b <- known[i + 1, ]
    if (a$segments - b$segments <= 1) next
    equal <- (b$loss - a$loss) / (a$segments - b$segments)
    if (a$penalty < equal && equal < b$penalty) penalties <- c(penalties, equal)
  }
  if (length(penalties)) data.frame(penalty = penalties)
}

cq_serve(fit, propose = between)

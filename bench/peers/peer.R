# What the scripts of R peers share. `start()` makes two workers that are up, `run(xs)` gives the
# results.
twice <- function(x) 2 * x
measure <- function(name, package, start, run, chunk, stop = function() NULL) {
  n <- as.integer(commandArgs(trailingOnly = TRUE)[[1]])
  if (!requireNamespace(package, quietly = TRUE)) {
    message(name, " is not installed: no package '", package, "'")
    quit(status = 3)
  }
  now <- function() as.numeric(Sys.time())
  begin <- now()
  start()
  run(1:20)
  up <- now()
  results <- run(seq_len(n))
  end <- now()
  stopifnot(sum(as.numeric(unlist(results))) == n * (n + 1))
  cat(sprintf("%s,%s,%d,%.3f,%.6f,%s\n", name, as.character(packageVersion(package)), n, up - begin, end - up, chunk))
  invisible(stop())
}

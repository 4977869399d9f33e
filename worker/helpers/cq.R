# Answers the rows of `cq run --program 'Rscript model.R'` with a function:
#
#   source(Sys.getenv("CQ_R"))
#   cq_serve(function(alpha, n) ...)      # calls do.call(f, row)
#
# A result is one number, text or logical, NULL, or a list of these, each of whose names becomes a column. Any other object travels as
# saveRDS writes it (`cq export --blob TASK`); cq_result(value, blob) returns both. Needs jsonlite. SLOT_PROTOCOL.md describes what is said
# over the pipes.

cq_result <- function(value, blob) structure(list(value = value, blob = blob), class = "cq_result")

local({
  quote_text <- function(text) {
    text <- enc2utf8(text)
    if (!grepl("[\"\\\\[:cntrl:]]", text)) return(paste0("\"", text, "\""))
    substring(jsonlite::toJSON(text, auto_unbox = TRUE), 1)
  }

  # jsonlite writes at most 15 digits, and NA as a text. Whether fewer than 17 would do is not for R to say: as.numeric does not always give
  # the nearest double.
  number_text <- function(x) {
    if (!is.finite(x)) {
      if (is.nan(x)) return("{\"$number\":\"NaN\"}")
      if (is.na(x)) return("null")
      return(if (x > 0) "{\"$number\":\"Inf\"}" else "{\"$number\":\"-Inf\"}")
    }
    # A whole number stays a number, and -0 keeps its sign; from 1e17 on there is an exponent.
    sprintf(if (x == trunc(x) && abs(x) < 1e17) "%.17g.0" else "%.17g", x)
  }

  is_scalar <- function(x) is.null(x) || (is.atomic(x) && length(x) == 1 && !is.raw(x) && !is.complex(x))

  scalar_text <- function(x) {
    if (is.null(x)) return("null")
    if (inherits(x, "cq_int64")) return(unclass(x))
    if (is.factor(x)) x <- as.character(x)
    if (is.logical(x)) return(if (is.na(x)) "null" else if (x) "true" else "false")
    if (is.integer(x)) return(if (is.na(x)) "null" else sprintf("%d", x))
    if (is.double(x)) return(number_text(as.numeric(x)))
    if (is.na(x)) "null" else quote_text(as.character(x))
  }

  is_record <- function(x) is.list(x) && !is.data.frame(x) && !is.null(names(x)) && all(vapply(x, is_scalar, TRUE))

  value_text <- function(x) {
    if (is_scalar(x)) return(scalar_text(x))
    # A vector with names is a record, too.
    if (is.atomic(x) && !is.null(names(x))) x <- as.list(x)
    paste0("{", paste0(vapply(names(x), quote_text, ""), ":", vapply(x, scalar_text, ""), collapse = ","), "}")
  }

  answer_text <- function(result) {
    blob <- NULL
    has_blob <- inherits(result, "cq_result")
    if (has_blob) {
      blob <- result$blob
      result <- result$value
    }
    if (!is_scalar(result) && !is_record(result) && !(is.atomic(result) && !is.null(names(result)))) {
      if (has_blob) stop("cq_result: the value is one number, text or logical, or a list of these with names")
      blob <- result
      has_blob <- TRUE
      result <- NULL
    }
    text <- paste0("\"value\":", value_text(result))
    if (!has_blob) return(text)
    con <- rawConnection(raw(0), "wb")
    on.exit(close(con))
    saveRDS(blob, con)
    bytes <- rawConnectionValue(con)
    paste0(text, ",\"format\":\"rds\",\"blob\":\"", gsub("\n", "", jsonlite::base64_enc(bytes), fixed = TRUE), "\"")
  }

  # As the columns' types say: integers beyond 2^53 are texts of class cq_int64.
  argument <- function(value, type) {
    if (is.null(value)) return(switch(type, integer = NA_integer_, number = NA_real_, boolean = NA, NA_character_))
    if (is.list(value)) return(as.numeric(value[["$number"]]))
    if (type == "number") return(as.numeric(value))
    if (type != "integer" || is.integer(value)) return(value)
    if (is.character(value)) return(structure(value, class = "cq_int64"))
    if (abs(value) > 2^53) return(structure(sprintf("%.0f", value), class = "cq_int64"))
    value
  }

  refusal <- function(f, names) {
    known <- names(formals(args(f)))
    unknown <- if ("..." %in% known) character() else setdiff(names, known)
    needed <- known[vapply(formals(args(f)), function(p) is.symbol(p) && !nzchar(p), TRUE)]
    missing <- setdiff(setdiff(needed, "..."), names)
    if (!length(unknown) && !length(missing)) return(NULL)
    paste0("the function takes (", paste(known, collapse = ", "), ") and cannot be called with the columns ",
           paste(names, collapse = ", "))
  }

  # These functions of R spend most of their time around what they call, which is no part of R's interface, and may go.
  set_variables <- function(names, values) .Internal(Sys.setenv(names, values))
  now <- function() .Internal(Sys.time())
  promise <- function(name, expression, of, at) .Internal(delayedAssign(name, expression, of, at))
  send <- function(line, output) {
    .Internal(writeLines(line, output, "\n", TRUE))
    .Internal(flush(output))
  }
  tryCatch({
    set_variables("CQ_TASK", Sys.getenv("CQ_TASK"))
    here <- environment()
    promise("promised", quote(1 + 1), here, here)
    nothing <- rawConnection(raw(0), "wb")
    send("a", nothing)
    stopifnot(abs(now() - unclass(Sys.time())) < 3600, promised == 2, identical(rawToChar(rawConnectionValue(nothing)), "a\n"))
    close(nothing)
  }, error = function(e) {
    set_variables <<- function(names, values) do.call(Sys.setenv, as.list(structure(values, names = names)))
    now <<- function() unclass(Sys.time())
    promise <<- function(name, expression, of, at) do.call(delayedAssign, list(name, expression, of, at))
    send <<- function(line, output) {
      writeLines(line, output, useBytes = TRUE)
      flush(output)
    }
  })

  cq_serve <<- function(f) {
    fds <- Sys.getenv(c("CQ_SLOT_IN", "CQ_SLOT_OUT"))
    if (!all(nzchar(fds))) stop("cq_serve: started outside a slot: cq run params.csv --program 'Rscript model.R'")
    input <- file(paste0("/dev/fd/", fds[[1]]), "rb", raw = TRUE, blocking = TRUE)
    output <- file(paste0("/dev/fd/", fds[[2]]), "wb", raw = TRUE)
    mark <- paste0("\036", Sys.getenv("CQ_SLOT_MARK"), " ")
    # At once: what is next may take long.
    say <- function(text) send(text, output)
    say("{\"type\":\"hello\",\"protocol\":1,\"helper\":\"cq.R\"}")
    # What R calls the values that need no conversion stands in `as_they_are`.
    columns <- types <- as_they_are <- character()
    constants <- list()
    attempt <- 0L
    group <- ""
    Sys.setenv(CQ_ATTEMPT = attempt, CQ_GROUP = group)
    # What a function prints is held until it is known whose it is.
    held <- rawConnection(raw(0), "wb")
    sink(held)
    depth <- sink.number()
    on.exit(sink())

    row_of <- function(values) {
      for (i in seq_along(columns)) {
        value <- values[[i]]
        if (typeof(value) != as_they_are[[i]]) values[[i]] <- argument(value, types[[i]])
      }
      names(values) <- columns
      if (length(constants)) c(values, constants) else values
    }

    # set.seed takes longer than many a function, and most draw no numbers: the generator looks here when it is first used.
    here <- environment()
    global <- globalenv()
    seed <- 1L
    seeded <- quote({
      rm(".Random.seed", envir = global)
      set.seed(seed)
      get(".Random.seed", global)
    })

    introduce <- function(task) {
      numbers <- c(task[[1]], task[[3]])
      set_variables(c("CQ_TASK", "CQ_SEED"), if (is.integer(numbers)) as.character(numbers) else sprintf("%.0f", numbers))
      if (task[[2]] != attempt) Sys.setenv(CQ_ATTEMPT = attempt <<- task[[2]])
      if (task[[4]] != group) Sys.setenv(CQ_GROUP = group <<- task[[4]])
      seed <<- task[[3]]
      promise(".Random.seed", seeded, here, global)
    }

    number_answers <- paste0("{\"type\":\"result\",\"task\":%.0f,\"us\":%.0f,\"value\":", c("%.17g.0", "%.17g"), "}")

    show <- function(printed, task) {
      restore_sink()
      sink()
      close(held)
      cat(rawToChar(printed), mark, task[[1]], "\036", sep = "")
      flush(stdout())
      held <<- rawConnection(raw(0), "wb")
      sink(held)
    }

    answer <- function(task, text, us) {
      printed <- rawConnectionValue(held)
      if (length(printed)) show(printed, task)
      say(sprintf("{\"type\":\"result\",\"task\":%.0f,\"us\":%.0f,%s}", task[[1]], us, text))
    }

    # What most functions return, in as few steps.
    answer_number <- function(task, x, us) {
      if (length(rawConnectionValue(held)) || !is.finite(x)) return(answer(task, answer_text(x), us))
      shape <- if (x == trunc(x) && abs(x) < 1e17) number_answers[[1]] else number_answers[[2]]
      send(sprintf(shape, task[[1]], us, x), output)
    }

    # A function may leave sinks of its own, or take ours away.
    restore_sink <- function() {
      deep <- sink.number()
      if (deep > depth) for (i in seq_len(deep - depth)) sink()
      if (deep < depth) sink(held)
    }

    # Handlers cost as much as a short function: one pair stands around all tasks up to one that fails.
    run <- function(tasks) {
      i <- 1L
      calls <- NULL
      begin <- now()
      passed <- function() {
        end <- now()
        us <- if (end > begin) (end - begin) * 1e6 else 0
        begin <<- end
        us
      }
      while (i <= length(tasks)) {
        tryCatch(
          withCallingHandlers(
            while (i <= length(tasks)) {
              task <- tasks[[i]]
              introduce(task)
              result <- do.call(f, row_of(task[[5]]))
              number <- is.double(result) && length(result) == 1L && is.null(attributes(result))
              text <- if (!number) answer_text(result)
              i <- i + 1L
              if (number) answer_number(task, result, passed()) else answer(task, text, passed())
            },
            error = function(e) calls <<- sys.calls()),
          error = function(e) {
            if (!identical(task, tasks[[i]])) stop(e)  # not of a task: its answer could not be sent
            trace <- if (length(calls)) paste(rev(vapply(calls, function(call) deparse(call)[[1]], "")), collapse = "\n") else ""
            i <<- i + 1L
            restore_sink()
            answer(task, paste0("\"error\":", quote_text(conditionMessage(e)), ",\"traceback\":", quote_text(trace)), passed())
          })
      }
      restore_sink()
    }

    repeat {
      line <- readLines(input, n = 1)
      if (!length(line)) break
      message <- jsonlite::fromJSON(line, simplifyVector = FALSE, bigint_as_char = TRUE)
      if (message$type == "start") {
        columns <- as.character(unlist(message$columns))
        types <- as.character(unlist(message$types))
        as_they_are <- c(integer = "integer", number = "double", boolean = "logical", string = "character")[types]
        constants <- lapply(message$constants, function(v) if (is.list(v)) as.numeric(v[["$number"]]) else v)
        reason <- refusal(f, c(columns, names(constants)))
        say(if (is.null(reason)) sprintf("{\"type\":\"ready\",\"id\":%d}", message$id)
            else sprintf("{\"type\":\"refuse\",\"id\":%d,\"message\":%s}", message$id, quote_text(reason)))
      } else if (message$type == "tasks") {
        run(message$tasks)
      } else if (message$type != "unsupported") {
        say(sprintf("{\"type\":\"unsupported\",\"id\":%d,\"what\":%s}", if (is.null(message$id)) 0L else message$id, quote_text(message$type)))
      }
    }
  }
})

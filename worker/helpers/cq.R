# Answers the rows of `cq run --program 'Rscript model.R'` with a function:
#
#   source(Sys.getenv("CQ_R"))
#   cq_serve(function(alpha, n) ...)      # calls it with the row
#
# A result is one number, text or logical, NULL, or a list, a vector or a one-row data frame with
# names, each of which becomes a column. Dates and times are ISO text (UTC), a difftime is seconds,
# bit64's integers are integers. Unnamed entries are V1, V2, ..., repeated names get .1, .2. Any
# other object travels as R serialises it (`cq export --blob TASK`, readRDS reads it); an entry of a
# list that is none of these is missing in its column, and the whole list travels so, too.
# cq_result(value, blob) returns both. After each call options, the working directory, sinks and
# time limits are as they were, and the generators' kinds; what it prints is its own. quit() and
# invokeRestart("abort") are its error. Connections that it leaves open stay open as long as
# something refers to them, for the next call to use. A column of integers with one beyond 2^53 in
# any row is text of class cq_int64 in all of them (bit64::as.integer64(x), as.numeric(x)),
# and goes back so. Needs jsonlite. SLOT_PROTOCOL.md describes what is said over the pipes.

cq_result <- function(value, blob) structure(list(value = value, blob = blob), class = "cq_result")

# Adds rows to the run: a list with names, or a data frame, whose names are columns of the input. They
# are tasks as those of the input once the result of this one is kept, and none if this one fails. A
# row that was pushed before is the same row.
cq_push <- function(rows) stop("cq_push: only a function that cq_serve calls can push rows")

# cq_serve(f, propose = g) with cq run --propose: in one process beside the run, g(row, result, results)
# is called once for each row that ended ok, in one order: lists by the names of columns (a value
# without names is result$result), and a data frame of all so far. cq_ask(g), the whole of a program
# for cq run --ask: g(endings, want) is called with what has ended since the last call, each a list of
# task, status ("ok", "error", ..., or "waiting" of a row that it has not named in this process), row
# and value; `want` is how many rows are wanted now, 0: none. When a run goes on it is called with all
# that it knew again, and what it returns for that is not taken. Both return a list with names, a data
# frame, or a list of these; NULL; or cq_done(), if no more rows will come.
#
# cq_reduce(f, initial), for the program of cq run --reduce: reads standard input, and returns what is
# made of f(so_far, ending) from one row that ended ok to the next; an ending is a list of task, row and
# value (lists by the names of columns), and of commands that return nothing stdout.
cq_done <- function(rows = NULL) structure(list(rows = rows), class = "cq_done")

# Nothing that the user defines or attaches may stand in the way of what is called here.
local({
  clean_text <- function(text) {
    text <- as.character(text)
    bad <- Encoding(text) == "bytes" || !validUTF8(enc2utf8(text))
    if (bad) iconv(text, "UTF-8", "UTF-8", sub = "byte") else enc2utf8(text)
  }
  quote_text <- function(text) {
    text <- clean_text(text)
    if (!grepl("[\"\\\\[:cntrl:]]", text)) return(paste0("\"", text, "\""))
    substring(jsonlite::toJSON(text, auto_unbox = TRUE), 1)
  }

  # jsonlite writes at most 15 digits, and NA as a text. Whether fewer than 17 would do is not for R
  # to say: as.numeric does not always give the nearest double.
  number_text <- function(x) {
    if (!is.finite(x)) {
      if (is.nan(x)) return("{\"$number\":\"NaN\"}")
      if (is.na(x)) return("null")
      return(if (x > 0) "{\"$number\":\"Inf\"}" else "{\"$number\":\"-Inf\"}")
    }
    # A whole number stays a number, and -0 keeps its sign; from 1e17 on there is an exponent.
    sprintf(if (x == trunc(x) && abs(x) < 1e17) "%.17g.0" else "%.17g", x)
  }

  # The digits of bit64's integers, which are doubles with the bits of an integer: without bit64.
  integer64_text <- function(x) {
    words <- readBin(writeBin(as.vector(unclass(x)), raw(), endian = "big"), integer(), 2, endian = "big")
    word <- function(i) if (is.na(words[[i]])) 2^31 else words[[i]] %% 2^32
    high <- word(1)
    low <- word(2)
    negative <- high >= 2^31
    if (negative) {
      if (high == 2^31 && low == 0) return("null")  # NA_integer64_
      low <- 2^32 - low
      high <- 2^32 - 1 - high
      if (low == 2^32) {
        low <- 0
        high <- high + 1
      }
    }
    # In parts of 16 bits, so that no double is too small for a remainder.
    limbs <- c(high %/% 65536, high %% 65536, low %/% 65536, low %% 65536)
    digits <- character()
    repeat {
      rest <- 0
      for (i in 1:4) {
        part <- rest * 65536 + limbs[[i]]
        limbs[[i]] <- part %/% 1e4
        rest <- part %% 1e4
      }
      digits <- c(sprintf("%04.0f", rest), digits)
      if (!any(limbs > 0)) break
    }
    paste0(if (negative) "-", sub("^0+(?=.)", "", paste(digits, collapse = ""), perl = TRUE))
  }

  # R writes early years with fewer digits than four.
  four_digits <- function(text) sub("^(-?)0*([0-9]{4})-", "\\1\\2-", sub("^(-?)([0-9]{1,3})-", "\\1000\\2-", text))
  iso_time <- function(x) four_digits(sub("\\.?0+Z$", "Z", format(as.POSIXct(x), "%Y-%m-%dT%H:%M:%OS6Z", tz = "UTC")))

  is_scalar <- function(x) {
    if (inherits(x, "POSIXlt")) return(length(x) == 1L)
    is.null(x) || (is.atomic(x) && length(x) == 1L && !is.raw(x) && !is.complex(x))
  }

  scalar_text <- function(x) {
    if (is.null(x)) return("null")
    if (is.object(x)) {
      if (inherits(x, "cq_int64")) return(if (is.na(x)) "null" else unclass(x))
      if (inherits(x, "integer64")) return(integer64_text(x))
      if (inherits(x, "POSIXt")) return(if (is.na(x)) "null" else paste0("\"", iso_time(x), "\""))
      if (inherits(x, "Date")) return(if (is.na(x)) "null" else paste0("\"", four_digits(format(as.Date(x), "%Y-%m-%d")), "\""))
      if (inherits(x, "difftime")) return(number_text(as.numeric(x, units = "secs")))
      if (is.factor(x)) x <- as.character(x)
    }
    if (is.logical(x)) return(if (is.na(x)) "null" else if (x) "true" else "false")
    if (is.integer(x)) return(if (is.na(x)) "null" else sprintf("%d", x))
    if (is.double(x)) return(number_text(as.vector(unclass(x))))
    if (is.na(x)) "null" else quote_text(x)
  }

  record_names <- function(x) {
    n <- names(x)
    n[is.na(n)] <- ""
    blank <- !nzchar(n)
    n[blank] <- paste0("V", seq_along(n))[blank]
    make.unique(n)
  }

  # The columns of a result: NULL if it is none.
  record_of <- function(x) {
    if (inherits(x, "POSIXlt")) return(NULL)
    if (is.data.frame(x)) {
      if (nrow(x) != 1L || !length(x)) return(NULL)
      entry <- function(i) if (is.list(x[[i]]) && length(x[[i]]) == 1L) x[[i]][[1L]] else x[[i]]
      return(structure(lapply(seq_along(x), entry), names = names(x)))
    }
    if (is.null(names(x)) || length(dim(x)) > 1L) return(NULL)
    if (is.list(x)) return(lapply(unclass(x), identity))
    if (is.atomic(x)) structure(lapply(seq_along(x), function(i) x[i]), names = names(x))
  }

  answer_text <- function(result) {
    has_blob <- inherits(result, "cq_result")
    blob <- NULL
    if (has_blob) {
      blob <- result$blob
      result <- result$value
    }
    one_object <- function() {
      if (has_blob) stop("cq_result: the value is one number, text or logical, or a list of these with names")
      blob <<- result
      has_blob <<- TRUE
    }
    record <- record_of(result)
    if (!is.null(record)) {
      odd <- !vapply(record, is_scalar, TRUE)
      if (any(odd)) {
        one_object()
        record[odd] <- list(NULL)
      }
      members <- paste0(vapply(record_names(record), quote_text, ""), ":", vapply(record, scalar_text, ""), collapse = ",")
      value <- if (length(record)) paste0("{", members, "}") else "{}"
    } else if (is_scalar(result)) {
      value <- scalar_text(result)
    } else {
      one_object()
      value <- "null"
    }
    text <- paste0("\"value\":", value)
    if (!has_blob) return(text)
    bytes <- serialize(blob, NULL)
    if (length(bytes) > 12e6) stop(sprintf("its result takes %.0f MB; an object may take 12 MB: write it to a file", length(bytes) / 1e6))
    paste0(text, ",\"format\":\"rds\",\"blob\":\"", gsub("\n", "", jsonlite::base64_enc(bytes), fixed = TRUE), "\"")
  }

  error_text <- function(e) {
    text <- tryCatch(paste(as.character(conditionMessage(e)), collapse = "\n"), error = function(e) "")
    if (is.na(text) || !nzchar(trimws(text))) class(e)[[1]] else substring(clean_text(text), 1, 1e5)
  }

  # As the columns' types say. A column of integers with one beyond 2^53 in any row is wide: all of
  # it are texts of class cq_int64.
  argument <- function(value, type) {
    if (type == "wide") return(structure(if (is.null(value)) NA_character_ else if (is.character(value)) value else sprintf("%.0f", value), class = "cq_int64"))
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
    paste0("the function takes (", paste(known, collapse = ", "), ") and cannot be called with the columns ", paste(names, collapse = ", "))
  }

  # These functions of R spend most of their time around what they call, which is no part of R's
  # interface, and may go.
  set_variables <- function(names, values) .Internal(Sys.setenv(names, values))
  now <- function() .Internal(Sys.time())
  promise <- function(name, expression, of, at) .Internal(delayedAssign(name, expression, of, at))
  mark_to <- function(text, output) .Internal(writeLines(text, output, "", FALSE))
  sinks <- function(output = TRUE) .Internal(sink.number(output))
  call_by_name <- function(name, arguments, where) .Internal(do.call(name, arguments, where))
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
    mark_to("b", nothing)
    stopifnot(abs(now() - unclass(Sys.time())) < 3600, promised == 2, identical(rawToChar(rawConnectionValue(nothing)), "a\nb"),
              sinks() >= 0L, sinks(FALSE) >= 0L, call_by_name("sum", list(1, 2), here) == 3)
    close(nothing)
  }, error = function(e) {
    set_variables <<- function(names, values) do.call(Sys.setenv, as.list(structure(values, names = names)))
    now <<- function() unclass(Sys.time())
    mark_to <<- function(text, output) writeLines(text, output, sep = "")
    sinks <<- function(output = TRUE) sink.number(if (output) "output" else "message")
    call_by_name <<- function(name, arguments, where) do.call(name, arguments, envir = where)
    promise <<- function(name, expression, of, at) do.call(delayedAssign, list(name, expression, of, at))
    send <<- function(line, output) {
      writeLines(line, output, useBytes = TRUE)
      flush(output)
    }
  })

  # What a function may do to the process is undone, or not done: these names of R are ours.
  in_base <- function(name, value) {
    unlockBinding(name, baseenv())
    assign(name, value, baseenv())
    lockBinding(name, baseenv())
  }

  row_text <- function(row, what) {
    if (is.null(row) || !all(vapply(row, is_scalar, TRUE))) stop(what, ": a row is a list with names, of one value each")
    paste0("{", paste0(vapply(record_names(row), quote_text, ""), ":", vapply(row, scalar_text, ""), collapse = ","), "}")
  }
  # The rows of a list with names, a data frame, or a list of these.
  rows_text <- function(rows, what) {
    if (is.null(rows)) return(character())
    if (is.data.frame(rows)) return(vapply(seq_len(nrow(rows)), function(i) row_text(record_of(rows[i, , drop = FALSE]), what), ""))
    if (is.list(rows) && is.null(names(rows))) return(unlist(lapply(rows, rows_text, what), use.names = FALSE))
    row_text(record_of(rows), what)
  }

  # Descriptors 0 and 1 of a program that is asked.
  nothing <- log <- NULL
  parse_line <- function(line) jsonlite::fromJSON(line, simplifyVector = FALSE, bigint_as_char = TRUE)

  # NaN and the infinities stand as lists, what is missing is NULL.
  plain <- function(value) if (is.null(value)) NA else if (is.list(value) && identical(names(value), "$number")) as.numeric(value[[1]]) else value

  # Speaks with a run as its proposer; answer(message) returns texts: the rows, and for each the task
  # that led to it, if any did.
  converse <- function(answer) {
    fds <- Sys.getenv(c("CQ_ASK_IN", "CQ_ASK_OUT"))
    if (!all(startsWith(Sys.readlink(paste0("/proc/self/fd/", fds)), "pipe:")))
      stop("cq: the descriptors ", fds[[1]], " and ", fds[[2]], ", over which the run speaks, are closed or are others'")
    input <- file(paste0("/dev/fd/", fds[[1]]), "rbe", raw = TRUE, blocking = TRUE)
    output <- file(paste0("/dev/fd/", fds[[2]]), "wbe", raw = TRUE)
    # What is printed from now on, by a process that the function starts, too, is for people: a
    # descriptor that was closed is the next to be opened.
    close_fd <- function(fd) get("closeFD", asNamespace("parallel"))(as.integer(fd))
    if (fds[[2]] == "1") {
      tryCatch({
        close_fd(0)
        nothing <<- file("/dev/null", "rb", raw = TRUE)
        close_fd(1)
        log <<- file("/dev/fd/2", "ab", raw = TRUE)
      }, error = function(e) sink(stderr()))
    } else tryCatch(close_fd(fds), error = function(e) NULL)
    Sys.unsetenv(c("CQ_ASK_IN", "CQ_ASK_OUT"))
    say <- function(text) send(text, output)
    columns <- types <- character()
    done <- FALSE
    pushed <- character()
    pid <- Sys.getpid()
    cq_push <<- function(rows) {
      if (Sys.getpid() != pid) stop("cq_push: nobody hears of rows that a process pushes which the function started")
      pushed <<- c(pushed, rows_text(rows, "cq_push"))
      invisible()
    }
    row_of <- function(fields) {
      row <- lapply(seq_along(columns), function(i) argument(fields[[columns[[i]]]], types[[i]]))
      names(row) <- columns
      row
    }
    # What a call returned and pushed.
    taken <- function(value) {
      if (inherits(value, "cq_done")) {
        done <<- TRUE
        value <- value$rows
      }
      texts <- c(pushed, rows_text(value, "what a proposer returns"))
      pushed <<- character()
      texts
    }
    speaker <- answer(row_of, function(values) lapply(values, plain), taken)
    while (length(line <- readLines(input, n = 1))) {
      message <- parse_line(line)
      if (message$type == "start") {
        columns <- as.character(unlist(message$columns))
        types <- as.character(unlist(message$types))
        set.seed(as.numeric(message$seed) %% .Machine$integer.max)
        say("{\"type\":\"ready\"}")
      } else if (message$type == "tell") {
        calls <- NULL
        text <- tryCatch(withCallingHandlers({
          told <- speaker(message)
          paste0("\"rows\":[", paste(told$rows, collapse = ","), "]",
                 if (length(told$parents)) paste0(",\"parents\":[", paste(told$parents, collapse = ","), "]"), if (done) ",\"done\":true")
        }, error = function(e) calls <<- sys.calls()), error = function(e) {
          trace <- vapply(rev(calls), function(call) substring(deparse(call, nlines = 1L)[[1]], 1, 200), "")
          paste0("\"error\":", quote_text(error_text(e)), ",\"traceback\":", quote_text(paste(utils::head(trace, 20), collapse = "\n")))
        })
        say(sprintf("{\"id\":%d,%s}", as.integer(message$id), text))
      }
    }
  }

  # All rows so far as columns, made when somebody looks.
  collector <- function() {
    kept <- list()
    new <- list()
    list(add = function(row) new[[length(new) + 1L]] <<- row,
         frame = function() {
           if (length(new)) {
             before <- if (length(kept)) length(kept[[1]]) else 0L
             for (name in unique(c(names(kept), unlist(lapply(new, names))))) {
               values <- lapply(new, function(row) if (is.null(row[[name]])) NA else row[[name]])
               odd <- any(vapply(values, function(v) length(v) != 1L || is.list(v), TRUE))
               old <- if (is.null(kept[[name]])) rep(NA, before) else kept[[name]]
               kept[[name]] <<- c(old, if (odd) values else unlist(values))
             }
             new <<- list()
           }
           structure(kept, class = "data.frame", row.names = .set_row_names(if (length(kept)) length(kept[[1]]) else 0L))
         })
  }

  cq_ask <<- function(f) {
    if (!nzchar(Sys.getenv("CQ_ASK_IN"))) stop("cq_ask: started by hand: cq run params.csv --ask 'Rscript ask.R' -- COMMAND")
    converse(function(row_of, values_of, taken) function(message) {
      endings <- lapply(c(message$endings, message$waiting), function(one)
        list(task = one$task, status = if (is.null(one$status)) "waiting" else one$status, row = row_of(one$row), value = values_of(one$value)))
      list(rows = taken(f(endings, message$want)))
    })
  }

  cq_reduce <<- function(f, initial = NULL) {
    input <- file("stdin", "r")
    on.exit(close(input))
    while (length(lines <- readLines(input, n = 1000L))) for (line in lines) {
      ending <- parse_line(line)
      ending$row <- lapply(ending$row, plain)
      ending$value <- lapply(ending$value, plain)
      initial <- f(initial, ending)
    }
    initial
  }

  serve_proposals <- function(g) converse(function(row_of, values_of, taken) {
    all <- collector()
    function(message) {
      rows <- parents <- list()
      for (one in message$endings) {
        row <- row_of(one$row)
        result <- values_of(one$value)
        all$add(c(row, result[setdiff(names(result), names(row))]))
        texts <- taken(g(row, result, all$frame()))
        rows[[length(rows) + 1L]] <- texts
        parents[[length(parents) + 1L]] <- rep(sprintf("%.0f", as.numeric(one$task)), length(texts))
      }
      list(rows = unlist(rows), parents = unlist(parents))
    }
  })

  cq_serve <<- function(f, propose = NULL) {
    name <- if (is.symbol(substitute(f))) as.character(substitute(f)) else "f"
    if (nzchar(Sys.getenv("CQ_ASK_IN")) && !nzchar(Sys.getenv("CQ_SLOT_IN"))) {
      if (is.null(propose)) stop("cq_serve: the run has --propose, and this program calls cq_serve without propose =")
      return(serve_proposals(propose))
    }
    fds <- Sys.getenv(c("CQ_SLOT_IN", "CQ_SLOT_OUT"))
    if (!all(nzchar(fds))) stop("cq_serve: started outside a slot: cq run params.csv --program 'Rscript model.R'")
    if (!all(startsWith(Sys.readlink(paste0("/proc/self/fd/", fds)), "pipe:")))
      stop("cq_serve: the descriptors ", fds[[1]], " and ", fds[[2]], ", over which the worker speaks, are closed or are others': a wrapper ",
           "(sudo, conda run, env -i, another program that starts this one) must leave them open")
    # Not for what the function starts: opened anew, to be closed there, and the ones that were
    # inherited closed here.
    input <- file(paste0("/dev/fd/", fds[[1]]), "rbe", raw = TRUE, blocking = TRUE)
    output <- file(paste0("/dev/fd/", fds[[2]]), "wbe", raw = TRUE)
    tryCatch(get("closeFD", asNamespace("parallel"))(as.integer(fds)), error = function(e) NULL)
    mark <- paste0("\036", Sys.getenv("CQ_SLOT_MARK"), " ")
    Sys.unsetenv(c("CQ_SLOT_IN", "CQ_SLOT_OUT", "CQ_SLOT_MARK"))
    # At once: what is next may take long.
    say <- function(text) send(text, output)
    say("{\"type\":\"hello\",\"protocol\":1,\"helper\":\"cq.R\"}")
    # What R calls the values that need no conversion stands in `as_they_are`.
    columns <- types <- as_they_are <- character()
    constants <- list()
    attempt <- 0L
    group <- ""
    Sys.setenv(CQ_ATTEMPT = attempt, CQ_GROUP = group)
    # A warning is of the row in which it came.
    if (getOption("warn") < 1) options(warn = 1)
    # So that bit64 takes what is ours.
    as_integer64 <- function(...) registerS3method("as.integer64", "cq_int64", function(x, ...) bit64::as.integer64(unclass(x)), envir = asNamespace("bit64"))
    if (isNamespaceLoaded("bit64")) as_integer64() else setHook(packageEvent("bit64", "onLoad"), as_integer64)
    # Called by its name, which messages show.
    calling <- new.env(parent = globalenv())
    assign(name, f, calling)
    standard <- list(stdout(), stderr())
    pid <- Sys.getpid()
    directory <- getwd()

    was_options <- options()
    changed <- moved <- FALSE
    in_base("options", function(...) {
      if (...length()) changed <<- TRUE
      .Internal(options(...))
    })
    # Asking for the directory after each call would cost as much as a small function.
    in_base("setwd", function(dir) {
      moved <<- TRUE
      .Internal(setwd(dir))
    })
    # A limit would end a later row, or us.
    limited <- FALSE
    limits <- list(base::setTimeLimit, base::setSessionTimeLimit)
    in_base("setTimeLimit", function(cpu = Inf, elapsed = Inf, transient = FALSE) {
      limited <<- TRUE
      limits[[1L]](cpu, elapsed, transient)
    })
    in_base("setSessionTimeLimit", function(cpu = Inf, elapsed = Inf) {
      limited <<- TRUE
      limits[[2L]](cpu, elapsed)
    })
    no_limit <- function() {
      limits[[2L]]()
      limits[[1L]]()  # the last: it makes what both say the one that counts
      limited <<- FALSE
    }
    quit_ <- base::quit
    refuse_end <- function(what) stop(structure(class = c("cq_quit", "error", "condition"), list(message = paste("it called", what), call = NULL)))
    refuse_quit <- function(save = "default", status = 0, runLast = TRUE) {
      if (Sys.getpid() != pid) quit_(save, status, runLast)
      refuse_end(sprintf("quit(status = %s)", format(status)))
    }
    in_base("quit", refuse_quit)
    in_base("q", refuse_quit)
    # To the top level, which is the end of a script: R's own restart of that name is the last, and
    # has no exit.
    invoke_restart <- base::invokeRestart
    in_base("invokeRestart", function(r, ...) {
      if (identical(r, "abort")) r <- Find(function(known) identical(known[[1L]], "abort"), computeRestarts())
      if (Sys.getpid() == pid && inherits(r, "restart") && identical(r[[1L]], "abort") && is.null(r[[2L]])) refuse_end("invokeRestart(\"abort\")")
      invoke_restart(r, ...)
    })
    in_base("closeAllConnections", function() {
      while (sink.number() > 0) sink()
      sink(type = "message")
      for (con in setdiff(getAllConnections(), c(0:2, as.integer(input), as.integer(output), as.integer(held)))) close(getConnection(con))
      invisible()
    })

    row_of <- function(values) {
      for (i in seq_along(columns)) {
        value <- values[[i]]
        if (typeof(value) != as_they_are[[i]]) values[[i]] <- argument(value, types[[i]])
      }
      names(values) <- columns
      if (length(constants)) c(values, constants) else values
    }

    # set.seed takes longer than many a function, and most draw no numbers: the generator looks here
    # when it is first used.
    here <- environment()
    global <- globalenv()
    seed <- 1L
    kinds <- RNGkind()
    seeded <- quote({
      rm(".Random.seed", envir = global)
      suppressWarnings(set.seed(seed, kinds[[1]], kinds[[2]], kinds[[3]]))
      get(".Random.seed", global)
    })

    id <- "0"
    # R has 128 connections. Those that functions opened, and nothing refers to any more, are closed
    # by the collector alone.
    most_connections <- 40L
    calls_since <- 0L
    close_lost <- function() {
      calls_since <<- 0L
      if (length(getAllConnections()) <= most_connections) return()
      suppressWarnings(gc())
      most_connections <<- min(length(getAllConnections()) + 37L, 100L)
    }

    pushed <- list()
    cq_push <<- function(rows) {
      if (Sys.getpid() != pid) stop("cq_push: nobody hears of rows that a process pushes which the function started")
      for (text in rows_text(rows, "cq_push")) pushed[[length(pushed) + 1L]] <<- text
      invisible()
    }
    with_pushed <- function(text) if (length(pushed)) paste0(text, ",\"push\":[", paste(unlist(pushed), collapse = ","), "]") else text

    introduce <- function(task) {
      if (length(pushed)) pushed <<- list()
      if ((calls_since <<- calls_since + 1L) >= 8L) close_lost()
      numbers <- c(task[[1]], task[[3]])
      numbers <- if (is.integer(numbers)) as.character(numbers) else sprintf("%.0f", numbers)
      id <<- numbers[[1]]
      set_variables(c("CQ_TASK", "CQ_SEED"), numbers)
      if (task[[2]] != attempt) Sys.setenv(CQ_ATTEMPT = attempt <<- task[[2]])
      if (task[[4]] != group) Sys.setenv(CQ_GROUP = group <<- task[[4]])
      seed <<- task[[3]]
      promise(".Random.seed", seeded, here, global)
    }

    # What R prints is noticed on its way: only then is there a mark to be written. Messages are
    # noticed as conditions (below).
    held <- rawConnection(raw(0), "wb")
    sink(held, split = TRUE)
    depth <- sink.number()
    noticed <- FALSE
    on.exit(sink())

    # A function may leave sinks of its own, or take ours away.
    restore_sinks <- function() {
      while (sink.number() > depth) sink()
      if (sink.number() < depth) sink(held, split = TRUE)
    }

    write_marks <- function() {
      sink()
      close(held)
      for (stream in standard) mark_to(paste0(mark, id, "\036"), stream)
      held <<- rawConnection(raw(0), "wb")
      sink(held, split = TRUE)
      noticed <<- FALSE
    }

    # As it was before the call. `marks`: something came to standard output or error by another way
    # (C, a process): each task is marked.
    finish <- function(marks) {
      if (sinks() != depth) restore_sinks()
      if (sinks(FALSE) != 2L) sink(type = "message")
      if (marks || noticed || length(rawConnectionValue(held))) write_marks()
      if (changed) {
        extra <- setdiff(names(options()), names(was_options))
        do.call(options, c(was_options, structure(vector("list", length(extra)), names = extra)))
        changed <<- FALSE
      }
      if (moved) go_back()
    }

    go_back <- function() {
      setwd(directory)
      moved <<- FALSE
    }

    # At the end of a batch: C code may have changed it, too, which nothing tells before.
    look_where <- function(tasks) {
      if (moved || identical(getwd(), directory)) return()
      go_back()
      if (tasks > 1L) message("cq: the working directory was changed by other than setwd; of the last ", tasks, " tasks, some may have run there")
      noticed <<- TRUE
    }

    number_answers <- paste0("{\"type\":\"result\",\"task\":%s,\"us\":%.0f,\"value\":", c("%.17g.0", "%.17g"), "}")
    line_of <- function(text, us) {
      line <- paste0(sprintf("{\"type\":\"result\",\"task\":%s,\"us\":%.0f,", id, us), text, "}")
      if (nchar(line, "bytes") >= 2^24) stop(sprintf("its result takes %.0f MiB; what a task returns may take 16: write it to a file", nchar(line, "bytes") / 2^20))
      line
    }

    # Handlers cost as much as a short function: one pair stands around all tasks up to one that
    # fails.
    run <- function(tasks, marks) {
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
        answered <- FALSE
        tryCatch(
          withCallingHandlers({
            while (i <= length(tasks)) {
              task <- tasks[[i]]
              introduce(task)
              x <- call_by_name(name, row_of(task[[5]]), calling)
              if (limited) no_limit()
              line <- if (is.double(x) && length(x) == 1L && is.null(attributes(x)) && is.finite(x) && !length(pushed)) {
                sprintf(if (x == trunc(x) && abs(x) < 1e17) number_answers[[1]] else number_answers[[2]], id, passed(), x)
              } else line_of(with_pushed(answer_text(x)), passed())
              if (i == length(tasks)) look_where(i)
              finish(marks)
              answered <- TRUE
              send(line, output)
              i <- i + 1L
              answered <- FALSE
            }},
            message = function(m) noticed <<- TRUE,
            warning = function(w) noticed <<- TRUE,
            error = function(e) calls <<- sys.calls()),
          error = function(e) {
            if (limited) no_limit()
            if (answered) stop(e)  # not of a task: its answer could not be sent
            i <<- i + 1L
            if (inherits(e, "cq_quit")) calls <<- NULL
            trace <- if (length(calls)) {
              # What stands around the call is ours.
              at <- which(vapply(calls, function(call) identical(call[[1L]], quote(call_by_name)) && identical(call[[2L]], quote(name)), TRUE))
              inner <- if (length(at)) calls[-seq_len(at[[length(at)]])] else calls
              text <- vapply(inner, function(call) substring(deparse(call, nlines = 1L)[[1]], 1, 200), "")
              text <- text[!grepl("^(h\\(simpleError|\\.handleSimpleError\\(|\\(function \\(e\\) )", text)]
              paste(rev(text), collapse = "\n")
            } else ""
            line <- line_of(paste0("\"error\":", quote_text(error_text(e)), ",\"traceback\":", quote_text(trace)), passed())
            if (i > length(tasks)) look_where(length(tasks))
            finish(marks)
            send(line, output)
          })
      }
    }

    repeat {
      line <- readLines(input, n = 1)
      if (!length(line)) break
      message <- parse_line(line)
      if (message$type == "start") {
        columns <- as.character(unlist(message$columns))
        types <- as.character(unlist(message$types))
        types[columns %in% as.character(unlist(message$wide))] <- "wide"
        as_they_are <- c(integer = "integer", number = "double", boolean = "logical", string = "character", wide = "none")[types]
        constants <- lapply(message$constants, function(v) if (is.list(v)) as.numeric(v[["$number"]]) else v)
        reason <- refusal(f, c(columns, names(constants)))
        if (!is.null(propose) && !nzchar(Sys.getenv("CQ_PROPOSES"))) reason <- "it proposes rows (cq_serve(..., propose = ...)): cq run --propose"
        say(if (is.null(reason)) sprintf("{\"type\":\"ready\",\"id\":%d}", message$id)
            else sprintf("{\"type\":\"refuse\",\"id\":%d,\"message\":%s}", message$id, quote_text(reason)))
      } else if (message$type == "tasks") {
        run(message$tasks, isTRUE(message$mark))
      } else if (message$type != "unsupported") {
        say(sprintf("{\"type\":\"unsupported\",\"id\":%d,\"what\":%s}", if (is.null(message$id)) 0L else message$id, quote_text(message$type)))
      }
    }
  }
}, envir = new.env(parent = baseenv()))

"""Answers the rows of `cq run --program 'python3 model.py'` with a function:

    import cq
    def simulate(alpha, n): ...
    cq.serve(simulate)                  # calls simulate(**row)

A result is a number, a text, a Boolean, None, or a dict of these, each of whose names becomes a
column. Dates and times are ISO text, a timedelta is seconds; Decimal, Fraction, UUID and Path are
text, and so are integers beyond 64 bits. Any other object travels as a pickle (`cq export --blob
TASK`): of a dict with such an entry the whole, and the entry is missing in its column;
`cq.Result(value, blob)` returns both. `cq.push(alpha=0.5)` adds a row to the run.

`cq.serve(simulate, propose=next_rows)` (cq run --propose) calls next_rows(row, result, results) in one process, once for each row that
ended ok, in one order; `cq.ask(next_rows)` is the whole of a program for cq run --ask. Both return rows. SLOT_PROTOCOL.md and
PROPOSER_PROTOCOL.md describe what is said over the pipes. Standard library only.
"""

import base64
import functools
import importlib.util
import inspect
import io
import json
import math
import mmap
import os
import pickle
import stat
import sys
import threading
import time
import traceback

_FLUSH_EVERY = 0.005

# The rows that the function has pushed, as JSON; None outside of a task.
_pushed = None


class Result:
    """A value, and one object more: bytes of a named format, or anything that can be pickled."""

    def __init__(self, value=None, blob=None, format=None):
        if not isinstance(format, (str, type(None))):
            raise TypeError("cq.Result: format must be a text")
        self.value = value
        self.blob = blob
        self.format = format


def push(row=None, /, **columns):
    """Adds a row to the run: push(penalty=3.5), a dict where a column's name is no Python name, or a list of dicts.

    It is a task as those of the input once the result of this one is kept, and none if this one
    fails. A row that was pushed before is the same row.
    """
    if _pushed is None or threading.current_thread() is not threading.main_thread():
        raise RuntimeError("cq.push: only a function that cq.serve calls can push rows, on its own thread and in its own process")
    rows = row if isinstance(row, (list, tuple)) else [dict(row or {}, **columns)]
    try:
        _pushed.extend([_encode(_plain(dict(one))) for one in rows])
    except (TypeError, RecursionError) as error:
        raise TypeError("cq.push: a field of a row is a number, a text, a Boolean or None, not %s" % error) from None


DONE = type("DONE", (), {"__repr__": lambda self: "cq.DONE"})()
"""What a proposer returns that will name no more rows."""


class _Noticed:
    """A layer of a standard stream that tells when something is written to it."""

    stream = None

    def write(self, data):
        self.stream.printed = True
        return super().write(data)


class _Raw(_Noticed, io.FileIO):
    pass


class _Buffer(_Noticed, io.BufferedWriter):
    pass


class _Text(_Noticed, io.TextIOWrapper):
    pass


class _Stream:
    """A standard stream that knows whether something was printed since its last mark."""

    def __init__(self, fd):
        self.fd, self.printed = fd, False
        raw = _Raw(fd, "w", closefd=False)
        buffer = _Buffer(raw)
        self.text = _Text(buffer, errors="backslashreplace", line_buffering=True)
        raw.stream = buffer.stream = self.text.stream = self

    def mark(self, mark, task):
        """Tells the worker where the output of a task that printed ends."""
        self.text.flush()
        os.write(self.fd, (mark % task).encode())
        self.printed = False


def _number_from(members):
    """What a JSON object stands for: JSON has no NaN."""
    return float(members["$number"].lower()) if "$number" in members else members


_encode = json.JSONEncoder(ensure_ascii=False).encode
_SCALARS = {bool: lambda value: "true" if value else "false",
            int: lambda value: int.__repr__(value) if -1 << 63 <= value < 1 << 63 else _encode(_plain(value)),
            str: _encode, type(None): lambda value: "null",
            float: lambda value: float.__repr__(value) if math.isfinite(value) else _encode(_plain(value))}


_KINDS = (
    ("enum", "Enum", lambda value: _plain(value.value)),
    ("datetime", "date", lambda value: value.isoformat()),
    ("datetime", "time", lambda value: value.isoformat()),
    ("datetime", "timedelta", lambda value: value.total_seconds()),
    ("decimal", "Decimal", str),
    ("fractions", "Fraction", str),
    ("uuid", "UUID", str),
    ("pathlib", "PurePath", str),
)


def _plain(value):
    """The value as JSON can say it. Raises TypeError for what it cannot."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        # What no column's integer holds is the text of its digits (hexadecimal from 4,300 digits
        # on).
        if -1 << 63 <= value < 1 << 63:
            return int(value)
        return str(int(value)) if value.bit_length() < 14000 else hex(value)
    for module, name, plain in _KINDS:
        # Who has such a value has loaded its module.
        if module in sys.modules and isinstance(value, getattr(sys.modules[module], name)):
            return plain(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return {"$number": "NaN" if math.isnan(value) else "Inf" if value > 0 else "-Inf"}
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise TypeError("names that are no text")
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return _plain(value.item())  # a scalar of NumPy
    raise TypeError(type(value).__name__)


def _plain_or_none(value):
    try:
        return _plain(value)
    except (TypeError, RecursionError):
        return None


_ANSWER_BYTES = (1 << 24) - 101


def _too_large(answer):
    return ValueError("its result takes %.1f MiB; what a task returns may take 16 MiB" % (len(answer) / (1 << 20)))


def _failure(error):
    try:
        text = str(error)
    except Exception as second:
        text = "(its str() raised %s)" % type(second).__name__
    try:
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:
        trace = ""
    text = "%s: %s" % (type(error).__name__, text) if text.strip() else type(error).__name__
    clean = lambda s: s.encode("utf-8", "backslashreplace").decode()
    return _members({"error": clean(text[:100000]), "traceback": clean(trace[-100000:])}).encode()


def _members(answer):
    """Those of a `result` line behind its first ones."""
    return "," + _encode(answer)[1:]


def _answer(result):
    """The members of a `result` line that carry what the function returned, from the comma on."""
    scalar = _SCALARS.get(type(result))
    if scalar is not None:
        return ',"value":%s}' % scalar(result)
    blob, kind, odd = None, None, False
    if isinstance(result, Result):
        result, blob, kind = result.value, result.blob, result.format
    try:
        answer = {"value": _plain(result)}
    except (TypeError, RecursionError):
        if blob is not None:
            raise
        answer, blob = {"value": None}, result
        # What can be said of a record stands in its columns all the same.
        if isinstance(result, dict) and all(isinstance(name, str) for name in result):
            answer["value"], odd = {name: _plain_or_none(entry) for name, entry in result.items()}, True
    if blob is not None:
        if not isinstance(blob, (bytes, bytearray)):
            try:
                blob, kind = pickle.dumps(blob), kind or "pickle"
            except Exception as error:
                if not odd:
                    raise
                # Its other columns are kept.
                try:
                    print("cq: what is missing in the columns of this result cannot be pickled, either: %s: %s" % (type(error).__name__, error),
                          file=sys.stderr)
                except Exception:
                    pass  # the function has closed it
                return _members(answer)
        answer["blob"] = base64.b64encode(blob).decode("ascii")
        answer["format"] = kind or "bytes"
    return _members(answer)


class _Variable:
    """An environment variable that holds a number: for os.environ, and for what the function starts.

    The C library's setenv, which os.putenv calls, keeps every value that it was ever given. Here its
    environment refers to a buffer of ours, whose content changes.
    """

    def __init__(self, name):
        self._name, self._key = name, name.encode()
        self._known = getattr(os.environ, "_data", None)
        os.environ[name] = "0"
        try:
            import ctypes
            head = self._key + b"="
            self._buffer = ctypes.create_string_buffer(head + b"0", len(head) + 24)
            self._digits = (ctypes.c_char * 24).from_buffer(self._buffer, len(head))
            # The environment outlives the interpreter's objects.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._buffer))
            self._put, self._last = ctypes.CDLL(None).putenv, None
        except (ImportError, OSError, AttributeError):
            self._known = None
        if not isinstance(self._known, dict):
            self.set = lambda number: os.environ.__setitem__(name, str(number))

    def set(self, number):
        self._digits.value = text = b"%d" % number
        # Whoever set the variable since, or took it away, has put something else in our buffer's
        # place.
        known = self._known
        if self._last is None or known.get(self._key) is not self._last:
            self._put(self._buffer)
        known[self._key] = self._last = text


def _refusal(function, names):
    """Why the function cannot be called with these names; None if it can."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as error:
        parameters = ", ".join(signature.parameters)
        return "%s(%s) cannot be called with the columns %s: %s" % (
            getattr(function, "__name__", "the function"), parameters, ", ".join(names), error)
    return None


class _Seeds:
    """Seeds the generators of the modules that are there; one that a function imports later comes seeded (as a finder in sys.meta_path)."""

    def __init__(self):
        self._seed = 1
        self._waiting = {"random", "numpy.random"}
        self._there = []
        for name in list(self._waiting):
            if name in sys.modules:
                self._found(sys.modules[name])
        if self._waiting:
            sys.meta_path.insert(0, self)

    def set(self, seed):
        self._seed = seed
        for reseed in self._there:
            reseed(seed)

    def _found(self, module):
        self._waiting.discard(module.__name__)
        self._there.append(module.seed)

    def find_spec(self, name, path, target=None):
        if name not in self._waiting:
            return None
        self._waiting.discard(name)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_seed(module):
                execute(module)
                self._found(module)
                module.seed(self._seed)

            spec.loader.exec_module = execute_and_seed
        return spec


class _Flusher:
    """Sends the answers of a batch that are ready, whatever the next of its tasks does."""

    def __init__(self, out):
        self._out, self._armed = out, threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    def arm(self):
        self._armed.set()

    def disarm(self):
        self._armed.clear()

    def _work(self):
        try:
            while self._armed.wait():
                time.sleep(_FLUSH_EVERY)
                self._out.flush()
        except (OSError, ValueError):
            pass  # the worker has gone, or the program ends


_MADV_WIPEONFORK = 18


class _Surroundings:
    """Notices a fork, and another working directory. To ask the system for these after each task would cost as much as a small function."""

    def __init__(self):
        self.directory, self.moved = os.getcwd(), False
        # Whoever forks, in Python or in C: the child finds the page wiped.
        self.own = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        os.register_at_fork(after_in_child=lambda: self.own.__setitem__(0, 0))  # for old systems
        try:
            self.own.madvise(_MADV_WIPEONFORK)
        except (AttributeError, OSError):
            pass
        self.own[0] = 1
        script = vars(sys.modules["__main__"])
        for change in (os.chdir, os.fchdir):
            noticed = self._noticed(change)
            setattr(os, change.__name__, noticed)
            for name in [name for name, value in script.items() if value is change]:
                script[name] = noticed

    def _noticed(self, change):
        @functools.wraps(change)
        def noticed(*args, **kwargs):
            self.moved = True
            return change(*args, **kwargs)
        return noticed

    def restore(self):
        os.chdir(self.directory)
        self.moved = False

    def look(self, tasks):
        """At the end of a batch: what changed it in another way (C) was not noticed before."""
        try:
            if os.getcwd() == self.directory:
                return
        except OSError:
            pass
        self.restore()
        if tasks > 1:
            print("cq: the working directory was changed by other than os.chdir; of the last %d tasks, some may have run there" % tasks,
                  file=sys.stderr)


def _flush_of_c():
    """The C library's fflush: what extensions print through it waits there."""
    try:
        import ctypes
        return ctypes.CDLL(None).fflush
    except (ImportError, OSError, AttributeError):
        return lambda _: None


def _forget_pushed():
    """In a process that the function forked: nobody would hear of its rows."""
    global _pushed
    _pushed = None


def _is_pipe(fd):
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


def _is_child():
    """Of multiprocessing: it imports the main module, and is not meant."""
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and getattr(processes.current_process(), "_inheriting", False)


def _rows_of(answer):
    """The rows that a proposer returned, as JSON, and whether it is done."""
    if answer is DONE:
        return [], True
    if answer is None:
        return [], False
    if isinstance(answer, dict):
        answer = [answer]
    if not isinstance(answer, (list, tuple)):
        raise TypeError("a proposer returns a dict, a list of dicts, None or cq.DONE, not %s" % type(answer).__name__)
    rows, done = [], False
    for row in answer:
        if row is DONE:
            done = True
        elif isinstance(row, dict):
            rows.append(_encode(_plain(row)))
        else:
            raise TypeError("a row is a dict, not %s" % type(row).__name__)
    return rows, done


def _converse(answer):
    """Speaks with a run as its proposer: answer(message) gives rows as JSON, for each the task that led to it, and whether it is done."""
    global _pushed
    fd_in, fd_out = int(os.environ.pop("CQ_ASK_IN")), int(os.environ.pop("CQ_ASK_OUT"))
    if not (_is_pipe(fd_in) and _is_pipe(fd_out)):
        sys.exit("cq: the descriptors %d and %d, over which the run speaks, are closed or are others'" % (fd_in, fd_out))
    if fd_out == 1:
        # What is printed from now on is for people.
        sys.stdout.flush()
        fd_in, fd_out = os.dup(0), os.dup(1)
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    sys.stdout.reconfigure(line_buffering=True)
    os.set_inheritable(fd_in, False)
    os.set_inheritable(fd_out, False)
    lines, out = os.fdopen(fd_in, "rb"), os.fdopen(fd_out, "wb")
    decode = json.JSONDecoder(object_hook=_number_from).decode

    def say(text):
        out.write(text.encode("utf-8", "backslashreplace") + b"\n")
        out.flush()

    seeds = _Seeds()
    for line in lines:
        message = decode(line.decode())
        if message["type"] == "start":
            seeds.set(message["seed"] % (1 << 31))
            say('{"type":"ready"}')
        if message["type"] != "tell":
            continue
        try:
            _pushed = []
            rows, parents, done = answer(message)
            say('{"id":%d,"rows":[%s]%s%s}' % (message["id"], ",".join(rows), ',"parents":%s' % parents if parents else "", ',"done":true' if done else ""))
        except Exception as error:
            say('{"id":%d%s' % (message["id"], _failure(error).decode()))
        finally:
            _pushed = None


def _propose(function):
    results = []

    def answer(message):
        rows, parents, done = [], [], False
        for ending in message["endings"]:
            row, result = ending["row"], ending["value"]
            results.append({**result, **row})
            del _pushed[:]
            mine, now_done = _rows_of(function(row, result, results))
            mine = _pushed + mine
            rows += mine
            parents += [ending["task"]] * len(mine)
            done = done or now_done
        return rows, parents, done

    _converse(answer)


def ask(function):
    """The program of `cq run --ask`: calls function(endings, want) with what has ended since the last call, and returns the rows that it returns.

    Each ending is a dict of task, status ("ok", "error", ..., or "waiting" of a row that this program has not named in this process),
    row and value, which are dicts by the names of columns. `want` is how many rows are wanted now; 0: none (they are taken all the same).
    A dict, a list of dicts, None (wait for more results), or cq.DONE. When a run goes on, it is called with all that it knew again,
    and what it returns for that is not taken.
    """
    if _is_child():
        return
    if "CQ_ASK_IN" not in os.environ:
        sys.exit("cq.ask: started by hand: cq run params.csv --ask 'python3 %s' -- COMMAND" % sys.argv[0])

    def answer(message):
        waiting = [dict(one, status="waiting", value={}) for one in message.get("waiting", [])]
        rows, done = _rows_of(function(message["endings"] + waiting, message["want"]))
        return _pushed + rows, None, done

    _converse(answer)


def endings():
    """For the program of `cq run --reduce`: yields what standard input tells, a dict for each row that ended ok.

    It has task, row and value, which are dicts by the names of columns, and of commands that return nothing stdout, which is text.
    """
    decode = json.JSONDecoder(object_hook=_number_from).decode
    for line in sys.stdin.buffer:
        yield decode(line.decode())


def serve(function, propose=None):
    """Calls `function(**row)` for each row that the worker gives, until it gives no more.

    propose(row, result, results): called in one process beside the run (cq run --propose), once for each row that ended ok; `row` and
    `result` are dicts by the names of columns (a value that is no dict is `result["result"]`), `results` the list of all so far. It
    returns rows (dicts), None, or cq.DONE, and may call cq.push.
    """
    global _pushed
    if _is_child():
        return
    if "CQ_ASK_IN" in os.environ and "CQ_SLOT_IN" not in os.environ:
        if propose is None:
            sys.exit("cq.serve: the run has --propose, and this program calls cq.serve without propose=")
        return _propose(propose)
    try:
        # Not for what the function starts.
        fd_in, fd_out = int(os.environ.pop("CQ_SLOT_IN")), int(os.environ.pop("CQ_SLOT_OUT"))
    except KeyError:
        sys.exit("cq.serve: started outside a slot: cq run params.csv --program 'python3 %s'" % sys.argv[0])
    if not (_is_pipe(fd_in) and _is_pipe(fd_out)):
        sys.exit("cq.serve: the descriptors %d and %d, over which the worker speaks, are closed or are others': a wrapper (sudo, conda run, "
                 "env -i, subprocess without pass_fds) must leave them open" % (fd_in, fd_out))
    mark = "\x1e%s %%d\x1e" % os.environ.pop("CQ_SLOT_MARK", "")
    # What the function starts has no business in the pipes.
    os.set_inheritable(fd_in, False)
    os.set_inheritable(fd_out, False)
    lines = os.fdopen(fd_in, "rb")
    out = os.fdopen(fd_out, "wb", buffering=1 << 20)
    out_stream, err_stream = _Stream(1), _Stream(2)
    out_text, err_text = sys.stdout, sys.stderr = out_stream.text, err_stream.text

    decode = json.JSONDecoder(object_hook=_number_from).decode

    def say(message):
        out.write(_encode(message).encode() + b"\n")

    say({"type": "hello", "protocol": 1, "helper": "cq.py"})
    out.flush()
    columns, constants = [], {}
    surroundings = _Surroundings()
    own = surroundings.own
    flush_c = _flush_of_c()
    seeds = _Seeds()
    set_task, set_seed, set_attempt = (_Variable(name).set for name in ("CQ_TASK", "CQ_SEED", "CQ_ATTEMPT"))
    last_attempt = last_group = None
    flusher = _Flusher(out)
    # A process that the function forks must not have answers to send.
    os.register_at_fork(before=out.flush, after_in_child=_forget_pushed)
    for line in lines:
        message = decode(line.decode())
        if message["type"] == "start":
            columns = message["columns"]
            constants = message["constants"]
            reason = _refusal(function, columns + list(constants))
            if propose is not None and not os.environ.get("CQ_PROPOSES"):
                reason = "it proposes rows (cq.serve(..., propose=...)): cq run --propose"
            say({"type": "refuse", "id": message["id"], "message": reason} if reason else
                {"type": "ready", "id": message["id"]})
            out.flush()
            continue
        if message["type"] != "tasks":
            if message["type"] != "unsupported":
                say({"type": "unsupported", "id": message.get("id", 0), "what": message["type"]})
                out.flush()
            continue
        # Something was printed that we did not see: by C, by a process.
        marks = message.get("mark", False)
        tasks = message["tasks"]
        last = tasks[-1][0] if tasks else 0
        if len(tasks) > 1:
            flusher.arm()
        try:
            for task, attempt, seed, group, values in tasks:
                row = dict(zip(columns, values))
                if constants:
                    row.update(constants)
                set_task(task)
                set_seed(seed)
                if attempt != last_attempt:
                    set_attempt(attempt)
                    last_attempt = attempt
                if group != last_group:
                    os.environ["CQ_GROUP"] = last_group = group
                seeds.set(seed)
                _pushed = []
                begin = time.monotonic()
                try:
                    answer = _answer(function(**row))
                    if _pushed:
                        answer = '%s,"push":[%s]}' % (answer[:-1], ",".join(_pushed))
                    answer = answer.encode("utf-8", "backslashreplace")  # JSON's escape of a lone surrogate
                    if len(answer) > _ANSWER_BYTES:
                        raise _too_large(answer)
                except BaseException as error:
                    if not own[0]:
                        raise  # a child that the function forked ends as it would anywhere
                    answer = _failure(error)
                _pushed = None
                if not own[0]:
                    sys.stdout.flush()
                    os._exit(0)
                us = (time.monotonic() - begin) * 1e6
                # A function may have put others in their place, or gone elsewhere.
                sys.stdout, sys.stderr = out_text, err_text
                if surroundings.moved:
                    surroundings.restore()
                if task == last:
                    surroundings.look(len(tasks))
                if marks:
                    flush_c(None)
                if marks or out_stream.printed:
                    out_stream.mark(mark, task)
                if marks or err_stream.printed:
                    err_stream.mark(mark, task)
                out.write(b'{"type":"result","task":%d,"us":%d%b\n' % (task, us, answer))
        finally:
            flusher.disarm()
        out.flush()

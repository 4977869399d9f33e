"""A worker for commands, written after protocol/PROTOCOL.md: worker.py CONNECT.json [SLOTS]

It knows no programs in slots, no JSON, no memory limits and no spool, and takes no such run.
"""
import collections, json, os, signal, socket, subprocess, sys, tempfile, time

import msgpack
import zmq

REFUSE, WHO, WELCOME, RUN, ASSIGN, ACK, RETRACT, CANCEL, BEAT, DRAIN, STOP = 0, *range(64, 74)
HELLO, STARTED, RESULTS, RETURNED, HEARTBEAT, LEAVING, GOODBYE = range(1, 8)
OK, ERROR, TIMEOUT, CANCELLED = 0, 1, 3, 5
QUEUED, RUNNING, FINISHED = range(3)
RETRACTED, TOLD_TO_GO, REFUSED, UNWANTED = range(4)
FRAME_MAX, BATCH, HEAD, TAIL, GRACE = 64 << 20, 8, 16 << 10, 48 << 10, 5

Run = collections.namedtuple("Run", "id dir cwd env command parse cpus check limit memory fence "
                             "patience each all program extras")


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # a lease runs on while the machine sleeps


def pack(message):
    return msgpack.packb(message, unicode_errors="surrogateescape")


def trimmed(fields):
    """Without those at the end that are 0, empty or false."""
    while fields and not fields[-1]:
        fields = fields[:-1]
    return fields


def attempts_of(runs):
    return [(task + i, number + i) for task, number, count in runs for i in range(count)]


def demanded(extras):
    return next((f"this worker does not know {name}" for name, _ in extras if name[0] == "!"), "")


def kept(file):
    """What a result carries of a stream: its head, a line, its tail."""
    size = os.fstat(file.fileno()).st_size
    part = lambda n, at: os.pread(file.fileno(), n, at).decode(errors="surrogateescape")
    if size <= HEAD + TAIL:
        return part(size, 0)
    return f"{part(HEAD, 0)}\n[{size - HEAD - TAIL} bytes cut]\n{part(TAIL, size - TAIL)}"


class Attempt:
    """One try at one task, from the message that brought it until it is returned or forgotten."""

    def __init__(self, task, number, tries=1, seed=0, values=(), group="", details=()):
        self.limit, problem, extras = [*details, *(0, "", [])[len(details):]]
        self.task, self.number, self.values = task, number, values
        self.problem = problem or demanded(extras)
        self.own = {"CQ_TASK": task, "CQ_ATTEMPT": tries, "CQ_ATTEMPT_ID": number,
                    "CQ_SEED": seed, "CQ_GROUP": group}
        self.state, self.why, self.told = QUEUED, None, False

    def render(self, part):
        if isinstance(part, str):
            return part
        if part == -1:
            return str(self.task)
        quoted = lambda text: "'" + text.replace("'", "'\\''") + "'"
        return self.values[part] if part >= 0 else quoted(self.values[-2 - part])

    def start(self, slot, run):
        self.state, self.slot, self.began, self.at = RUNNING, slot, now(), time.time_ns() // 1000
        self.streams = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        if self.problem:
            return self.end(ERROR, self.problem, 126)
        threads = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
        environment = {**dict.fromkeys(threads, run.cpus), **os.environ, **dict(run.env),
                       "CQ_RUN_DIR": run.dir, "CQ_CPUS": run.cpus, **self.own}
        try:
            process = subprocess.Popen(
                ["".join(map(self.render, argument)) for argument in run.command], cwd=run.cwd,
                env={name: str(value) for name, value in environment.items()},
                stdin=subprocess.DEVNULL, stdout=self.streams[0], stderr=self.streams[1],
                start_new_session=True)
        except (OSError, ValueError) as e:
            status = 127 if isinstance(e, FileNotFoundError) else 126
            return self.end(ERROR, str(e), status, unstartable=getattr(e, "errno", 7) != 7)
        process.returncode = 0  # reap() waits for it, and learns what it used
        limit = self.limit or run.limit
        self.pid, self.due = process.pid, self.began + limit / 1000 if limit else float("inf")

    def kill(self, outcome, why):
        self.why = self.why or (outcome, why)
        os.killpg(self.pid, signal.SIGKILL if outcome != TIMEOUT or now() > self.due + GRACE
                  else signal.SIGTERM)

    def look(self):
        if now() > self.due:
            self.kill(TIMEOUT, "ended after its time limit")
        pid, status, used = os.wait4(self.pid, os.WNOHANG)
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        outcome, why = self.why or ((ERROR, f"ended with {code}") if code else (OK, ""))
        try:
            os.killpg(self.pid, signal.SIGKILL)  # what it left behind
        except ProcessLookupError:
            pass
        self.end(outcome, why, code, not self.why and code in (126, 127),
                 [int(used.ru_utime * 1e6), int(used.ru_stime * 1e6), used.ru_maxrss])

    def end(self, outcome, why, code=0, unstartable=False, used=(0, 0, 0)):
        self.state, self.told = FINISHED, False
        details = trimmed([code, why, *used, *map(kept, self.streams), []])
        self.result = trimmed([self.task, self.number, self.slot, outcome, self.at,
                               int((now() - self.began) * 1e6), [], [], unstartable, details])


class Worker:
    def __init__(self, path, slots):
        self.path, self.slots, self.free, self.id = path, slots, {*range(slots)}, os.urandom(16)
        self.context, self.sockets, self.held, self.run = zmq.Context(), [], {}, None
        self.newest = self.epoch = self.lease_end = 0
        self.draining = self.going = self.announced = False
        self.beat, self.lease = 2, 30
        for number in signal.SIGTERM, signal.SIGINT:
            signal.signal(number, lambda *_: setattr(self, "going", True))
        self.connect()

    def connect(self):
        for s in self.sockets:
            s.close(linger=0)
        with open(self.path) as f:
            self.file = json.load(f)
        self.sockets = [self.context.socket(zmq.DEALER) for _ in self.file["endpoints"]]
        for s, endpoint in zip(self.sockets, self.file["endpoints"]):
            s.sndhwm, s.rcvhwm, s.maxmsgsize = 0, 0, FRAME_MAX
            s.curve_serverkey = self.file["server_public"].encode()
            s.curve_publickey = self.file["client_public"].encode()
            s.curve_secretkey = self.file["client_secret"].encode()
            s.connect(endpoint)
        self.heard = now()
        self.hello(0)

    def hello(self, session):
        """Opens a handshake (0), or answers the master's `who`."""
        self.session, self.welcomed, self.sequence, self.received = session, False, 0, 0
        self.sent_at, self.next_beat = {0: now()}, now() + self.beat
        held = [[self.file["run"], a.task, a.number, a.state] for a in self.held.values()]
        self.send(HELLO, "0.1.0", os.path.abspath(__file__), self.file["run"], self.id, self.epoch,
                  socket.gethostname(), os.getpid(), f"{socket.gethostname()} {os.getpid()}",
                  self.slots, self.capacity(), self.problem(), self.going, held, [], sequence=0)

    def send(self, kind, *fields, sequence=None):
        if sequence is None:
            self.sequence = sequence = self.sequence + 1
            self.sent_at[sequence] = now()
        for s in self.sockets:
            s.send(pack([1, kind, self.session, sequence, *fields]))

    def problem(self):
        run = self.run
        if run and (any(run.program[:2]) or run.parse or run.memory or run.check or run.fence):
            return "this worker knows no programs, JSON, memory limits, checks and fences"
        return demanded(run.extras) if run else ""

    def capacity(self):
        return 0 if self.going or self.draining or self.problem() else 2 * self.slots

    def take(self, s, kind, session, sequence, fields):
        if kind == WHO and session > self.newest and session >> 40 >= self.epoch:
            for other in {*self.sockets} - {s}:
                other.close(linger=0)
            self.sockets, self.newest, self.epoch, self.heard = [s], session, session >> 40, now()
            return self.hello(session)
        if kind == WHO or session != self.session or sequence <= self.received:
            return
        self.heard = now()
        if sequence > self.received + 1:  # something was lost
            return self.hello(0)
        self.received = sequence
        if kind == WELCOME:
            self.beat, self.lease, self.welcomed = fields[0] / 1000, fields[1] / 1000, True
            self.lease_end = self.sent_at[0] + self.lease
            for a in self.held.values():
                a.told = False  # what was sent before may be lost
        elif kind == BEAT:
            self.lease_end = max(self.lease_end, self.sent_at[fields[0]] + self.lease)
        elif kind == RUN:
            self.run = Run(*fields)
        elif kind == DRAIN:
            self.draining = True
        elif kind == STOP:
            self.leave(0, fields[0])
        elif kind == ASSIGN:
            for a in [Attempt(*task) for task in fields[1]]:
                self.held.setdefault((a.task, a.number), a)
        elif kind in (ACK, RETRACT, CANCEL):
            for key in filter(self.held.get, attempts_of(fields[1])):
                self.part_with(kind, key, self.held[key])

    def part_with(self, kind, key, a):
        if kind == CANCEL and a.state == RUNNING:
            a.kill(CANCELLED, "cancelled")
        elif kind != ACK and a.state == QUEUED:
            self.give_back([key], RETRACTED if kind == RETRACT else UNWANTED)
        elif kind != RETRACT and a.state == FINISHED:
            del self.held[key]

    def give_back(self, keys, reason):
        for key in keys:
            del self.held[key]
        self.send(RETURNED, self.file["run"], [[*key, reason, 0, ""] for key in keys])

    def step(self):
        for s in zmq.select(self.sockets, [], [], 0.02)[0]:
            while s in self.sockets and s.poll(0):
                version, kind, *rest = msgpack.unpackb(s.recv(), unicode_errors="surrogateescape")
                if kind == REFUSE:
                    self.leave(4, rest[-1])
                self.take(s, kind, rest[0], rest[1], rest[2:])
        for a in list(self.held.values()):
            if a.state == RUNNING:
                a.look()
            elif a.state == QUEUED and self.free and self.capacity() and now() < self.lease_end:
                a.start(self.free.pop(), self.run)
        self.free = {*range(self.slots)} - {a.slot for a in self.held.values()
                                            if a.state == RUNNING}
        if self.welcomed:
            self.report()
        self.keep_time()

    def report(self):
        held = list(self.held.values())
        if self.going and not self.announced:
            self.announced = True
            self.send(LEAVING, "told to go")
        if not self.capacity():
            queued = [key for key, a in self.held.items() if a.state == QUEUED]
            if queued:
                self.give_back(queued, TOLD_TO_GO if not self.problem() else REFUSED)
        started = [a for a in held if a.state == RUNNING and not a.told and now() > a.began + 0.05]
        finished = [a for a in held if a.state == FINISHED and not a.told]
        for a in started + finished:
            a.told = True
        if started:
            self.send(STARTED, self.file["run"], [[a.task, a.number, a.slot] for a in started])
        for i in range(0, len(finished), BATCH):
            results = [a.result for a in finished[i:i + BATCH]]
            self.send(RESULTS, self.file["run"], [], results, [0] * 5, [])
        if (self.going or self.draining) and not self.held:
            self.send(GOODBYE, "told to go")
            self.leave(0, "")

    def keep_time(self):
        if now() > self.heard + (self.run.patience / 1000 if self.run else 60):
            self.leave(5, "no master was heard for too long")
        if now() < self.next_beat:
            return
        self.next_beat = now() + self.beat
        if now() > self.heard + self.lease / 2:
            self.connect()
        elif self.welcomed:
            self.send(HEARTBEAT, self.received, self.capacity(), self.problem(), "")
        else:
            self.hello(self.session)

    def leave(self, status, text):
        for a in self.held.values():
            if a.state == RUNNING:
                a.kill(CANCELLED, "its worker ends")
        print(text, file=sys.stderr)
        self.context.destroy(linger=2000)
        sys.exit(status)


worker = Worker(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
while True:
    worker.step()

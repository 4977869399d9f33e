-- The journal of a run; JOURNAL.md says why it is so. Times are microseconds since 1970.
CREATE TABLE meta(
  name TEXT PRIMARY KEY,
  value                       -- JSON
) WITHOUT ROWID;

CREATE TABLE epochs(
  epoch INTEGER PRIMARY KEY,
  started_us INTEGER NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL
);

CREATE TABLE ranges(
  position INTEGER PRIMARY KEY, -- of the first row in params.csv, from 1
  task INTEGER NOT NULL,        -- its number
  rows INTEGER NOT NULL
);

CREATE TABLE results(
  task INTEGER PRIMARY KEY,
  attempt INTEGER NOT NULL,     -- epoch << 40 | serial
  outcome INTEGER NOT NULL,     -- 0 ok, 1 error, 2 crashed, 3 timeout, 4 memory, 5 cancelled, 6 skipped
  exit INTEGER NOT NULL,        -- 0 to 255, or the negative number of a signal
  attempts INTEGER NOT NULL,    -- how many there were, with this one
  worker INTEGER,               -- workers.worker
  started_us INTEGER,
  wall_us INTEGER,
  user_us INTEGER,
  system_us INTEGER,
  max_rss_kb INTEGER,
  error TEXT,                   -- one line; NULL when ok
  returned TEXT,                -- JSON object of the returned values; NULL when there are none
  stdout BLOB,                  -- NULL when empty
  stderr BLOB
);

CREATE TABLE blobs(
  task INTEGER PRIMARY KEY,     -- one of results
  format TEXT NOT NULL,         -- "rds", "pickle", or what its program calls it
  bytes BLOB NOT NULL
);

CREATE TABLE pushed(
  task INTEGER PRIMARY KEY,     -- a row that was not in the input
  key BLOB NOT NULL,            -- 16 bytes that stand for its values
  parent INTEGER NOT NULL,      -- the task that pushed it first, or brought it back; 0: cq add, or a proposer
  fields TEXT NOT NULL          -- JSON array, the text of each column
);

CREATE TABLE claims(
  parent INTEGER NOT NULL,      -- a task that is ok; 0: cq add; -1: the proposer
  task INTEGER NOT NULL,        -- one of pushed, which it pushed, be it the first or not
  PRIMARY KEY(parent, task)
) WITHOUT ROWID;

CREATE VIEW live_pushed AS      -- those that are wanted: reached from the input through tasks that are ok
  WITH RECURSIVE live(task) AS (
    SELECT task FROM claims WHERE parent <= 0
    UNION
    SELECT c.task FROM claims c JOIN results r ON r.task = c.parent AND r.outcome = 0
      WHERE c.parent NOT IN (SELECT task FROM pushed)
    UNION
    SELECT c.task FROM live JOIN results r ON r.task = live.task AND r.outcome = 0
      JOIN claims c ON c.parent = live.task)
  SELECT task, key, parent, fields FROM pushed WHERE task IN (SELECT task FROM live);

CREATE TABLE endings(
  task INTEGER PRIMARY KEY,     -- one of results, of which the run's proposer is told
  seq INTEGER NOT NULL          -- in this order
);

CREATE TABLE calls(
  task INTEGER PRIMARY KEY,
  function TEXT NOT NULL,       -- of the program that embeds the master; a run over a CSV has no calls
  arguments BLOB NOT NULL       -- a list, packed as MessagePack
);

CREATE TABLE ledgers(
  epoch INTEGER PRIMARY KEY,    -- of the master whose tasks these were; all in microseconds, summed up over tasks
  tasks INTEGER NOT NULL,
  idle_us INTEGER NOT NULL,     -- slots without a task at hand
  queue_us INTEGER NOT NULL,    -- tasks at their worker, until a slot took them
  spawn_us INTEGER NOT NULL,    -- slots that had a task, less what it ran
  run_us INTEGER NOT NULL,
  wire_us INTEGER NOT NULL,     -- from master to worker and back
  record_us INTEGER NOT NULL,   -- until the result was durable
  vacant_us INTEGER NOT NULL DEFAULT 0, -- slots for which there was no task
  cpu_us INTEGER NOT NULL DEFAULT 0,   -- CPU time of what ran to its end
  lost_us INTEGER NOT NULL DEFAULT 0,  -- what attempts had run that were lost with their workers
  peak_kb INTEGER NOT NULL DEFAULT 0   -- the most memory that one had
);

CREATE TABLE resets(
  first_task INTEGER NOT NULL,
  last_task INTEGER NOT NULL,
  epoch INTEGER NOT NULL        -- attempts of lower epochs at these tasks no longer count
);

CREATE TABLE names(
  name TEXT PRIMARY KEY,
  task INTEGER NOT NULL,        -- the first task, in number, that returned it
  place INTEGER NOT NULL        -- its place among the names that this task returned
) WITHOUT ROWID;

CREATE TABLE failures(
  attempt INTEGER PRIMARY KEY,
  task INTEGER NOT NULL,
  worker INTEGER NOT NULL,
  kind INTEGER NOT NULL,        -- 0 a charge taken back, 1 charged provisionally, 2 charged, 3 failed by itself, 4 charged: took its program with it, 5 tried again with more memory or time
  at_us INTEGER NOT NULL,
  reason TEXT NOT NULL
);

CREATE TABLE raised(
  task INTEGER PRIMARY KEY,     -- one that ended for want of memory or time, and was tried again
  memory_bytes INTEGER NOT NULL, -- what it asks for since; 0: as its like
  time_ms INTEGER NOT NULL,
  time_permille INTEGER NOT NULL -- its time limit is so many thousandths of what it was
);

CREATE TABLE workers(
  worker INTEGER PRIMARY KEY,
  id BLOB NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  slots INTEGER NOT NULL,
  allocation TEXT NOT NULL,     -- as the worker names it: "local 3", "slurm 1234_2"
  joined_us INTEGER NOT NULL,
  ended_us INTEGER,
  ended TEXT,                   -- why
  waits_for TEXT NOT NULL DEFAULT ''  -- what it has been waiting for for long, as long as it does
);

CREATE TABLE output(
  task INTEGER NOT NULL,        -- one that still runs, or was lost
  place INTEGER NOT NULL,       -- part modulo 16: the newest are kept
  part INTEGER NOT NULL,        -- counted from 0
  attempt INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  stdout BLOB NOT NULL,
  stderr BLOB NOT NULL,
  PRIMARY KEY(task, place)
) WITHOUT ROWID;

CREATE TABLE avoided(
  host TEXT PRIMARY KEY         -- where tasks could not be started
) WITHOUT ROWID;

CREATE TABLE allocations(
  token TEXT PRIMARY KEY,
  scheduler TEXT NOT NULL,
  workers INTEGER NOT NULL,
  intended_us INTEGER NOT NULL,
  job TEXT,                     -- the scheduler's id; NULL while not known
  ended_us INTEGER,
  pool INTEGER NOT NULL DEFAULT 0  -- its place among the pools of the run, from 0
) WITHOUT ROWID;

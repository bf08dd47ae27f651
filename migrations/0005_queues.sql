-- Queues of runs: how many of each may be between their beginning and their end, as whoever said so last knew it.
CREATE TABLE queues (
    key         INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    concurrency INTEGER NOT NULL CHECK (concurrency > 0)
) STRICT;

-- Their runs until they end: in line (no at_ms), or with a place since then. Within a priority, the run that was started first comes first.
CREATE TABLE queued (
    run      INTEGER PRIMARY KEY REFERENCES runs (key),
    queue    INTEGER NOT NULL REFERENCES queues (key),
    priority INTEGER NOT NULL,
    at_ms    INTEGER
) STRICT;
CREATE INDEX queued_line ON queued (queue, priority DESC, run) WHERE at_ms IS NULL;
CREATE INDEX queued_places ON queued (queue) WHERE at_ms IS NOT NULL;

-- What is to be started when (`body`, as JSON), and the next time (none: never again). What came of the latest time that had come: a run,
-- or why there is none.
CREATE TABLE schedules (
    key      INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    body     TEXT NOT NULL,
    next_ms  INTEGER,
    paused   INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    last_run TEXT,
    last_ms  INTEGER,
    note     TEXT,
    note_ms  INTEGER,
    CHECK ((last_run IS NULL) = (last_ms IS NULL)),
    CHECK ((note IS NULL) = (note_ms IS NULL))
) STRICT;
CREATE INDEX schedules_due ON schedules (next_ms) WHERE paused = 0 AND next_ms IS NOT NULL;

-- The heads as before, and one more thing to wait for: a place in a queue.
CREATE TABLE new_heads (
    run         INTEGER PRIMARY KEY REFERENCES runs (key),
    base        INTEGER NOT NULL,
    head        INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    owner       INTEGER REFERENCES owners (id),
    status      TEXT NOT NULL CHECK (status IN ('running', 'waiting', 'paused', 'completed', 'failed', 'cancelled', 'diverged')),
    waiting_for TEXT CHECK (waiting_for IN ('timer', 'rate_limit', 'signal', 'child', 'approval', 'answer', 'in_doubt', 'trust', 'credentials', 'quota', 'budget', 'queue')),
    until_ms    INTEGER,
    updated_ms  INTEGER NOT NULL,
    CHECK (waiting_for IS NULL OR status = 'waiting'),
    CHECK (owner IS NULL OR status IN ('running', 'waiting')),
    CHECK (waiting_for IS NOT 'queue' OR owner IS NULL)
) STRICT;
INSERT INTO new_heads SELECT run, base, head, epoch, owner, status, waiting_for, until_ms, updated_ms FROM heads;
DROP TABLE heads;
ALTER TABLE new_heads RENAME TO heads;
CREATE INDEX heads_open ON heads (status, until_ms) WHERE status IN ('running', 'waiting', 'paused', 'diverged');
CREATE INDEX heads_owner ON heads (owner) WHERE owner IS NOT NULL;
CREATE INDEX heads_free ON heads (status, until_ms) WHERE owner IS NULL AND status IN ('running', 'waiting');
CREATE INDEX heads_parent ON heads (run) WHERE owner IS NULL AND waiting_for = 'child';

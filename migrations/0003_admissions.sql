-- Services that count requests (a provider's account and model), as all runs and processes of this file know them.
CREATE TABLE services (
    key              INTEGER PRIMARY KEY,
    name             TEXT NOT NULL UNIQUE,
    -- After a rate limit: nobody asks before this.
    blocked_until_ms INTEGER,
    -- Limits per minute that its answers have named, or (guessed) that a rate limit has shown.
    requests         INTEGER CHECK (requests > 0),
    tokens           INTEGER CHECK (tokens > 0),
    guessed          INTEGER NOT NULL DEFAULT 0 CHECK (guessed IN (0, 1)),
    learnt_ms        INTEGER,
    -- As the newest request knew it.
    concurrency      INTEGER CHECK (concurrency > 0)
) STRICT;

-- Attempts of steps that need a place at a service: waiting for it (no at_ms), under way, or over and still within what is counted.
-- The id is the place in the queue.
CREATE TABLE admissions (
    id       INTEGER PRIMARY KEY,
    service  INTEGER NOT NULL REFERENCES services (key),
    run      INTEGER NOT NULL REFERENCES runs (key),
    step     TEXT NOT NULL,
    attempt  INTEGER NOT NULL,
    spender  TEXT NOT NULL,
    owner    INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    -- What counts against the service's minute: the most it can use, then what it has used.
    tokens   INTEGER NOT NULL,
    -- What is reserved of budgets; an unknown price reserves no money.
    held_tokens INTEGER NOT NULL,
    held_nano   INTEGER,
    -- When somebody who waits comes back to ask, or an attempt is over at the latest.
    due_ms   INTEGER NOT NULL,
    at_ms    INTEGER,
    ended_ms INTEGER,
    outcome  TEXT CHECK (outcome IN ('answered', 'limited', 'other')),
    CHECK (ended_ms IS NULL OR at_ms IS NOT NULL),
    CHECK ((ended_ms IS NULL) = (outcome IS NULL))
) STRICT;
CREATE INDEX admissions_queue ON admissions (service, priority DESC, id) WHERE at_ms IS NULL;
CREATE INDEX admissions_minute ON admissions (service, at_ms, tokens) WHERE at_ms IS NOT NULL;
CREATE INDEX admissions_flight ON admissions (service, due_ms) WHERE at_ms IS NOT NULL AND ended_ms IS NULL;
CREATE INDEX admissions_open ON admissions (run) WHERE ended_ms IS NULL;

-- What was spent and what is held of budgets: for each spender of a run, and (with an empty name) for the run with all runs below it.
CREATE TABLE spend (
    run                INTEGER NOT NULL REFERENCES runs (key),
    spender            TEXT NOT NULL,
    calls              INTEGER NOT NULL DEFAULT 0,
    input_tokens       INTEGER NOT NULL DEFAULT 0,
    output_tokens      INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens  INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    nano_usd           INTEGER NOT NULL DEFAULT 0,
    -- Calls whose price nobody knows, and calls whose reply was lost: these count as all that they could have used.
    unpriced           INTEGER NOT NULL DEFAULT 0,
    lost               INTEGER NOT NULL DEFAULT 0,
    held_tokens        INTEGER NOT NULL DEFAULT 0,
    held_nano          INTEGER NOT NULL DEFAULT 0,
    first_ms           INTEGER NOT NULL,
    -- The ceilings that the code or the files name, and by how much people have raised them.
    max_calls          INTEGER,
    max_tokens         INTEGER,
    max_nano           INTEGER,
    max_ms             INTEGER,
    more_calls         INTEGER NOT NULL DEFAULT 0,
    more_tokens        INTEGER NOT NULL DEFAULT 0,
    more_nano          INTEGER NOT NULL DEFAULT 0,
    more_ms            INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, spender)
) STRICT, WITHOUT ROWID;

-- The inbox as before, and a further kind of message: a raised budget.
CREATE TABLE new_inbox (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    run    INTEGER NOT NULL REFERENCES runs (key),
    kind   TEXT NOT NULL CHECK (kind IN ('signal', 'approval', 'answer', 'cancel', 'pause', 'resolve', 'child', 'budget')),
    name   TEXT NOT NULL,
    body   TEXT,
    sender TEXT,
    at_ms  INTEGER NOT NULL
) STRICT;
INSERT INTO new_inbox SELECT * FROM inbox;
UPDATE sqlite_sequence SET seq = max(coalesce(seq, 0), coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'inbox'), 0))
    WHERE name = 'new_inbox';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'new_inbox', seq FROM sqlite_sequence
    WHERE name = 'inbox' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'new_inbox');
DROP TABLE inbox;
ALTER TABLE new_inbox RENAME TO inbox;
CREATE INDEX inbox_open ON inbox (run, id) WHERE body IS NOT NULL;
CREATE UNIQUE INDEX inbox_sender ON inbox (run, sender) WHERE sender IS NOT NULL;

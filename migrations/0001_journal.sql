-- The log: one append-only row a turn, each naming the row before it and its hash. A run is a row that names its head.
-- No index but the rowid lies on the write path. Ids never recur: the newest row is never deleted, so the next id is always greater than
-- any before. (AUTOINCREMENT says the same at the price of one more page in every commit.)
CREATE TABLE log (
    id   INTEGER PRIMARY KEY,
    run  INTEGER NOT NULL,
    prev INTEGER,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    body TEXT NOT NULL
) STRICT;

-- Processes that may own runs. A row's process is alive as long as somebody holds the lock on its file.
CREATE TABLE owners (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    pid      INTEGER NOT NULL,
    file     TEXT NOT NULL UNIQUE,
    since_ms INTEGER NOT NULL
) STRICT;

-- What was read from files when a run began, by content.
CREATE TABLE definitions (
    key  INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    body TEXT NOT NULL
) STRICT;

-- What never changes about a run.
CREATE TABLE runs (
    key         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 200),
    workflow    TEXT NOT NULL,
    definition  INTEGER REFERENCES definitions (key),
    root        TEXT,
    parent      INTEGER REFERENCES runs (key),
    parent_step TEXT,
    input_hash  BLOB NOT NULL CHECK (length(input_hash) = 32),
    created_ms  INTEGER NOT NULL,
    CHECK ((parent IS NULL) = (parent_step IS NULL))
) STRICT;
CREATE INDEX runs_parent ON runs (parent) WHERE parent IS NOT NULL;

-- What changes with every turn: small, so that a commit of many runs dirties few pages.
CREATE TABLE heads (
    run         INTEGER PRIMARY KEY REFERENCES runs (key),
    base        INTEGER NOT NULL,
    head        INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    owner       INTEGER REFERENCES owners (id),
    status      TEXT NOT NULL CHECK (status IN ('running', 'waiting', 'paused', 'completed', 'failed', 'cancelled', 'diverged')),
    waiting_for TEXT CHECK (waiting_for IN ('timer', 'rate_limit', 'signal', 'child', 'approval', 'answer', 'in_doubt', 'trust', 'credentials', 'quota', 'budget')),
    until_ms    INTEGER,
    updated_ms  INTEGER NOT NULL,
    CHECK (waiting_for IS NULL OR status = 'waiting'),
    CHECK (owner IS NULL OR status IN ('running', 'waiting'))
) STRICT;
CREATE INDEX heads_open ON heads (status, until_ms) WHERE status IN ('running', 'waiting', 'paused', 'diverged');
CREATE INDEX heads_owner ON heads (owner) WHERE owner IS NOT NULL;

-- What a run says of itself, and why it is parked: written now and then, read by people.
CREATE TABLE notes (
    run    INTEGER PRIMARY KEY REFERENCES runs (key),
    status TEXT,
    error  TEXT,
    help   TEXT
) STRICT;

-- What others send to a run: outside its chain and its fence. The delivery empties a row in its own commit;
-- a row with a sender's id stays, so that the same message is never taken twice.
CREATE TABLE inbox (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    run    INTEGER NOT NULL REFERENCES runs (key),
    kind   TEXT NOT NULL CHECK (kind IN ('signal', 'approval', 'answer', 'cancel', 'pause', 'resolve', 'child')),
    name   TEXT NOT NULL,
    body   TEXT,
    sender TEXT,
    at_ms  INTEGER NOT NULL
) STRICT;
CREATE INDEX inbox_open ON inbox (run, id) WHERE body IS NOT NULL;
CREATE UNIQUE INDEX inbox_sender ON inbox (run, sender) WHERE sender IS NOT NULL;

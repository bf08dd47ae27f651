-- Conversations that live across runs, by their name: only added to. An exchange is kept under the key of the step that said it, so that it is
-- there once however often that step is tried.
CREATE TABLE memories (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    name  TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    key   TEXT NOT NULL UNIQUE,
    body  TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX memories_name ON memories (name, id);

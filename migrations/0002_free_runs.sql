-- Runs that are nobody's and may move: what a watching process looks for many times a second, however many others sleep. A run with an
-- owner is in neither, so no turn writes to them.
CREATE INDEX heads_free ON heads (status, until_ms) WHERE owner IS NULL AND status IN ('running', 'waiting');
CREATE INDEX heads_parent ON heads (run) WHERE owner IS NULL AND waiting_for = 'child';

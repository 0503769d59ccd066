-- The database of one project: logs, checkpoints, blobs, heartbeats.
PRAGMA application_id = 1398032208;

-- One row per run. `seq`, `head`, `state` and `spool_offset` are its checkpoint; `number` is the order of creation,
-- because a clock can go backwards; `created` is unix milliseconds.
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    run TEXT NOT NULL UNIQUE,
    seq INTEGER NOT NULL,
    head TEXT NOT NULL,
    spool_offset INTEGER NOT NULL,
    created INTEGER NOT NULL,
    state BLOB NOT NULL
);

-- The logs. Clustered by run and seq, so that an append touches one page and a log is read in order.
CREATE TABLE events (
    run TEXT NOT NULL REFERENCES runs (run),
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;

-- Blobs by SHA-256. `content` is NULL for a blob kept as a file and for a buried one; `reason` and `at` (unix
-- milliseconds) are the tombstone; `in_file` is 1 while a file of this name may stand on the disk.
CREATE TABLE blobs (
    digest TEXT NOT NULL PRIMARY KEY,
    size INTEGER NOT NULL,
    in_file INTEGER NOT NULL,
    reason TEXT,
    at INTEGER,
    content BLOB
);

-- Buried blobs whose file was not yet seen to be gone: looked up at every opening, nearly always empty.
CREATE INDEX blobs_to_remove ON blobs (digest) WHERE in_file = 1 AND reason IS NOT NULL;

-- The latest sign of life of each lease; `at` is unix milliseconds.
CREATE TABLE heartbeats (
    run TEXT NOT NULL REFERENCES runs (run),
    fence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (run, fence)
) WITHOUT ROWID;

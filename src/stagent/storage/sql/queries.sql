-- The statements of the store of one project. Portable SQL; `?` marks a value, in the order written.

-- name: create_run
-- No row is written when the run exists: the caller sees 0 rows and reports the conflict.
INSERT INTO runs (run, seq, head, spool_offset, state, created)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (run) DO NOTHING;

-- name: move_checkpoint
-- The check of the expected seq and the new checkpoint are one statement: 0 rows mean that another writer was first.
-- The spool offset never goes back: who appends without having read the spool knows an older one.
UPDATE runs
SET seq = ?, head = ?, spool_offset = CASE WHEN spool_offset < ? THEN ? ELSE spool_offset END, state = ?
WHERE run = ? AND seq = ?;

-- name: insert_event
INSERT INTO events (run, seq, hash, body) VALUES (?, ?, ?, ?);

-- name: checkpoint
SELECT seq, head, state, spool_offset FROM runs WHERE run = ?;

-- name: last_seq
SELECT seq FROM runs WHERE run = ?;

-- name: runs
SELECT run, seq, head, state FROM runs ORDER BY number;

-- name: read_events
SELECT seq, body, hash FROM events WHERE run = ? AND seq > ? ORDER BY seq LIMIT ?;

-- name: insert_blob
-- What is stored already stays as it is, tombstones too.
INSERT INTO blobs (digest, size, in_file, content) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING;

-- name: blob
SELECT in_file, reason, at, content FROM blobs WHERE digest = ?;

-- name: blob_fate
-- Like `blob`, without loading its bytes.
SELECT in_file, reason FROM blobs WHERE digest = ?;

-- name: bury_blob
-- The first tombstone stays: its reason is the one under which the bytes went.
UPDATE blobs SET content = NULL, reason = ?, at = ? WHERE digest = ? AND reason IS NULL;

-- name: blob_file_gone
UPDATE blobs SET in_file = 0 WHERE digest = ?;

-- name: blobs_to_remove
SELECT digest FROM blobs WHERE in_file = 1 AND reason IS NOT NULL;

-- name: heartbeat
-- A lease that a newer one has replaced writes nothing, and a late message never moves the time back.
INSERT INTO heartbeats (run, fence, at)
SELECT r.run, ?, ? FROM runs AS r
WHERE r.run = ? AND NOT EXISTS (SELECT 1 FROM heartbeats AS h WHERE h.run = r.run AND h.fence > ?)
ON CONFLICT (run, fence) DO UPDATE SET at = excluded.at WHERE excluded.at > heartbeats.at;

-- name: last_heartbeat
SELECT at FROM heartbeats WHERE run = ? AND fence = ?;

"""A store that lives in memory: the same behaviour as the durable ones, for simulations, demos and tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from stagent.core.ports import BlobGone, Checkpoint, Record, RunRow
from stagent.errors import StoreError
from stagent.storage import rules


class MemoryStore:
    """The `Store` of `core.ports` in dictionaries; may be used from several threads; closing it forgets everything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: dict[str, list[Record]] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self._blobs: dict[str, bytes | BlobGone] = {}
        self._heartbeats: dict[str, dict[int, int]] = {}
        self._closed = False

    def create(self, run: str, records: Sequence[Record], checkpoint: Checkpoint, blobs: Mapping[str, bytes]) -> None:
        """Begin a run with its first events. Raises ConflictError when the run exists."""
        rules.check_batch(run, 0, records, checkpoint)
        rules.check_names(blobs)
        with self._open():
            if run in self._logs:
                raise rules.run_exists(run)
            self._logs[run] = list(records)
            self._keep(run, checkpoint, blobs)

    def append(
        self,
        run: str,
        expected_seq: int,
        records: Sequence[Record],
        checkpoint: Checkpoint,
        blobs: Mapping[str, bytes],
    ) -> None:
        """Append events, checkpoint and blobs at once.

        Raises ConflictError when another writer was first, NotFoundError for an unknown run.
        """
        rules.check_batch(run, expected_seq, records, checkpoint)
        rules.check_names(blobs)
        with self._open():
            found = self._known(run).seq
            if found != expected_seq:
                raise rules.conflict(run, expected_seq, found)
            self._logs[run].extend(records)
            self._keep(run, checkpoint, blobs)

    def _keep(self, run: str, checkpoint: Checkpoint, blobs: Mapping[str, bytes]) -> None:
        known = self._checkpoints.get(run)
        offset = max(checkpoint.spool_offset, known.spool_offset if known else 0)
        self._checkpoints[run] = msgspec.structs.replace(checkpoint, spool_offset=offset)
        for digest, data in blobs.items():
            self._blobs.setdefault(digest, bytes(data))

    def _known(self, run: str) -> Checkpoint:
        if run not in self._checkpoints:
            raise rules.unknown_run(run)
        return self._checkpoints[run]

    def _open(self) -> threading.Lock:
        if self._closed:
            raise StoreError("store.failed", "the store is closed", remedy="Open it again.")
        return self._lock

    def checkpoint(self, run: str) -> Checkpoint:
        """Return the latest checkpoint. Raises NotFoundError for an unknown run."""
        with self._open():
            return self._known(run)

    def read(self, run: str, after: int = 0, limit: int | None = None) -> Iterator[Record]:
        """Yield the events with seq > `after` in order, at most `limit`. Raises NotFoundError for an unknown run."""
        with self._open():
            self._known(run)
            first = max(after, 0)
            last = None if limit is None else first + max(limit, 0)
            return iter(self._logs[run][first:last])

    def runs(self) -> list[RunRow]:
        """Return every run, oldest first."""
        with self._open():
            return [RunRow(run, item.seq, item.head, item.state) for run, item in self._checkpoints.items()]

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Store blobs; storing one again does nothing, a tombstone stays.

        Raises StoreError `store.blob_misnamed` for a name that is not the SHA-256 of its bytes.
        """
        rules.check_names(blobs)
        with self._open():
            for digest, data in blobs.items():
                self._blobs.setdefault(digest, bytes(data))

    def blob(self, digest: str) -> bytes | BlobGone:
        """Return a blob or its tombstone. Raises NotFoundError when it was never stored."""
        with self._open():
            if digest not in self._blobs:
                raise rules.unknown_blob(digest)
            return self._blobs[digest]

    def bury_blob(self, digest: str, reason: str, at: int) -> None:
        """Forget a blob's bytes and leave a tombstone; the first tombstone stays.

        Raises NotFoundError when it was never stored.
        """
        with self._open():
            if digest not in self._blobs:
                raise rules.unknown_blob(digest)
            if not isinstance(self._blobs[digest], BlobGone):
                self._blobs[digest] = BlobGone(digest, reason, at)

    def heartbeat(self, run: str, fence: int, at: int) -> None:
        """Note that lease `fence` was alive at `at`. Raises NotFoundError for an unknown run."""
        with self._open():
            self._known(run)
            beats = self._heartbeats.setdefault(run, {})
            if fence >= max(beats, default=fence):
                beats[fence] = max(at, beats.get(fence, at))

    def last_heartbeat(self, run: str, fence: int) -> int | None:
        """Return the latest heartbeat of lease `fence` in unix ms, or None."""
        with self._open():
            return self._heartbeats.get(run, {}).get(fence)

    def close(self) -> None:
        """Forget everything; the store may not be used afterwards."""
        with self._lock:
            self._closed = True
            for table in (self._logs, self._checkpoints, self._blobs, self._heartbeats):
                table.clear()

"""The one store over an SQL database: what it asks is in `sql/queries.sql`, how it is asked is a driver's."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

from stagent.core.ports import BlobGone, Checkpoint, Record, RunRow
from stagent.errors import StoreError
from stagent.failpoints import hit
from stagent.storage import rules
from stagent.storage.files import BlobFiles
from stagent.storage.scripts import queries

INLINE = 64 * 1024
"""Blobs up to so many bytes are kept in the database; larger ones are files."""

_PAGE = 512
"""How many events one query reads: a long log is neither held in memory nor in a long transaction."""

_SQL = queries("queries.sql")

Row = tuple[Any, ...]


class Transaction(Protocol):
    """Statements that are committed together or not at all."""

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run a statement and return how many rows it changed."""

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once per row of values."""

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Return the rows of a query."""


class Driver(Protocol):
    """One connection to a database; may be used from several threads. Raises StoreError and nothing of its own."""

    def transaction(self, *, erase: bool = False) -> AbstractContextManager[Transaction]:
        """Hold the only writing transaction; durable once the block ends without an error, undone with one.

        `erase` also overwrites what the block deletes, so that it cannot be read from the disk afterwards.
        """

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Return the rows of one query, as of one moment."""

    def close(self) -> None:
        """Release the connection."""


class SqlStore:
    """The `Store` of `core.ports` over a driver and a folder of files for large blobs."""

    def __init__(self, driver: Driver, files: BlobFiles) -> None:
        self._driver = driver
        self._files = files
        for (digest,) in driver.rows(_SQL["blobs_to_remove"]):
            self._remove_file(digest)

    def create(self, run: str, records: Sequence[Record], checkpoint: Checkpoint, blobs: Mapping[str, bytes]) -> None:
        """Begin a run with its first events, durably. Raises ConflictError when the run exists."""
        rules.check_batch(run, 0, records, checkpoint)
        staged = self._stage(blobs)
        row = (*_columns(checkpoint), round(time.time() * 1000))
        with self._driver.transaction() as tx:
            if not tx.execute(_SQL["create_run"], (run, *row)):
                raise rules.run_exists(run)
            useless = self._write(tx, run, records, staged, blobs)
        self._drop(useless)
        self._sweep()

    def append(
        self,
        run: str,
        expected_seq: int,
        records: Sequence[Record],
        checkpoint: Checkpoint,
        blobs: Mapping[str, bytes],
    ) -> None:
        """Append events, checkpoint and blobs in one durable transaction.

        Raises ConflictError when another writer was first, NotFoundError for an unknown run.
        """
        rules.check_batch(run, expected_seq, records, checkpoint)
        staged = self._stage(blobs) if blobs else []
        with self._driver.transaction() as tx:
            if not tx.execute(_SQL["move_checkpoint"], (*_moved(checkpoint), run, expected_seq)):
                raise _why_not(tx, run, expected_seq)
            useless = self._write(tx, run, records, staged, blobs)
        self._drop(useless)

    def checkpoint(self, run: str) -> Checkpoint:
        """Return the latest checkpoint. Raises NotFoundError for an unknown run."""
        for seq, head, state, spool_offset in self._driver.rows(_SQL["checkpoint"], (run,)):
            return Checkpoint(seq, head, state, spool_offset)
        raise rules.unknown_run(run)

    def read(self, run: str, after: int = 0, limit: int | None = None) -> Iterator[Record]:
        """Yield the events with seq > `after` in order, at most `limit`. Raises NotFoundError for an unknown run."""
        if not self._driver.rows(_SQL["last_seq"], (run,)):
            raise rules.unknown_run(run)
        return self._pages(run, after, limit)

    def _pages(self, run: str, after: int, limit: int | None) -> Iterator[Record]:
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            rows = self._driver.rows(_SQL["read_events"], (run, after, size))
            for seq, body, head in rows:
                # An edit by hand can turn the bytes into text; the audit must see what stands there.
                yield Record(seq, body if isinstance(body, bytes) else str(body).encode(), str(head))
            if len(rows) < size:
                return
            after = rows[-1][0]
            left = None if left is None else left - size

    def runs(self) -> list[RunRow]:
        """Return every run of the project, oldest first."""
        return [RunRow(*row) for row in self._driver.rows(_SQL["runs"])]

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Store blobs durably; storing one again does nothing, a tombstone stays.

        Raises StoreError `store.blob_misnamed` for a name that is not the SHA-256 of its bytes.
        """
        staged = self._stage(blobs)
        if staged:
            with self._driver.transaction() as tx:
                useless = self._write_blobs(tx, staged, blobs)
            self._drop(useless)

    def blob(self, digest: str) -> bytes | BlobGone:
        """Return a blob or its tombstone.

        Raises NotFoundError when it was never stored, StoreError `store.blob_damaged` when its bytes are not its own.
        """
        is_file, content, gone = self._look_up(digest)
        if gone is None and is_file:
            content = self._files.read(digest)
            if content is None:
                # It may have been buried between the two looks.
                gone = self._look_up(digest)[2]
        return rules.check_bytes(digest, content) if gone is None else gone

    def _look_up(self, digest: str) -> tuple[bool, bytes | None, BlobGone | None]:
        for in_file, reason, at, content in self._driver.rows(_SQL["blob"], (digest,)):
            return bool(in_file), content, None if reason is None else BlobGone(digest, reason, at)
        raise rules.unknown_blob(digest)

    def bury_blob(self, digest: str, reason: str, at: int) -> None:
        """Delete a blob's bytes for good and leave a tombstone; the first tombstone stays.

        Raises NotFoundError when it was never stored.
        """
        with self._driver.transaction(erase=True) as tx:
            fate = tx.rows(_SQL["blob_fate"], (digest,))
            if not fate:
                raise rules.unknown_blob(digest)
            tx.execute(_SQL["bury_blob"], (reason, at, digest))
        if fate[0][0]:
            self._remove_file(digest)

    def _remove_file(self, digest: str) -> None:
        self._files.remove(digest)
        with self._driver.transaction() as tx:
            tx.execute(_SQL["blob_file_gone"], (digest,))

    def heartbeat(self, run: str, fence: int, at: int) -> None:
        """Note that lease `fence` was alive at `at`. Raises NotFoundError for an unknown run."""
        with self._driver.transaction() as tx:
            if not tx.execute(_SQL["heartbeat"], (fence, at, run, fence)) and not tx.rows(_SQL["last_seq"], (run,)):
                raise rules.unknown_run(run)

    def last_heartbeat(self, run: str, fence: int) -> int | None:
        """Return the latest heartbeat of lease `fence` in unix ms, or None."""
        for (at,) in self._driver.rows(_SQL["last_heartbeat"], (run, fence)):
            return int(at)
        return None

    def close(self) -> None:
        """Release the database."""
        self._driver.close()

    def _stage(self, blobs: Mapping[str, bytes]) -> list[Row]:
        """Write the large blobs as files and return the rows that will name all of them."""
        rules.check_names(blobs)
        rows: list[Row] = []
        for digest, data in blobs.items():
            if len(data) <= INLINE:
                rows.append((digest, len(data), 0, data))
            elif not self._driver.rows(_SQL["blob_fate"], (digest,)):
                self._files.write(digest, data)
                rows.append((digest, len(data), 1, None))
        return rows

    def _write(
        self, tx: Transaction, run: str, records: Sequence[Record], staged: list[Row], blobs: Mapping[str, bytes]
    ) -> list[str]:
        hit("store.after_checkpoint")
        tx.execute_many(_SQL["insert_event"], [(run, record.seq, record.hash, record.body) for record in records])
        hit("store.after_events")
        return self._write_blobs(tx, staged, blobs) if staged else []

    def _write_blobs(self, tx: Transaction, staged: list[Row], blobs: Mapping[str, bytes]) -> list[str]:
        """Insert the rows of blobs; return the digests whose new file no row wants: they were buried meanwhile."""
        tx.execute_many(_SQL["insert_blob"], staged)
        hit("store.after_blobs")
        useless: list[str] = []
        for digest in (digest for digest, _, in_file, _ in staged if in_file):
            if tx.rows(_SQL["blob_fate"], (digest,))[0][1] is not None:
                useless.append(digest)
            elif not self._files.exists(digest):
                # Whoever slept for an hour between the file and its row may find it swept.
                self._files.write(digest, blobs[digest])
        return useless

    def _drop(self, useless: list[str]) -> None:
        for digest in useless:
            self._files.remove(digest)

    def _sweep(self) -> None:
        """Remove what killed processes left in the folder of files: unfinished ones, and whole ones no row names."""
        with suppress(StoreError):  # what is swept matters to nobody, so nobody is stopped by it
            for digest in self._files.tidy():
                if not self._driver.rows(_SQL["blob_fate"], (digest,)):
                    with self._driver.transaction() as tx:
                        if not tx.rows(_SQL["blob_fate"], (digest,)):
                            self._files.discard(digest)


def _columns(checkpoint: Checkpoint) -> Row:
    return checkpoint.seq, checkpoint.head, checkpoint.spool_offset, checkpoint.state


def _moved(checkpoint: Checkpoint) -> Row:
    offset = checkpoint.spool_offset
    return checkpoint.seq, checkpoint.head, offset, offset, checkpoint.state


def _why_not(tx: Transaction, run: str, expected: int) -> Exception:
    for (found,) in tx.rows(_SQL["last_seq"], (run,)):
        return rules.conflict(run, expected, found)
    return rules.unknown_run(run)

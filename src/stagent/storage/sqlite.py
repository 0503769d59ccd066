"""The SQLite driver and the store on it: write-ahead log, full durability, one writer at a time, patient."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from stagent.errors import StoreError
from stagent.failpoints import hit
from stagent.storage.files import BlobFiles, create_private, full, readonly, translated
from stagent.storage.scripts import FOLDER, pending, statements
from stagent.storage.sql import Row, SqlStore

PATIENCE = 45.0
"""How many seconds a call waits for other processes to let the database go."""

_SLICE = 1.0
"""How long SQLite itself waits at a time: between two waits Python can act on a signal."""

_PAUSE = 0.005
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH}

# fullfsync matters on macOS only; elsewhere SQLite ignores it.
_SETTINGS = ("PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON", "PRAGMA fullfsync = ON")


_RESTORE = "Move it aside together with its -wal and -shm files and restore a back-up."


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, or -1 for an error of the Python module itself."""
    return int(getattr(error, "sqlite_errorcode", -1)) & 0xFF


def _ours(error: sqlite3.Error, where: str, restore: str) -> StoreError:
    """Return our error for one of SQLite's."""
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return full(where)
    if code in _FORBIDDEN:
        return readonly(where)
    if code in _DAMAGED:
        return StoreError(
            "store.corrupt",
            f"the database is damaged ({error})",
            where=where,
            remedy=restore,
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(
            "store.io",
            f"the disk did not do what it was asked ({error})",
            where=where,
            remedy="Check the disk and its room, then look at the run before you try again.",
        )
    if code in _BUSY:
        return StoreError(
            "store.busy",
            f"another process held the database for {PATIENCE:.0f} seconds",
            where=where,
            remedy="Look for a stopped process that has it open, end it, and try again; nothing was stored.",
        )
    return StoreError(
        "store.failed",
        f"the database said: {error}",
        where=where,
        remedy="Check the disk, then look at the run before you try again.",
    )


class _Transaction:
    """One `BEGIN IMMEDIATE` ... `COMMIT`; the errors of its statements become ours where the block ends."""

    __slots__ = ("_driver", "_erase")

    def __init__(self, driver: SqliteDriver, erase: bool) -> None:
        self._driver = driver
        self._erase = erase

    def __enter__(self) -> _Transaction:
        driver = self._driver
        driver.lock.acquire()
        try:
            if self._erase:
                driver.patiently("PRAGMA secure_delete = ON")
            driver.patiently("BEGIN IMMEDIATE")
        except BaseException:
            driver.lock.release()
            raise
        hit("sql.after_begin")
        return self

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run a statement and return how many rows it changed."""
        return self._driver.connection.execute(sql, values).rowcount

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once per row of values."""
        self._driver.connection.executemany(sql, rows)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Return the rows of a query."""
        return self._driver.connection.execute(sql, values).fetchall()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        driver = self._driver
        try:
            if error is None:
                hit("sql.before_commit")
                driver.patiently("COMMIT")
                hit("sql.after_commit")
                if self._erase:
                    driver.empty_log()
        finally:
            try:
                driver.undo()
            finally:
                driver.lock.release()
        if isinstance(error, sqlite3.Error):
            raise driver.ours(error) from error


class SqliteDriver:
    """One connection to one SQLite file, made and brought to the latest schema on opening.

    `migrations` is a folder of numbered steps; `application` is the number its first step writes into the file, by
    which a file of another kind is known; `restore` is what to do about a damaged file. Raises StoreError:
    `store.newer`, `store.corrupt`, `store.foreign`, `store.readonly`, `store.full`, `store.busy`, `store.failed`.
    """

    def __init__(self, path: Path, migrations: Path, application: int, restore: str = _RESTORE) -> None:
        self.where = str(path)
        self._restore = restore
        # Re-entrant, so that closing after an interrupted call cannot wait for itself.
        self.lock = threading.RLock()
        if path.is_dir():
            raise StoreError(
                "store.foreign",
                "a folder lies in the place of the database",
                where=self.where,
                remedy="Move it elsewhere; nothing was changed.",
            )
        with translated(self.where):
            create_private(path)
        try:
            self.connection = sqlite3.connect(path, timeout=_SLICE, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self.ours(error) from error
        try:
            self._prepare(migrations, application)
        except BaseException:
            self.connection.close()
            raise

    def _prepare(self, migrations: Path, application: int) -> None:
        version = self._version(application)
        steps = pending(migrations, version, self.where)
        # A file of another kind or a newer schema is refused before anything of it is changed.
        self.patiently("PRAGMA journal_mode = WAL")
        for setting in _SETTINGS:
            self.patiently(setting)
        for number, file in steps:
            self._apply(number, file.read_text(encoding="utf-8"), application)

    def _version(self, application: int) -> int:
        query = (
            "SELECT user_version, application_id, EXISTS (SELECT 1 FROM sqlite_master)"
            " FROM pragma_user_version, pragma_application_id"
        )
        [(version, found, is_used)] = self.patiently(query)
        if is_used and found != application:
            raise StoreError(
                "store.foreign",
                "this is a database of another kind",
                where=self.where,
                remedy="Move it elsewhere; nothing was changed.",
            )
        return int(version)

    def _apply(self, number: int, script: str, application: int) -> None:
        with self.transaction() as tx:
            if self._version(application) >= number:
                return  # Another process took this step while this one waited.
            for statement in statements(script):
                tx.execute(statement)
                hit("migrate.after_statement")
            tx.execute(f"PRAGMA user_version = {number}")
            hit("migrate.after_version")

    def transaction(self, *, erase: bool = False) -> _Transaction:
        """Hold the only writing transaction; `erase` also overwrites what it deletes."""
        return _Transaction(self, erase)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Return the rows of one query, as of one moment."""
        with self.lock:
            return self.patiently(sql, values)

    def patiently(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Run one statement outside a transaction, waiting up to `PATIENCE` seconds for other processes."""
        deadline = None
        while True:
            try:
                return self.connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                now = time.monotonic()
                deadline = now + PATIENCE if deadline is None else deadline
                if _code(error) not in _BUSY or now >= deadline:
                    raise self.ours(error) from error
                # Some conflicts, such as two first openings, are reported at once instead of after SQLite's own wait.
                time.sleep(_PAUSE)

    def ours(self, error: sqlite3.Error) -> StoreError:
        """Return our error for one of SQLite's."""
        return _ours(error, self.where, self._restore)

    def undo(self) -> None:
        """Roll back what is open, if anything is."""
        if self.connection.in_transaction:
            self.patiently("ROLLBACK")

    def empty_log(self) -> None:
        """Copy the write-ahead log into the file and cut it, as far as readers let that happen."""
        self.patiently("PRAGMA secure_delete = FAST")
        self.patiently("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Release the connection; afterwards every call raises StoreError `store.failed`."""
        with self.lock:
            self.connection.close()


class SqliteStore(SqlStore):
    """The `Store` of one project: a SQLite file, and a folder for blobs above 64 KiB; both are made when missing."""

    APPLICATION = 1398032208

    def __init__(self, path: Path, blobs: Path) -> None:
        super().__init__(SqliteDriver(path, FOLDER / "migrations" / "project", self.APPLICATION), BlobFiles(blobs))

"""The SQLite driver: settings, schema steps, and what it says about disks and files that are not as they should be."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from stagent.core.canonical import digest
from stagent.core.ports import BlobGone
from stagent.errors import ConflictError, StoreError
from stagent.storage.files import BlobFiles
from stagent.storage.registry_db import Registry
from stagent.storage.scripts import FOLDER, steps
from stagent.storage.sql import SqlStore
from stagent.storage.sqlite import SqliteDriver, SqliteStore
from stagent.testing.store_conformance import begin, checkpoint_of, log

RUN = "r-01"
PROJECT = FOLDER / "migrations" / "project"


def opened(folder: Path) -> SqliteStore:
    return SqliteStore(folder / "stagent.db", folder / "blobs")


def refusal(folder: Path) -> StoreError:
    """The error that opening a store gives."""
    with pytest.raises(StoreError) as caught:
        opened(folder).close()
    assert caught.value.remedy
    assert str(folder) in str(caught.value)
    return caught.value


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as plain:
        return int(plain.execute("PRAGMA user_version").fetchone()[0])


def test_the_settings_are_the_durable_ones(tmp_path: Path) -> None:
    with closing(SqliteDriver(tmp_path / "a.db", PROJECT, SqliteStore.APPLICATION)) as driver:
        assert driver.rows("PRAGMA journal_mode") == [("wal",)]
        assert driver.rows("PRAGMA synchronous") == [(2,)]
        assert driver.rows("PRAGMA foreign_keys") == [(1,)]


@pytest.mark.rule("W48")
def test_files_are_private(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "new")) as store:
        store.put_blobs({digest(b"x" * 70_000): b"x" * 70_000})
    for path in (tmp_path / "new").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_size_decides_where_a_blob_is_kept(tmp_path: Path) -> None:
    inline, large = b"x" * 65536, b"x" * 65537
    with closing(opened(tmp_path)) as store:
        store.put_blobs({digest(inline): inline, digest(large): large})
        files = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
        assert files == [tmp_path / "blobs" / digest(large)[:2] / digest(large)]
        assert files[0].read_bytes() == large


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "stagent.db")) as plain:
        plain.execute("PRAGMA user_version = 999")
    before = (tmp_path / "stagent.db").read_bytes()
    error = refusal(tmp_path)
    assert error.code == "store.newer"
    assert error.fields == {"schema": 999, "known": len(steps(PROJECT))}
    assert (tmp_path / "stagent.db").read_bytes() == before


@pytest.mark.parametrize("damage", ["text", "page"])
def test_a_damaged_database_is_reported(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "stagent.db"
    opened(tmp_path).close()
    data = bytearray(path.read_bytes())
    data[100 if damage == "page" else 0 : 4096] = b"not a database " * 400
    path.write_bytes(data)
    error = refusal(tmp_path)
    assert error.code == "store.corrupt"
    assert isinstance(error.__cause__, sqlite3.DatabaseError)


def test_damage_behind_the_first_page_is_reported_when_it_is_read(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as store:
        begin(store, RUN, 400)
    path = tmp_path / "stagent.db"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x07" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreError) as caught, closing(opened(tmp_path)) as broken:
        list(broken.read(RUN))
    assert caught.value.code == "store.corrupt"


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "stagent.db")) as plain:
        plain.execute("CREATE TABLE songs (title TEXT)")
    before = (tmp_path / "stagent.db").read_bytes()
    assert refusal(tmp_path).code == "store.foreign"
    assert (tmp_path / "stagent.db").read_bytes() == before


def test_a_registry_is_not_a_store(tmp_path: Path) -> None:
    Registry(tmp_path / "stagent.db").close()
    assert refusal(tmp_path).code == "store.foreign"


def test_a_path_below_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = refusal(tmp_path / "file" / "project")
    assert error.code == "store.io"
    assert isinstance(error.__cause__, OSError)


@pytest.fixture
def bare_folder() -> Iterator[Path]:
    """A folder that every user of this machine can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions bind in here, also when the tests run as the superuser."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written_is_reported(bare_folder: Path) -> None:
    bare_folder.chmod(0o555)
    with unprivileged():
        error = refusal(bare_folder)
    assert error.code == "store.readonly"
    assert isinstance(error.__cause__, PermissionError)


def test_a_file_system_that_is_mounted_for_reading_is_told_from_a_permission(
    bare_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mounted(place: object) -> SimpleNamespace:
        return SimpleNamespace(f_flag=os.ST_RDONLY | os.ST_NOSUID)

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "statvfs", mounted)
    monkeypatch.setattr("stagent.storage.sqlite.create_private", refuse)
    error = refusal(bare_folder)
    assert error.code == "store.readonly"
    assert "mounted for reading only" in error.what
    assert error.remedy.startswith("Mount it for writing")


def test_a_database_that_may_not_be_written_is_reported(bare_folder: Path) -> None:
    opened(bare_folder).close()
    (bare_folder / "stagent.db").chmod(0o444)
    bare_folder.chmod(0o555)
    with unprivileged():
        error = refusal(bare_folder)
    assert error.code == "store.readonly"
    assert isinstance(error.__cause__, sqlite3.OperationalError)


def test_a_full_database_is_reported_and_stays_whole(tmp_path: Path) -> None:
    driver = SqliteDriver(tmp_path / "a.db", PROJECT, SqliteStore.APPLICATION)
    with closing(driver):
        driver.patiently("PRAGMA max_page_count = 30")
        driver.patiently("CREATE TABLE filler (data BLOB)")
        with pytest.raises(StoreError) as caught, driver.transaction() as tx:
            tx.execute("INSERT INTO filler VALUES (?)", (b"kept?",))
            tx.execute("INSERT INTO filler VALUES (?)", (bytes(4096 * 40),))
        assert caught.value.code == "store.full"
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert driver.rows("SELECT * FROM filler") == []
        with driver.transaction() as tx:
            tx.execute("INSERT INTO filler VALUES (?)", (b"small",))
        assert driver.rows("SELECT data FROM filler") == [(b"small",)]


def test_a_full_disk_is_reported_for_a_large_blob(tmp_path: Path) -> None:
    large = b"x" * 3_000_000
    with closing(opened(tmp_path)) as store:
        records = begin(store)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        try:
            with pytest.raises(StoreError) as caught:
                store.append(RUN, 1, [], checkpoint_of(records, b"new"), {digest(large): large})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.code == "store.full"
        assert store.checkpoint(RUN).state == b"{}"
        assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_an_error_in_a_transaction_undoes_it(tmp_path: Path) -> None:
    with closing(SqliteDriver(tmp_path / "a.db", PROJECT, SqliteStore.APPLICATION)) as driver:
        sql = "INSERT INTO blobs (digest, size, in_file) VALUES (?, 0, 0)"
        with pytest.raises(KeyError), driver.transaction() as tx:
            tx.execute(sql, ("a",))
            raise KeyError
        with pytest.raises(StoreError) as caught, driver.transaction() as tx:
            tx.execute(sql, ("a",))
            tx.execute(sql, ("a",))
        assert caught.value.code == "store.failed"
        assert driver.rows("SELECT * FROM blobs") == []


def test_a_schema_is_brought_up_to_date_step_by_step(tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    folder.mkdir()
    (folder / "0001_a.sql").write_text("PRAGMA application_id = 5;\nCREATE TABLE a (x INTEGER);\n")
    path = tmp_path / "a.db"
    with closing(SqliteDriver(path, folder, 5)) as driver, driver.transaction() as tx:
        tx.execute("INSERT INTO a VALUES (7)")
    (folder / "0002_b.sql").write_text("ALTER TABLE a ADD COLUMN y INTEGER;\nUPDATE a SET y = x + 1;\n")
    with closing(SqliteDriver(path, folder, 5)) as driver:
        assert driver.rows("SELECT x, y FROM a") == [(7, 8)]
    assert version(path) == 2


def test_a_step_that_fails_leaves_the_schema_before_it(tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    folder.mkdir()
    (folder / "0001_a.sql").write_text("PRAGMA application_id = 5;\nCREATE TABLE a (x INTEGER);\n")
    (folder / "0002_b.sql").write_text("CREATE TABLE b (x INTEGER);\nINSERT INTO nowhere VALUES (1);\n")
    path = tmp_path / "a.db"
    with pytest.raises(StoreError, match="nowhere"):
        SqliteDriver(path, folder, 5)
    assert version(path) == 1
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("SELECT name FROM sqlite_master").fetchall() == [("a",)]


@pytest.mark.parametrize("point", ["migrate.after_statement:2", "migrate.after_version", "sql.before_commit"])
def test_a_step_cut_short_by_a_kill_is_taken_again(tmp_path: Path, point: str) -> None:
    script = "import sys; from pathlib import Path; from stagent.storage.registry_db import Registry; "
    script += "Registry(Path(sys.argv[1]))"
    path = tmp_path / "registry.db"
    env = {**os.environ, "STAGENT_FAILPOINT": point}
    assert subprocess.run([sys.executable, "-c", script, str(path)], env=env, check=False).returncode == -9
    assert version(path) == 0
    with closing(Registry(path)) as registry:
        assert registry.projects() == []
    assert version(path) == len(steps(FOLDER / "migrations" / "registry"))


def test_a_writer_waits_for_another_longer_than_one_slice(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as store, closing(opened(tmp_path)) as other:
        records = begin(store)
        more = log(2, 2, records[-1].hash)
        begun = time.monotonic()
        release = threading.Event()

        def hold() -> None:
            driver = SqliteDriver(tmp_path / "stagent.db", PROJECT, SqliteStore.APPLICATION)
            with closing(driver), driver.transaction():
                release.set()
                time.sleep(1.4)

        holder = threading.Thread(target=hold)
        holder.start()
        release.wait()
        other.append(RUN, 1, more, checkpoint_of(more), {})
        assert time.monotonic() - begun > 1.3
        holder.join()
        assert len(list(store.read(RUN))) == 2


def test_a_database_that_stays_held_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagent.storage.sqlite.PATIENCE", 0.05)
    with closing(opened(tmp_path)) as store:
        records = begin(store)
        with closing(sqlite3.connect(tmp_path / "stagent.db", isolation_level=None)) as plain:
            plain.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError) as caught:
                store.append(RUN, 1, [], checkpoint_of(records), {})
            plain.execute("ROLLBACK")
        assert caught.value.code == "store.busy"
        store.append(RUN, 1, [], checkpoint_of(records), {})


def test_threads_share_one_store(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    with closing(opened(tmp_path)) as store:
        begin(store)

        def write() -> None:
            won = 0
            while won < 20:
                last = store.checkpoint(RUN)
                more = log(last.seq + 1, last.seq + 1, last.head)
                try:
                    store.append(RUN, last.seq, more, checkpoint_of(more), {})
                    won += 1
                except ConflictError:
                    continue
                except BaseException as error:
                    failures.append(error)
                    raise

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert list(store.read(RUN)) == log(1, 81)


def everything_on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [40, 5_000, 60_000, 200_000])
def test_the_bytes_of_a_buried_blob_are_nowhere_on_the_disk(tmp_path: Path, size: int) -> None:
    secret = (b"a very secret word " * (size // 19 + 1))[:size]
    with closing(opened(tmp_path)) as store:
        begin(store)
        store.put_blobs({digest(secret): secret, digest(b"other"): b"other"})
        assert b"very secret" in everything_on_disk(tmp_path)
        store.bury_blob(digest(secret), "masked", 1)
        assert b"very secret" not in everything_on_disk(tmp_path)
        assert store.blob(digest(b"other")) == b"other"


def test_a_file_that_outlived_its_burial_goes_at_the_next_opening(tmp_path: Path) -> None:
    secret = b"s" * 100_000
    name = digest(secret)
    with closing(opened(tmp_path)) as store:
        store.put_blobs({name: secret})
    with closing(sqlite3.connect(tmp_path / "stagent.db")) as plain, plain:
        plain.execute("UPDATE blobs SET reason = 'masked', at = 1")
    place = tmp_path / "blobs" / name[:2] / name
    assert place.exists()
    with closing(opened(tmp_path)) as store:
        assert not place.exists()
        assert store.blob(name) == BlobGone(name, "masked", 1)


@pytest.mark.parametrize("damage", ["changed", "missing", "row"])
def test_a_damaged_blob_is_reported(tmp_path: Path, damage: str) -> None:
    data = b"d" * (100 if damage == "row" else 100_000)
    name = digest(data)
    place = tmp_path / "blobs" / name[:2] / name
    with closing(opened(tmp_path)) as store:
        store.put_blobs({name: data})
        if damage == "changed":
            place.write_bytes(b"e" * 100_000)
        elif damage == "missing":
            place.unlink()
        else:
            with closing(sqlite3.connect(tmp_path / "stagent.db")) as plain, plain:
                plain.execute("UPDATE blobs SET content = ?", (b"other",))
        with pytest.raises(StoreError) as caught:
            store.blob(name)
        assert caught.value.code == "store.blob_damaged"
        store.bury_blob(name, "damaged", 1)
        assert store.blob(name) == BlobGone(name, "damaged", 1)


class SlowFiles(BlobFiles):
    """Another process buries the blob while this one is between its row and its file."""

    def __init__(self, folder: Path, other: SqliteStore) -> None:
        super().__init__(folder)
        self.other = other

    def write(self, digest: str, data: bytes) -> None:
        self.other.put_blobs({digest: data})
        self.other.bury_blob(digest, "masked", 1)
        super().write(digest, data)

    def read(self, digest: str) -> bytes | None:
        self.other.bury_blob(digest, "masked", 1)
        return super().read(digest)


@pytest.mark.parametrize("racing", ["write", "read"])
def test_a_burial_wins_against_a_write_or_read_at_the_same_time(tmp_path: Path, racing: str) -> None:
    secret = b"very secret " * 9000
    name = digest(secret)
    driver = SqliteDriver(tmp_path / "stagent.db", PROJECT, SqliteStore.APPLICATION)
    with closing(opened(tmp_path)) as other, closing(SqlStore(driver, SlowFiles(tmp_path / "blobs", other))) as store:
        if racing == "read":
            other.put_blobs({name: secret})
        else:
            store.put_blobs({name: secret})
        assert store.blob(name) == BlobGone(name, "masked", 1)
    assert b"very secret" not in everything_on_disk(tmp_path)


def work_of_a_checkpoint(folder: Path, events: int) -> int:
    """How many steps SQLite's machine takes to answer for the checkpoint of a run with so many events."""
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    driver = SqliteDriver(folder / "stagent.db", PROJECT, SqliteStore.APPLICATION)
    with closing(SqlStore(driver, BlobFiles(folder / "blobs"))) as store:
        begin(store, RUN, events)
        driver.connection.set_progress_handler(step, 1)
        store.checkpoint(RUN)
        driver.connection.set_progress_handler(None, 1)
    return taken


def test_a_checkpoint_costs_the_same_for_any_history(tmp_path: Path) -> None:
    assert 0 < work_of_a_checkpoint(tmp_path / "long", 2000) == work_of_a_checkpoint(tmp_path / "short", 1)


LARGE = b"large " * 20_000


def left_behind(folder: Path, data: bytes, at: float) -> Path:
    """Lay a large blob that no row names, as a process leaves it that is killed before its transaction."""
    place = folder / "blobs" / digest(data)[:2] / digest(data)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    os.utime(place, (at, at))
    return place


def test_what_killed_processes_left_among_the_files_is_swept_when_a_run_begins(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    old = time.time() - 2 * 3600
    with closing(opened(tmp_path)) as store:
        store.put_blobs({digest(LARGE): LARGE})
        kept = tmp_path / "blobs" / digest(LARGE)[:2] / digest(LARGE)
        os.utime(kept, (old, old))
        swept = [left_behind(tmp_path, b"old" + LARGE, old)]
        fresh = [left_behind(tmp_path, b"new" + LARGE, time.time())]
        for number, (pid, at) in enumerate(
            [(gone.stdout.strip(), old), (os.getpid(), old), (gone.stdout.strip(), 2e9)]
        ):
            spare = kept.with_name(f"{kept.name}.{pid}.{number}.tmp")
            spare.write_bytes(b"half")
            os.utime(spare, (at, at))
            (fresh if number else swept).append(spare)
        begin(store)
        assert not any(place.exists() for place in swept)
        assert all(place.exists() for place in (kept, *fresh))
        assert store.blob(digest(LARGE)) == LARGE


def test_a_file_that_is_written_anew_while_it_is_swept_stays(tmp_path: Path) -> None:
    old = time.time() - 2 * 3600
    files = BlobFiles(tmp_path / "blobs")
    place = left_behind(tmp_path, LARGE, old)
    assert files.tidy() == [digest(LARGE)]
    files.write(digest(LARGE), LARGE)
    files.discard(digest(LARGE))
    assert place.read_bytes() == LARGE
    os.utime(place, (old, old))
    files.discard(digest(LARGE))
    files.discard(digest(LARGE))
    assert list(place.parent.iterdir()) == []


def test_a_writer_that_slept_between_file_and_row_writes_its_swept_file_again(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as store, closing(sqlite3.connect(tmp_path / "stagent.db")) as plain:
        records = begin(store)
        plain.isolation_level = None
        plain.execute("BEGIN IMMEDIATE")
        place = tmp_path / "blobs" / digest(LARGE)[:2] / digest(LARGE)
        more = log(2, 2, records[-1].hash)
        given = (RUN, 1, more, checkpoint_of(more), {digest(LARGE): LARGE})
        writer = threading.Thread(target=store.append, args=given)
        writer.start()
        while not place.exists():
            time.sleep(0.01)
        place.unlink()
        plain.execute("COMMIT")
        writer.join()
        assert store.blob(digest(LARGE)) == LARGE


def test_sweeping_that_is_not_possible_stops_nobody(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as store:
        place = left_behind(tmp_path, LARGE, 1)
        place.unlink()
        place.mkdir()
        (place / "inside").write_text("")
        os.utime(place, (1, 1))
        begin(store)
        assert store.checkpoint(RUN).seq == 1

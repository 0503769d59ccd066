"""Both stores keep every contract; the SQLite store keeps them among racing and killed processes too."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from counts import count
from stagent.core.canonical import GENESIS, digest, encode
from stagent.core.ports import BlobGone, Checkpoint, Record, Store
from stagent.failpoints import NAMES
from stagent.storage.memory import MemoryStore
from stagent.storage.sqlite import SqliteStore
from stagent.testing.store_conformance import CONTRACTS, DURABLE, check_store

CHILD = Path(__file__).with_name("store_child.py")
PARTS = ("sql.", "store.", "migrate.", "disk.write.", "disk.flush.", "disk.name.", "disk.rename.", "disk.remove.")
OURS = sorted(name for name in NAMES if name.startswith(PARTS))
RUN = "r-01"


class Shelf:
    """Makes fresh SQLite stores, each in a folder of its own, and opens the last one again."""

    def __init__(self, root: Path) -> None:
        self.numbers = itertools.count()
        self.root = root
        self.last = root

    def make(self) -> Store:
        self.last = self.root / str(next(self.numbers)) / "project"
        return self.reopen()

    def reopen(self) -> Store:
        return SqliteStore(self.last / "stagent.db", self.last / "blobs")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_memory_store_keeps(name: str) -> None:
    CONTRACTS[name](MemoryStore)


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_sqlite_store_keeps(name: str, shelf: Shelf) -> None:
    CONTRACTS[name](shelf.make)


@pytest.mark.parametrize("name", DURABLE)
def test_the_sqlite_store_is_durable(name: str, shelf: Shelf) -> None:
    DURABLE[name](shelf.make, shelf.reopen)


def test_good_stores_have_no_problems(shelf: Shelf) -> None:
    assert check_store(MemoryStore) == []
    assert check_store(shelf.make, shelf.reopen) == []


class Forgetful(MemoryStore):
    """Never looks at the expected seq."""

    def append(self, run: str, expected_seq: int, records, checkpoint, blobs) -> None:  # type: ignore[no-untyped-def]
        super().append(run, self.checkpoint(run).seq, records, checkpoint, blobs)


class Resurrecting(MemoryStore):
    """Brings buried blobs back."""

    def put_blobs(self, blobs) -> None:  # type: ignore[no-untyped-def]
        self._blobs.update(blobs)


class Unordered(MemoryStore):
    """Lists runs by name."""

    def runs(self):  # type: ignore[no-untyped-def]
        return sorted(super().runs(), key=lambda row: row.run)


@pytest.mark.parametrize(
    ("broken", "contract"),
    [
        (Forgetful, "an_append_needs_the_expected_seq"),
        (Resurrecting, "a_buried_blob_stays_buried"),
        (Unordered, "runs_are_listed_oldest_first"),
    ],
)
def test_a_broken_store_is_found(broken: Callable[[], Store], contract: str) -> None:
    problems = check_store(broken)
    assert any(problem.startswith(f"{contract}:") for problem in problems)


def test_a_store_that_forgets_is_not_durable() -> None:
    assert {problem.partition(":")[0] for problem in check_store(MemoryStore, MemoryStore)} == set(DURABLE)


def child(*words: object, **variables: str) -> subprocess.Popen[str]:
    """Start the writing process."""
    return subprocess.Popen(
        [sys.executable, str(CHILD), *map(str, words)],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(output: str, word: str) -> list[int]:
    """The numbers that whole lines of the child's output give for one word."""
    lines = output.split("\n")[:-1]
    return [int(line.split()[1]) for line in lines if line.startswith(f"{word} ")]


def chain(records: list[Record]) -> None:
    """The log counts from 1, every hash is the bytes', and every event holds the hash of the one before."""
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    previous = GENESIS
    for record in records:
        assert digest(record.body) == record.hash
        assert msgspec.json.decode(record.body)["prev"] == previous
        previous = record.hash


def test_of_racing_writers_one_wins_each_seq(shelf: Shelf) -> None:
    writers, appends = count("race_processes"), 25
    with closing(shelf.make()) as store:
        body = encode({"prev": GENESIS})
        store.create(RUN, [Record(1, body, digest(body))], Checkpoint(1, digest(body), b""), {})
        place = (shelf.last / "stagent.db", shelf.last / "blobs")
        racers = [child("race", *place, appends, f"w{number}") for number in range(writers)]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        results = []
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        for racer in racers:
            results.append((*racer.communicate(timeout=90), racer.returncode))
        assert [(errors, status) for _, errors, status in results] == [("", 0)] * writers
        wins = sorted(seq for output, _, _ in results for seq in said(output, "won"))
        assert wins == list(range(2, 2 + writers * appends))
        log = list(store.read(RUN))
        chain(log)
        for number, (output, _, _) in enumerate(results):
            mine = [rec.seq for rec in log[1:] if msgspec.json.decode(rec.body)["writer"] == f"w{number}"]
            assert mine == said(output, "won")
        assert store.checkpoint(RUN) == Checkpoint(log[-1].seq, log[-1].hash, log[-1].body)


def test_many_processes_may_make_the_database_at_once(shelf: Shelf) -> None:
    place = (shelf.last / "new" / "stagent.db", shelf.last / "new" / "blobs")
    racers = [child("race", *place, 0, "w") for _ in range(count("race_processes"))]
    results = [(*racer.communicate("go\n", timeout=90), racer.returncode) for racer in racers]
    assert results == [("ready\ndone\n", "", 0)] * len(racers)


def verify_after_crash(store: Store, output: str) -> None:
    """Everything that was acknowledged is there, whole; nothing is half there; the run can go on."""
    acknowledged = max(said(output, "appended"), default=0)
    if not store.runs():
        assert acknowledged == 0
        return
    records = list(store.read(RUN))
    chain(records)
    last = records[-1]
    assert last.seq >= acknowledged
    assert last.seq % 2 == 0
    assert store.checkpoint(RUN) == Checkpoint(last.seq, last.hash, last.body, last.seq * 10)
    buried = said(output, "buried")
    for record in records:
        small, large, secret = msgspec.json.decode(record.body)["blobs"]
        assert digest(bytes(store.blob(small))) == small  # type: ignore[arg-type]
        assert digest(bytes(store.blob(large))) == large  # type: ignore[arg-type]
        found = store.blob(secret)
        if record.seq in buried or isinstance(found, BlobGone):
            assert found == BlobGone(secret, "masked", record.seq)
        else:
            assert digest(found) == secret


def secrets_on_disk(folder: Path, store: Store) -> Iterator[Path]:
    """Files that hold the bytes of a buried blob."""
    for record in store.read(RUN) if store.runs() else ():
        secret = msgspec.json.decode(record.body)["blobs"][2]
        if isinstance(store.blob(secret), BlobGone):
            yield from (folder / "blobs" / secret[:2]).glob(f"{secret}*")


@pytest.mark.parametrize("passes", [1, 2, 5])
@pytest.mark.parametrize("name", OURS)
def test_a_process_killed_at_a_fail_point_leaves_nothing_half(name: str, passes: int, shelf: Shelf) -> None:
    place = (shelf.last / "stagent.db", shelf.last / "blobs")
    killed = child("work", *place, 8, STAGENT_FAILPOINT=f"{name}:{passes}")
    output, errors = killed.communicate(timeout=60)
    rare = name == "migrate.after_version" and passes > 1
    assert (killed.returncode, errors) == (0 if rare else -signal.SIGKILL, "")
    with closing(shelf.reopen()) as store:
        verify_after_crash(store, output)
        assert not list(secrets_on_disk(shelf.last, store))
        before = store.checkpoint(RUN).seq if store.runs() else 0
    again = child("work", *place, 1)
    output, errors = again.communicate(timeout=60)
    assert (again.returncode, errors) == (0, "")
    with closing(shelf.reopen()) as store:
        verify_after_crash(store, output)
        assert store.checkpoint(RUN).seq == before + 2


def test_processes_killed_at_any_time_leave_nothing_half(shelf: Shelf) -> None:
    dice = random.Random(7)
    place = (shelf.last / "stagent.db", shelf.last / "blobs")
    grown = 0
    for _ in range(max(4, count("crash_kills") // 8)):
        victim = child("work", *place, 1000)
        assert victim.stdout is not None
        first = victim.stdout.readline()
        time.sleep(dice.random() * 0.05)
        victim.kill()
        output = first + victim.communicate(timeout=60)[0]
        with closing(shelf.reopen()) as store:
            verify_after_crash(store, output)
            assert store.checkpoint(RUN).seq > grown
            grown = store.checkpoint(RUN).seq

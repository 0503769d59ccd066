"""Databases that are damaged, foreign, from another time, or gone; a clock that goes back."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from acceptance.bad_input.kit import PLAIN, Bench, refused
from acceptance.support import claim, shell, stage


def _cut(place: Path) -> None:
    data = place.read_bytes()
    place.write_bytes(data[: len(data) // 2])


def _flip(place: Path) -> None:
    data = bytearray(place.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 64] = b"\xa5" * 64
    place.write_bytes(data)


def _overwrite(place: Path) -> None:
    place.write_bytes(b"this is not a database\n" * 999)


def _sql(statement: str) -> Callable[[Path], None]:
    def run(place: Path) -> None:
        with closing(sqlite3.connect(place)) as connection:
            connection.execute(statement)
            connection.commit()

    return run


def _folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


def _foreign(place: Path) -> None:
    place.unlink()
    _sql("CREATE TABLE mine (x)")(place)


HARM = {
    "cut": (_cut, "store.corrupt", "restore a back-up"),
    "flipped": (_flip, "store.corrupt", "restore a back-up"),
    "no database": (_overwrite, "store.corrupt", "restore a back-up"),
    "of another program": (_foreign, "store.foreign", "Move it elsewhere"),
    "a folder": (_folder, "store.foreign", "Move it elsewhere"),
    "newer": (_sql("PRAGMA user_version = 99"), "store.newer", "Upgrade stagent"),
}


def _bytes(place: Path) -> bytes:
    return place.read_bytes() if place.is_file() else b""


@pytest.mark.parametrize("how", HARM)
def test_a_database_that_is(machine: Bench, how: str) -> None:
    harm, code, remedy = HARM[how]
    run = machine.works().lines[-1]["run"]
    database = machine.database()
    copy = machine.root / "copy.db"
    shutil.copy(database, copy)
    harm(database)
    harmed = _bytes(database)
    for words in (["status", run, "--json"], ["advance", run, "--json"], machine.plain()):
        refused(machine.call(*words), 1, code, place=str(database), remedy=remedy)
    [row] = machine.runs()
    assert (row["run"], row["status"]) == (run, "unreadable")
    assert remedy in row["problem"]
    doctor = machine.call("doctor")
    assert (doctor.status, code in doctor.out, str(database) in doctor.out) == (1, True, True)
    # Nobody made it worse, and the remedy is one.
    assert _bytes(database) == harmed
    if database.is_dir():
        database.rmdir()
    for place in database.parent.glob("stagent.db*"):
        place.unlink()
    shutil.copy(copy, database)
    assert machine.call("audit", "verify", run).status == 0


@pytest.mark.parametrize("how", ["cut", "no database"])
def test_a_registry_that_is_damaged_is_made_anew_without_losing_a_run(machine: Bench, how: str) -> None:
    run = machine.works().lines[-1]["run"]
    registry = machine.home / "registry.db"
    HARM[how][0](registry)
    remedy = "call `stagent runs` in the folder of each project"
    for words in (["runs", "--json"], ["status", run, "--json"], machine.plain()):
        refused(machine.call(*words), 1, "store.corrupt", place=str(registry), remedy=remedy)
    assert "store.corrupt" in machine.call("doctor").out
    for place in machine.home.glob("registry.db*"):
        place.rename(machine.root / place.name)
    here = machine.call("runs", "--json")
    assert [(row["run"], row["label"], row["status"]) for row in here.json] == [(run, "a task", "complete")]  # type: ignore[index]
    assert machine.call("status", run, cwd=machine.root).status == 0
    machine.works()


def test_a_registry_that_is_newer(machine: Bench) -> None:
    machine.works()
    registry = machine.home / "registry.db"
    _sql("PRAGMA user_version = 99")(registry)
    before = registry.read_bytes()
    refused(machine.call("runs", "--json"), 1, "store.newer", place=str(registry), remedy="Upgrade stagent")
    assert registry.read_bytes() == before


@pytest.mark.parametrize(
    "harm", [lambda place: place.write_bytes(b""), _sql("DELETE FROM runs")], ids=["empty", "lost"]
)
def test_a_log_that_is_not_there_any_more(machine: Bench, harm: Callable[[Path], None]) -> None:
    run = machine.works().lines[-1]["run"]
    with closing(sqlite3.connect(machine.database())) as connection:
        connection.execute("DELETE FROM events")
        connection.commit()
    harm(machine.database())
    for word in ("status", "log", "tick"):
        done = machine.call(word, run, "--json")
        refused(done, 1, "run.missing", place=str(machine.database()), remedy="Restore the project's database")
    [row] = machine.runs()
    assert (row["run"], row["status"]) == (run, "unreadable")
    machine.works()


def test_a_write_ahead_log_that_is_missing(machine: Bench) -> None:
    session = machine.session(machine.flow({"one": stage({"done": "two"}), "two": stage({"done": "complete"})}))
    database = machine.database()
    # As long as somebody reads, what is written stays in the write-ahead log beside the file.
    with closing(sqlite3.connect(database)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM runs").fetchall()
        session.claim("done")
        assert session.advance().status == 0
        assert database.with_name("stagent.db-wal").stat().st_size > 0
        moved = machine.root / "moved"
        moved.mkdir()
        for place in database.parent.glob("stagent.db*"):
            shutil.copy(place, moved)
    for place in database.parent.glob("stagent.db*"):
        place.unlink()
    shutil.copy(moved / "stagent.db", database)
    # The transition is lost with its file, and the run goes on from the one before.
    assert session.place == ("one", 1)
    assert machine.call("audit", "verify", session.run).status == 0
    session.claim("done")
    assert session.advance().status == 0
    assert session.place == ("two", 2)


def test_a_database_without_a_schema_yet_is_brought_up(machine: Bench) -> None:
    machine.call("runs")
    registry = machine.home / "registry.db"
    for place in machine.home.glob("registry.db*"):
        place.unlink()
    _sql("PRAGMA user_version = 0")(registry)
    machine.works()
    with closing(sqlite3.connect(registry)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] >= 1


def test_a_checkpoint_of_another_version_is_made_anew_from_the_log(machine: Bench) -> None:
    session = machine.session(machine.flow(PLAIN))
    before = session.state
    _sql("UPDATE runs SET state = x'7b7d'")(machine.database())
    assert session.state == before
    session.claim("done")
    assert session.advance().status == 0
    assert session.state.terminal == "complete"
    assert machine.call("audit", "verify", session.run).status == 0


CHANGES = {
    "an event": "UPDATE events SET body = replace(CAST(body AS TEXT), 'done', 'gone') WHERE seq = 5",
    "an event's bytes": "UPDATE events SET body = x'ff00' WHERE seq = 3",
    "a missing event": "DELETE FROM events WHERE seq = 4",
    "a text": "UPDATE blobs SET content = x'ff' WHERE content IS NOT NULL",
    "the checkpoint": "UPDATE runs SET seq = seq - 1",
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_log_that_was_changed_is_told(machine: Bench, what: str) -> None:
    run = machine.works().lines[-1]["run"]
    _sql(CHANGES[what])(machine.database())
    verdict = machine.call("audit", "verify", run)
    assert verdict.status == 1
    assert f"{run}: NOT consistent: " in verdict.out
    for word in ("status", "log", "show"):
        done = machine.call(word, run)
        assert done.status in (0, 1)
        assert done.out or done.err


def test_a_clock_that_goes_back(machine: Bench) -> None:
    """The log never goes back in time, and nothing took a negative time."""
    hours = iter([0, -5, -50])
    flow = machine.flow({"one": stage({"done": "two"}), "two": stage({"done": "complete"})})

    def at(*words: str) -> tuple[str, str, str]:
        return "stagent.bootstrap", "millis", f"lambda: __import__('time').time_ns() // 10**6 + {next(hours)} * 3600000"

    started = machine.call("start", "a task", "--flow", flow, "--json", changed=at())
    assert started.status == 0, started.err
    run = started.json["run"]
    folder = machine.project / ".stagent" / machine.state(run).folder
    for number, name in enumerate(("one", "two"), 1):
        (folder / f"{name}-report.md").write_text(f"---\nepoch: {number}\nresult: done\n---\n")
        advanced = machine.call("advance", run, "--json", changed=at())
        assert advanced.status == 0, advanced.out + advanced.err
    log = machine.call("log", run, "--json").lines
    times = [event["at"] for event in log]
    assert times == sorted(times)
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    assert machine.state(run).terminal == "complete"
    assert machine.call("audit", "verify", run).status == 0
    for words in (["show", run], ["status", run], ["runs"]):
        said = machine.call(*words, changed=("stagent.bootstrap", "millis", "lambda: 0")).out
        assert said and " -" not in said.replace("--", "").replace(" -> ", "").replace(" - ", "")


def test_a_clock_that_goes_back_under_a_headless_run(machine: Bench) -> None:
    back = ("stagent.bootstrap", "millis", "(lambda t: lambda: t.append(t[-1] - 3600000) or t[-1])([2 * 10**12])")
    look = {"name": "look", "run": "true", "for": ["done"]}
    flow = machine.flow({"work": stage({"done": "complete"}, checks=[look])})
    done = machine.works(*machine.driving(flow, {"work": [shell("true"), claim("done")]}), changed=back)
    events = [line for line in done.lines if "at" in line]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    [ended] = [event["data"] for event in events if event["data"]["type"] == "check.ended"]
    assert 0 <= ended["millis"] < 60_000

"""`ps`, `stop` and `doctor` while the engine itself runs a check or a command: with what runs it alive, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from acceptance.support import Done, Session, stage, wait_for
from acceptance.torture.scene import Ended, Scene
from stagent import processes

KINDS = ["slow.test", "command"]


class Busy:
    """A run whose engine runs something slow the first time: a check of that name, or the command of a stage."""

    def __init__(self, folder: Path, what: str) -> None:
        self.scene = Scene(folder, HOSTILE="calm")
        self.what = what
        self.kind = "command" if what == "command" else "check"
        self.begun = folder / "begun"
        # What it leaves in the background has no group of ours and would outlast it.
        slow = f"test -e '{self.begun}' || {{ setsid sleep 611 & touch '{self.begun}'; sleep 612; }}"
        if what == "command":
            ways: dict[str, object] = {
                "results": {"0": "done", "*": "bad"},
                "transitions": {"done": "complete", "bad": "work"},
            }
            work: dict[str, Any] = {"kind": "command", "run": slow, "interruptible": False, **ways}
        else:
            work = stage({"done": "complete"}, checks=[{"name": what, "run": slow}])
        self.flow = self.scene.machine.flow({"work": work})
        self.session: Session | None = None

    def drive(self) -> subprocess.Popen[bytes]:
        """Begin the run headless."""
        words = ("run", "a task", "--flow", self.flow, "--agent", "hostile", "--json")
        return self.await_begin(self.scene.start(*words))

    def call(self) -> subprocess.Popen[bytes]:
        """Begin the run in a session, whose call runs it."""
        self.session = self.scene.machine.session(self.flow)
        if self.kind == "check":
            self.session.claim("done")
        return self.await_begin(self.scene.start("advance", "--json", **self.session.env))

    def await_begin(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Wait until the slow thing runs."""
        self.process = process
        wait_for(lambda: self.begun.exists() or process.poll() is not None, "it to run")
        assert process.poll() is None, process.communicate()
        wait_for(lambda: [row["processes"] for row in self.rows()] == [3], "all of it to run")
        [self.row] = self.rows()
        return process

    @property
    def run(self) -> str:
        [run] = self.scene.runs()
        return run

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.scene.cli("ps", "--json")
        return found

    def stop(self) -> Done:
        return self.scene.machine.person("stop", self.row["id"], words=())

    def orphaned(self) -> list[str]:
        """What doctor says of processes without a runner."""
        process = self.scene.start("doctor", "--json")
        out, _ = process.communicate(timeout=60)
        return [line for line in out.decode().splitlines() if "without their runner" in line]

    def outcomes(self) -> list[str]:
        return [event["outcome"] for event in self.scene.ended(self.run)]

    def log(self, kind: str) -> list[Any]:
        return [event for event in self.scene.machine.log(self.run) if event["type"] == kind]

    def go_on(self) -> None:
        """Drive the run to its end."""
        done = Ended(self.scene, self.scene.start("run", "--resume", self.run, "--agent", "hostile", "--json"))
        assert (done.status, done.errors) == (0, ""), done.out
        self.scene.check_end(self.run)
        assert self.rows() == []


@pytest.fixture(params=KINDS)
def busy(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Busy]:
    made = Busy(tmp_path, request.param)
    yield made
    made.process.kill()
    made.process.communicate()
    for pid in made.scene.left():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("busy", [*KINDS, "slow", "7"], indirect=True)
def test_it_is_listed_as_what_it_is(busy: Busy) -> None:
    runner = busy.drive()
    name = f"{busy.run}.1.1" if busy.kind == "command" else f"{busy.run}.1.check.{busy.what}"
    row = busy.row
    assert (row["id"], row["kind"], row["stage"], row["condition"]) == (name, busy.kind, "work", "running")
    assert (row["runner"], row["remedy"]) == (runner.pid, "")
    assert processes.look(row["pid"]) is not None and row["pid"] != runner.pid
    assert name in busy.scene.cli("ps") and "orphan" not in busy.scene.cli("ps")
    assert busy.orphaned() == []


def test_it_can_be_stopped_and_interrupts_the_run(busy: Busy) -> None:
    runner = busy.drive()
    said = busy.stop()
    assert (said.status, runner.wait(30)) == (0, 143), said.out
    assert f"{busy.row['id']} is stopped; the run is interrupted" in said.out
    assert busy.scene.left() == [] and busy.rows() == []
    assert busy.outcomes() == (["stopped"] if busy.kind == "command" else ["ok"])
    assert busy.log("check.ended") == []
    assert busy.stop().status == (2 if busy.kind == "command" else 1), "it is over"
    busy.go_on()


def test_a_killed_runner_takes_it_with_it(busy: Busy) -> None:
    busy.drive().kill()
    wait_for(lambda: busy.scene.left() == [], "all of it to be gone")
    stale = [row["condition"] for row in busy.rows()]
    assert stale == (["stale"] if busy.kind == "command" else [])
    assert busy.orphaned() == []
    busy.process.communicate()
    busy.go_on()


def test_orphans_are_named_and_ended(busy: Busy) -> None:
    busy.scene.kill_unnoticed(busy.drive())
    [row] = busy.rows()
    assert (row["id"], row["kind"], row["condition"], row["processes"]) == (busy.row["id"], busy.kind, "orphan", 3)
    assert row["remedy"] == f"stagent stop {row['id']}"
    [line] = busy.orphaned()
    assert f"{busy.kind} {row['id']}" in line
    said = busy.stop()
    assert said.status == 0 and "had no runner any more; 3 of its processes were ended" in said.out, said.out
    assert busy.scene.left() == [] and busy.orphaned() == []
    busy.go_on()


def test_the_next_runner_ends_orphans_as_the_first_thing(busy: Busy) -> None:
    busy.scene.kill_unnoticed(busy.drive())
    busy.go_on()


def test_in_a_session_the_call_runs_it(busy: Busy) -> None:
    call = busy.call()
    assert (busy.row["condition"], busy.row["runner"], busy.row["remedy"]) == ("running", call.pid, "")
    assert busy.orphaned() == []
    said = busy.stop()
    assert said.status == 0 and "is stopped; the run is interrupted" in said.out, said.out
    assert f"stagent continue {busy.run}" in said.out
    call.communicate(timeout=60)
    assert busy.scene.left() == [] and busy.rows() == []
    # It was ended from outside, which says nothing about the work.
    assert busy.outcomes() == (["stopped"] if busy.kind == "command" else [])
    assert busy.log("check.ended") == busy.log("transitioned") == []
    busy.go_on()


def test_a_killed_call_leaves_orphans_that_can_be_ended(busy: Busy) -> None:
    busy.scene.kill_unnoticed(busy.call())
    [row] = busy.rows()
    assert (row["kind"], row["condition"]) == (busy.kind, "orphan")
    assert len(busy.orphaned()) == 1
    said = busy.stop()
    assert said.status == 0 and f"stagent continue {busy.run}" in said.out, said.out
    assert busy.scene.left() == []


def test_a_person_at_a_terminal_stops_what_a_session_runs(tmp_path: Path) -> None:
    busy = Busy(tmp_path, "slow")
    call = busy.call()
    try:
        process = busy.scene.start("stop", busy.row["id"], "--json")
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 2 and b"person." in out
        assert call.poll() is None
    finally:
        call.kill()
        call.communicate()

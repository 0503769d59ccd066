"""`stagent ps` and `stagent stop` on real processes: running, stubborn, orphaned, stuck, unknown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acceptance.support import Done, wait_for
from acceptance.torture.scene import Ended, Scene
from stagent import processes
from stagent.bootstrap import Home
from stagent.cli import stop
from stagent.config import DataHome
from stagent.errors import RefusedError
from stagent.runner.roster import attempts, runner_of


class Running:
    """A run whose first attempt hangs, in one way or another."""

    def __init__(self, folder: Path, deed: str) -> None:
        self.scene = Scene(folder)
        flow = self.scene.flow()
        words = ("run", "a task", "--flow", flow, "--agent", "hostile", "--json")
        self.process = self.scene.start(*words, HOSTILE=deed)

    def begin(self, deed: str) -> None:
        """Wait until the attempt and what it started are there."""
        wait_for((self.scene.notes / "ready").exists, "the agent")
        assert len(self.scene.pids()) == (2 if deed == "stubborn" else 1)
        wait_for(lambda: [row["condition"] for row in self.rows()] == ["running"], "its log")
        [self.row] = self.rows()
        self.attempt: str = self.row["id"]
        self.run: str = self.row["run"]

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.scene.cli("ps", "--json")
        return found

    def stop(self, name: str, *more: str) -> Done:
        """Stop an attempt as a person does, below no agent."""
        return self.scene.machine.person("stop", name, *more, words=())

    def kill(self) -> None:
        """Kill the runner, and first what would notice it."""
        self.scene.kill_unnoticed(self.process)

    def outcomes(self) -> list[str]:
        return [event["outcome"] for event in self.scene.ended(self.run)]

    def resume(self) -> None:
        """Go on to the end."""
        done = Ended(
            self.scene, self.scene.start("run", "--resume", self.run, "--agent", "hostile", "--json", HOSTILE="calm")
        )
        assert (done.status, done.errors) == (0, "")
        self.scene.check_end(self.run)


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Running]:
    yield from scene(tmp_path, "hang")


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[Running]:
    yield from scene(tmp_path, "stubborn")


def scene(folder: Path, deed: str) -> Iterator[Running]:
    running = Running(folder, deed)
    try:
        running.begin(deed)
        yield running
    finally:
        running.process.kill()
        running.process.communicate()
        for pid in running.scene.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_what_runs_is_listed_with_what_it_uses(hanging: Running) -> None:
    row = hanging.row
    assert (row["kind"], row["stage"], row["backend"], row["remedy"]) == ("attempt", "work1", "hostile", "")
    assert row["pid"] in hanging.scene.pids()
    assert row["runner"] == hanging.process.pid
    assert row["processes"] == 1
    assert row["project"] == str(hanging.scene.machine.project)
    if processes.LINUX:
        assert row["memory"] > 1_000_000 and row["cpu"] >= 0
    words = hanging.scene.cli("ps")
    assert hanging.attempt in words and "running" in words and "MiB" in words


def test_a_stopped_attempt_interrupts_its_run_which_can_go_on(hanging: Running) -> None:
    said = hanging.stop(hanging.attempt)
    assert (said.status, hanging.process.wait(60)) == (0, 143)
    assert f"{hanging.attempt} is stopped; the run is interrupted" in said.out
    assert f"stagent run --resume {hanging.run}" in said.out
    assert hanging.outcomes() == ["stopped"]
    assert hanging.scene.left() == []
    assert hanging.rows() == []
    again = hanging.stop(hanging.attempt, "--json")
    assert (again.status, "stop.over" in again.out) == (2, True)
    hanging.resume()
    assert hanging.outcomes() == ["stopped", "ok"]


def test_one_that_does_not_listen_is_forced(stubborn: Running) -> None:
    said = stubborn.stop(stubborn.attempt, "--timeout", "0.5", "--json")
    assert said.status == 0, said.out
    assert stubborn.process.wait(60) == 143
    assert stubborn.outcomes() == ["stopped"]
    assert stubborn.scene.left() == []


def test_orphans_are_named_and_ended(stubborn: Running) -> None:
    stubborn.kill()
    [row] = stubborn.rows()
    assert (row["condition"], row["remedy"]) == ("orphan", f"stagent stop {stubborn.attempt}")
    assert row["processes"] == 2
    said = stubborn.stop(stubborn.attempt, "--timeout", "0.3")
    assert (said.status, stubborn.scene.left()) == (0, [])
    assert "had no runner any more; 2 of its processes were ended" in said.out
    [row] = stubborn.rows()
    assert (row["condition"], row["remedy"]) == ("stale", f"stagent run --resume {stubborn.run}")
    stubborn.resume()
    assert stubborn.outcomes() == ["orphaned", "ok"]
    assert stubborn.rows() == []
    [old, new] = stubborn.scene.cli("ps", "--all", "--json")
    assert (old["outcome"], new["outcome"]) == ("orphaned", "ok")


def test_a_runner_that_does_not_answer_is_named(stubborn: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "_RUNNER_SECONDS", 0.3)
    stubborn.process.send_signal(signal.SIGSTOP)
    home = Home(DataHome(stubborn.scene.home))
    service = home.of(stubborn.run)
    state = service.state(stubborn.run)
    runner = runner_of(state)
    assert runner is not None and runner.pid == stubborn.process.pid
    [item] = attempts(service, stubborn.run)
    with pytest.raises(RefusedError) as caught:
        stop._by_runner(service, state, item, runner, 0.1)
    home.close()
    assert caught.value.code == "stop.stuck"
    assert f"kill -9 {runner.pid}" in caught.value.remedy
    assert stubborn.scene.left() == []


def test_an_unknown_attempt_is_an_error_that_names_the_known_ones(hanging: Running) -> None:
    for name in ("nothing", hanging.run, f"{hanging.run}.7.1", "r-" + "0" * 26 + ".1.1", hanging.attempt + ".1"):
        said = hanging.stop(name)
        assert (said.status, hanging.attempt in said.out) == (1, True), said.out
    assert hanging.process.poll() is None


def test_an_agent_cannot_stop_attempts(hanging: Running) -> None:
    process = hanging.scene.start("stop", hanging.attempt, "--json", CLAUDECODE="1")
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["error"]) == (2, "person.agent")
    assert hanging.process.poll() is None
    assert hanging.scene.left() != []


def test_a_stranger_that_got_a_used_id_is_not_touched(hanging: Running) -> None:
    hanging.kill()
    home = Home(DataHome(hanging.scene.home))
    state = home.of(hanging.run).state(hanging.run)
    home.close()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        assert state.lease is not None
        assert runner_of(state) is None
        holder = msgspec.structs.replace(state.lease.holder, pid=stranger.pid)
        taken = msgspec.structs.replace(state, lease=msgspec.structs.replace(state.lease, holder=holder))
        assert runner_of(taken) is None
        exact = msgspec.structs.replace(holder, started=processes.start_time(stranger.pid))
        taken = msgspec.structs.replace(state, lease=msgspec.structs.replace(state.lease, holder=exact))
        found = runner_of(taken)
        assert found is not None and found.pid == stranger.pid
    finally:
        stranger.kill()
        stranger.wait()

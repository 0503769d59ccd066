"""Processes that race for one run: each epoch has one winner, each check runs once, one drives, the others are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from counts import count
from crash import crash_scene
from crash.crash_verdict import Log, acknowledged, check_end, check_log
from stagent.bootstrap import Home
from stagent.config import DataHome
from stagent.core import events as ev
from stagent.core.events import Holder
from stagent.engine import flows, setup
from stagent.engine.folder import RunFolder

ROUNDS = 8


def back_and_forth(check: str | None) -> dict[str, Any]:
    """A workflow of two stages that lead to each other for as long as one likes, each with a check or none."""
    stages: dict[str, Any] = {}
    for name, other in (("ping", "pong"), ("pong", "ping")):
        stages[name] = {
            "execution": {"type": "inline"},
            "writes": "project",
            "transitions": {"done": other, "stop": "complete"},
        }
        if check is not None:
            stages[name]["checks"] = [{"name": "unit", "run": check, "for": ["done"]}]
    return {"initial_stage": "ping", "terminal_stages": ["complete"], "max_epoch": 99, "stages": stages}


class Field:
    """A scene with a run of a caller or a session, and the processes that race for it."""

    def __init__(self, scene: Path, check: str | None = None, mode: str = "race") -> None:
        self.scene = crash_scene.make(scene, back_and_forth(check))
        home = Home(DataHome(scene / "home"))
        service = home.at(scene / "project", register=True)
        request = setup.Request(
            task="Race.",
            flow=flows.usable(str(scene / "flow"), scene),
            mode="session",
            holder=Holder(kind="caller" if mode == "race" else "session", session="the-race"),
            actor="caller:the-race",
            session="the-race",
        )
        self.state = setup.start(service, request)
        home.close()
        self.folder = RunFolder(scene / "project", "the-race")
        self.racers = [crash_scene.start(self.scene, mode) for _ in range(count("race_processes"))]
        for racer in self.racers:
            assert self.line(racer) == "ready"
            assert self.line(racer) == "at the start"

    def line(self, racer: subprocess.Popen[bytes]) -> str:
        assert racer.stdout is not None
        return racer.stdout.readline().decode().rstrip("\n")

    def write(self, stage: str, epoch: int, result: str) -> None:
        text = f"---\nepoch: {epoch}\nresult: {result}\n---\nRound {epoch}.\n"
        self.folder.artifact(stage).write_text(text)

    def start(self) -> None:
        """Let everybody begin at once."""
        for racer in self.racers:
            assert racer.stdin is not None
            racer.stdin.write(b"go\n")
            racer.stdin.flush()

    def go(self) -> list[list[str]]:
        """Let everybody advance at once and return what each says."""
        self.start()
        return [self.line(racer).split(" ", 3) for racer in self.racers]

    def close(self) -> Log:
        for racer in self.racers:
            _, errors = racer.communicate(timeout=60)
            assert (racer.returncode, errors) == (0, b"")
        return check_log(self.scene, {})


@pytest.mark.rule("W38")
def test_each_epoch_has_one_winner(tmp_path: Path) -> None:
    field = Field(tmp_path / "scene")
    told: Counter[str] = Counter()
    for epoch in range(1, ROUNDS + 1):
        field.write("ping" if epoch % 2 else "pong", epoch, "done")
        said = field.go()
        assert [words[0] for words in said].count("won") == 1
        for words in said:
            told[words[0]] += 1
            assert words[1] == str(epoch + 1)
            if words[0] == "refused":
                # It came when everything was over: the new stage has no artifact yet.
                assert words[2] == "artifact.missing"
                assert words[3]
    log = field.close()
    moves = [item.data.epoch for item in log.events if isinstance(item.data, ev.Transitioned)]
    assert moves == list(range(2, ROUNDS + 2))
    assert told["won"] == ROUNDS


def test_a_check_runs_once_however_many_wait_for_it(tmp_path: Path) -> None:
    field = Field(tmp_path / "scene", f"echo ran >>'{tmp_path}/ran'; sleep 0.4")
    for epoch in (1, 2):
        field.write("ping" if epoch == 1 else "pong", epoch, "done")
        said = field.go()
        assert sorted(words[0] for words in said) == ["saw"] * (len(said) - 1) + ["won"]
        assert {words[1] for words in said} == {str(epoch + 1)}
    log = field.close()
    assert (tmp_path / "ran").read_text() == "ran\n" * 2
    kinds = Counter(type(item.data) for item in log.events)
    assert (kinds[ev.CheckStarted], kinds[ev.CheckEnded], kinds[ev.AttemptEnded]) == (2, 2, 0)


@pytest.mark.rule("W38")
def test_what_hooks_saw_is_folded_once_and_in_order_while_others_write(tmp_path: Path) -> None:
    field = Field(tmp_path / "scene", mode="notes")
    place = DataHome(field.scene / "home").spool(field.state.run)
    place.parent.mkdir(exist_ok=True)
    field.start()
    agents = [f"agent-{number}" for number in range(160)]
    for number, agent in enumerate(agents):
        line = {"v": 1, "k": agent, "t": 1, "e": "SubagentStart", "s": "the-race", "a": agent, "d": {}}
        with open(place, "ab") as spool:
            spool.write(json.dumps(line).encode() + b"\n")
        if number % 8 == 0:
            # In bursts: some are still folding while others, who came earlier or later, append.
            time.sleep(0.02)
    field.close()
    home = Home(DataHome(field.scene / "home"))
    home.at(field.scene / "project").state(field.state.run)
    home.close()
    log = check_log(field.scene, {})
    started = [item.data.agent for item in log.events if isinstance(item.data, ev.AttemptStarted | ev.AgentStarted)]
    assert started == agents
    notes = Counter(item.data.code for item in log.events if isinstance(item.data, ev.AttemptEnded))
    assert notes == {f"note.{number}": len(field.racers) for number in range(30)}


def test_one_of_several_that_resume_a_run_drives_it(tmp_path: Path) -> None:
    scene = crash_scene.make(tmp_path / "scene")
    killed = crash_scene.start(scene, STAGENT_FAILPOINT="runner.attempt_logged:2")
    output, _ = killed.communicate(timeout=60)
    state = check_log(scene, acknowledged(output)).state
    assert state is not None
    resumed = [crash_scene.resume(scene, state.run) for _ in range(count("race_processes"))]
    said = [(*process.communicate(timeout=120), process.returncode) for process in resumed]
    assert sorted(code for _, _, code in said) == [0] + [2] * (len(said) - 1)
    for _, errors, code in said:
        if code:
            assert b"owns the run" in errors or b"the run ended" in errors
            assert b"take it over" in errors or b"Start a new run" in errors
    log = check_end(scene, acknowledged(output))
    takers = [item.data for item in log.events if isinstance(item.data, ev.TakenOver | ev.Resumed)]
    assert [item.fence for item in takers] == [2]


@pytest.mark.parametrize(
    ("place", "later"),
    [
        ("runner.spawned:1", 1),
        ("runner.spawned:4", 2),
        ("runner.attempt_logged:2", 1),
        ("runner.attempt_over:2", 3),
        ("sql.after_commit:14", 1),
        ("command.spawn.after:2", 2),
        ("command.spawn.after:4", 2),
        ("folder.overwrite.after:9", 1),
    ],
)
def test_a_runner_whose_run_was_taken_over_changes_nothing_any_more(place: str, later: int, tmp_path: Path) -> None:
    """It is stopped at a place, another takes the run over and does some steps, and only then does it go on."""
    scene = crash_scene.make(tmp_path / "scene")
    old = crash_scene.start(scene, CRASH_STOP=place)
    _, status = os.waitpid(old.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    before = Log(scene)
    assert before.state is not None
    # Commands take their time, so that what the old runner does to those of the same name would be seen.
    new = crash_scene.start(scene, "take-over", CRASH_NAP="0.2" if place.startswith("command.") else "0")
    assert new.stdout is not None
    assert new.stdout.readline() == b"ready\n"
    steps = b"".join(new.stdout.readline() for _ in range(later))
    assert len(acknowledged(steps)) >= later
    os.kill(old.pid, signal.SIGCONT)
    output, errors = new.communicate(timeout=60)
    late, trouble = old.communicate(timeout=60)
    assert (new.returncode, errors) == (0, b"")
    assert (old.returncode, trouble) == (2, b"")
    assert late.splitlines()[-1].startswith(b"refused lease.held ")
    log = check_end(scene, acknowledged(steps + output) | acknowledged(late))
    [taken] = [item.seq for item in log.events if isinstance(item.data, ev.TakenOver)]
    assert taken == before.state.seq + 1
    assert {item.actor for item in log.events if item.seq > taken} <= {
        f"runner:{new.pid}",
        "engine",
        *(item.actor for item in log.events if item.actor.startswith("policy:")),
    }
    ends = {item.data.outcome for item in log.events if item.seq > taken and isinstance(item.data, ev.AttemptEnded)}
    exits = {item.data.exit for item in log.events if item.seq > taken and isinstance(item.data, ev.CheckEnded)}
    assert ends <= {"ok", "refused", "orphaned"} and exits <= {0, 1}, "no process of the new runner was touched"
    mine = acknowledged(steps + output)
    assert sorted(mine) == list(range(taken, len(log.events) + 1)), "every event after the take-over is the taker's"

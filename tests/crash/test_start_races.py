"""Processes that begin a run in one agent session at once: one does, the others are told about it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from acceptance.support import SESSION, Machine, Session, stage, wait_for
from counts import count

SLOW = "python3 -c 'import time; time.sleep(1)'"


def starting(session: Session, flow: str) -> subprocess.Popen[str]:
    """A `start` in the session that goes on by itself."""
    argv = [sys.executable, "-m", "stagent", "start", "a task", "--flow", flow, "--json"]
    env = {**session.machine.env, **session.env}
    return subprocess.Popen(
        argv, cwd=session.machine.project, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.repository({"src.py": "x = 1\n"})
    return made


@pytest.mark.rule("S3.10")
def test_of_many_starts_in_one_session_one_begins_a_run(machine: Machine) -> None:
    session = Session(machine, SESSION)
    flow = machine.flow({"plan": stage({"done": "complete"})}, run_files={"slow": {"init": SLOW}})
    racers = [starting(session, flow) for _ in range(count("race_processes"))]
    said = [(json.loads(racer.communicate(timeout=120)[0]), racer.returncode) for racer in racers]
    assert Counter(status for _, status in said) == {0: 1, 2: len(racers) - 1}
    [session.run] = [answer["run"] for answer, status in said if status == 0]
    for answer in (answer for answer, status in said if status == 2):
        assert (answer["error"], answer["fields"]["run"]) == ("start.live_run", session.run)
        for way in ("stagent status", "stagent cancel", "/stagent:start --force"):
            assert way in answer["remedy"]
    assert session.cli("tick").json["run"] == session.run
    assert session.folder.is_dir()
    assert not (machine.project / ".stagent" / ".archive").exists()
    assert list((machine.home / "turns").iterdir()) == []


@pytest.mark.rule("S3.10")
def test_a_start_that_was_killed_is_in_nobodys_way(machine: Machine) -> None:
    session, begun = Session(machine, SESSION), machine.root / "begun"
    files = {"held": {"init": f"test -e {begun} || {{ echo $$ > {begun}; exec sleep 1000; }}"}}
    flow = machine.flow({"plan": stage({"done": "complete"})}, run_files=files)
    killed = starting(session, flow)
    wait_for(lambda: begun.exists() and begun.read_text().endswith("\n"), "the run file's command", 60)
    killed.kill()
    os.kill(int(begun.read_text()), signal.SIGKILL)
    killed.communicate(timeout=60)
    assert session.cli("start", "the next", "--flow", flow, "--json").status == 0

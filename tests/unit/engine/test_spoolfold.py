from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures_claude import SESSION, Desk
from stagent.cli.main import main
from stagent.core.events import Holder
from stagent.core.state import Lease, State
from stagent.engine.spool import Line, is_next_process


class Process:
    """A process that stands for one of the session's."""

    def __init__(self) -> None:
        self.child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        self.pid = self.child.pid

    def end(self) -> None:
        """Kill it and reap it."""
        self.child.kill()
        self.child.wait()


@pytest.fixture
def old() -> Iterator[Process]:
    process = Process()
    yield process
    process.end()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: Process) -> Desk:
    made = Desk(tmp_path, monkeypatch)
    made.enter(SESSION, old.pid)
    assert main(["start", "x", "--flow", str(made.flow)]) == 0
    return made


def status(capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_next_process_gets_the_lease_of_a_dead_one(
    desk: Desk, old: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    old.end()
    assert (desk.home / "live" / f"pid-{old.pid}").exists()
    desk.hook("SessionStart", source="resume", pid=os.getpid())
    after = status(capsys)
    assert after["holder"] == f"session {SESSION}, process {os.getpid()}"
    live = json.loads(desk.live().read_text())
    assert (live["pid"], live["lease"]) == (os.getpid(), 2)
    assert not (desk.home / "live" / f"pid-{old.pid}").exists()
    assert (desk.home / "live" / f"pid-{os.getpid()}").read_text() == SESSION
    desk.enter(SESSION)
    desk.write("plan", "approved")
    assert main(["advance"]) == 4


@pytest.mark.parametrize("source", ["resume", "startup"])
def test_a_second_process_of_a_living_session_gets_nothing(
    desk: Desk, old: Process, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    desk.hook("SessionStart", source=source, pid=os.getpid())
    assert status(capsys)["holder"] == f"session {SESSION}, process {old.pid}"


def test_a_process_that_only_starts_gets_nothing_from_a_dead_one(
    desk: Desk, old: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    old.end()
    desk.hook("SessionStart", source="startup", pid=os.getpid())
    assert status(capsys)["driver"] == "stale"


def test_a_process_that_is_gone_by_now_gets_nothing(
    desk: Desk, old: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    second = Process()
    desk.hook("SessionStart", source="resume", pid=second.pid)
    second.end()
    old.end()
    assert status(capsys)["holder"] == f"session {SESSION}, process {old.pid}"


def test_another_conversation_of_a_dead_process_gets_nothing(
    desk: Desk, old: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    old.end()
    spool = next((desk.home / "spool").iterdir(), None) or desk.home / "spool" / f"{status(capsys)['run']}.ndjson"
    line = {"v": 1, "k": "k", "t": 1, "e": "SessionStart", "s": "other", "p": os.getpid(), "a": None}
    with open(spool, "a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "d": {"source": "resume"}}) + "\n")
    assert status(capsys)["holder"] == f"session {SESSION}, process {old.pid}"


def test_only_a_resumed_session_is_a_next_process() -> None:

    state = State(
        **dict.fromkeys(("run", "head", "mode", "workflow", "model", "flow", "project", "folder", "task"), "x"),
        seq=1,
        status="running",
        stage="s",
        epoch=1,
        lease=Lease(Holder(kind="session", session="s", pid=1), 1),
        started_at=0,
        updated_at=0,
    )
    line = Line(v=1, k="k", t=0, e="SessionStart", s="s", p=2, d={"source": "resume"})
    assert is_next_process(line, state)
    for changes in ({"e": "Stop"}, {"s": "t"}, {"p": 1}, {"p": None}, {"a": "agent"}, {"d": {"source": "clear"}}):
        fields = {name: getattr(line, name) for name in line.__struct_fields__}
        assert not is_next_process(Line(**{**fields, **changes}), state)

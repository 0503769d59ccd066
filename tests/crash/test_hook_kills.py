"""The hook imports nothing of ours and so has no fail points: here each of its writing calls is one, from outside.

A process loads the hook over a stand-in for `posix` that ends it before or after the n-th call that writes. Whatever
the moment, the session's next event is answered as if nothing had happened, and no file it reads is half there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stagent.hooks import hook
from unit.hooks.hook_world import SESSION, Session

DRIVER = """
import os, posix, signal, sys, types
end, side, place = int(sys.argv[1]), sys.argv[2], sys.argv[3]
shim, calls = types.ModuleType("posix"), 0
def counted(real, writes):
    def call(*words, **more):
        global calls
        calls += writes(*words)
        if writes(*words) and calls == end and side == "before": posix.kill(posix.getpid(), 9)
        try: return real(*words, **more)
        finally:
            if writes(*words) and calls == end and side == "after": posix.kill(posix.getpid(), 9)
    return call
always = lambda *words: True
writing = {name: always for name in ("rename", "replace", "mkdir", "fsync", "unlink", "pwrite", "ftruncate")}
writing["write"] = lambda descriptor, data: descriptor != 1
writing["open"] = lambda path, flags, *mode: bool(flags & (os.O_CREAT | os.O_TRUNC))
for name in dir(posix):
    real = getattr(posix, name)
    if not name.startswith("__"): setattr(shim, name, counted(real, writing[name]) if name in writing else real)
sys.modules["posix"] = shim
sys.argv = [place, *sys.argv[4:]]
with open(place) as file: text = file.read()
try: exec(compile(text, place, "exec"), {"__name__": "__main__", "__file__": place})
finally: print(calls, file=sys.stderr)
"""
EVENTS: dict[str, dict[str, Any]] = {
    "SessionStart": {"source": "resume"},
    "Notification": {"notification_type": "idle_prompt", "message": "waiting"},
    "PreToolUse": {"tool_name": "Write", "tool_use_id": "t-1", "tool_input": {"file_path": "/tmp/x", "content": "x"}},
    "UserPromptExpansion": {
        "command_name": "stagent:reject",
        "command_args": "more of it " * 300,
        "command_source": "plugin",
        "prompt_id": "p-1",
    },
    "SubagentStart": {"agent_id": "agent-1", "agent_type": "Explore"},
}


def fire(session: Session, event: str, end: int = 0, side: str = "before") -> tuple[int, str, int]:
    """Have the hook see an event; its status, its answer and how many of its calls wrote."""
    given = {"session_id": SESSION, "hook_event_name": event, "cwd": str(session.project), **EVENTS[event]}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", DRIVER, str(end), side, hook.__file__, str(session.home)],
        input=json.dumps(given),
        env={**os.environ, "CLAUDE_PID": str(session.live["pid"]), "CLAUDE_CODE_SESSION_ATTENDED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    answer = done.stdout.replace(str(session.live["run"]), "RUN").replace(str(session.home), "HOME")
    return done.returncode, answer, int(done.stderr or "0")


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    """A session tells its hooks through the environment of this process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("event", EVENTS)
def test_a_hook_killed_at_any_writing_call(event: str, tmp_path: Path) -> None:
    session = Session(tmp_path / "whole")
    status, answer, calls = fire(session, event)
    assert (status, calls > 0) == (0, True)
    for number in range(1, calls + 1):
        for side in ("before", "after"):
            session = Session(tmp_path / f"{number}-{side}")
            before = session.file.read_bytes()
            assert fire(session, event, number, side)[0] == -signal.SIGKILL
            assert session.file.read_bytes() == before
            status, again, _ = fire(session, event)
            assert status == 0
            assert again == answer
            whole(session)


def whole(session: Session) -> None:
    """Whatever has its name is whole; in what is appended to, a line that was cut stands alone."""
    for place in (session.home / "pending").glob("[!.]*"):
        json.loads(place.read_bytes()) if place.suffix == ".json" else place.read_bytes()
    for place in (*(session.home / "activity").glob("*.ndjson"), *(session.home / "spool").glob("*.ndjson")):
        lines = place.read_bytes().splitlines()
        assert json.loads(lines[-1])
        assert sum(not line.endswith(b"}") for line in lines) <= 1

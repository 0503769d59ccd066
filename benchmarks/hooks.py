"""Hooks beside the bare interpreter: in a bystander's session, in one with a run, and the Stop hook.

The hook is measured as it is installed: compiled, `python -I -S hook.pyc <data home>`, one event on standard input.
Budgets: bystander at most 1.3 x bare, an active run's PreToolUse and PostToolUse 1.8 x, its Stop 2.5 x. A command line
that names what only a person calls is read by the program itself; that is rare and has no budget.
"""

from __future__ import annotations

import json
import os
import py_compile
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import BARE, row

from stagent.bootstrap import Home
from stagent.config import DataHome
from stagent.core.events import Holder
from stagent.core.verify.folder import validate
from stagent.engine.flows import Flow
from stagent.engine.install import HOOK_FILES
from stagent.engine.setup import Request, start

ROUNDS = 60
SESSION, PID = "bench-session", 4242


def flow() -> Flow:
    """Return a workflow whose first stage the main agent works, with no rule that looks at the project."""
    document = {
        "initial_stage": "a",
        "terminal_stages": ["complete", "escalated"],
        "modifies_worktree": False,
        "stages": {"a": {"execution": {"type": "inline"}, "transitions": {"done": "complete"}}},
    }
    files = {"workflow.json": json.dumps(document).encode(), "a.md": b"x"}
    workflow, problems = validate(files)
    assert workflow is not None, problems
    return Flow(name="hooks", folder=Path("hooks"), files=files, workflow=workflow, problems=tuple(problems))


def world(folder: Path) -> tuple[list[str], Path]:
    """Start a run of a session; return the hook's command line and the place of the stage's artifact."""
    root = folder / "project"
    root.mkdir()
    home = Home(DataHome(folder / "home"))
    service = home.at(root, exact=True, register=True)
    holder = Holder(kind="session", session=SESSION, pid=PID)
    request = Request(task="x", flow=flow(), mode="session", holder=holder, actor="bench", session=SESSION)
    state = start(service, request)
    artifact = service.folder(state).artifact("a")
    home.close()
    sources = Path(__file__).resolve().parent.parent / "src" / "stagent" / "hooks"
    for name in HOOK_FILES:
        py_compile.compile(str(sources / f"{name}.py"), str(folder / f"{name}.pyc"), doraise=True)
    return [sys.executable, "-I", "-S", str(folder / "hook.pyc"), str(folder / "home")], artifact


def measured(argv: list[str], event: dict[str, Any]) -> float:
    """Return the wall time of one call in milliseconds."""
    given, env = json.dumps(event).encode(), {**os.environ, "CLAUDE_PID": str(PID)}
    began = time.perf_counter()
    subprocess.run(argv, input=given, check=True, stdout=subprocess.DEVNULL, env=env)
    return (time.perf_counter() - began) * 1000


def events(artifact: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Return what is measured: name -> event and budget."""
    common: dict[str, Any] = {"session_id": SESSION, "cwd": str(artifact.parents[2]), "tool_use_id": "t-1"}
    bash = {**common, "tool_name": "Bash", "tool_input": {"command": "git status && pytest -q tests/unit | tail -5"}}
    plain = {**common, "tool_name": "Bash", "tool_input": {"command": "stagent tick"}}
    names = {**common, "tool_name": "Bash", "tool_input": {"command": "git commit -m 'document stagent approve'"}}
    wrote = {**common, "tool_name": "Write", "tool_input": {"file_path": str(artifact), "content": "x" * 4000}}
    secret = {**common, "tool_name": "Bash", "tool_input": {"command": "API_KEY=0123456789abcdef make deploy"}}
    looks = {**common, "tool_name": "Read", "tool_input": {"file_path": str(artifact.parents[2] / "src" / "a.py")}}
    launch = {**common, "tool_name": "Agent", "tool_input": {"subagent_type": "stagent:workflow-subagent"}}
    stop = {**common, "hook_event_name": "Stop", "stop_hook_active": False, "background_tasks": []}
    return {
        "bystander, PreToolUse Bash": ({**bash, "session_id": "nobody", "hook_event_name": "PreToolUse"}, "<= 1.3"),
        "bystander, PostToolUse Read": (
            {**looks, "session_id": "nobody", "hook_event_name": "PostToolUse"},
            "<= 1.3",
        ),
        "bystander, Stop": ({**stop, "session_id": "nobody"}, "<= 1.3"),
        "active, PreToolUse Bash": ({**bash, "hook_event_name": "PreToolUse"}, "<= 1.8"),
        "active, PreToolUse Bash, plain call": ({**plain, "hook_event_name": "PreToolUse"}, "<= 1.8"),
        "active, PreToolUse Bash, a secret in it": ({**secret, "hook_event_name": "PreToolUse"}, "none: rare"),
        "active, PreToolUse Bash, read by the program": ({**names, "hook_event_name": "PreToolUse"}, "none: rare"),
        "active, PreToolUse Read": ({**looks, "hook_event_name": "PreToolUse"}, "<= 1.8"),
        "active, PostToolUse Read": ({**looks, "hook_event_name": "PostToolUse", "duration_ms": 3}, "<= 1.8"),
        "active, PostToolUse Bash": ({**bash, "hook_event_name": "PostToolUse", "duration_ms": 30}, "<= 1.8"),
        "active, PreToolUse Write": ({**wrote, "hook_event_name": "PreToolUse"}, "<= 1.8"),
        "active, PreToolUse Agent": ({**launch, "hook_event_name": "PreToolUse"}, "<= 1.8"),
        "active, PostToolUse Write": ({**wrote, "hook_event_name": "PostToolUse"}, "<= 1.8"),
        "active, Stop that blocks": (stop, "<= 2.5"),
        "active, Stop that allows": ({**stop, "background_tasks": [waiting()]}, "<= 2.5"),
    }


def waiting() -> dict[str, str]:
    """Return the row of a background command that excuses a stop."""
    return {"id": "b1", "type": "shell", "status": "running", "command": "stagent wait"}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as name:
        argv, artifact = world(Path(name))
        artifact.write_text("---\nepoch: 1\nresult: pending\n---\n")
        cases = events(artifact)
        stop = Path(name) / "home" / "live" / f"{SESSION}.stop"
        measured(argv, cases["active, Stop that blocks"][0])
        # What compares the project runs beside the first of several blocks, outside this budget.
        time.sleep(2)
        first = stop.read_bytes()
        rounds(argv, cases, stop, first)
        live = Path(name) / "home" / "live" / f"{SESSION}.json"
        rules = {"allow": ["Read", "Write", "Agent", "Bash(git:*)", "Bash(pytest:*)", "Bash(tail:*)"], "deny": []}
        live.write_text(json.dumps({**json.loads(live.read_text()), "tools": rules}))
        held = {
            key: case for key, case in cases.items() if key.startswith("active, PreToolUse") and "rare" not in case[1]
        }
        rounds(argv, {f"{key}; tool rules": case for key, case in held.items()}, stop, first)


def rounds(argv: list[str], cases: dict[str, tuple[dict[str, Any], str]], stop: Path, first: bytes) -> None:
    """Measure these events in turn, beside the bare interpreter, and print a row for each."""
    times: dict[str, list[float]] = {key: [] for key in ("bare", *cases)}
    for _ in range(ROUNDS):
        times["bare"].append(measured(BARE, {}))
        for key, (event, _) in cases.items():
            stop.write_bytes(first)
            times[key].append(measured(argv, event))
    for key, (_, budget) in cases.items():
        row(key, times[key], times["bare"], "ms", budget)


if __name__ == "__main__":
    main()

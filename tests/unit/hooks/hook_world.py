"""A session with a run as a hook finds it: the live file the engine wrote, and the hook called in three ways.

`Session.ask` calls the hook's `handle` here, `Session.main` its outermost frame in a forked child, `Session.process`
the compiled file in a process of its own, as it is installed.
"""

from __future__ import annotations

import atexit
import json
import os
import posix
import py_compile
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from stagent.engine import install
from stagent.hooks import hook
from stagent.storage.memory import MemoryStore
from unit.engine.service_world import ServiceWorld

Json = dict[str, Any]
SESSION, PID = "session-1", 4242
CLIENT = "claude-code_2-1-329_harness"
RECORDED: Json = {"transcript_path": "/home/x.jsonl", "prompt_id": "p-1", "permission_mode": "default"}
DOCUMENT: Json = {
    "initial_stage": "work",
    "terminal_stages": ["complete", "escalated", "cancelled"],
    "modifies_worktree": False,
    "run_files": {},
    "stages": {
        "work": {
            "execution": {"type": "inline"},
            "transitions": {"done": "judge", "FAIL": "work"},
        },
        "judge": {
            "execution": {"type": "inline"},
            "gate": {"type": "require_approval"},
            "transitions": {"PASS": "complete"},
        },
    },
}
FILES = {"workflow.json": msgspec.json.encode(DOCUMENT), "work.md": b"x", "judge.md": b"x"}


class Answer(msgspec.Struct, frozen=True):
    """What a process answered."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Json | None:
        """Its output as one document; None for no output."""
        found: Json | None = json.loads(self.out) if self.out else None
        return found


@cache
def compiled() -> str:
    """The hook as it is installed: compiled, with what lies beside it."""
    folder = tempfile.mkdtemp(prefix="hook-")
    atexit.register(shutil.rmtree, folder)
    for name in install.HOOK_FILES:
        py_compile.compile(
            str(Path(hook.__file__).with_name(f"{name}.py")), str(Path(folder) / f"{name}.pyc"), doraise=True
        )
    return str(Path(folder) / "hook.pyc")


class Session:
    """One session with a run in its first stage, which the main agent works; tests change what the live file says."""

    def __init__(self, place: Path) -> None:
        self.world = ServiceWorld(place, MemoryStore(), FILES, "session")
        self.home = place / "home"
        self.project = self.world.root
        self.file = self.home / "live" / f"{SESSION}.json"
        self.live: Json = json.loads(self.file.read_bytes())
        self.artifact = Path(self.live["artifact"]["path"])
        self.spool_file = Path(self.live["spool"])
        # What looks at the whole project is started by this name; here nothing is.
        self.set(pid=PID, python="/nonexistent/python", seq=0)
        self.environment({"CLAUDE_PID": str(PID), "CLAUDE_CODE_SESSION_ATTENDED": "1", "AI_AGENT": CLIENT})

    def environment(self, variables: dict[str, str]) -> None:
        """Set what the session's program tells its hooks."""
        self.env = variables
        for name in (*variables, "CLAUDE_PID", "CLAUDE_CODE_SESSION_ATTENDED", "STAGENT_ATTEMPT", "AI_AGENT"):
            posix.environ.pop(name.encode(), None)
        posix.environ.update({name.encode(): value.encode() for name, value in variables.items()})

    def set(self, **changes: Any) -> None:
        """Change what the live file says; `artifact` is read anew."""
        mark = hook.mark(str(self.artifact)) or {"size": None, "mtime_ns": None, "ino": None}
        self.live |= {"artifact": {"path": str(self.artifact), **mark}, **changes}
        self.file.write_text(json.dumps(self.live))

    def gate(self, **changes: Any) -> None:
        """Give the stage a gate as the engine describes it."""
        options = [
            {"label": "Approve", "description": "Yes.", "decision": "approve"},
            {"label": "Reject", "description": "No.", "decision": "reject"},
        ]
        gate = {"question": "Good?", "header": "Stagent", "options": options, "for": [], "explicit": True}
        self.set(gate={**gate, "open": True, "decided": "", "body": "b" * 64, "tree": "", **changes})

    def write(self, result: str, epoch: int = 1, body: str = "text") -> None:
        """Write the stage's artifact and let the live file know it."""
        self.artifact.write_text(f"---\nepoch: {epoch}\nresult: {result}\n---\n{body}\n")
        self.set()

    def begun(self) -> None:
        """Note that the run's driver has looked at it."""
        (self.home / "live" / f"{SESSION}.begun").write_text(self.live["run"])

    def event(self, name: str, **fields: Any) -> Json:
        """An event as the session's program gives it."""
        return {"session_id": SESSION, **RECORDED, "cwd": str(self.project), "hook_event_name": name, **fields}

    def ask(self, name: str, **fields: Any) -> Json | None:
        """Give an event to the hook, here."""
        return hook.handle(str(self.home), json.dumps(self.event(name, **fields)))

    def tool(self, tool: str, event: str = "PreToolUse", /, agent: str = "", agent_type: str = "", **given: Any) -> Any:
        """Let a tool be called; return (decision, reason), (None, context) or None."""
        who = {"agent_id": agent, "agent_type": agent_type} if agent else {}
        answer = self.ask(event, tool_name=tool, tool_input=given, tool_use_id=f"t-{os.urandom(4).hex()}", **who)
        said = (answer or {}).get("hookSpecificOutput", {})
        if "permissionDecision" in said:
            return said["permissionDecision"], said["permissionDecisionReason"]
        return (None, said["additionalContext"]) if said else None

    def bash(self, command: str, **more: Any) -> str:
        """What the hook decides about a command line: allow, deny or an empty text."""
        answer = self.tool("Bash", command=command, **more)
        return answer[0] if answer else ""

    def stop(self, **fields: Any) -> tuple[str, str]:
        """Let the turn end; return (block|allow, what was said)."""
        answer = self.ask("Stop", **{"stop_hook_active": False, "background_tasks": [], **fields}) or {}
        return ("block", answer["reason"]) if "decision" in answer else ("allow", answer.get("systemMessage", ""))

    def lines(self) -> list[Json]:
        """The lines of the spool."""
        if not self.spool_file.exists():
            return []
        return [json.loads(line) for line in self.spool_file.read_bytes().splitlines() if line]

    def companion(self, suffix: str) -> str:
        """What stands beside the live file; empty for nothing."""
        path = self.file.with_suffix(suffix)
        return path.read_text() if path.exists() else ""

    def process(self, data: bytes | Json, **env: str) -> Answer:
        """Call the compiled hook in a process of its own."""
        given = data if isinstance(data, bytes) else json.dumps(data).encode()
        argv = [sys.executable, "-I", "-S", compiled(), str(self.home)]
        done = subprocess.run(argv, input=given, capture_output=True, env={**self.env, **env}, check=False, timeout=20)
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode(), 0.0)


class Forks:
    """The hook's outermost frame in forked children: each event has a process of its own, without starting one anew."""

    PROGRAM = r"""
import importlib.util, json, os, posix, sys, time, traceback
spec = importlib.util.spec_from_file_location("hook", sys.argv[1])
hook = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hook)
place = sys.argv[2]
for line in sys.stdin:
    order = json.loads(line)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        for number, name in enumerate(("in", "out", "err")):
            os.dup2(os.open(f"{place}/{name}", os.O_RDWR | os.O_CREAT | (os.O_TRUNC if number else 0)), number)
        posix.environ.clear()
        posix.environ.update({key.encode(): value.encode() for key, value in order["env"].items()})
        try:
            hook.main(["hook", order["home"]])
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, time.monotonic() - began]), flush=True)
"""

    def __init__(self, place: Path) -> None:
        self.place = place
        argv = [sys.executable, "-c", self.PROGRAM, hook.__file__, str(place)]
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def main(self, home: Path, data: bytes, env: dict[str, str]) -> Answer:
        """Call the hook's `main` on these bytes."""
        assert self.child.stdin is not None and self.child.stdout is not None
        (self.place / "in").write_bytes(data)
        self.child.stdin.write(json.dumps({"home": str(home), "env": env}) + "\n")
        self.child.stdin.flush()
        status, seconds = json.loads(self.child.stdout.readline())
        out, err = (self.place / "out").read_bytes(), (self.place / "err").read_bytes()
        return Answer(status, out.decode(), err.decode("utf-8", "replace"), seconds)

    def close(self) -> None:
        """End the process."""
        assert self.child.stdin is not None and self.child.stdout is not None
        self.child.stdin.close()
        self.child.wait(10)
        self.child.stdout.close()

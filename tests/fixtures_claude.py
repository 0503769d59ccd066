"""An agent session without an agent: its environment, the events its hooks get, and the real Claude Code program."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import stagent.hooks
from fixtures_runs import project

SESSION = "5f0c1f6e-0000-4000-8000-000000000001"
CLIENT = "claude-code_2-1-329_harness"
KEY = "sk-test-0000-not-a-key-of-anybody"
HOOK = Path(stagent.hooks.__file__).with_name("hook.py")
_NAMED = os.environ.get("STAGENT_TEST_CLAUDE")


def claude_program() -> str:
    """The Claude Code program: `$STAGENT_TEST_CLAUDE`, else the one the development dependency carries."""
    if _NAMED:
        return _NAMED
    spec = importlib.util.find_spec("claude_agent_sdk")
    assert spec is not None and spec.origin is not None, "the development dependency claude-agent-sdk is missing"
    return str(Path(spec.origin).with_name("_bundled") / "claude")


def claude_environment(home: Path) -> dict[str, str]:
    """An environment in which the program knows nobody and reaches nothing but this machine."""
    return {
        "HOME": str(home),
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "DISABLE_TELEMETRY": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    }


class Desk:
    """A project, a data home, and one session in it whose process is this one."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, session: str = SESSION) -> None:
        self.patch = patch
        self.home = folder / "home"
        self.project = project(folder)
        self.flow = folder / "flow"
        self.session = session
        patch.chdir(self.project)
        patch.setenv("STAGENT_HOME", str(self.home))
        self.enter(session)

    def enter(self, session: str, pid: int | None = None) -> None:
        """Be called from a session."""
        self.session = session
        self.patch.setenv("CLAUDE_CODE_SESSION_ID", session)
        self.patch.setenv("CLAUDE_PID", str(pid or os.getpid()))

    def leave(self) -> None:
        """Be called from no session."""
        for name in ("CLAUDE_CODE_SESSION_ID", "CLAUDE_PID"):
            self.patch.delenv(name, raising=False)

    def hook(
        self, event: str, *, attended: str = "1", pid: int | None = None, client: str = CLIENT, **fields: Any
    ) -> Any:
        """Call the hook file as the program does and return its answer; its parent is this process."""
        given = {"session_id": self.session, "hook_event_name": event, "cwd": str(self.project), **fields}
        env = {**os.environ, "CLAUDE_PID": str(pid or os.getpid()), "CLAUDE_CODE_SESSION_ATTENDED": attended}
        env["AI_AGENT"] = client
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(HOOK), str(self.home)],
            input=json.dumps(given).encode(),
            env=env,
            capture_output=True,
            check=True,
        )
        return json.loads(done.stdout) if done.stdout else None

    def types(self, command: str, words: str = "", prompt: str = "prompt-1", **fields: Any) -> None:
        """Have a person type a command of the plugin, as far as its hook is concerned."""
        expansion = {"command_name": f"stagent:{command}", "command_args": words, "command_source": "plugin"}
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.hook("UserPromptExpansion", prompt_id=prompt, **expansion, **fields)

    @property
    def folder(self) -> Path:
        """The run folder of the session that began the run."""
        [found] = [path for path in (self.project / ".stagent").iterdir() if path.name != ".archive"]
        return found

    def write(self, stage: str, result: str, epoch: int = 1, body: str = "done\n") -> None:
        """Write a stage's artifact."""
        (self.folder / f"{stage}-report.md").write_text(f"---\nepoch: {epoch}\nresult: {result}\n---\n{body}")

    def live(self, suffix: str = ".json") -> Path:
        """A file beside the session's live file."""
        return self.home / "live" / f"{self.session}{suffix}"

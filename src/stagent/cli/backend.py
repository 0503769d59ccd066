"""Which agent drives a headless run, and with which options."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from stagent.cli import output
from stagent.config import SETTINGS, DataHome, value
from stagent.core.ports import AgentBackend
from stagent.errors import UsageError
from stagent.registry import resolve

_PROGRAM = "claude"


def choose(
    home: DataHome, agent: str | None, script: Path | None, given: Sequence[str]
) -> tuple[AgentBackend, dict[str, str]]:
    """Return the backend that is named, set, or found on this machine, and its options.

    Options come from the settings called `AGENT.OPTION` and, above them, from the command line as `OPTION=VALUE`.
    Raises UsageError when there is no agent, or an option is not of that form.
    """
    name = agent or value(home, "agent")[0] or ("scripted" if script else "claude" if installed(home) else "")
    if not name:
        raise UsageError(
            "agent.none",
            "no agent is named, and Claude Code is not on the PATH",
            where="run",
            remedy="Name one with --agent or `stagent config agent NAME`; `stagent run --example` needs none.",
        )
    backend = cast(Callable[[], AgentBackend], resolve("agents", name))()
    options = {"script": str(script.absolute())} if script else {}
    options |= {key: text for key, text in _settings(home, name) if text}
    options |= dict(_pair(entry) for entry in given)
    if name == "claude" and options.get("permissions", "settings") == "settings":
        output.note(
            "Claude Code may do what its own settings allow, and write the artifact of each stage; "
            "`--option permissions=edits` or `=all` allows more."
        )
    return backend, options


def installed(home: DataHome) -> bool:
    """Say whether Claude Code is found: where the setting says, else on the PATH. Nothing is started."""
    program = value(home, "claude.program")[0] or _PROGRAM
    return shutil.which(str(Path(program).expanduser())) is not None


def _settings(home: DataHome, name: str) -> list[tuple[str, str]]:
    mine = [setting.name for setting in SETTINGS if setting.name.startswith(f"{name}.")]
    return [(setting.removeprefix(f"{name}."), value(home, setting)[0]) for setting in mine]


def _pair(entry: str) -> tuple[str, str]:
    name, sign, text = entry.partition("=")
    if not (name and sign):
        raise UsageError(
            "agent.option_form", f'"{entry}" is no NAME=VALUE', where="--option", remedy="Write it as NAME=VALUE."
        )
    return name, text

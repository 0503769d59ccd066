"""What a workflow could do on a machine, read from its model alone: commands, tools, paths, and hints of a network.

It says what is declared, not what happens: an agent with a shell can do whatever its user can.
"""

from __future__ import annotations

import re

import msgspec

from stagent.core.model import Stage, Workflow

_WORDS = (
    *("curl", "wget", "ssh", "scp", "sftp", "rsync", "nc", "telnet", "ftp", "aws", "gcloud", "az", "kubectl", "helm"),
    *("terraform", "vercel", "netlify", "fly", "heroku", "gh", "glab", "twine"),
)
_PHRASES = (
    r"https?://\S+",
    r"\bgit\s+(?:clone|fetch|pull|push|ls-remote|submodule\s+update)\b",
    r"\b(?:npm|pnpm|yarn|bun)\s+(?:ci|i|install|add|publish|dlx|exec|create)\b",
    r"\bnpx\b",
    r"\b(?:pip3?|uv|poetry|pipx)\s+(?:pip\s+)?(?:install|sync|add|publish|run)\b",
    r"\b(?:cargo|gem|composer|bundle|brew|apt|apt-get|dnf|apk)\s+(?:install|add|publish|push|update|fetch)\b",
    r"\bgo\s+(?:get|install|mod\s+download)\b",
    r"\b(?:docker|podman)\s+(?:pull|push|login|run|build|compose)\b",
)
_HINT = re.compile("|".join((*_PHRASES, r"\b(?:" + "|".join(_WORDS) + r")\b(?!\.)")))
_WEB = ("WebFetch", "WebSearch")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A shell command the engine runs; `where` is its place in the document."""

    where: str
    run: str


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage may write in the project, and which tools its agent may use (None: any)."""

    stage: str
    writes: list[str]
    tools: list[str] | None = None
    denied: list[str] = []


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """The capability manifest of a workflow; `network` holds what hints at a network, with its place."""

    commands: list[Command]
    network: list[Command]
    stages: list[Reach]


def capabilities(workflow: Workflow) -> Capabilities:
    """Return the capability manifest of a workflow, in the order of its document."""
    commands = [Command(where=f"run_files.{file.name}", run=file.init) for file in workflow.run_files]
    for stage in workflow.stages.values():
        commands += [Command(where=f"stages.{stage.name}.checks.{check.name}", run=check.run) for check in stage.checks]
        if stage.run is not None:
            commands.append(Command(where=f"stages.{stage.name}.run", run=stage.run))
    hints = [Command(where=item.where, run=match[0]) for item in commands for match in _HINT.finditer(item.run)]
    agents = [stage for stage in workflow.stages.values() if stage.kind in ("agent", "review")]
    hints += [Command(where=f"stages.{stage.name}.tools", run=tool) for stage in agents for tool in _web(stage)]
    return Capabilities(commands=commands, network=hints, stages=[_reach(stage) for stage in workflow.stages.values()])


def widened(before: Capabilities, after: Capabilities) -> list[str]:
    """Return what a workflow may do that another version of it might not, a sentence each."""
    had = {item.run for item in before.commands}
    found = [f"new command at {item.where}: {item.run}" for item in after.commands if item.run not in had]
    hinted = {item.run for item in before.network}
    found += [f"new hint of a network at {item.where}: {item.run}" for item in after.network if item.run not in hinted]
    old = {item.stage: item for item in before.stages}
    for item in after.stages:
        known = old.get(item.stage)
        wider = known is not None and "anything" not in known.writes and set(item.writes) - set(known.writes)
        if wider or (known is None and item.writes != []):
            found.append(f"stage {item.stage} may write {', '.join(item.writes)}")
    return found


def _web(stage: Stage) -> list[str]:
    allowed = _WEB if stage.tools.allow is None else stage.tools.allow
    return [tool for tool in _WEB if tool in allowed and tool not in stage.tools.deny]


def _reach(stage: Stage) -> Reach:
    if isinstance(stage.writes, tuple):
        writes = list(stage.writes)
    else:
        writes = [] if stage.writes == "artifact" or stage.kind == "human" else ["anything"]
    allowed = None if stage.tools.allow is None else list(stage.tools.allow)
    if stage.kind in ("command", "human"):
        allowed = []
    return Reach(stage=stage.name, writes=writes, tools=allowed, denied=list(stage.tools.deny))

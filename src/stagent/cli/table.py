"""The command table, and the way from a command's name to its module, imported when it is used.

Commands an agent or hook calls often are parsed in `cli.fast`, without click; all others with click.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

FAST = ("tick", "next", "advance", "wait", "context", "bootstrap")
IN_ATTEMPT = frozenset({"context", "bootstrap", "check", "validate"})
"""What the agent of a headless attempt may call: what reads, and moves nothing."""
PERSONS = frozenset({"approve", "reject", "redo", "answer", "cancel"})
"""What only a person may call; each refuses an agent in its own words."""

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "run": ("run", "Run a task to its end, headless, or go on with a run."),
        "start": ("start", "Set a run up for a session that drives it itself."),
        "interrupt": ("lease", "Pause a run."),
        "continue": ("lease", "Go on with a paused, blocked or given-up run, or take one over."),
        "cancel": ("lease", "End a run for good; asks at the terminal."),
    },
    "Decide": {
        "approve": ("gate", "Approve what the current stage left; asks at the terminal."),
        "reject": ("gate", "Reject what the current stage left; asks at the terminal."),
        "redo": ("gate", "Reject with feedback and have another attempt made."),
        "answer": ("gate", "Choose at a human stage; asks at the terminal."),
    },
    "Read": {
        "status": ("status", "Show where a run stands."),
        "runs": ("runs", "List runs."),
        "show": ("show", "Show a run: its stages, attempts, checks and decisions."),
        "log": ("log", "Print a run's events."),
        "logs": ("logs", "Print what the agents of a run said."),
        "activity": ("activity", "Print what the tools of a session's run were used for."),
        "diff": ("diff", "Print what changed in the project since the run began."),
        "export": ("export", "Write a run as one self-contained report."),
        "audit": ("audit", "Verify a run's log."),
    },
    "Workflows": {
        "template": ("template", "List, show and make workflows."),
        "validate": ("validate", "Check a workflow."),
        "check": ("check", "Run what the engine's own checks run, by hand."),
    },
    "This machine": {
        "ps": ("ps", "List the attempts that run on this machine now."),
        "stop": ("stop", "End one attempt; its run is interrupted."),
        "install": ("install", "Install the Claude Code plugin, or bring it up to date."),
        "doctor": ("doctor", "Look for what is broken and say how to mend it."),
        "config": ("config", "Show or change settings."),
    },
    "For agents and programs": {
        "tick": ("", "Print where the run stands for its driver, as JSON."),
        "next": ("", "Print where a result would lead, as JSON."),
        "advance": ("", "Leave the current stage if everything a transition needs is there."),
        "wait": ("", "Wait until the run changes."),
        "context": ("", "Print what the agent of the current stage must know."),
        "bootstrap": ("", "Print what the sub-agent of the current stage must know."),
        "hook": ("", "What the plugin's hooks and commands ask the program for."),
    },
}
"""Every command under the heading that help lists it by: its module (none for a quick one), and one sentence."""

COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}


def load(name: str) -> click.Command:
    """Return the click command behind a name."""
    module, _ = COMMANDS[name]
    home = import_module(f"stagent.cli.{module or 'fastdoc'}")
    return getattr(home, f"{name}_command")  # type: ignore[no-any-return]  # the table names click commands only

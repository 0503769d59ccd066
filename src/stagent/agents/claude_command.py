"""The command line Claude Code is started with for one attempt."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence

from stagent.core import claudecode
from stagent.core.agentrules import uncarried
from stagent.core.ports import AttemptSpec
from stagent.errors import RefusedError, UsageError

OPTIONS = {
    "program": "the Claude Code program: a path, or a name on the PATH",
    "permissions": "what the agent may do unasked",
    "partial": "1: say words as they come, not message by message",
    "max_turns": "how many turns an attempt may take",
    "max_budget_usd": "what one attempt may cost, in US dollars",
}
PERMISSIONS = {
    "settings": ("--permission-mode", "default"),
    "edits": ("--permission-mode", "acceptEdits"),
    "all": ("--dangerously-skip-permissions",),
}
"""Option -> flags. Always explicit: a default of the user's own may need an answer that nobody gives here."""

LAUNCH = "STAGENT_LAUNCH"
"""The variable that names one start of one process: our hook reports it, so that its report is about this one."""

# What tells a process that it runs inside another session; it would be taken for a part of that one.
_NOT_PASSED_ON = frozenset(
    {
        *("CLAUDECODE", "AI_AGENT", "CLAUDE_PID", "CLAUDE_EFFORT", "CLAUDE_ENV_FILE", "CLAUDE_PROJECT_DIR"),
        *("CLAUDE_PLUGIN_ROOT", "CLAUDE_PLUGIN_DATA", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CODE_SESSION_ATTENDED"),
        *("CLAUDE_CODE_CHILD_SESSION", "CLAUDE_CODE_CHILD_NOTES_DIR", "CLAUDE_CODE_ENTRYPOINT"),
        *("CLAUDE_CODE_EXECPATH", "CLAUDE_CODE_MESSAGING_SOCKET", "CLAUDE_CODE_MESSAGING_TOKEN"),
    }
)


def check(options: Mapping[str, str], env: Mapping[str, str], user: int) -> None:
    """Look at the options before anything is started; `user` is the effective user id.

    Raises UsageError for an unknown option or value, RefusedError for what Claude Code refuses as root.
    """
    for name, text in options.items():
        if name not in OPTIONS:
            raise UsageError(
                "agent.option", f'no option "{name}"', where="agent claude", known=list(OPTIONS), remedy="Correct it."
            )
        if problem := _problem(name, text):
            raise UsageError("agent.option_value", f'{name} "{text}": {problem}', where="agent claude", remedy="")
    root = user == 0 and env.get("IS_SANDBOX") != "1" and not env.get("CLAUDE_CODE_BUBBLEWRAP")
    if options.get("permissions") == "all" and root:
        raise RefusedError(
            "agent.permissions_root",
            "Claude Code skips no permission as root",
            where="agent claude: permissions",
            remedy="Run as another user, use permissions=edits, or inside a container that is a sandbox set "
            "IS_SANDBOX=1.",
        )


def _problem(name: str, text: str) -> str:
    if name == "permissions" and text not in PERMISSIONS:
        return f"known are {', '.join(PERMISSIONS)}"
    if name == "partial" and text not in ("", "0", "1"):
        return "known are 0, 1"
    if name == "max_turns" and not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        return "a whole number above 0 is wanted"
    if name == "max_budget_usd" and not _is_amount(text):
        return "an amount above 0 is wanted, such as 2.50"
    return ""


def _is_amount(text: str) -> bool:
    whole, _, cents = text.partition(".")
    digits = whole + cents
    return digits.isascii() and digits.isdigit() and len(digits) < 12 and float(text) > 0


def arguments(spec: AttemptSpec, plugin: str) -> list[str]:
    """Return everything after the program. Raises UsageError for a text no command line can carry."""
    found = ["-p", "--output-format", "stream-json", "--verbose"]
    if spec.options.get("partial") == "1":
        found.append("--include-partial-messages")
    found += ["--resume", spec.resume] if spec.resume else ["--session-id", str(uuid.uuid4())]
    found += PERMISSIONS[spec.options.get("permissions") or "settings"]
    found += ["--plugin-dir", plugin, "--settings", json.dumps({"enabledPlugins": {claudecode.PLUGIN_ID: False}})]
    texts = {"--append-system-prompt": spec.system_prompt, "--model": spec.model, "--json-schema": spec.schema}
    for flag, text in texts.items():
        if text:
            found += [flag, _carried(flag, text)]
    if spec.options.get("max_turns"):
        found += ["--max-turns", spec.options["max_turns"]]
    costs = [amount for amount in (float(spec.options.get("max_budget_usd") or 0), spec.cost_limit) if amount]
    if costs:
        found += ["--max-budget-usd", f"{min(costs):.6f}".rstrip("0").rstrip(".")]
    return [*found, *_tools(spec)]


def _carried(flag: str, text: str) -> str:
    if what := uncarried(text):
        raise UsageError("agent.argument", what, where=f"agent claude: {flag}", remedy="Shorten or correct it.")
    return text


def _tools(spec: AttemptSpec) -> list[str]:
    """Return the flags that limit tools: `--tools` is what truly limits, `--allowedTools` asks for no permission.

    `Write` stays where an artifact is to be written; there the hook lets it write that and nothing else.
    """
    artifact = spec.schema is None
    denied = [tool for tool in spec.deny_tools if not (artifact and tool == "Write")]
    found = [f"--disallowedTools={_renamed(tool)}" for tool in denied]
    if spec.tools is None:
        return found
    names = list(dict.fromkeys(_renamed(tool).partition("(")[0].strip() for tool in spec.tools))
    built_in = [name for name in names if not name.startswith("mcp__")]
    if artifact and "Write" not in built_in:
        built_in.append("Write")
    return [f"--tools={','.join(built_in)}", *_allowed(spec.tools), *found]


def _allowed(tools: Sequence[str]) -> list[str]:
    return [f"--allowedTools={_renamed(tool)}" for tool in tools]


def _renamed(tool: str) -> str:
    """Return a tool's rule with the name its calls have: the tool that launches sub-agents has two."""
    return f"Agent{tool[4:]}" if tool == "Task" or tool.startswith("Task(") else tool


def environment(env: Mapping[str, str], home: str) -> dict[str, str]:
    """Return the environment of the process: ours, without what would make it a part of the session around us."""
    return {name: text for name, text in env.items() if name not in _NOT_PASSED_ON} | {"STAGENT_HOME": home}


def prompt(text: str) -> bytes:
    """Return what goes to standard input: words, never a slash command, whatever they begin with."""
    return ("\n" + text if text.startswith("/") else text).encode("utf-8", "replace")


def effective_user() -> int:
    """Return the effective user id."""
    return os.geteuid()

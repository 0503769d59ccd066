"""What became of a Claude Code process: judged by its exit, its last result and what it said on the way."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stagent.agents.claude_stream import Talk
from stagent.core.ports import AgentEvent, Verdict

_TAIL = 2000
_SIGNALLED = 128
_LAST_WORDS = 2000


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the judged process was started for; `stream` is where its output is kept, standard error beside it."""

    resume: str | None = None
    schema: str | None = None
    artifact: str = ""
    stream: str = ""


def verdict(exit_code: int, events: Sequence[AgentEvent], asked: Asked, talk: Talk) -> Verdict:
    """Say `ok` only for exit 0 with a last result that is no error, and nothing else that speaks against it."""
    results = [event for event in events if event.kind == "result"]
    last = results[-1] if results else None
    if last is not None and (last.is_error or last.code):
        return _failed_result(last, talk)
    if exit_code != 0 or last is None:
        begun = any(event.kind == "session" for event in events)
        return _broken_off(exit_code, last, asked if not begun else msgspec.structs.replace(asked, resume=None), talk)
    if talk.problems:
        return _failed(talk.problems[0].code, talk.problems[0].text)
    if talk.expected and not talk.hooked:
        return _failed(
            "hook_missing",
            "the hook that applies the stage's rules did not run, so nothing the agent did counts; remove "
            "disableAllHooks from the settings of Claude Code, or see `stagent doctor`",
        )
    if asked.schema is not None and last.structured is None:
        return _failed("schema", "the agent ended without the structured answer that the stage's schema asks for")
    return _refusals(asked, talk)


def _failed_result(last: AgentEvent, talk: Talk) -> Verdict:
    code, words = last.code, last.text[:_LAST_WORDS]
    rejected = talk.limit is not None and talk.limit.code == "rejected"
    if rejected and code in ("api_error", "error", "error_during_execution"):
        code = "rate_limited"
    retry_at = talk.limit.retry_at if code == "rate_limited" and talk.limit is not None else None
    return Verdict(status="failed", code=code, reason=f"{_MEANING.get(code, code)}: {words}", retry_at=retry_at)


_MEANING = {
    "unresumable": "the session cannot be resumed",
    "rate_limited": "the provider's rate limit is reached",
    "overloaded": "the provider is overloaded",
    "api_error": "the provider refused the request",
    "max_turns": "the limit of turns is reached",
    "max_budget": "the limit of cost is reached",
    "schema": "no structured answer of the stage's schema came",
    "hook_stopped": "a hook ended the turn",
    "tool_deferred": "a hook put a tool call off, and nobody is here to go on with it",
}


def _broken_off(exit_code: int, last: AgentEvent | None, asked: Asked, talk: Talk) -> Verdict:
    """Judge an exit that is no success, or one without a result; `asked.resume` is of a session that never began."""
    number = -exit_code if exit_code < 0 else exit_code - _SIGNALLED
    if exit_code < 0 or (last is None and 0 < number < 65):
        return _failed("signal", f"ended by signal {_name(number)}")
    said = _standard_error(asked.stream)
    told = f"; it said: {said}" if said else ""
    if last is not None:
        refused = f"; refused: {', '.join(talk.denials.values())}" if talk.denials else ""
        return _failed("exit", f"exit code {exit_code} after a result{refused}{told}")
    if asked.resume is not None and exit_code != 0:
        return _failed("unresumable", f"the session cannot be resumed: exit code {exit_code}{told}")
    return _failed("no_result", f"exit code {exit_code} without a result{told}")


def _refusals(asked: Asked, talk: Talk) -> Verdict:
    """Judge a good end with refused tool calls: whether they mattered shows in whether the work is there."""
    if not talk.denials:
        return Verdict(status="ok")
    reason = (
        f"the agent was refused: {', '.join(talk.denials.values())}. Allow it in the settings of Claude Code "
        "(permissions.allow) or in the stage's tools, or run with permissions=edits; otherwise do without"
    )
    done = asked.schema is not None or not asked.artifact or Path(asked.artifact).exists()
    code = "permission_denied"
    return Verdict(status="ok" if done else "failed", code=code, reason=reason)


def _failed(code: str, reason: str) -> Verdict:
    return Verdict(status="failed", code=code, reason=reason)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _standard_error(stream: str) -> str:
    """Return the last words on standard error: some errors are said nowhere else."""
    if not stream:
        return ""
    try:
        with open(f"{stream}.stderr", "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            return " ".join(file.read().decode("utf-8", "replace").split())
    except OSError:
        return ""

"""Turns Claude Code's stream-json lines into events, and remembers what its end is judged by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from stagent.agents import claude_lines as lines
from stagent.core import claudecode
from stagent.core.ports import AgentEvent

_SHORT = 200
_LONG = 4000
_HOOK_FAILED = "Stagent: the hook failed"
_GONE = ("no conversation found", "is already in use", "requires a valid session id")
_RESULTS = {
    "max_turns": "max_turns",
    "error_max_turns": "max_turns",
    "budget_exhausted": "max_budget",
    "error_max_budget_usd": "max_budget",
    "error_max_structured_output_retries": "schema",
}


class Talk:
    """One process's output; `expected` is what our hook must report, empty where none is loaded.

    `hooked` says whether it did; what was read before that was of another process. `problems` are errors that stand
    whatever the result says, `limit` is the last word on the provider's limit, `denials` are the calls that were
    refused, each in short.
    """

    def __init__(self, expected: str = "") -> None:
        self.expected = expected
        self.hooked = False
        self._forget()

    def _forget(self) -> None:
        self._begun = False
        self.problems: list[AgentEvent] = []
        self.limit: AgentEvent | None = None
        self.denials: dict[str, str] = {}
        self._counted: str | None = None
        self._current: str | None = None
        self._shown: str | None = None
        self._cost: float | None = None
        self._tokens: int | None = None

    def take(self, line: bytes) -> list[AgentEvent]:
        """Return the events of one line, at least one; never raises."""
        found = lines.read(line)
        if found is None:
            return [say("other", line[:_LONG].decode("utf-8", "replace"))]
        return _READERS[type(found)](self, found) or [say("other", type(found).__name__.lower())]

    # -- what is said ----------------------------------------------------------------------------------------

    def _assistant(self, line: lines.Assistant) -> list[AgentEvent]:
        message, found = line.message, list[AgentEvent]()
        blocks = message.content if isinstance(message.content, list) else [lines.Block("text", message.content)]
        for block in blocks:
            if block.type == "text" and block.text:
                if line.parent_tool_use_id:
                    found.append(say("other", block.text, "agent"))
                elif not message.id or message.id != self._shown:
                    found.append(say("text", block.text))
            elif block.type == "tool_use":
                found.append(AgentEvent(kind="tool", tool=block.name, text=short(block.input)))
        if message.id != self._counted or message.id is None:
            # Each block of a message repeats its usage.
            self._counted = message.id
            tokens = lines.part(message.usage, lines.Usage, lines.Usage()).total
            if tokens > 0:
                found.append(AgentEvent(kind="usage", tokens=tokens))
        return found

    def _user(self, line: lines.User) -> list[AgentEvent]:
        content = line.message.content
        failed = [block for block in content if block.is_error] if isinstance(content, list) else []
        return [say("tool", lines.words(block.content)[:_LONG], "failed", wrong=True) for block in failed]

    def _piece(self, line: lines.StreamEvent) -> list[AgentEvent]:
        piece = line.event
        if line.parent_tool_use_id:
            return []
        if piece.type == "message_start" and piece.message is not None:
            self._current = piece.message.id
        if piece.type != "content_block_delta" or piece.delta is None or not piece.delta.text:
            return []
        # The whole message comes again when it is complete.
        self._shown = self._current
        return [say("text", piece.delta.text, "delta")]

    # -- the session -----------------------------------------------------------------------------------------

    def _system(self, line: lines.System) -> list[AgentEvent]:
        if line.subtype == "init":
            return self._init(line)
        if line.subtype == "hook_response":
            if self.expected and not self.hooked and lines.report(line.output) == self.expected:
                self.hooked = True
                self._forget()
            return [say("other", f"hook {line.hook_event}")]
        if line.subtype == "permission_denied":
            text = lines.words(line.message)[:_LONG]
            return [say("tool", text, "permission_denied", tool=line.tool_name, wrong=True)]
        if line.subtype == "api_retry":
            return [say("other", _retry(line), "api_retry")]
        text = next(filter(None, map(lines.words, (line.content, line.summary, line.description))), line.subtype)
        if _HOOK_FAILED in text:
            return [self._problem("hook_failed", text[:_LONG])]
        return [say("other", text[:_LONG], line.subtype)]

    def _init(self, line: lines.System) -> list[AgentEvent]:
        found = [say("session", line.session_id)]
        if self._begun:  # a turn after a background task's end begins with another one
            return found
        self._begun = True
        found += self._version(line.claude_code_version)
        errors = lines.part(line.plugin_errors, list[lines.PluginError], [])
        found += [say("error", _plugin(error), "plugin") for error in errors]
        plugins = lines.part(line.plugins, list[lines.PluginRow], [])
        if self.expected and claudecode.RUNNER_PLUGIN not in [plugin.name for plugin in plugins]:
            why = "; ".join(map(_plugin, errors))
            found.append(self._problem("hook_missing", "the plugin that applies the stage's rules was not loaded", why))
        if self.expected and claudecode.PLUGIN_ID in [plugin.source for plugin in plugins]:
            found.append(self._problem("plugin", f"{claudecode.PLUGIN_ID} is loaded beside the runner's own plugin"))
        return found

    def _version(self, text: str) -> list[AgentEvent]:
        found = claudecode.version(text)
        if found is None:
            return []
        if found < claudecode.OLDEST:
            oldest = claudecode.dotted(claudecode.OLDEST)
            return [self._problem("version", f"it is version {text}; the oldest we can drive is {oldest}")]
        if found >= claudecode.BELOW:
            below = claudecode.dotted(claudecode.BELOW)
            return [say("other", f"version {text} is newer than tried: below {below}", "version")]
        return []

    def _problem(self, code: str, *parts: str) -> AgentEvent:
        event = say("error", ": ".join(filter(None, parts)), code, wrong=True)
        self.problems.append(event)
        return event

    def _limit(self, line: lines.RateLimit) -> list[AgentEvent]:
        info = line.rate_limit_info
        at = int(info.resets_at * 1000) if info.resets_at is not None and 0 < info.resets_at < 1e11 else None
        used = "" if info.utilization is None else f", {info.utilization:.0%} used"
        text = f"{info.rate_limit_type or 'limit'} {info.status}{used}"
        self.limit = msgspec.structs.replace(say("limit", text, info.status), retry_at=at)
        return [self.limit]

    # -- the end ---------------------------------------------------------------------------------------------

    def _result(self, line: lines.Result) -> list[AgentEvent]:
        errors = lines.part(line.errors, list[str], [])
        text = lines.words(line.result) or "; ".join(errors)
        self._add(line)
        structured = bytes(line.structured_output).decode("utf-8", "replace")
        code = _code(line, text)
        result = AgentEvent(
            kind="result",
            text=text,
            is_error=line.is_error,
            code=code,
            structured=None if structured in ("", "null") else structured,
            cost_usd=self._cost,
            tokens=self._tokens,
        )
        return [*self._denied(line), result]

    def _add(self, line: lines.Result) -> None:
        """Add what this result cost: the totals it states count the whole session, earlier processes included."""
        if not lines.number(line.result_index):
            self._cost = self._tokens = None
        if bytes(line.models):
            used = lines.part(line.models, dict[str, lines.ModelUsage], {}).values()
            self._cost = (self._cost or 0.0) + sum(max(model.cost, 0.0) for model in used)
            self._tokens = (self._tokens or 0) + sum(max(model.total, 0) for model in used)
            return
        self._cost = lines.number(line.total_cost_usd)
        self._tokens = (self._tokens or 0) + lines.part(line.usage, lines.Usage, lines.Usage()).total

    def _denied(self, line: lines.Result) -> list[AgentEvent]:
        denials = lines.part(line.permission_denials, list[lines.Denial], [])
        if not denials:
            return []
        said = [f"{denial.tool_name} ({short(denial.tool_input)})" for denial in denials]
        for denial, text in zip(denials, said, strict=True):
            self.denials[denial.tool_use_id or text] = text
        return [say("other", "refused: " + ", ".join(said)[:_LONG], "permission_denied")]


_READERS: dict[type, Callable[[Talk, Any], list[AgentEvent]]] = {
    lines.Assistant: Talk._assistant,
    lines.User: Talk._user,
    lines.StreamEvent: Talk._piece,
    lines.System: Talk._system,
    lines.RateLimit: Talk._limit,
    lines.Result: Talk._result,
}


def short(given: msgspec.Raw) -> str:
    """Return what a tool call is about, in one line of at most 200 characters."""
    found = lines.part(given, lines.Given, lines.Given())
    fields = [found.command, found.file_path, found.notebook_path, found.path, found.pattern, found.url, found.query]
    fields += [found.skill, found.description, found.prompt]
    text = next(filter(None, (lines.part(field, str, "") for field in fields)), "")
    return " ".join(text[: _SHORT * 4].split())[:_SHORT]


def _code(line: lines.Result, text: str) -> str:
    status = lines.number(line.api_error_status)
    reason = line.terminal_reason or "completed"
    if any(sign in text[:_LONG].lower() for sign in _GONE) and line.is_error:
        return "unresumable"
    if status in (429, 529):
        return "rate_limited" if status == 429 else "overloaded"
    known = _RESULTS.get(reason) or _RESULTS.get(line.subtype)
    if known:
        return known
    if reason != "completed":
        return reason
    return (line.subtype if line.subtype not in ("", "success") else "error") if line.is_error else ""


def _retry(line: lines.System) -> str:
    delay = (lines.number(line.retry_delay_ms) or 0.0) / 1000
    what = f"{lines.words(line.error)} {lines.words(line.error_status)}".strip()
    return f"{what}: try {lines.words(line.attempt)} of {lines.words(line.max_retries)} in {delay:.1f} s"


def _plugin(error: lines.PluginError) -> str:
    return f"{error.plugin}: {error.message}"


def say(kind: str, text: str, code: str = "", *, tool: str = "", wrong: bool = False) -> AgentEvent:
    """Return an event; `code` is our word for what it is about."""
    return AgentEvent(kind=kind, text=text, code=code, tool=tool, is_error=wrong)

"""What an attempt's events add up to: passed on as they come, kept within bounds, judged at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from stagent.core.ports import AgentBackend, AgentEvent, Outcome, Verdict
from stagent.runner.streams import unparsed

_KEEP_TEXT = 64 * 1024
_KEEP_DECISIVE = 512
_KEEP_OTHER = 64
_DECISIVE = frozenset({"session", "usage", "limit", "result", "error"})


class Ledger:
    """Turns output lines into events, hands each on, and remembers what decides how the attempt ended.

    Costs and tokens: the last `result` event that names them counts for the whole attempt; without one the `usage`
    events are summed up.
    """

    def __init__(self, backend: AgentBackend, on_event: Callable[[AgentEvent], None]) -> None:
        self._backend = backend
        self._on_event = on_event
        self._count = 0
        # Apart, so that a flood of text cannot push out the event that decides.
        self._decisive: deque[tuple[int, AgentEvent]] = deque(maxlen=_KEEP_DECISIVE)
        self._others: deque[tuple[int, AgentEvent]] = deque(maxlen=_KEEP_OTHER)
        self._session: str | None = None
        self._result: AgentEvent | None = None
        self._used: dict[str, float] = {}
        self._total: dict[str, float] = {}

    def take(self, line: bytes) -> None:
        """Take one output line. Raises what the callback raises."""
        for event in self._backend.parse(line):
            self._note(event)

    def take_long(self, length: int) -> None:
        """Take note of a line of `length` bytes that was too long to parse."""
        self._note(unparsed(length))

    def _note(self, event: AgentEvent) -> None:
        if event.kind == "session" and event.text:
            self._session = event.text
        if event.kind == "result":
            self._result = event
        amounts = {"cost_usd": event.cost_usd, "tokens": event.tokens}
        for name, amount in amounts.items():
            if amount is not None and event.kind == "result":
                self._total[name] = amount
            elif amount is not None and event.kind == "usage":
                self._used[name] = self._used.get(name, 0) + amount
        kept = event
        if len(event.text) > _KEEP_TEXT:
            kept = msgspec.structs.replace(event, text=event.text[:_KEEP_TEXT])
        self._count += 1
        (self._decisive if event.kind in _DECISIVE else self._others).append((self._count, kept))
        self._on_event(event)

    def _events(self) -> list[AgentEvent]:
        both = sorted([*self._decisive, *self._others], key=lambda item: item[0])
        return [event for _, event in both]

    def outcome(self, cause: str, exit_code: int | None, digest: str | None, size: int) -> Outcome:
        """Return how the attempt ended; `cause` is why we ended it (`stopped`, `timeout`) or empty."""
        status, verdict = self._verdict(cause, exit_code)
        used = {**self._used, **self._total}
        return Outcome(
            status=status,
            exit=exit_code,
            reason=verdict.reason,
            code=verdict.code,
            retry_at=verdict.retry_at,
            result=self._result.text if self._result else "",
            structured=self._result.structured if self._result else None,
            session=self._session,
            cost_usd=used.get("cost_usd"),
            tokens=int(used["tokens"]) if "tokens" in used else None,
            stream_digest=digest,
            stream_bytes=size,
        )

    def _verdict(self, cause: str, exit_code: int | None) -> tuple[str, Verdict]:
        if cause:
            reason = "ended on request" if cause == "stopped" else "took longer than its timeout"
            return cause, Verdict(status="failed", reason=reason)
        if exit_code is None:
            return "failed", Verdict(status="failed", reason="its exit is unknown")
        verdict = self._backend.judge(exit_code, self._events())
        return verdict.status, verdict

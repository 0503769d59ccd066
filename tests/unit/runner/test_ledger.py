from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from stagent.agents.scripted import ScriptedBackend
from stagent.core.ports import AgentEvent, Verdict
from stagent.runner.ledger import Ledger


class Plain:
    """A backend whose lines are events in JSON; it keeps what it was asked to judge."""

    name = "plain"
    launch = ScriptedBackend.launch

    def __init__(self) -> None:
        self.judged: list[AgentEvent] = []

    def parse(self, line: bytes) -> list[AgentEvent]:
        return [msgspec.json.decode(line, type=AgentEvent)]

    def judge(self, exit_code: int, events: Sequence[AgentEvent]) -> Verdict:
        self.judged = list(events)
        return Verdict(status="ok", reason=f"code {exit_code}")


def fill(*events: AgentEvent) -> tuple[Ledger, Plain, list[AgentEvent]]:
    seen: list[AgentEvent] = []
    backend = Plain()
    ledger = Ledger(backend, seen.append)
    for event in events:
        ledger.take(msgspec.json.encode(event))
    return ledger, backend, seen


def test_usage_is_summed_and_a_result_counts_for_the_whole() -> None:
    usage = [AgentEvent(kind="usage", cost_usd=0.25, tokens=10), AgentEvent(kind="usage", cost_usd=0.5)]
    ledger, _, _ = fill(*usage)
    outcome = ledger.outcome("", 0, "d", 1)
    assert (outcome.cost_usd, outcome.tokens) == (0.75, 10)
    ledger, _, _ = fill(*usage, AgentEvent(kind="result", cost_usd=0.9))
    outcome = ledger.outcome("", 0, "d", 1)
    assert (outcome.cost_usd, outcome.tokens) == (0.9, 10)


def test_without_any_usage_nothing_is_claimed() -> None:
    outcome = fill(AgentEvent(kind="text", text="x"))[0].outcome("", 0, "d", 1)
    assert (outcome.cost_usd, outcome.tokens, outcome.session) == (None, None, None)


def test_the_last_session_counts() -> None:
    events = [AgentEvent(kind="session", text=text) for text in ("a", "b", "")]
    assert fill(*events)[0].outcome("", 0, "d", 1).session == "b"


@pytest.mark.parametrize("cause", ["stopped", "timeout"])
def test_what_we_ended_is_not_judged(cause: str) -> None:
    ledger, backend, _ = fill(AgentEvent(kind="result"))
    assert ledger.outcome(cause, 0, "d", 1).status == cause
    assert backend.judged == []


def test_an_unknown_exit_is_a_failure() -> None:
    assert fill(AgentEvent(kind="result"))[0].outcome("", None, "d", 1).status == "failed"


def test_a_flood_of_text_does_not_push_out_what_decides() -> None:
    result = AgentEvent(kind="result", text="done")
    ledger, backend, seen = fill(result, *[AgentEvent(kind="text", text=str(n)) for n in range(5000)])
    ledger.outcome("", 0, "d", 1)
    assert len(seen) == 5001
    assert backend.judged[0] == result
    assert backend.judged[-1].text == "4999"
    assert len(backend.judged) < 1000


def test_a_large_text_is_passed_on_whole_and_judged_in_part() -> None:
    ledger, backend, seen = fill(AgentEvent(kind="result", text="x" * 1_000_000))
    ledger.outcome("", 0, "d", 1)
    assert len(seen[0].text) == 1_000_000
    assert len(backend.judged[0].text) == 64 * 1024


def test_the_last_result_is_what_the_agent_said_at_the_end() -> None:
    first = AgentEvent(kind="result", text="half", structured='{"a":1}')
    last = AgentEvent(kind="result", text="whole", structured='{"a":2}')
    ledger, _, _ = fill(first, AgentEvent(kind="text", text="between"), last)
    outcome = ledger.outcome("", 0, "d", 1)
    assert (outcome.result, outcome.structured) == ("whole", '{"a":2}')
    nothing, _, _ = fill(AgentEvent(kind="text", text="between"))
    assert (nothing.outcome("", 0, "d", 1).result, nothing.outcome("", 0, "d", 1).structured) == ("", None)

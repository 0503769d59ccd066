"""The real program, attempt by attempt: good ends, refused requests, resumed sessions, and ends from outside."""

from __future__ import annotations

import os
import signal

import pytest

from acceptance.headless.kit import Office
from stagent.core.ports import AgentEvent
from stagent.runner.supervisor import Supervisor
from stagent.testing.scripted_model import Rule, Thread, Turn, failure, of_agents, of_main, says, text, tool


def test_a_good_attempt_leaves_its_artifact_and_says_what_it_cost(office: Office) -> None:
    office.model.say(Thread([tool("Write", file_path=str(office.artifact), content=office.report()), text("Done.")]))
    ended = office.attempt(system_prompt="You are Ada.", model="sonnet", prompt="/cost is no command here.")
    assert (ended.outcome.status, ended.outcome.code, ended.outcome.result) == ("ok", "", "Done.")
    assert office.artifact.read_text() == office.report()
    assert ended.outcome.tokens == 2100
    assert ended.outcome.cost_usd is not None
    assert ended.outcome.cost_usd > 0
    assert ended.outcome.session == ended.init["session_id"]
    assert [event.text for event in ended.of("text")] == ["Done."]
    assert [(event.tool, event.text) for event in ended.of("tool")] == [("Write", str(office.artifact))]
    request = office.model.main[0]
    assert "/cost is no command here." in request.whole
    assert "You are Ada." in str(request.body["system"])
    assert "sonnet" in request.body["model"]
    assert not (office.project / ".claude").exists()


@pytest.mark.parametrize(
    ("status", "code"), [(529, "overloaded"), (500, "api_error"), (429, "rate_limited"), (401, "api_error")]
)
def test_a_refused_request_is_named(office: Office, status: int, code: str) -> None:
    office.model.say(Rule(of_main, failure(status)))
    ended = office.attempt(env={"CLAUDE_CODE_MAX_RETRIES": "1"})
    assert (ended.outcome.status, ended.outcome.code, ended.outcome.exit) == ("failed", code, 1)
    assert str(status) in ended.outcome.reason
    assert [event.code for event in ended.of("other")].count("api_retry") == 1


def test_a_resumed_session_carries_the_conversation_and_the_feedback(office: Office) -> None:
    office.model.say(Thread([text("My first answer."), text("My second answer.")]))
    first = office.attempt(prompt="The task.")
    second = office.attempt(prompt="The feedback.", resume=first.outcome.session)
    assert second.outcome.status == "ok"
    assert second.outcome.session == first.outcome.session
    whole = office.model.main[-1].whole
    places = [whole.index(words) for words in ("The task.", "My first answer.", "The feedback.")]
    assert places == sorted(places)
    # The program states the cost of the whole session; an attempt is charged for its own part.
    assert second.outcome.cost_usd == pytest.approx(first.outcome.cost_usd)
    assert second.outcome.tokens == first.outcome.tokens == 1050


@pytest.mark.parametrize("session", ["0f0f0f0f-0000-4000-8000-000000000000", "no-such-title"])
def test_a_session_that_is_gone_cannot_be_resumed(office: Office, session: str) -> None:
    ended = office.attempt(resume=session)
    assert (ended.outcome.status, ended.outcome.code) == ("failed", "unresumable")
    assert session in ended.outcome.reason
    assert office.model.main == []


def test_limits_of_turns_and_cost_end_an_attempt(office: Office) -> None:
    office.model.say(Rule(of_main, tool("Read", file_path=str(office.project / "src.py"))))
    turns = office.attempt(options={"max_turns": "1"})
    assert (turns.outcome.status, turns.outcome.code) == ("failed", "max_turns")
    cost = office.attempt(options={"max_budget_usd": "0.001"})
    assert (cost.outcome.status, cost.outcome.code) == ("failed", "max_budget")


def test_the_last_of_two_results_counts_and_cost_is_added_once(office: Office) -> None:
    launched = tool("Agent", description="d", prompt="Help.", subagent_type="general-purpose")
    office.model.say(
        Rule(of_agents, text("Helped.", delay=1.0)), Thread([launched, text("Waiting."), text("All done.")])
    )
    ended = office.attempt()
    results = ended.of("result")
    assert [event.text for event in results] == ["Waiting.", "All done."]
    assert (ended.outcome.status, ended.outcome.result) == ("ok", "All done.")
    assert ended.outcome.tokens == 4 * 1050
    stated = [line["total_cost_usd"] for line in ended.lines if line.get("type") == "result"]
    assert ended.outcome.cost_usd == pytest.approx(max(stated))
    assert "Helped." not in [event.text for event in ended.of("text")]


def test_words_come_once_with_partial_messages(office: Office) -> None:
    office.model.say(Thread([Turn(({"type": "text", "text": "One."}, {"type": "text", "text": "Two."}))]))
    ended = office.attempt(options={"partial": "1"})
    assert [event.text for event in ended.of("text")] == ["One.", "Two."]
    assert {event.code for event in ended.of("text")} == {"delta"}


def test_a_killed_attempt_is_named_by_its_signal(office: Office) -> None:
    office.model.say(Thread([text("Never.", delay=20)]))
    pids: list[int] = []

    def kill(_supervisor: Supervisor, event: AgentEvent) -> None:
        if event.kind == "session":
            os.kill(pids[0], signal.SIGKILL)

    ended = office.attempt(during=kill, started=pids.append)
    assert (ended.outcome.status, ended.outcome.code, ended.outcome.exit) == ("failed", "signal", -9)
    assert "SIGKILL" in ended.outcome.reason
    assert ended.outcome.session


def test_a_terminated_attempt_is_named_by_its_signal(office: Office) -> None:
    office.model.say(Thread([text("Never.", delay=20)]))
    pids: list[int] = []

    def end(_supervisor: Supervisor, event: AgentEvent) -> None:
        if event.kind == "session":
            os.killpg(pids[0], signal.SIGTERM)

    ended = office.attempt(during=end, started=pids.append)
    assert (ended.outcome.status, ended.outcome.code, ended.outcome.exit) == ("failed", "signal", 143)
    assert "SIGTERM" in ended.outcome.reason


def test_a_stopped_attempt_ends_in_time_and_can_be_resumed(office: Office) -> None:
    office.model.say(
        Rule(says("Go on."), text("I went on.")),
        Thread([tool("Read", file_path=str(office.project / "src.py")), text("Never.", delay=20)]),
    )
    stopped = office.attempt(during=lambda supervisor, event: supervisor.stop() if event.kind == "tool" else None)
    assert stopped.outcome.status == "stopped"
    assert stopped.outcome.tokens == 1050
    again = office.attempt(resume=stopped.outcome.session, prompt="Go on.")
    assert again.outcome.status == "ok"
    assert again.outcome.result == "I went on."

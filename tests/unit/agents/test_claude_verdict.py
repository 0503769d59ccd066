"""What becomes of a process, by its exit, its events and what it was started for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.agents.claude_stream import Talk, say
from stagent.agents.claude_verdict import Asked, verdict
from stagent.core.ports import AgentEvent, Verdict

OK = AgentEvent(kind="result", text="Done.")
SESSION = say("session", "s-1")


def judged(exit_code: int, *events: AgentEvent, talk: Talk | None = None, **asked: Any) -> Verdict:
    return verdict(exit_code, events, Asked(**asked), talk or Talk())


def ended(code: str = "", *, wrong: bool = True, text: str = "Words.") -> AgentEvent:
    return AgentEvent(kind="result", text=text, code=code, is_error=wrong)


def hooked() -> Talk:
    talk = Talk("a/1")
    talk.hooked = True
    return talk


@pytest.mark.parametrize(
    ("exit_code", "events", "status", "code"),
    [
        (0, [OK], "ok", ""),
        (0, [ended("error"), OK], "ok", ""),
        (0, [OK, ended("error")], "failed", "error"),
        (0, [], "failed", "no_result"),
        (1, [], "failed", "no_result"),
        (1, [OK], "failed", "exit"),
        (0, [ended("hook_stopped", wrong=False)], "failed", "hook_stopped"),
        (1, [ended("max_turns")], "failed", "max_turns"),
        (1, [ended("api_error")], "failed", "api_error"),
        (-9, [SESSION], "failed", "signal"),
        (143, [SESSION], "failed", "signal"),
        (130, [], "failed", "signal"),
        (127, [], "failed", "no_result"),
        (255, [], "failed", "no_result"),
        (-9, [OK], "failed", "signal"),
    ],
)
def test_ends(exit_code: int, events: list[AgentEvent], status: str, code: str) -> None:
    found = judged(exit_code, *events)
    assert (found.status, found.code) == (status, code)
    assert bool(found.reason) == (status == "failed")


def test_a_signal_is_named() -> None:
    assert "SIGTERM" in judged(143).reason
    assert "SIGKILL" in judged(-9).reason
    assert "63" in judged(-63).reason


@given(st.integers(-64, 255), st.lists(st.sampled_from([OK, SESSION, ended("error"), ended()])))
def test_ok_needs_exit_0_and_a_good_last_result(exit_code: int, events: list[AgentEvent]) -> None:
    results = [event for event in events if event.kind == "result"]
    good = exit_code == 0 and bool(results) and results[-1] == OK
    assert (judged(exit_code, *events).status == "ok") == good


def test_a_limit_says_when_it_ends() -> None:
    talk = Talk()
    talk.limit = AgentEvent(kind="limit", code="rejected", retry_at=1_800_000_000_000)
    for code in ("rate_limited", "api_error", "error"):
        found = judged(1, ended(code), talk=talk)
        assert (found.code, found.retry_at) == ("rate_limited", 1_800_000_000_000)
    assert judged(1, ended("max_turns"), talk=talk).code == "max_turns"
    talk.limit = AgentEvent(kind="limit", code="allowed_warning", retry_at=1)
    assert judged(1, ended("api_error"), talk=talk).code == "api_error"


def test_a_hook_that_did_not_run_takes_everything_back() -> None:
    assert judged(0, OK, talk=hooked()).status == "ok"
    found = judged(0, OK, talk=Talk("a/1"))
    assert (found.status, found.code) == ("failed", "hook_missing")
    talk = hooked()
    talk.problems.append(say("error", "broken", "hook_failed"))
    found = judged(0, OK, talk=talk)
    assert (found.status, found.code, found.reason) == ("failed", "hook_failed", "broken")
    # What kept the work from being done at all is the better reason.
    assert judged(1, ended("overloaded"), talk=Talk("a/1")).code == "overloaded"


def test_a_schema_wants_a_structured_answer() -> None:
    assert judged(0, OK, schema="{}").code == "schema"
    answered = AgentEvent(kind="result", structured="{}")
    assert judged(0, answered, schema="{}").status == "ok"


def test_a_session_that_never_began_again_is_unresumable() -> None:
    assert judged(1, resume="s-1").code == "unresumable"
    assert judged(1, SESSION, resume="s-1").code == "no_result"
    assert judged(0, resume="s-1").code == "no_result"
    assert judged(1, ended("unresumable"), resume="s-1").code == "unresumable"


def test_standard_error_is_read_where_nothing_else_was_said(tmp_path: Path) -> None:
    stream = tmp_path / "1.ndjson"
    assert judged(1, stream=str(stream)).reason == "exit code 1 without a result"
    Path(f"{stream}.stderr").write_bytes(b"x" * 9000 + b"\nError: Session ID s is \xff already in use.\n")
    reason = judged(1, stream=str(stream), resume="s").reason
    assert reason.endswith("already in use.")
    assert len(reason) < 2200


def test_refused_calls_matter_where_the_work_is_missing(tmp_path: Path) -> None:
    talk, artifact = hooked(), tmp_path / "work-report.md"
    talk.denials = {"t1": "Bash (touch x)", "t2": "Write (y)"}
    found = judged(0, OK, talk=talk, artifact=str(artifact))
    assert (found.status, found.code) == ("failed", "permission_denied")
    assert "Bash (touch x), Write (y)" in found.reason
    assert "permissions.allow" in found.reason
    artifact.write_text("x")
    found = judged(0, OK, talk=talk, artifact=str(artifact))
    assert (found.status, found.code) == ("ok", "permission_denied")
    artifact.unlink()
    answered = AgentEvent(kind="result", structured="{}")
    assert judged(0, answered, talk=talk, artifact=str(artifact), schema="{}").status == "ok"
    assert "Bash (touch x)" in judged(1, OK, talk=talk).reason

"""One attempt after the other: what the agent is given, what its end comes to, and what the log keeps of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stagent.agents.claude_stream import _RESULTS
from stagent.agents.claude_verdict import _MEANING
from stagent.core import commands as cmd
from stagent.core.events import AttemptStarted
from stagent.core.ports import AgentEvent, Verdict
from stagent.errors import RefusedError
from stagent.runner.attempt import FAILURES
from unit.runner.runner_world import OK, WRITES, RunnerWorld, failed, says

STRUCTURED = json.dumps({"result": "done", "notes": "n"})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RunnerWorld]:
    made = RunnerWorld(tmp_path)
    yield made
    made.close()


def test_a_good_attempt_is_in_the_log_with_all_it_used(world: RunnerWorld) -> None:
    world.begin()
    used = says("result", cost_usd=0.25, tokens=7)
    world.play((f"{says('session', text='s-1')}; {WRITES}; {used}", OK))
    world.make(world.maker())
    [began], [ended] = world.log("attempt.started"), world.log("attempt.ended")
    assert (began["backend"], began["number"], began["stage"]) == ("played", 1, "work")
    assert (ended["outcome"], ended.get("code", ""), ended["session"]) == ("ok", "", "s-1")
    assert (ended["cost_usd"], ended["tokens"], ended["exit"]) == (0.25, 7, 0)
    assert world.now.attempt_open is False
    assert not list((world.root / "data" / "live").glob("attempt-*"))


@pytest.mark.parametrize("word", sorted(FAILURES))
def test_a_known_word_becomes_the_code(world: RunnerWorld, word: str) -> None:
    world.begin()
    world.play(("true", failed(word)))
    world.make(world.maker())
    outcome = "void" if word in ("rate_limited", "overloaded") else "failed"
    assert world.ends() == [(outcome, f"attempt.{word}")]


@pytest.mark.parametrize("word", ["", "something_new", "Free text, even: this."])
def test_any_other_word_is_told_by_the_reason_alone(world: RunnerWorld, word: str) -> None:
    world.begin()
    world.play(("true", failed(word, "Its own reason.")))
    world.make(world.maker())
    assert world.ends() == [("failed", "attempt.failed")]
    assert world.service.text(world.now.feedback) == "Its own reason."


def test_every_word_of_claude_code_is_known() -> None:
    assert {*_MEANING, *_RESULTS.values()} <= FAILURES


def test_a_reason_is_kept_without_secrets(world: RunnerWorld) -> None:
    world.begin()
    world.play(("true", failed("", "The key sk-abcdefghijklmnop1234 is wrong.")))
    world.make(world.maker())
    assert world.service.text(world.now.feedback) == "The key [masked] is wrong."


def test_a_session_that_is_gone_is_left_and_nothing_counts(world: RunnerWorld) -> None:
    world.begin()
    maker = world.maker()
    said = says("session", text="s-1")
    world.played._steps = [(said, failed("no_result")), ("true", failed("unresumable")), (f"{said}; {WRITES}", OK)]
    for _ in range(3):
        world.make(maker)
    assert [spec.resume for spec in world.played.specs] == [None, "s-1", None]
    assert [outcome for outcome, _ in world.ends()] == ["failed", "void", "ok"]
    assert world.now.refused == 1
    # What the first one came to is still what the third is told.
    assert "It broke." in world.played.specs[2].prompt
    assert "Do it." not in world.played.specs[1].prompt
    assert "Do it." in world.played.specs[2].prompt


def test_one_that_began_afresh_cannot_lack_its_session(world: RunnerWorld) -> None:
    world.begin()
    world.play(("true", failed("unresumable")))
    world.make(world.maker())
    assert world.ends() == [("failed", "attempt.unresumable")]
    assert world.now.refused == 1


def test_the_pause_doubles_up_to_its_longest_and_ends_after_eight(
    world: RunnerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGENT_PROVIDER_PAUSE", "60")
    world.begin()
    world.service.clock = lambda: 1_000_000
    world.play(("true", failed("overloaded")))
    maker = world.maker()
    made = [world.make(maker).retry_at for _ in range(9)]
    seconds = [None if at is None else (at - 1_000_000) / 1000 for at in made]
    assert seconds == [60, 120, 240, 480, 900, 900, 900, 900, None]
    assert [outcome for outcome, _ in world.ends()] == ["void"] * 8 + ["failed"]


@pytest.mark.parametrize(("named", "at"), [(500_000, 500_000), (1_000, 31_000), (-5_000, 31_000), (None, 31_000)])
def test_the_provider_names_the_time_itself_unless_it_is_over(world: RunnerWorld, named: int | None, at: int) -> None:
    world.begin()
    world.service.clock = lambda: 1_000
    world.play(("true", failed("rate_limited", retry_at=named)))
    assert world.make(world.maker()).retry_at == at
    assert world.ends() == [("void", "attempt.rate_limited")]


@pytest.mark.parametrize(("named", "outcome"), [(3_600_000, "void"), (3_600_001, "failed")])
def test_a_wait_may_have_an_end(world: RunnerWorld, monkeypatch: pytest.MonkeyPatch, named: int, outcome: str) -> None:
    monkeypatch.setenv("STAGENT_PROVIDER_LONGEST", "60")
    world.begin()
    world.service.clock = lambda: 0
    world.play(("true", failed("rate_limited", retry_at=named)))
    assert world.make(world.maker()).retry_at == (named if outcome == "void" else None)
    assert world.ends() == [(outcome, "attempt.rate_limited")]


def test_a_time_that_is_over_each_time_is_waited_for_longer_each_time(world: RunnerWorld) -> None:
    world.begin()
    world.service.clock = lambda: 1_000_000
    world.play(("true", failed("rate_limited", retry_at=995_000)))
    maker = world.maker()
    made = [world.make(maker).retry_at for _ in range(3)]
    assert made == [1_030_000, 1_060_000, 1_120_000]


def test_another_end_in_between_begins_the_pauses_again(world: RunnerWorld) -> None:
    world.begin()
    world.service.clock = lambda: 0
    away = ("true", failed("overloaded"))
    world.play(away, away, ("true", failed("api_error")), away)
    maker = world.maker()
    assert [world.make(maker).retry_at for _ in range(4)] == [30_000, 60_000, None, 30_000]


def test_a_time_to_come_back_means_nothing_for_any_other_failure(world: RunnerWorld) -> None:
    world.begin()
    world.play(("true", failed("api_error", retry_at=123)))
    assert world.make(world.maker()).retry_at is None
    assert world.ends() == [("failed", "attempt.api_error")]


# --- what an answer becomes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "verdict", "outcome", "begins"),
    [
        (says("result", structured=STRUCTURED), OK, "ok", "---\nepoch: 1\nresult: done\n---\n\n```json"),
        (says("result", text="---\nepoch: 1\nresult: done\n---\nText.\n"), OK, "ok", "---\nepoch: 1\nresult: done"),
        (f"{WRITES}; {says('result', structured=STRUCTURED)}", OK, "ok", "---\nepoch: 1\nresult: done\n---\nr-"),
        (says("result", text="Only words."), OK, "ok", None),
        (says("result", structured="[1]"), OK, "ok", None),
        ("true", Verdict(status="ok", code="permission_denied", reason="Refused: Bash."), "failed", None),
        (WRITES, Verdict(status="ok", code="permission_denied", reason="Refused: Bash."), "ok", "---\nepoch: 1"),
    ],
)
def test_answers(world: RunnerWorld, command: str, verdict: Verdict, outcome: str, begins: str | None) -> None:
    world.begin({"work": {"transitions": {"done": "complete", "again": "work"}}})
    world.play((command, verdict))
    world.make(world.maker())
    assert [end for end, _ in world.ends()] == [outcome]
    assert world.artifact.exists() == (begins is not None)
    if begins is not None:
        assert world.artifact.read_text().startswith(begins)


def test_an_answer_takes_the_place_of_an_artifact_that_lay_there_before(world: RunnerWorld) -> None:
    world.begin()
    world.artifact.write_text("---\nepoch: 1\nresult: done\n---\nOld.\n")
    world.play((says("result", structured=STRUCTURED), OK))
    world.make(world.maker())
    assert "Old." not in world.artifact.read_text()


# --- being stopped ----------------------------------------------------------------------------------------------------


def test_nothing_is_begun_after_a_stop(world: RunnerWorld) -> None:
    world.begin()
    maker = world.maker()
    maker.stop()
    assert world.make(maker) is not None
    assert world.log("attempt.started") == []


def test_a_stop_leaves_what_was_said_about_the_work(world: RunnerWorld) -> None:
    world.begin()
    world.play(("true", failed("", "The sum is wrong.")), (f"{says('text', text='on')}; sleep 60", OK))
    maker = world.maker()
    world.make(maker)
    maker._on_event = lambda event: maker.stop()
    world.make(maker)
    assert world.ends()[1] == ("stopped", "attempt.stopped")
    assert world.service.text(world.now.feedback) == "The sum is wrong."
    assert world.now.refused == 1


def test_a_lost_lease_ends_the_attempt(world: RunnerWorld) -> None:
    world.begin()
    state = world.now
    maker = world.maker()
    world.play(("sleep 60", OK))
    maker.backend = world.played
    old = msgspec.structs.replace(world.caller, fence=state.fence + 1)
    with pytest.raises(RefusedError, match="does not drive the run"):
        maker.make(state, world.service.workflow(state).stages["work"], old)
    assert world.log("attempt.started") == []


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_limit_that_is_met_ends_the_attempt_and_a_warning_does_not(world: RunnerWorld) -> None:
    world.begin(budget={"tokens": {"warn": 10, "pause": 25}})
    spent = says("usage", tokens=10)
    world.play((f"{spent}; {spent}; {spent}; sleep 60", OK))
    made = world.make(world.maker())
    assert made.limit is not None
    assert (made.limit.budget, made.limit.action, made.limit.spent) == ("tokens", "pause", 30)
    assert [event["action"] for event in world.log("budget.reached")] == ["warn"]
    assert world.ends() == [("stopped", "attempt.stopped")]


def test_the_program_gets_what_is_left_of_cost_and_time(world: RunnerWorld) -> None:
    stage = {"transitions": {"done": "complete"}, "timeout": 500}
    world.begin({"work": stage}, budget={"cost_usd": {"pause": 3, "halt": 9}, "minutes": {"halt": 5}})
    world.play((says("result", cost_usd=1.0), failed()))
    maker = world.maker()
    world.make(maker)
    world.make(maker)
    first, second = world.played.specs
    assert (first.cost_limit, first.timeout) == (3.0, 300.0)
    assert second.cost_limit == 2.0
    assert second.timeout is not None
    assert 0 < second.timeout < 300.0


def test_the_stage_says_who_the_agent_is_and_what_it_may_use(world: RunnerWorld) -> None:
    schema = {"type": "object", "properties": {"result": {"type": "string"}}}
    work = {
        "transitions": {"done": "complete"},
        "persona": {"name": "Ada", "system_prompt": "You are Ada.", "model": "sonnet"},
        "tools": {"allow": ["Read"], "deny": ["Bash"]},
        "output": {"format": "json", "schema": schema},
        "timeout": 30,
    }
    world.begin({"work": work})
    world.make(world.maker())
    [spec] = world.played.specs
    assert (spec.system_prompt, spec.model) == ("You are Ada.", "sonnet")
    assert (tuple(spec.tools or ()), tuple(spec.deny_tools)) == (("Read",), ("Bash",))
    assert json.loads(spec.schema or "") == schema
    assert (tuple(spec.results), spec.timeout) == (("done",), 30)
    assert spec.id == f"{world.run}.1.1"


# --- what a killed runner left ----------------------------------------------------------------------------------------


def test_an_orphan_is_ended_and_what_it_said_counts(world: RunnerWorld) -> None:
    world.begin()
    maker = world.maker()
    stream = Path(maker.spec(world.now, world.service.workflow(world.now).stages["work"]).stream)
    events = [AgentEvent(kind="session", text="s-1"), AgentEvent(kind="usage", tokens=5)]
    stream.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events) + b'{"kind": "usage", "tok')
    name = f"{world.run}.1.1"
    orphan = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={**os.environ, "STAGENT_ATTEMPT": name},
        start_new_session=True,
    )
    event = AttemptStarted(stage="work", epoch=1, number=1, backend="played", pid=orphan.pid)
    world.service.submit(world.run, world.caller, cmd.BeginAttempt(event=event))
    maker.recover(world.now, world.caller)
    assert orphan.wait(timeout=60) != 0
    [ended] = world.log("attempt.ended")
    assert (ended["outcome"], ended["session"], ended["tokens"]) == ("orphaned", "s-1", 5)
    assert ended["stream_bytes"] == stream.stat().st_size
    world.make(maker)
    assert [spec.resume for spec in world.played.specs] == ["s-1"]
    assert world.played.specs[0].number == 2
    assert world.now.refused == 0


def test_an_orphan_without_a_stream_is_ended_too(world: RunnerWorld) -> None:
    world.begin()
    event = AttemptStarted(stage="work", epoch=1, number=1, backend="played", pid=None)
    world.service.submit(world.run, world.caller, cmd.BeginAttempt(event=event))
    world.maker().recover(world.now, world.caller)
    [ended] = world.log("attempt.ended")
    assert (ended["outcome"], ended.get("session"), ended.get("stream")) == ("orphaned", None, None)

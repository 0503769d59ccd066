"""The runner's loop: attempts until the work is accepted, people and policies at gates, and every way it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stagent.core import commands as cmd
from stagent.core.events import Holder
from stagent.core.ports import AgentEvent, AttemptSpec, Launch
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.errors import RefusedError, StagentError, StoreError
from stagent.runner.loop import Runner, holder
from stagent.runner.policy import Policy
from stagent.runner.typed import typed_path
from unit.runner.runner_world import OK, WRITES, RunnerWorld, failed, says

GATED = {"work": {"transitions": {"done": "complete"}, "gate": {"type": "require_approval"}}}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RunnerWorld]:
    made = RunnerWorld(tmp_path)
    yield made
    made.close()


def policy(**gates: object) -> Policy:
    return Policy(json.dumps({"gates": gates}).encode(), "test")


def test_a_run_goes_to_its_end(world: RunnerWorld) -> None:
    world.begin(
        {
            "first": {"transitions": {"done": "second"}},
            "second": {"transitions": {"done": "complete"}},
        }
    )
    world.play((WRITES, OK))
    assert world.drive() == "ended"
    assert world.now.success
    assert [spec.epoch for spec in world.played.specs] == [1, 2]


@pytest.mark.parametrize(("terminals", "ending"), [([], "blocked"), (["escalated"], "escalated")])
def test_it_gives_up_after_the_declared_attempts(world: RunnerWorld, terminals: list[str], ending: str) -> None:
    work = {"transitions": {"done": "complete"}, "retry": {"attempts": 2}}
    world.begin({"work": work}, terminal_stages=["complete", *terminals])
    world.play(("true", failed("api_error", "No answer.")))
    assert world.drive() == ending
    assert world.ends() == [("failed", "attempt.api_error")] * 2
    assert world.now.refusal == "attempt.api_error"
    assert world.service.text(world.now.feedback) == "No answer."


def test_what_cannot_be_started_is_an_attempt_of_its_own_kind(world: RunnerWorld) -> None:
    world.begin({"work": {"transitions": {"done": "complete"}, "retry": {"attempts": 1}}})
    world.project.joinpath("src.py").unlink()
    world.played.launch = lambda spec, env: _nothing(env)  # type: ignore[method-assign]
    assert world.drive() == "blocked"
    assert world.ends() == [("unstartable", "attempt.unstartable")]


def _nothing(env: object) -> object:
    return Launch(argv=["/nowhere/at/all"], env=env)  # type: ignore[arg-type]


def test_between_attempts_it_waits_as_declared(world: RunnerWorld) -> None:
    world.begin({"work": {"transitions": {"done": "complete"}, "retry": {"attempts": 3, "backoff": 0.3}}})
    world.play(("true", failed()), (WRITES, OK))
    assert world.drive() == "ended"
    assert {what for what, _ in world.waits} == {"the next attempt"}
    assert max(left for _, left in world.waits) <= 0.3


def test_an_attempt_without_an_artifact_is_refused_and_made_again(world: RunnerWorld) -> None:
    world.begin()
    world.play(("true", OK), (WRITES, OK))
    assert world.drive() == "ended"
    assert world.ends() == [("ok", ""), ("refused", "artifact.missing"), ("ok", "")]


def test_a_limit_is_waited_for_and_the_wait_can_be_ended(world: RunnerWorld) -> None:
    world.begin()
    away = failed("rate_limited", retry_at=world.service.clock() + 60_000)
    world.play(("true", away))
    runner: Runner

    def wait(what: str, seconds: float) -> None:
        world.note(what, seconds)
        runner.stop("SIGTERM")

    runner = world.runner(on_wait=wait)
    assert runner.drive(world.state) == "interrupted"
    assert [what for what, _ in world.waits] == ["the provider's rate limit"]
    assert world.now.status == "interrupted"
    assert world.ends() == [("void", "attempt.rate_limited")]


def test_a_provider_that_never_has_room_is_given_up_on(world: RunnerWorld) -> None:
    world.begin({"work": {"transitions": {"done": "complete"}, "retry": {"attempts": 2}}})
    world.play(("true", failed("rate_limited", retry_at=1)))
    runner = world.runner()
    runner._attempts._pause = 0.0
    assert runner.drive(world.state) == "blocked"
    assert world.ends() == [("void", "attempt.rate_limited")] * 8 + [("failed", "attempt.rate_limited")] * 2
    assert world.now.refusal == "attempt.rate_limited"


def test_an_error_of_ours_ends_the_run_as_blocked_and_says_nothing_about_the_work(world: RunnerWorld) -> None:
    world.begin()
    world.play(("true", failed("no_result", "It broke.")), (WRITES, OK))
    launch, gone = world.played.launch, StagentError("agent.program_missing", "it is gone", remedy="Find it.")

    def once(spec: AttemptSpec, env: Mapping[str, str]) -> Launch:
        if spec.number == 2:
            raise gone
        return launch(spec, env)

    world.played.launch = once  # type: ignore[method-assign]
    runner = world.runner()
    assert runner.drive(world.state) == "blocked"
    assert runner.error is gone
    assert (world.now.lease, world.now.refusal) == (None, "agent.program_missing")
    assert world.service.text(world.now.obstacle) == "it is gone. Find it."
    world.played.launch = launch  # type: ignore[method-assign]
    world.state = _resumed(world)
    assert (world.now.refusal, world.service.text(world.now.feedback)) == ("attempt.no_result", "It broke.")
    assert (world.now.refused, world.now.obstacle) == (0, None)
    assert world.drive() == "ended"


def test_an_error_of_the_system_in_the_middle_of_an_attempt_leaves_no_attempt_open(world: RunnerWorld) -> None:
    world.begin()
    world.play((f"{says('text', text='x')}; sleep 60", OK))

    def full(event: AgentEvent) -> None:
        raise OSError(28, "No space left on device", "/somewhere")

    runner = world.runner(on_agent=full)
    assert runner.drive(world.state) == "blocked"
    assert world.ends() == [("orphaned", "attempt.orphaned")]
    assert (world.now.refusal, world.now.attempt_open) == ("system.failed", False)
    assert "No space left on device: '/somewhere'" in world.service.text(world.now.obstacle)


@pytest.mark.parametrize("lost", ["log", "lease"])
def test_an_error_the_log_does_not_take_is_raised(world: RunnerWorld, lost: str) -> None:
    world.begin()
    gone = StagentError("agent.program_missing", "it is gone", remedy="Find it.")

    def lose(*arguments: object) -> Launch:
        if lost == "log":
            world.service.append = _full  # type: ignore[method-assign]
        else:
            other = msgspec.structs.replace(holder(), pid=1)
            person = cmd.Caller(actor="person:x", kind="person")
            world.service.submit(world.run, person, cmd.Resume(holder=other, take_over=True))
        raise gone

    world.played.launch = lose  # type: ignore[method-assign]
    with pytest.raises(StagentError) as raised:
        world.drive()
    assert raised.value is gone
    assert world.log("blocked") == []


def test_where_there_is_no_room_for_the_log_the_typed_events_of_the_stream_give_way(world: RunnerWorld) -> None:
    world.begin()
    world.play((f"{says('text', text='x')}; sleep 60", OK))
    append, stream = world.service.append, list[str]()

    def narrow(*arguments: Any) -> State:
        if stream and Path(typed_path(stream[0])).exists():
            raise StoreError("store.full", "there is no room", remedy="Make some.")
        return append(*arguments)

    def full(event: AgentEvent) -> None:
        stream.append(world.played.specs[0].stream)
        raise OSError(28, "No space left on device")

    world.service.append = narrow  # type: ignore[method-assign]
    assert world.drive(on_agent=full) == "blocked"
    assert (world.now.refusal, world.now.attempt_open) == ("system.failed", False)
    assert Path(stream[0]).exists()


def _full(*arguments: object) -> State:
    raise StoreError("store.full", "there is no room", remedy="Make some.")


def _resumed(world: RunnerWorld) -> State:
    caller = cmd.Caller(actor="runner:1", kind="runner", fence=world.now.fence)
    answer = world.service.submit(world.run, caller, cmd.Resume(holder=holder()))
    assert isinstance(answer, State), answer
    return answer


def test_a_stop_in_the_middle_interrupts_the_run(world: RunnerWorld) -> None:
    world.begin()
    world.play((f"{says('text', text='x')}; sleep 60", OK))
    runner: Runner

    def heard(event: AgentEvent) -> None:
        runner.stop("SIGINT")

    runner = world.runner(on_agent=heard)
    assert runner.drive(world.state) == "interrupted"
    [interrupted] = world.log("interrupted")
    assert world.service.text(interrupted["reason"]) == "SIGINT"


def test_a_pause_of_the_budget_blocks_and_a_halt_gives_up(world: RunnerWorld) -> None:
    world.begin(budget={"cost_usd": {"pause": 1, "halt": 2}}, terminal_stages=["complete", "escalated"])
    world.play((says("result", cost_usd=1.5), failed()))
    assert world.drive() == "blocked"
    assert world.now.refusal == "budget.paused"
    caller = cmd.Caller(actor="runner:1", kind="runner", fence=world.now.fence)
    answer = world.service.submit(world.run, caller, cmd.Resume(holder=holder(), ordered=True))
    assert isinstance(answer, State)
    world.state = answer
    assert world.drive() == "escalated"
    assert [event["action"] for event in world.log("budget.reached")] == ["pause", "halt"]
    assert len(world.played.specs) == 2


def test_a_gate_waits_when_nobody_decides(world: RunnerWorld) -> None:
    world.begin(GATED)
    world.play((WRITES, OK))
    asked: list[str] = []

    def ask(state: State, refusal: Refusal) -> bool:
        asked.append(refusal.code)
        return False

    assert world.drive(ask=ask) == "waiting"
    assert asked == ["gate.waiting"]


def test_a_policy_decides_before_anybody_is_asked(world: RunnerWorld) -> None:
    world.begin(GATED)
    world.play((WRITES, OK))
    declared = policy(work={"decision": "approve", "reason": "declared"})
    assert world.drive(declared, ask=lambda state, refusal: pytest.fail("a person was asked")) == "ended"
    [decided] = world.log("gate.decided")
    assert decided["channel"] == "policy"
    assert world.service.text(decided["text"]) == "declared"


def test_a_declared_redo_is_carried_out_once_an_epoch(world: RunnerWorld) -> None:
    world.begin(GATED)
    world.play((WRITES, OK))
    assert world.drive(policy(work={"decision": "redo", "reason": "Once more."})) == "waiting"
    assert len(world.log("gate.decided")) == 1
    assert len(world.played.specs) == 2
    assert "Once more." in world.played.specs[1].prompt


def test_a_declared_reject_waits_for_a_person(world: RunnerWorld) -> None:
    world.begin(GATED)
    world.play((WRITES, OK))
    assert world.drive(policy(work={"decision": "reject", "reason": "No."})) == "waiting"
    assert [event["decision"] for event in world.log("gate.decided")] == ["reject"]


SAME = 'printf -- "---\\nepoch: %s\\nresult: done\\n---\\nThe plan.\\n" "$STAGENT_EPOCH" >"$STAGENT_ARTIFACT"'


def person(world: RunnerWorld, decision: str) -> State:
    """A person decides the gate; returns where the run stands."""
    command = cmd.DecideGate(decision=decision, channel="terminal")  # type: ignore[arg-type]
    answer = world.service.submit(world.run, cmd.Caller(actor="person:x", kind="person"), command)
    assert isinstance(answer, State), answer
    return answer


def test_who_sent_it_back_is_asked_again_when_it_comes_back_unchanged(world: RunnerWorld) -> None:
    world.begin(GATED)
    world.play((SAME, OK))
    asked: list[str] = []

    def ask(state: State, refusal: Refusal) -> bool:
        asked.append(refusal.code)
        return len(asked) == 1 and bool(person(world, "redo"))

    assert world.drive(ask=ask) == "waiting"
    assert asked == ["gate.waiting", "gate.rejected"]
    assert world.ends() == [("ok", ""), ("ok", ""), ("refused", "gate.rejected")]


@pytest.mark.parametrize("word", ["redo", "reject"])
def test_what_is_approved_after_all_is_not_made_again(world: RunnerWorld, word: str) -> None:
    world.begin(GATED)
    world.play((SAME, OK), (SAME, OK), (WRITES, OK))
    assert world.drive(policy(work={"decision": word, "reason": "No."})) == "waiting"
    before, attempts = world.artifact.read_bytes(), len(world.played.specs)
    person(world, "approve")
    assert world.drive() == "ended"
    assert (world.artifact.read_bytes(), len(world.played.specs)) == (before, attempts)


def test_what_a_person_rejected_is_not_made_again_however_often_the_run_is_resumed(world: RunnerWorld) -> None:
    world.begin({"work": {**GATED["work"], "retry": {"attempts": 1}}})
    world.play((SAME, OK))
    assert world.drive(policy(work={"decision": "reject", "reason": "No."})) == "waiting"
    assert [world.drive(), world.drive()] == ["waiting", "waiting"]
    assert world.ends() == [("ok", ""), ("refused", "gate.rejected")]
    person(world, "redo")
    world.play((WRITES, OK))
    assert world.drive() == "waiting"
    assert world.ends()[2:] == [("ok", "")]


def test_a_person_who_is_asked_can_stop_the_runner(world: RunnerWorld) -> None:
    world.begin(GATED)
    world.play((WRITES, OK))
    runner: Runner

    def ask(state: State, refusal: Refusal) -> bool:
        runner.stop("SIGINT")
        return False

    runner = world.runner(ask=ask)
    assert runner.drive(world.state) == "interrupted"
    assert world.now.status == "interrupted"


def test_a_policy_answers_a_human_stage(world: RunnerWorld) -> None:
    world.begin({"ask": {"kind": "human", "transitions": {"yes": "complete", "no": "ask"}}})
    assert world.drive(policy(ask={"decision": "answer", "choice": "yes", "reason": "declared"})) == "ended"
    assert world.played.specs == []


def test_a_run_that_another_took_over_is_left_alone(world: RunnerWorld) -> None:
    world.begin()
    person = cmd.Caller(actor="person:x", kind="person")
    other = world.state.lease
    assert other is not None

    def heard(event: AgentEvent) -> None:
        if world.now.fence == 1:
            world.service.submit(world.run, person, cmd.Resume(holder=Holder(kind="caller"), take_over=True))

    world.play((f"{says('text', text='x')}; sleep 0.2; {WRITES}", OK))
    with pytest.raises(RefusedError) as caught:
        world.drive(on_agent=heard)
    assert caught.value.code == "lease.held"
    assert world.now.stage == "work"

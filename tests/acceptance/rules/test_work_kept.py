"""What was worked, recorded and approved in an epoch counts for whoever drives it on, as long as it is the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from acceptance.support import OTHER, Json, Machine, Session, claim, stage

GATE: Json = {"gate": {"type": "require_approval"}, "writes": "artifact"}
LAST: Json = {"build": stage({"PASS": "complete"})}
SUBAGENT: Json = {"execution": {"type": "subagent"}}


def pause(run: Session) -> Session:
    """The same session pauses the run and goes on with it."""
    assert run.cli("interrupt").status == 0
    assert run.cli("continue", run.run).status == 0
    return run


def hand_over(run: Session) -> Session:
    """The session pauses the run, and another one goes on with it."""
    assert run.cli("interrupt").status == 0
    heir = heir_of(run)
    assert heir.cli("continue", run.run).status == 0
    return heir


def heir_of(run: Session) -> Session:
    """Another session that is to drive a run."""
    made = Session(run.machine, OTHER)
    made.run = run.run
    return made


@pytest.fixture
def delegated(machine: Machine) -> Session:
    """A session's run in a stage that a sub-agent works and a person approves."""
    return machine.session(machine.flow({"plan": stage({"approved": "build"}, **{**GATE, **SUBAGENT}), **LAST}))


@pytest.mark.rule("S7.9", "S2.33")
@pytest.mark.parametrize("change", [pause, hand_over])
def test_what_a_sub_agent_made_is_approved_after_a_change_of_drivers(
    delegated: Session, change: Callable[[Session], Session]
) -> None:
    delegated.worked_by("agent-1", "approved")
    assert delegated.advance().code == "gate.waiting"
    run = change(delegated)
    assert run.machine.person("approve", run.run).status == 0
    said = run.advance()
    assert said.status == 0, said.err
    assert run.place == ("build", 2)
    (made,) = run.log("artifact.recorded")
    assert made["producer"] == {"kind": "subagent", "id": "agent-1"}


@pytest.mark.parametrize("change", [pause, hand_over])
def test_what_a_sub_agent_left_before_a_pause_counts_after_it(
    delegated: Session, change: Callable[[Session], Session]
) -> None:
    delegated.worked_by("agent-1", "approved")
    run = change(delegated)
    assert run.advance().code == "gate.waiting"
    assert run.log("artifact.recorded")[-1]["producer"] == {"kind": "subagent", "id": "agent-1"}


def test_what_was_changed_during_a_pause_is_nobodys_work(delegated: Session) -> None:
    delegated.worked_by("agent-1", "approved")
    assert delegated.advance().code == "gate.waiting"
    run = hand_over(delegated)
    run.claim("approved", body="\nAnother plan.\n")
    answer = run.advance()
    assert (answer.code, answer.fields["agent"]) == ("producer.changed_after", "agent-1")
    assert run.place == ("plan", 1)


def test_a_sub_agent_that_still_ran_at_the_pause_made_nothing_for_the_next_driver(delegated: Session) -> None:
    delegated.hook("SubagentStart", "agent-1")
    run = hand_over(delegated)
    run.claim("approved")
    delegated.stopped("agent-1")
    assert run.advance().code == "producer.no_subagent"


@pytest.mark.parametrize("execution", ["inline", "subagent"])
@pytest.mark.parametrize("approved", [True, False])
def test_a_runner_makes_nothing_anew_that_lies_before_a_person(
    machine: Machine, execution: str, approved: bool
) -> None:
    plan = stage({"approved": "build"}, **{**GATE, "execution": {"type": execution}})
    run = machine.session(machine.flow({"plan": plan, **LAST}))
    run.worked_by("agent-1", "approved") if execution == "subagent" else run.claim("approved")
    assert run.advance().code == "gate.waiting"
    before = run.artifact("plan").read_bytes()
    assert run.cli("interrupt").status == 0
    if approved:
        assert machine.person("approve", run.run).status == 0
    machine.script({"plan": [claim("approved", body="Made anew.")], "build": [claim("PASS")]})
    done = machine.resume(run.run)
    assert run.artifact("plan").read_bytes() == before
    assert [event["stage"] for event in run.log("attempt.started") if "agent" not in event] == ["build"] * approved
    assert (done.state.terminal == "complete") is approved
    made = run.log("artifact.recorded")[0]["producer"]
    assert made == {"kind": "subagent", "id": "agent-1"} if execution == "subagent" else made["kind"] == "session"


def test_a_session_goes_on_with_what_an_attempt_made(machine: Machine) -> None:
    flow = machine.flow({"plan": stage({"approved": "build"}, **{**GATE, **SUBAGENT}), **LAST})
    headless = machine.drive(flow, {"plan": [claim("approved")]})
    assert (headless.status, headless.state.status) == (4, "running")
    assert machine.person("approve", headless.run).status == 0
    assert machine.person("interrupt", headless.run).status == 0
    run = Session(machine, OTHER)
    run.run = headless.run
    said = run.cli("continue", run.run)
    assert said.status == 0, said.err
    assert run.advance().status == 0
    assert run.place == ("build", 2)
    assert [event["producer"]["kind"] for event in run.log("artifact.recorded")] == ["attempt"]


@pytest.mark.parametrize(("named", "maker"), [((), ("subagent", "agent-1")), (("--producer", "me"), ("caller", "me"))])
def test_who_goes_on_by_hand_keeps_the_maker_unless_he_names_one(
    delegated: Session, named: tuple[str, ...], maker: tuple[str, str]
) -> None:
    delegated.worked_by("agent-1", "approved")
    assert delegated.advance().code == "gate.waiting"
    machine, run = delegated.machine, delegated.run
    assert delegated.cli("interrupt").status == 0
    assert machine.person("approve", run).status == 0
    assert machine.person("continue", run, "--take-over").status == 0
    said = machine.cli("advance", run, *named)
    assert said.status == 0, said.err
    made = delegated.log("artifact.recorded")[-1]["producer"]
    assert (made["kind"], made["id"]) == maker

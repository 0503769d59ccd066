"""Every refusal once, in its place and with its remedy; and what each command leads to when it is allowed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import stagent.core
from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.events import Holder
from stagent.core.refusals import Refusal
from unit.core.documents import GONE, OURS, PLAIN, changed, workflow
from unit.core.world import ENGINE, PERSON, RUNNER, SESSION, World, text

INLINE = {"execution": {"type": "inline"}}
GATED = changed(PLAIN, "stages/planning/gate", {"type": "require_approval"})
CHECKED = changed(PLAIN, "stages/planning/checks", [{"name": "tests", "run": "make test"}])
HUMAN = changed(PLAIN, "stages/planning", {"kind": "human", "transitions": {"yes": "executing", "no": "complete"}})
PROTECTING = changed(
    changed(CHECKED, "stages/planning/checks/0/protect", ["*"]), "stages/planning/protects", ["tests/*"]
)
COMMAND = changed(
    PLAIN,
    "stages/planning",
    {"kind": "command", "run": "x", "results": {"*": "done"}, "transitions": {"done": "executing"}},
)
REVIEW = changed(
    PLAIN, "stages/reviewing", {**PLAIN["stages"]["reviewing"], "kind": "review", "execution": {"type": "inline"}}
)
ANSWERING = changed(PLAIN, "stages/planning/output", {"schema": {"type": "object"}})
LIMITED = changed(PLAIN, "budget", {"cost_usd": {"warn": 1, "pause": 2.5, "halt": 5}, "tokens": {"halt": 1000}})


def made(document: Any, **given: Any) -> World:
    return World(workflow(document), **given)


def at(document: Any, stage: str, **given: Any) -> World:
    """A world of this document that was led to a stage of the original workflow by honest work."""
    world = made(document, **given)
    for name, result in [("planning", "approved"), ("executing", "done"), ("reviewing", "PASS")]:
        if stage == name:
            break
        world.work(result, body=name)
        world.advance()
    assert world.now.stage == stage
    return world


def approving(decision: str = "approve", **given: Any) -> cmd.DecideGate:
    return cmd.DecideGate(decision=decision, channel="terminal", **given)


Scenario = Callable[[], Any]
SCENARIOS: list[tuple[str, str, Scenario]] = []


def refuses(code: str, blame: str) -> Callable[[Scenario], Scenario]:
    """Note a scenario whose answer is the refusal with this code."""

    def note(scenario: Scenario) -> Scenario:
        SCENARIOS.append((code, blame, scenario))
        return scenario

    return note


# ---------------------------------------------------------------------------------------------- who may ask


@refuses("lease.held", "state")
def another_session() -> Any:
    return made(PLAIN).ask(cmd.Advance(), cmd.Caller(actor="a", kind="session", session="session-2", pid=100))


@refuses("lease.held", "state")
def another_process_of_the_session() -> Any:
    return made(PLAIN).ask(cmd.Advance(), cmd.Caller(actor="a", kind="session", session="session-1", pid=101))


@refuses("lease.held", "state")
def a_runner_where_a_session_drives() -> Any:
    return made(PLAIN).ask(cmd.Advance(), cmd.Caller(actor="a", kind="runner", fence=1))


@refuses("lease.held", "state")
def a_runner_with_an_old_fence() -> Any:
    world = made(PLAIN, holder=RUNNER)
    old = world.driver
    world.do(cmd.Resume(holder=replace(RUNNER, pid=201), take_over=True), PERSON)
    assert not isinstance(world.ask(cmd.Interrupt()), Refusal)
    return world.ask(cmd.Interrupt(), old)


def taken_from_a_runner() -> tuple[World, cmd.Caller]:
    """A run whose runner had an attempt open when another took the lease, and the first runner."""
    world = made(PLAIN, holder=RUNNER)
    old = world.driver
    begun = ev.AttemptStarted(stage="planning", epoch=1, number=1, backend="scripted", pid=400)
    world.do(cmd.BeginAttempt(event=begun))
    world.do(cmd.Resume(holder=replace(RUNNER, pid=201), take_over=True), PERSON)
    return world, old


@refuses("lease.held", "state")
def a_runner_without_the_lease_ends_its_attempt() -> Any:
    world, old = taken_from_a_runner()
    ended = ev.AttemptEnded(stage="planning", epoch=1, number=1, outcome="ok")
    assert not isinstance(world.ask(cmd.EndAttempt(event=ended)), Refusal)
    return world.ask(cmd.EndAttempt(event=ended), old)


@refuses("lease.held", "state")
def a_runner_without_the_lease_refuses_the_work() -> Any:
    world, old = taken_from_a_runner()
    return world.ask(cmd.Refuse(code="artifact.missing"), old)


@refuses("lease.held", "state")
def the_engine_acts_for_a_runner_without_the_lease() -> Any:
    world, old = taken_from_a_runner()
    done = ev.CheckEnded(name="tests", epoch=1, artifact="a", tree="b", tree_after="b", outcome="pass")
    return world.ask(cmd.EndCheck(event=done), replace(ENGINE, fence=old.fence))


@refuses("lease.held", "state")
def a_policy_decides_for_a_runner_without_the_lease() -> Any:
    world, old = taken_from_a_runner()
    decision = cmd.DecideGate(decision="approve", channel="policy")
    return world.ask(decision, cmd.Caller(actor="policy:1", kind="engine", fence=old.fence))


def cancelling(stage: dict[str, Any]) -> World:
    """A run in a stage with a result `stop` that leads to cancelled, as a version without that rule could pin it."""
    world = made(changed(PLAIN, "stages/planning", stage))
    first = replace(world.stage, transitions={**world.stage.transitions, "stop": "cancelled"})
    world.workflow = replace(world.workflow, stages={**world.workflow.stages, "planning": first})
    return world


@refuses("cancel.person", "work")
def an_agent_cancels_by_its_result() -> Any:
    world = cancelling(PLAIN["stages"]["planning"])
    world.work("stop")
    answer = world.advance()
    assert answer.known == ("approved",)
    return answer


@refuses("cancel.person", "work")
def an_agent_cancels_by_a_result_the_gate_does_not_guard() -> Any:
    gate = {"type": "require_approval", "for": ["approved"]}
    world = cancelling({**PLAIN["stages"]["planning"], "gate": gate})
    world.work("stop")
    return world.advance()


@refuses("gate.attended", "wait")
def a_policy_cancels() -> Any:
    world = cancelling(HUMAN["stages"]["planning"])
    world.do(cmd.Advance())
    answer = cmd.DecideGate(decision="answer", channel="policy", choice="yes")
    assert not isinstance(world.ask(answer, ENGINE), Refusal)
    return world.ask(replace(answer, choice="stop"), ENGINE)


@refuses("lease.held", "state")
def a_person_advances() -> Any:
    return made(PLAIN).ask(cmd.Advance(), PERSON)


@refuses("lease.subagent", "state")
def a_sub_agent_advances() -> Any:
    world = made(PLAIN)
    return world.ask(cmd.Advance(), replace(world.driver, agent="agent-1"))


@refuses("lease.held", "state")
def a_second_driver_while_the_first_lives() -> Any:
    return made(PLAIN).ask(cmd.Resume(holder=RUNNER))


@refuses("lease.held", "state")
def a_second_driver_when_a_session_is_gone() -> Any:
    return made(PLAIN).ask(cmd.Resume(holder=RUNNER), holder_alive=False)


@refuses("lease.own", "state")
def the_same_driver_again() -> Any:
    return made(PLAIN).ask(cmd.Resume(holder=SESSION))


@refuses("lease.person", "call")
def an_agent_takes_over() -> Any:
    return made(PLAIN).ask(cmd.Resume(holder=RUNNER, take_over=True), cmd.Caller(actor="a", kind="runner"))


@refuses("lease.person", "state")
def an_agent_leaves_its_session() -> Any:
    world = made(PLAIN)
    world.do(cmd.Interrupt(), PERSON)
    agent = cmd.Caller(actor="caller:1", kind="caller")
    return world.ask(cmd.Resume(holder=Holder(kind="caller", session="folder")), agent)


@refuses("lease.person", "state")
def an_agent_leaves_its_session_while_it_holds_the_run() -> Any:
    return made(PLAIN).ask(cmd.Resume(holder=Holder(kind="caller", session="folder")))


def stopped(how: str) -> World:
    """A run that a person decides about: given up by its agent or the engine, or stopped by its budget."""
    terminals = ["complete"] if "blocked" in how else PLAIN["terminal_stages"]
    world = made(changed(LIMITED, "terminal_stages", terminals))
    world.do(cmd.Refuse(code="artifact.missing"))
    commands = {"pause": cmd.ReachBudget(budget="cost_usd", limit=2.5, action="pause")}
    given_up = cmd.GiveUp(by="engine" if "engine" in how else "agent", text=text("why"))
    world.do(commands.get(how, given_up))
    assert world.now.status == ("blocked" if "blocked" in how or how == "pause" else "escalated")
    return world


STOPPED = ("pause", "agent escalated", "engine escalated", "agent blocked", "engine blocked")


@refuses("resume.person", "state")
def an_agent_goes_on_with_what_waits_for_a_person() -> Any:
    agents = [cmd.Caller(actor="a", kind="session", session="session-1", pid=100), cmd.Caller(actor="a", kind="caller")]
    runner = cmd.Caller(actor="runner:1", kind="runner", fence=1)
    for how in STOPPED:
        for caller in (*agents, runner, ENGINE):
            answer = stopped(how).ask(cmd.Resume(holder=SESSION), caller)
            assert answer.code == "resume.person", (how, caller)
        assert not isinstance(stopped(how).ask(cmd.Resume(holder=RUNNER), PERSON), Refusal)
        assert not isinstance(stopped(how).ask(cmd.Resume(holder=RUNNER, ordered=True), runner), Refusal)
    return stopped("pause").ask(cmd.Resume(holder=RUNNER), runner)


@refuses("run.ended", "state")
def after_the_end() -> Any:
    world = made(PLAIN)
    world.do(cmd.Cancel(), PERSON)
    for command in (cmd.Cancel(), cmd.Resume(holder=RUNNER), approving(), cmd.Interrupt()):
        assert world.ask(command, PERSON).code == "run.ended"
    return world.ask(cmd.Advance())


@refuses("run.interrupted", "state")
def while_interrupted() -> Any:
    world = made(PLAIN)
    world.do(cmd.Interrupt(reason=text("lunch")), head="abc")
    assert (world.now.status, world.now.lease, world.now.last_head) == ("interrupted", None, "abc")
    return world.ask(cmd.Advance())


@refuses("run.blocked", "state")
def while_blocked() -> Any:
    world = made(changed(PLAIN, "terminal_stages", ["complete"]))
    world.do(cmd.GiveUp(by="engine", code="check.failed", text=text("why")))
    assert (world.now.status, world.now.refusal, world.now.feedback) == ("blocked", "check.failed", text("why"))
    return world.ask(cmd.Advance())


@refuses("run.escalated", "state")
def while_escalated() -> Any:
    world = made(GATED)
    world.do(cmd.GiveUp(by="engine"))
    assert world.ask(approving(), PERSON).code == "run.escalated"
    return world.ask(cmd.Advance())


# ------------------------------------------------------------------------------------------ the artifact


def handed_in(**given: Any) -> Any:
    world = made(PLAIN)
    world.write(**{"result": "approved", **given})
    return world.ask(cmd.Advance())


@refuses("artifact.missing", "work")
def no_artifact() -> Any:
    return made(PLAIN).ask(cmd.Advance())


@refuses("artifact.front_matter", "work")
def unreadable_artifact() -> Any:
    return handed_in(problem="the file does not begin with a line ---")


@refuses("artifact.no_epoch", "work")
def artifact_without_epoch() -> Any:
    return handed_in(epoch=None)


@refuses("artifact.epoch", "work")
def artifact_of_another_epoch() -> Any:
    return handed_in(epoch=7)


@refuses("artifact.pending", "work")
def unfinished_artifact() -> Any:
    return handed_in(result="pending")


@refuses("artifact.pending", "work")
def artifact_without_result() -> Any:
    return handed_in(result="")


@refuses("artifact.result", "work")
def artifact_with_an_unknown_result() -> Any:
    return handed_in(result="rejected")


@refuses("transition.target", "call")
def a_target_the_result_does_not_lead_to() -> Any:
    world = made(PLAIN)
    world.write("approved")
    assert not isinstance(world.ask(cmd.Advance(to="executing")), Refusal)
    return world.ask(cmd.Advance(to="complete"))


@refuses("attempt.running", "wait")
def advance_while_an_attempt_runs() -> Any:
    world = made(PLAIN, holder=RUNNER)
    world.do(cmd.BeginAttempt(event=ev.AttemptStarted(stage="planning", epoch=1, number=1, backend="x")))
    world.write("approved")
    return world.ask(cmd.Advance())


@refuses("artifact.choice", "work")
def an_artifact_that_is_not_the_choice() -> Any:
    world = made(HUMAN)
    world.advance()
    world.person("answer", "no")
    world.write("yes")
    return world.ask(cmd.Advance())


@refuses("command.pending", "wait")
def a_command_that_was_not_run() -> Any:
    world = made(COMMAND)
    world.write("done")
    return world.ask(cmd.Advance())


@refuses("command.pending", "wait")
def a_command_whose_work_was_refused_is_run_again() -> Any:
    world = made(COMMAND)
    world.work("done")
    world.do(cmd.Refuse(code="check.failed"))
    return world.ask(cmd.Advance())


@refuses("command.pending", "wait")
def a_command_whose_artifact_somebody_changed() -> Any:
    world = made(COMMAND)
    world.work("done")
    world.write("done", body="better")
    return world.ask(cmd.Advance())


# ------------------------------------------------------------------------------------------ the producer


@refuses("producer.no_subagent", "work")
def no_sub_agent_worked() -> Any:
    world = at(PLAIN, "executing")
    world.write("done")
    return world.ask(cmd.Advance())


@refuses("producer.no_subagent", "work")
def the_sub_agent_has_not_stopped() -> Any:
    world = at(PLAIN, "executing")
    world.launch("agent-1")
    world.write("done")
    return world.ask(cmd.Advance())


@refuses("producer.no_subagent", "work")
def the_sub_agent_left_no_artifact() -> Any:
    world = at(PLAIN, "executing")
    world.launch("agent-1")
    world.land("agent-1")
    world.write("done")
    return world.ask(cmd.Advance())


@refuses("producer.changed_after", "work")
def the_artifact_changed_after_the_sub_agent() -> Any:
    world = at(PLAIN, "executing")
    world.work("done")
    world.write("done", body="improved")
    return world.ask(cmd.Advance())


@refuses("producer.changed_after", "work")
def the_artifact_was_written_again_with_the_same_bytes() -> Any:
    world = at(PLAIN, "executing")
    world.work("done")
    world.write("done")
    return world.ask(cmd.Advance())


@refuses("producer.subagent_wrote", "work")
def a_sub_agent_wrote_for_an_inline_stage() -> Any:
    world = made(PLAIN)
    world.write("approved")
    return world.ask(cmd.Advance(), foreign_writer="agent-7")


@refuses("producer.none", "work")
def no_attempt_was_made() -> Any:
    world = made(PLAIN, holder=RUNNER)
    world.write("approved")
    return world.ask(cmd.Advance())


@refuses("producer.same_as_author", "work")
def a_review_by_the_author() -> Any:
    world = at(REVIEW, "reviewing")
    world.write("PASS")
    answer = world.ask(cmd.Advance())
    assert answer.fields["input"] == "planning"
    return answer


# ------------------------------------------------------------------------------------------ tree and checks


@refuses("tree.changed", "work")
def a_stage_that_may_only_write_its_artifact() -> Any:
    world = made(changed(PLAIN, "stages/planning/writes", "artifact"))
    world.project |= {f"src/{index}": "new" for index in range(25)}
    world.work("approved")
    answer = world.advance()
    assert "src/0" in answer.message
    assert "and 5 more" in answer.message
    assert len(answer.fields["paths"]) == 25
    return answer


@refuses("tree.changed", "work")
def a_stage_that_may_write_some_globs() -> Any:
    world = made(changed(PLAIN, "stages/planning/writes", ["src/*"]))
    world.project |= {"src/a": "2", "docs/b": "new"}
    world.work("approved")
    answer = world.advance()
    assert answer.fields["paths"] == ["docs/b"]
    assert "only src/*" in answer.message
    return answer


@refuses("protect.outside", "work")
def a_stage_that_writes_protected_files_of_others() -> Any:
    world = made(PROTECTING)
    world.project["src/a"] = "2"
    world.work("approved")
    return world.advance()


@refuses("check.running", "wait")
def a_check_is_running() -> Any:
    world = made(CHECKED)
    world.work("approved")
    assert isinstance(world.do(cmd.Advance())[-1], ev.CheckStarted)
    return world.ask(cmd.Advance(), checker_alive=True)


@refuses("check.failed", "work")
def a_check_fails() -> Any:
    world = made(CHECKED)
    world.work("approved")
    answer = world.advance(outcome="fail")
    assert "exit code 1" in answer.message
    assert answer.fields["output"] == text("output")
    return answer


@refuses("check.failed", "work")
def a_check_takes_too_long() -> Any:
    world = made(CHECKED)
    world.work("approved")
    answer = world.advance(outcome="timeout")
    assert "did not finish in time" in answer.message
    return answer


@refuses("check.failed", "work")
def a_check_cannot_be_run() -> Any:
    world = made(CHECKED)
    world.work("approved")
    answer = world.advance(outcome="error")
    assert "could not be run" in answer.message
    return answer


@refuses("check.protected", "work")
def a_protected_file_changed() -> Any:
    world = made(CHECKED)
    world.work("approved")
    answer = world.advance(outcome="protected")
    assert "does not count: files it depends on were changed, removed or added while it ran" in answer.message
    return answer


@refuses("check.protected", "work")
def a_protected_file_had_changed_before() -> Any:
    world = made(CHECKED)
    world.work("approved")
    world.do(cmd.Advance())
    [(name, running)] = world.now.checks.items()
    done = ev.CheckEnded(
        name=name,
        epoch=1,
        artifact=running.artifact,
        tree=running.tree,
        tree_after=running.tree,
        outcome="protected",
    )
    world.do(cmd.EndCheck(event=done), ENGINE)
    answer = world.ask(cmd.Advance())
    assert "was not run: files it depends on were changed, removed or added." in answer.message
    return answer


@refuses("check.late", "state")
def a_check_that_never_began() -> Any:
    world = made(CHECKED)
    done = ev.CheckEnded(name="tests", epoch=1, artifact="a", tree="b", tree_after="b", outcome="pass")
    return world.ask(cmd.EndCheck(event=done), ENGINE)


@refuses("check.late", "state")
def a_check_that_looked_at_something_else() -> Any:
    world = made(CHECKED)
    world.work("approved")
    world.do(cmd.Advance())
    done = ev.CheckEnded(name="tests", epoch=1, artifact="a", tree="b", tree_after="b", outcome="pass")
    return world.ask(cmd.EndCheck(event=done), ENGINE)


@refuses("check.late", "state")
def a_check_that_has_ended() -> Any:
    world = made(CHECKED)
    world.work("approved")
    world.advance(outcome="fail")
    check = world.now.checks["tests"]
    done = ev.CheckEnded(
        name="tests", epoch=1, artifact=check.artifact, tree=check.tree, tree_after=check.tree, outcome="pass"
    )
    return world.ask(cmd.EndCheck(event=done), ENGINE)


# ------------------------------------------------------------------------------------------ the gate


@refuses("gate.waiting", "wait")
def nobody_has_approved() -> Any:
    world = made(GATED)
    world.work("approved")
    answer = world.advance()
    assert answer.fields["head"] == world.now.head
    assert f"stagent approve {world.now.run}" in answer.message
    return answer


@refuses("gate.waiting", "wait")
def nobody_has_chosen() -> Any:
    answer = made(HUMAN).advance()
    assert answer.fields["choices"] == ["no", "yes"]
    assert "--choice no|yes" in answer.message
    return answer


@refuses("gate.stale", "wait")
def the_body_changed_after_the_approval() -> Any:
    world = made(GATED)
    world.work("approved")
    world.advance()
    world.person("approve")
    world.write("approved", body="another body")
    return world.advance()


@refuses("gate.stale", "wait")
def the_project_changed_after_the_approval() -> Any:
    world = made(GATED)
    world.work("approved")
    world.person("approve")
    world.project["src/a"] = "2"
    return world.advance()


@refuses("gate.stale", "wait")
def the_project_changed_after_the_choice() -> Any:
    world = made(HUMAN)
    world.advance()
    world.person("answer", "yes")
    world.project["src/a"] = "2"
    return world.advance()


@refuses("gate.stale", "wait")
def the_result_changed_after_the_approval() -> Any:
    world = made(changed(GATED, "stages/planning/transitions/rejected", "planning"))
    world.work("rejected")
    world.person("approve")
    world.write("approved")
    return world.advance()


@refuses("gate.rejected", "work")
def a_person_rejected() -> Any:
    world = made(GATED)
    world.work("approved")
    world.person("reject")
    assert (world.now.feedback, world.now.refused) == (text("words"), 0)
    return world.advance()


@refuses("gate.rejected", "work")
def a_person_wants_it_done_again() -> Any:
    world = made(GATED)
    world.work("approved")
    world.do(cmd.Refuse(code="x"))
    world.person("redo")
    assert (world.now.refused, world.now.refusal, world.now.feedback) == (0, "gate.redo", text("words"))
    return world.advance()


@pytest.mark.parametrize("word", ["reject", "redo"])
@pytest.mark.parametrize("paused", [False, True])
def test_an_approval_takes_back_what_was_sent_back(word: str, paused: bool) -> None:
    world = made(changed(GATED, "budget", {"cost_usd": {"pause": 1}}))
    world.work("approved")
    world.person(word)
    world.do(cmd.Refuse(code="gate.rejected", text=text("words")))
    if paused:
        world.do(cmd.ReachBudget(budget="cost_usd", limit=1, action="pause"))
        assert world.now.refusal == "budget.paused"
    world.person("approve")
    state = world.now
    before = state.refusal_before if paused else state.refusal
    assert (before, state.refused, state.feedback) == ("", 0, None)


def test_an_approval_takes_nothing_else_back() -> None:
    world = made(GATED)
    world.work("approved")
    world.do(cmd.Refuse(code="check.failed", text=text("words")))
    world.person("approve")
    assert (world.now.refusal, world.now.refused, world.now.feedback) == ("check.failed", 1, text("words"))


@refuses("gate.none", "call")
def a_decision_where_none_is_asked() -> Any:
    return made(PLAIN).ask(approving(), PERSON)


@refuses("gate.person", "call")
def an_agent_approves_its_own_work() -> Any:
    world = made(GATED)
    world.work("approved")
    return world.ask(approving())


@refuses("gate.attended", "wait")
def a_policy_where_a_person_is_wanted() -> Any:
    world = made(changed(GATED, "stages/planning/gate/unattended", False))
    world.work("approved")
    return world.ask(cmd.DecideGate(decision="approve", channel="policy"))


@refuses("gate.decision", "call")
def an_answer_to_a_gate() -> Any:
    return made(GATED).ask(approving("answer"), PERSON)


@refuses("gate.decision", "call")
def an_approval_of_a_question() -> Any:
    return made(HUMAN).ask(approving(), PERSON)


@refuses("gate.choice", "call")
def an_unknown_choice() -> Any:
    return made(HUMAN).ask(approving("answer", choice="maybe"), PERSON)


@refuses("gate.nothing", "wait")
def nothing_to_approve() -> Any:
    world = made(GATED)
    for given in ({"result": "pending"}, {"epoch": 9}, {"problem": "broken"}):
        world.write(**{"result": "approved", **given})
        assert world.ask(approving(), PERSON).code == "gate.nothing"
    world.artifact = None
    return world.ask(approving(), PERSON)


@refuses("gate.changed", "state")
def what_was_shown_has_changed() -> Any:
    world = made(GATED)
    found = world.work("approved")
    shown = approving(body=found.body, tree=world.tree)
    assert not isinstance(world.ask(shown, PERSON), Refusal)
    world.project["src/a"] = "2"
    assert world.ask(shown, PERSON).code == "gate.changed"
    return world.ask(approving(body=text("other"), tree=world.tree), PERSON)


# ------------------------------------------------------------------------------------------ the inputs


@refuses("input.missing", "work")
def a_required_artifact_was_never_accepted() -> Any:
    world = at(PLAIN, "executing")
    world.state = replace(world.now, accepted={})
    world.work("done")
    return world.advance()


@refuses("input.missing", "work")
def a_required_run_file_was_never_made() -> Any:
    world = at(PLAIN, "executing", run_files={})
    world.work("done")
    return world.advance()


@refuses("input.changed", "work")
def a_required_artifact_changed() -> Any:
    world = at(PLAIN, "executing")
    world.work("done")
    world.files["planning"] = text("another plan")
    answer = world.advance()
    assert (answer.fields["input"], answer.fields["found"]) == ("planning", text("another plan"))
    return answer


@refuses("input.changed", "work")
def a_required_artifact_was_removed() -> Any:
    world = at(PLAIN, "executing")
    world.work("done")
    del world.files["planning"]
    return world.advance()


@refuses("input.changed", "work")
def a_required_run_file_changed() -> Any:
    world = at(PLAIN, "executing")
    world.work("done")
    world.run_files["baseline"] = text("another")
    return world.advance()


# ------------------------------------------------------------------------------------------ the rest


@refuses("attempt.late", "state")
def an_attempt_begins_at_a_stage_the_run_has_left() -> Any:
    begun = ev.AttemptStarted(stage="planning", epoch=1, number=1, backend="x")
    return at(PLAIN, "executing", holder=RUNNER).ask(cmd.BeginAttempt(event=begun))


@refuses("attempt.late", "state")
def an_attempt_ends_that_never_began() -> Any:
    ended = ev.AttemptEnded(stage="planning", epoch=1, number=1, outcome="ok")
    return made(PLAIN, holder=RUNNER).ask(cmd.EndAttempt(event=ended), ENGINE)


@refuses("attempt.late", "state")
def a_sub_agent_of_an_earlier_epoch_stops() -> Any:
    ended = ev.AttemptEnded(stage="planning", epoch=1, number=1, outcome="ok", agent="agent-1")
    return at(PLAIN, "executing").ask(cmd.EndAttempt(event=ended), ENGINE)


@refuses("attempt.running", "wait")
def a_second_attempt_at_once() -> Any:
    world = made(PLAIN, holder=RUNNER)
    begun = cmd.BeginAttempt(event=ev.AttemptStarted(stage="planning", epoch=1, number=1, backend="x"))
    world.do(begun)
    return world.ask(begun)


@refuses("escalate.early", "work")
def giving_up_before_anything_failed() -> Any:
    return made(PLAIN).ask(cmd.GiveUp(by="agent", text=text("too hard")))


@refuses("escalate.reason", "call")
def giving_up_without_a_reason() -> Any:
    world = made(PLAIN)
    world.do(cmd.Refuse(code="artifact.missing"))
    return world.ask(cmd.GiveUp(by="agent"))


@refuses("output.invalid", "work")
def an_answer_that_does_not_fit() -> Any:
    world = made(ANSWERING)
    world.work("approved")
    assert [type(event).__name__ for event in world.do(cmd.Advance(), faults=("x",))] == ["ArtifactRecorded"]
    refusal = world.ask(cmd.Advance(), faults=("$.a: 5 is not of type 'string'", "$: 'b' is a required property"))
    assert refusal.fields["faults"] == ["$.a: 5 is not of type 'string'", "$: 'b' is a required property"]
    assert "$.a: 5 is not of type 'string'; $: 'b' is a required property" in refusal.message
    assert "nobody looked" in world.ask(cmd.Advance(), faults=None).message
    return refusal


@refuses("budget.unknown", "call")
def a_limit_that_is_not_declared() -> Any:
    world = made(LIMITED)
    for budget, limit, action in [("tokens", 5, "halt"), ("minutes", 5, "warn"), ("cost_usd", 2, "pause")]:
        assert world.ask(cmd.ReachBudget(budget=budget, limit=limit, action=action)).code == "budget.unknown"
    return made(PLAIN).ask(cmd.ReachBudget(budget="tokens", limit=5, action="halt"))


@refuses("budget.late", "state")
def a_warning_a_second_time() -> Any:
    world = made(LIMITED)
    world.do(cmd.ReachBudget(budget="cost_usd", limit=1, action="warn"))
    return world.ask(cmd.ReachBudget(budget="cost_usd", limit=1, action="warn"))


@refuses("budget.late", "state")
def a_pause_that_somebody_accepted() -> Any:
    world = made(LIMITED)
    world.do(cmd.ReachBudget(budget="cost_usd", limit=2.5, action="pause"))
    world.do(cmd.Resume(holder=SESSION, ordered=True))
    return world.ask(cmd.ReachBudget(budget="cost_usd", limit=2.5, action="pause"))


@refuses("run.blocked", "state")
def a_budget_that_paused_the_run() -> Any:
    world = made(LIMITED)
    world.do(cmd.ReachBudget(budget="cost_usd", limit=2.5, action="pause"))
    refusal = world.ask(cmd.Advance())
    assert "stagent run --resume RUN" in refusal.remedy
    assert "accept" in refusal.remedy
    return refusal


@refuses("lease.held", "state")
def another_runner_reports_a_budget() -> Any:
    world = made(LIMITED, holder=RUNNER)
    other = replace(world.driver, fence=None)
    return world.ask(cmd.ReachBudget(budget="cost_usd", limit=1, action="warn"), other)


@refuses("cancel.person", "call")
def an_agent_cancels() -> Any:
    world = made(PLAIN)
    for kind in ("session", "runner", "caller", "engine"):
        assert world.ask(cmd.Cancel(), cmd.Caller(actor="a", kind=kind)).code == "cancel.person"
    return world.ask(cmd.Cancel())


def declared_codes() -> Iterator[str]:
    """Every refusal code that stands in the sources of the core."""
    for path in Path(stagent.core.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name not in ("work", "wait", "stand", "call") or len(node.args) < 3:
                continue
            code = node.args[1]
            if isinstance(code, ast.IfExp):
                yield from (part.value for part in (code.body, code.orelse) if isinstance(part, ast.Constant))
            elif isinstance(code, ast.JoinedStr):
                yield from (f"run.{status}" for status in ("interrupted", "blocked", "escalated"))
            elif isinstance(code, ast.Constant):
                yield code.value


@pytest.mark.rule("S3.23", "W2")
@pytest.mark.parametrize(("code", "blame", "scenario"), SCENARIOS, ids=[one.__name__ for *_, one in SCENARIOS])
def test_each_refusal(code: str, blame: str, scenario: Scenario) -> None:
    refusal = scenario()
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.blame) == (code, blame)
    assert refusal.remedy.endswith(".")
    assert refusal.where == f"stage {refusal.fields['stage']}, epoch {refusal.fields['epoch']}"
    assert refusal.message.startswith(f"{refusal.where}: {refusal.what}")
    assert refusal.message.endswith(refusal.remedy)


def test_no_refusal_is_left_out() -> None:
    assert {code for code, *_ in SCENARIOS} == set(declared_codes())


# ---------------------------------------------------------------------------- what is allowed, and its events


@pytest.mark.rule("S2.19")
def test_only_a_person_cancels_and_then_it_is_over() -> None:
    world = made(PLAIN)
    world.do(cmd.Cancel(), PERSON)
    assert (world.now.terminal, world.now.success, world.now.epoch) == ("cancelled", False, 2)
    assert world.now.ended
    assert not world.now.live
    assert world.now.report == text("report")


def test_a_person_may_cancel_by_a_choice_or_an_approval() -> None:
    world = cancelling(HUMAN["stages"]["planning"])
    world.do(cmd.Advance())
    world.do(cmd.DecideGate(decision="answer", channel="terminal", choice="stop"), PERSON)
    world.write("stop")
    world.do(cmd.Advance())
    assert (world.now.terminal, world.now.success) == ("cancelled", False)
    world = cancelling({**PLAIN["stages"]["planning"], "gate": {"type": "require_approval"}})
    world.work("stop")
    assert world.advance().code == "gate.waiting"
    world.do(approving(), PERSON)
    world.advance()
    assert world.now.terminal == "cancelled"


@pytest.mark.rule("S2.17")
def test_at_the_cap_the_inputs_of_a_stage_that_is_not_entered_do_not_matter() -> None:
    document = changed(PLAIN, "stages/executing/inputs/required", [{"from_run_file": "baseline"}])
    world = made(changed(document, "max_epoch", 2))
    world.run_files["baseline"] = text("spoilt")
    world.work("approved")
    world.advance()
    assert world.now.terminal == "escalated"


def test_a_refusal_is_an_error_for_whoever_cannot_go_on_with_it() -> None:
    refusal = made(PLAIN).ask(cmd.Advance())
    error = refusal.error()
    assert (error.code, str(error), error.remedy) == (refusal.code, refusal.message, refusal.remedy)
    assert error.fields == refusal.fields


@pytest.mark.rule("S2.21", "S7.10")
def test_an_interrupted_run_goes_on_where_it_was_under_a_new_fence() -> None:
    world = made(PLAIN)
    world.do(cmd.Interrupt(), PERSON)
    [event] = world.do(cmd.Resume(holder=RUNNER), head="def")
    assert event == ev.Resumed(holder=RUNNER, fence=2, head="def")
    assert (world.now.stage, world.now.epoch, world.now.live, world.now.last_head) == ("planning", 1, True, "def")
    assert world.now.lease is not None
    assert world.now.lease.fence == world.now.fence == 2


def test_a_runner_that_is_gone_is_replaced_without_asking() -> None:
    world = made(PLAIN, holder=RUNNER)
    assert world.ask(cmd.Resume(holder=SESSION)).code == "lease.held"
    assert world.ask(cmd.Resume(holder=SESSION), holder_alive=None).fields["alive"] is None
    [event] = world.do(cmd.Resume(holder=SESSION), holder_alive=False)
    assert event == ev.TakenOver(holder=SESSION, fence=2, previous=RUNNER)


def test_a_person_goes_on_with_a_sessions_run_outside_of_one() -> None:
    world = made(PLAIN)
    world.do(cmd.Interrupt(), PERSON)
    outside = Holder(kind="caller", session="folder")
    [event] = world.do(cmd.Resume(holder=outside), PERSON)
    assert event == ev.Resumed(holder=outside, fence=2)
    world.do(cmd.Interrupt(), PERSON)
    # It stays a session's run, whoever drove it last.
    refusal = world.ask(cmd.Resume(holder=replace(outside, session="other")), cmd.Caller(actor="a", kind="caller"))
    assert (refusal.code, refusal.blame) == ("lease.person", "state")


def test_a_run_no_session_drove_is_gone_on_with_by_any_caller() -> None:
    world = made(PLAIN, holder=Holder(kind="caller", session="folder"))
    world.do(cmd.Interrupt(), PERSON)
    again = Holder(kind="caller", session="other")
    [event] = world.do(cmd.Resume(holder=again), cmd.Caller(actor="a", kind="caller"))
    assert event == ev.Resumed(holder=again, fence=2)


def test_the_next_process_of_a_session_replaces_a_dead_one() -> None:
    world = made(PLAIN)
    again = replace(SESSION, pid=101, started="9")
    for alive in (True, None):
        assert world.ask(cmd.Resume(holder=again), ENGINE, holder_alive=alive).code == "lease.held"
    assert world.ask(cmd.Resume(holder=again), holder_alive=False).code == "lease.held"
    another = replace(again, session="session-2")
    assert world.ask(cmd.Resume(holder=another), ENGINE, holder_alive=False).code == "lease.held"
    [event] = world.do(cmd.Resume(holder=again), ENGINE, holder_alive=False)
    assert event == ev.TakenOver(holder=again, fence=2, previous=SESSION)
    assert world.now.session == "session-1"


def test_a_session_is_taken_over_by_a_persons_order_only() -> None:
    world = made(PLAIN)
    old = world.driver
    assert "is gone" in world.ask(cmd.Resume(holder=RUNNER), holder_alive=False).message
    world.do(cmd.Resume(holder=RUNNER, take_over=True), PERSON)
    assert world.now.fence == 2
    assert world.ask(cmd.Advance(), old).code == "lease.held"
    assert world.ask(cmd.Advance(), world.driver).code == "artifact.missing"


def test_a_caller_without_hooks_names_who_worked() -> None:
    world = made(PLAIN, holder=Holder(kind="caller"))
    world.write("approved")
    assert world.ask(cmd.Advance())[0].producer.id == "agent"
    assert world.do(cmd.Advance(producer="planner-7"))[0].producer == ev.Producer(kind="caller", id="planner-7")


def test_the_engine_may_advance_for_the_holder() -> None:
    assert made(PLAIN).ask(cmd.Advance(), ENGINE).code == "artifact.missing"


def test_a_session_gets_a_new_id() -> None:
    world = made(PLAIN)
    [event] = world.do(cmd.Rebind(session="session-9"))
    assert event == ev.SessionRebound(session="session-9", previous="session-1")
    assert world.driver.session == "session-9"
    assert world.ask(cmd.Rebind(session="x"), replace(world.driver, session="session-1")).code == "lease.held"


def test_a_stalled_turn_ends_the_lease_and_another_may_go_on() -> None:
    world = made(PLAIN)
    [event] = world.do(cmd.Stall(blocks=5, text=text("why")))
    assert event == ev.Stalled(stage="planning", epoch=1, blocks=5, text=text("why"))
    assert (world.now.status, world.now.lease, world.now.stage, world.now.epoch) == ("stalled", None, "planning", 1)
    refusal = world.ask(cmd.Advance())
    assert refusal.code == "run.stalled"
    world.do(cmd.Resume(holder=Holder(kind="session", session="another", pid=7)))
    assert world.now.live


@pytest.mark.rule("S2.34")
def test_the_commit_is_remembered_wherever_a_run_moves_or_changes_hands() -> None:
    commits = iter(f"commit-{number}" for number in range(99))
    budget = {"tokens": {"pause": 5}}
    for terminals in (["complete", "escalated", "cancelled"], ["complete"]):
        world = made(changed(changed(PLAIN, "terminal_stages", terminals), "budget", budget))
        pause, person = cmd.ReachBudget(budget="tokens", limit=5, action="pause"), (PERSON,)
        steps: list[tuple[Any, ...]] = [
            (cmd.Advance(),),
            (cmd.Stall(blocks=5),),
            (cmd.Resume(holder=SESSION),),
            (cmd.Resume(holder=RUNNER, take_over=True), *person),
            (cmd.Interrupt(), *person),
            (cmd.Resume(holder=SESSION),),
            (pause, *person),
            (cmd.Resume(holder=SESSION, ordered=True),),
            (cmd.GiveUp(by="engine"), *person),
        ]
        world.write("approved")
        for command, *caller in steps:
            head = next(commits)
            assert not isinstance(world.do(command, *caller, head=head), Refusal), command
            assert world.now.last_head == head, command
        assert not isinstance(world.do(cmd.Resume(holder=SESSION, ordered=True)), Refusal)
        assert world.now.last_head == head, "one that is not known leaves the one before"


def test_a_prompt_that_decided_is_remembered() -> None:
    world = made(GATED)
    world.write("approved")
    world.do(cmd.DecideGate(decision="approve", channel="hook", prompt="prompt-1"), PERSON)
    assert world.now.prompts == ("prompt-1",)


@pytest.mark.parametrize("holder", [SESSION, RUNNER])
def test_refusals_are_counted_per_epoch(holder: Holder) -> None:
    world = made(PLAIN, holder=holder)
    if holder is RUNNER:
        world.attempt()
    for number in (1, 2):
        [event] = world.do(cmd.Refuse(code="artifact.missing", text=text("why")))
        assert event.number == (1 if holder is RUNNER else number)
        assert (world.now.refused, world.now.refusal, world.now.feedback) == (number, "artifact.missing", text("why"))
    world.work("approved")
    world.advance()
    assert (world.now.refused, world.now.refusal, world.now.feedback) == (0, "", None)


def test_failed_attempts_leave_their_words_and_count() -> None:
    world = made(PLAIN, holder=RUNNER)
    world.attempt("failed")
    world.attempt("timeout", session="conversation")
    state = world.now
    assert (state.attempt, state.attempts, state.refused) == (2, {"planning": 2}, 2)
    assert (state.feedback, state.agent_session, state.attempt_open) == (text("feedback"), "conversation", False)
    world.write("approved")
    assert world.do(cmd.Advance())[0].producer == ev.Producer(kind="attempt", id="conversation")


def test_giving_up_takes_a_failure_and_leaves_the_stage_to_go_on_from() -> None:
    world = made(PLAIN)
    world.do(cmd.Refuse(code="artifact.missing"))
    [event] = world.do(cmd.GiveUp(by="agent", text=text("why")))
    assert event == ev.Escalated(stage="planning", epoch=1, by="agent", text=text("why"), report=text("report"))
    assert (world.now.status, world.now.lease) == ("escalated", None)
    world.do(cmd.Resume(holder=SESSION, ordered=True))
    assert (world.now.stage, world.now.refused, world.now.live) == ("planning", 0, True)


def test_giving_up_blocks_where_escalated_is_not_declared() -> None:
    world = made(changed(PLAIN, "terminal_stages", ["complete"]))
    world.do(cmd.Refuse(code="artifact.missing"))
    [event] = world.do(cmd.GiveUp(by="agent", text=text("why")))
    assert event == ev.Blocked(code="given_up", text=text("why"))
    world.do(cmd.Resume(holder=SESSION, ordered=True))
    assert world.now.refused == 0


def test_a_policy_decides_where_it_may_and_is_never_a_person() -> None:
    world = made(GATED)
    world.work("approved")
    policy = replace(world.driver, actor="policy:abc")
    world.do(cmd.DecideGate(decision="approve", channel="policy"), policy)
    assert (world.now.gate.channel, world.now.gate.actor) == ("policy", "policy:abc")
    world.advance()
    assert world.now.stage == "executing"


@pytest.mark.parametrize(("channel", "kind"), [("terminal", "person"), ("policy", "policy")])
def test_an_answer_is_the_artifact_of_a_human_stage(channel: str, kind: str) -> None:
    world = made(HUMAN)
    world.advance()
    caller = PERSON if channel == "terminal" else world.driver
    world.do(cmd.DecideGate(decision="answer", channel=channel, choice="no"), caller)
    assert world.ask(cmd.Advance()).code == "artifact.missing"
    world.write("no")
    world.advance()
    assert (world.now.terminal, world.now.success) == ("complete", True)
    assert world.now.accepted["planning"].producer.kind == kind


def test_a_decision_may_come_while_nobody_drives() -> None:
    world = made(GATED)
    world.work("approved")
    world.do(cmd.Interrupt())
    [event] = world.person("approve")
    assert event.anchor == world.states[-2].head
    world.do(cmd.Resume(holder=SESSION))
    world.advance()
    assert world.now.stage == "executing"


def test_a_decision_keeps_the_anchor_that_was_shown() -> None:
    world = made(GATED)
    world.work("approved")
    [event] = world.do(approving(anchor="f" * 64), PERSON)
    assert event.anchor == "f" * 64


def test_a_sub_agent_begins_while_another_works() -> None:
    world = at(PLAIN, "executing")
    world.launch("agent-1")
    world.launch("agent-2")
    assert [agent.id for agent in world.now.agents] == ["agent-1", "agent-2"]


def test_keys_gone_from_a_document_are_gone() -> None:
    assert "gate" not in changed(OURS, "stages/plan/gate", GONE)["stages"]["plan"]

"""What a transition needs: the order of the rules, what binds an approval, when a check is run again, the cap."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.evidence import needs_tree
from stagent.core.refusals import Refusal
from unit.core.documents import GONE, OURS, PLAIN, changed, workflow
from unit.core.world import PERSON, RUNNER, World, text

STAGES = "stages/planning"
APPROVAL = {"type": "require_approval"}


def document(**fields: Any) -> Any:
    """The plain workflow whose first stage has these fields as well."""
    found = PLAIN
    for key, value in fields.items():
        found = changed(found, f"{STAGES}/{key}", value)
    return found


def made(**fields: Any) -> World:
    return World(workflow(document(**fields)))


def kinds(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


def codes(answer: Any) -> str:
    return answer.code if isinstance(answer, Refusal) else "ok"


def test_the_first_rule_that_fails_is_the_refusal() -> None:
    """Every rule is broken at once, then mended one by one in the order they are looked at."""
    base = document(
        execution={"type": "subagent"},
        interruptible=False,
        writes="artifact",
        checks=[{"name": "tests", "run": "make test"}],
        gate=APPROVAL,
        protects=["tests/*"],
        output={"schema": {"required": ["plan"]}},
    )
    base = changed(
        base, "stages/executing/inputs/required", [{"from_stage": "planning"}, {"from_run_file": "baseline"}]
    )
    world = World(workflow(base))
    driver = world.driver
    world.project["docs/odd"] = "1"
    world.run_files["baseline"] = text("spoilt")
    world.do(cmd.Interrupt())
    seen = []

    def look(caller: cmd.Caller | None = None, **given: Any) -> None:
        answer = world.ask(cmd.Advance(to=given.pop("to", None)), caller or driver, **given)
        seen.append(codes(answer))

    look(cmd.Caller(actor="a", kind="session"))
    world.do(cmd.Resume(holder=ev.Holder(kind="session", session="session-1", pid=100)))
    look(cmd.Caller(actor="a", kind="session"))
    look()
    world.write("nonsense", problem="broken", epoch=None)
    look()
    world.write("nonsense", epoch=None)
    look()
    world.write("nonsense", epoch=4)
    look()
    world.write("pending")
    look()
    world.write("nonsense")
    look()
    world.write("approved")
    look(to="complete")
    look()
    world.work("approved")
    world.do(cmd.Advance())
    look()
    del world.project["docs/odd"]
    look(laundered=("src/a",))
    look(faults=("$: 'plan' is a required property",))
    world.do(cmd.Advance())
    world.checker_alive = True
    look()
    world.end_check("fail")
    look()
    world.work("approved", body="second")
    seen.append(codes(world.advance()))
    world.person("reject")
    look()
    world.person("approve")
    look()
    world.run_files["baseline"] = world.made["baseline"]
    assert kinds(world.do(cmd.Advance())) == ["Transitioned", "StageEntered"]
    assert seen == [
        "run.interrupted",
        "lease.held",
        "artifact.missing",
        "artifact.front_matter",
        "artifact.no_epoch",
        "artifact.epoch",
        "artifact.pending",
        "artifact.result",
        "transition.target",
        "producer.no_subagent",
        "tree.changed",
        "protect.outside",
        "output.invalid",
        "check.running",
        "check.failed",
        "gate.waiting",
        "gate.rejected",
        "input.changed",
    ]


def test_a_transition_records_the_artifact_in_the_same_breath() -> None:
    world = made()
    found = world.work("approved")
    recorded, moved, entered = world.do(cmd.Advance())
    assert recorded == ev.ArtifactRecorded(
        stage="planning",
        epoch=1,
        digest=found.digest,
        body=found.body,
        result="approved",
        size=found.size,
        producer=ev.Producer(kind="session", id="session-1"),
    )
    assert (moved.source, moved.target, moved.result) == ("planning", "executing", "approved")
    assert (moved.epoch, moved.digest, moved.cause, moved.protect) == (2, found.digest, "table", None)
    assert entered == ev.StageEntered(stage="executing", epoch=2, tree=None)
    assert world.now.accepted["planning"].digest == found.digest
    assert world.now.artifact is None


def test_what_was_read_is_recorded_once_though_it_is_not_enough() -> None:
    world = made(writes="artifact")
    world.project["src/a"] = "2"
    world.work("approved")
    assert kinds(world.do(cmd.Advance())) == ["ArtifactRecorded"]
    assert codes(world.do(cmd.Advance())) == "tree.changed"
    assert codes(world.do(cmd.Advance())) == "tree.changed"
    world.project["src/a"] = "1"
    assert kinds(world.do(cmd.Advance())) == ["Transitioned", "StageEntered"]


def test_a_refusal_changes_nothing() -> None:
    world = made()
    before = (world.now, len(world.log))
    assert isinstance(world.do(cmd.Advance()), Refusal)
    assert (world.now, len(world.log)) == before


# ------------------------------------------------------------------------------------------------- the gate


def test_an_approval_is_bound_to_the_body_only_where_the_project_is_not_written() -> None:
    world = made(gate=APPROVAL, writes="artifact", watch=["nothing/**"])
    world.work("approved")
    world.advance()
    world.person("approve")
    assert world.now.gate.tree is None
    world.project["src/a"] = "2"
    assert codes(world.advance(tree_changes=())) == "ok"


def test_an_approval_outlives_what_does_not_change_the_body_and_the_result() -> None:
    world = made(gate=APPROVAL)
    world.work("approved")
    world.advance()
    world.person("approve")
    world.artifact = replace(world.artifact, digest=text("other front matter"))
    assert codes(world.advance()) == "ok"


def test_a_stale_approval_can_be_given_again() -> None:
    world = made(gate=APPROVAL)
    world.work("approved")
    world.person("approve")
    world.project["src/a"] = "2"
    assert codes(world.advance()) == "gate.stale"
    assert world.now.gate.stale
    world.person("approve")
    assert codes(world.advance()) == "ok"


def test_bringing_back_what_was_approved_does_not_bring_back_the_approval() -> None:
    world = made(gate=APPROVAL)
    world.work("approved")
    world.person("approve")
    world.project["src/a"] = "2"
    assert codes(world.advance()) == "gate.stale"
    world.project["src/a"] = "1"
    assert codes(world.advance()) == "gate.waiting"


def test_what_the_engines_own_check_writes_keeps_the_gate_but_no_approval_given_before_it() -> None:
    world = made(gate=APPROVAL, checks=[{"name": "tests", "run": "make test"}])
    world.work("approved")
    world.person("approve")
    assert codes(world.advance(writes={"build/log": "1"})) == "gate.stale"
    world.person("approve")
    assert codes(world.advance()) == "ok"
    assert kinds(world.events).count("CheckStarted") == 1


def test_a_rejected_artifact_that_changed_is_shown_again() -> None:
    world = made(gate=APPROVAL)
    world.work("approved")
    world.person("reject")
    assert codes(world.advance()) == "gate.rejected"
    world.write("approved", body="improved")
    assert codes(world.advance()) == "gate.waiting"
    assert not world.now.gate.stale


def test_a_gate_that_is_not_explicit_takes_the_artifacts_word() -> None:
    world = made(gate={**APPROVAL, "explicit": False})
    world.work("approved")
    assert codes(world.advance()) == "ok"


def test_a_gate_guards_only_the_results_it_names() -> None:
    fields = {"gate": {**APPROVAL, "for": ["approved"]}, "transitions": {"approved": "executing", "later": "planning"}}
    world = made(**fields)
    world.work("later")
    assert codes(world.advance()) == "ok"
    world.work("approved")
    assert codes(world.advance()) == "gate.waiting"


def test_an_approval_moves_the_protected_reference_to_the_tree_it_was_given_for() -> None:
    fields = {
        "gate": {**APPROVAL, "for": ["approved"]},
        "transitions": {"approved": "executing", "later": "planning"},
    }
    world = made(**fields)
    world.project["tests/t"] = "2"
    world.work("approved")
    world.person("approve")
    world.advance()
    assert world.now.protect_ref == world.tree
    world = made(**fields)
    baseline = world.tree
    world.work("approved")
    world.person("approve")
    world.project["tests/t"] = "emptied"
    world.write("later")
    world.advance()
    assert world.now.epoch == 2
    assert world.now.protect_ref == baseline


def test_an_approval_of_a_narrowed_view_does_not_move_the_protected_reference() -> None:
    world = made(gate=APPROVAL, watch=["src/**"])
    baseline = world.tree
    world.project["tests/t"] = "emptied"
    world.work("approved")
    world.person("approve", tree=text("src only"))
    assert codes(world.advance(tree=text("src only"))) == "ok"
    assert world.now.protect_ref == baseline


def test_a_stage_that_protects_moves_the_protected_reference() -> None:
    checks = [{"name": "tests", "run": "make test", "protect": ["tests/*"]}]
    world = made(protects=["tests/*"], checks=checks)
    world.project["tests/t"] = "2"
    world.work("approved")
    assert codes(world.advance()) == "ok"
    assert world.now.protect_ref == world.tree


# ----------------------------------------------------------------------------------------------- the checks

TWO = [{"name": "tests", "run": "make test"}, {"name": "lint", "run": "make lint"}]


def started(world: World) -> list[str]:
    return [event.name for event in world.events if isinstance(event, ev.CheckStarted)]


def test_checks_run_one_after_another_and_name_what_they_look_at() -> None:
    world = made(checks=TWO)
    found = world.work("approved")
    _, begun = world.do(cmd.Advance())
    assert begun == ev.CheckStarted(name="tests", epoch=1, artifact=found.digest, tree=world.tree, pid=300, started="3")
    world.end_check()
    [begun] = world.do(cmd.Advance())
    assert begun.name == "lint"
    world.end_check()
    assert kinds(world.do(cmd.Advance())) == ["Transitioned", "StageEntered"]


def test_a_result_holds_for_this_artifact_and_this_tree_only() -> None:
    world = made(checks=TWO[:1], gate=APPROVAL)
    world.work("approved")
    assert codes(world.advance()) == "gate.waiting"
    assert codes(world.advance()) == "gate.waiting"
    assert started(world) == ["tests"]
    world.write("approved", body="other")
    world.advance()
    assert started(world) == ["tests"] * 2
    world.project["src/a"] = "2"
    world.advance()
    assert started(world) == ["tests"] * 3
    world.project["src/a"] = "1"
    world.advance()
    assert started(world) == ["tests"] * 4


def test_a_failed_check_is_not_run_again_until_something_changed() -> None:
    world = made(checks=TWO[:1])
    world.work("approved")
    assert codes(world.advance(outcome="fail")) == "check.failed"
    assert codes(world.advance(outcome="pass")) == "check.failed"
    assert started(world) == ["tests"]
    world.project["src/a"] = "2"
    assert codes(world.advance(outcome="pass")) == "ok"


def test_results_follow_the_tree_that_another_check_writes() -> None:
    world = made(checks=TWO, writes="artifact")
    world.work("approved")
    world.do(cmd.Advance())
    world.end_check()
    world.do(cmd.Advance())
    world.end_check(writes={"build/lint": "1"})
    assert kinds(world.do(cmd.Advance())) == ["Transitioned", "StageEntered"]
    assert started(world) == ["tests", "lint"]


def test_a_failed_check_that_writes_does_not_make_the_next_look_fail() -> None:
    world = made(checks=TWO[:1], writes="artifact")
    world.work("approved")
    assert codes(world.advance(outcome="fail", writes={"build/log": "1"})) == "check.failed"
    assert codes(world.advance()) == "check.failed"


@pytest.mark.parametrize("outcome", ["running", "abandoned"])
def test_a_check_without_an_end_is_run_again(outcome: str) -> None:
    world = made(checks=TWO[:1])
    world.work("approved")
    world.do(cmd.Advance())
    if outcome == "abandoned":
        world.end_check("abandoned")
    assert codes(world.advance()) == "ok"
    assert started(world) == ["tests", "tests"]


def test_checks_hold_for_the_results_they_name() -> None:
    fields = {
        "transitions": {"approved": "executing", "later": "planning"},
        "checks": [{"name": "tests", "run": "x", "for": ["approved"]}],
    }
    world = made(**fields)
    world.work("later")
    world.advance()
    assert started(world) == []
    world.work("approved")
    world.advance()
    assert started(world) == ["tests"]


def test_checks_come_to_an_end_where_there_is_no_tree() -> None:
    world = made(checks=TWO[:1])
    world.work("approved")
    _, begun = world.do(cmd.Advance(), tree=None)
    assert begun.tree == ""
    ended = ev.CheckEnded(name="tests", epoch=1, artifact=begun.artifact, tree="", tree_after="", outcome="pass")
    world.do(cmd.EndCheck(event=ended))
    assert kinds(world.do(cmd.Advance(), tree=None)) == ["Transitioned", "StageEntered"]


# -------------------------------------------------------------------------------------------------- the cap


def loop(max_epoch: int, terminals: list[str]) -> World:
    base = changed(changed(PLAIN, "max_epoch", max_epoch), "terminal_stages", terminals)
    return World(workflow(changed(base, f"{STAGES}/transitions", {"again": "planning", "approved": "executing"})))


@pytest.mark.rule("S2.15")
def test_at_the_cap_a_run_is_escalated() -> None:
    world = loop(3, ["complete", "escalated"])
    world.work("again")
    world.advance()
    world.work("again", body="2")
    _, budget, moved, ended = world.advance()
    assert budget == ev.BudgetReached(budget="max_epoch", limit=3, action="escalate")
    assert (moved.target, moved.cause, moved.epoch) == ("escalated", "cap", 3)
    assert (ended.terminal, ended.success) == ("escalated", False)
    assert (world.now.terminal, world.now.epoch) == ("escalated", 3)


@pytest.mark.rule("S2.43")
def test_at_the_cap_the_artifact_is_looked_at_first() -> None:
    world = loop(3, ["complete", "escalated"])
    world.work("again")
    world.advance()
    assert (world.now.epoch, world.now.status) == (2, "running")
    assert world.advance().code == "artifact.missing"
    world.write("again", epoch=7)
    assert world.advance().code == "artifact.epoch"
    assert world.now.status == "running"


@pytest.mark.rule("S2.15")
def test_the_cap_cannot_be_carried_out_where_escalated_is_not_declared() -> None:
    world = loop(3, ["complete"])
    for number in range(4):
        world.work("again", body=str(number))
        answer = world.advance()
    assert answer[1] == ev.BudgetReached(budget="max_epoch", limit=3, action="continue")
    assert (world.now.stage, world.now.epoch, world.now.live) == ("planning", 5, True)


@pytest.mark.rule("S2.16")
def test_the_cap_never_meets_a_terminal() -> None:
    base = changed(PLAIN, "max_epoch", 1)
    world = World(workflow(changed(base, f"{STAGES}/transitions", {"done": "complete", "approved": "executing"})))
    world.work("done")
    _, moved, ended = world.advance()
    assert (moved.target, moved.cause, ended.success) == ("complete", "table", True)
    assert world.now.success


# ---------------------------------------------------------------------------------------- review and the rest


def test_a_review_by_somebody_else_is_accepted() -> None:
    base = changed(OURS, "stages/plan/gate", GONE)
    world = World(workflow(base))
    world.work("done")
    assert codes(world.advance()) == "ok"
    world.work("done", agent="builder")
    assert codes(world.advance()) == "ok"
    world.work("PASS")
    assert codes(world.advance()) == "ok"
    world.work("PASS", agent="reviewer")
    assert codes(world.advance()) == "ok"
    world.advance()
    world.person("answer", "yes")
    world.write("yes")
    assert codes(world.advance()) == "ok"
    assert (world.now.terminal, world.now.success) == ("complete", True)


def test_a_review_by_the_agent_that_built_is_refused() -> None:
    world = World(workflow(changed(OURS, "stages/plan/gate", GONE)))
    for result, agent in [("done", ""), ("done", "both"), ("PASS", "")]:
        world.work(result, agent=agent)
        world.advance()
    world.work("PASS", agent="both")
    answer = world.advance()
    assert codes(answer) == "producer.same_as_author"
    assert answer.fields["producer"] == "subagent both"


def test_headless_attempts_are_producers() -> None:
    world = World(workflow(PLAIN), holder=RUNNER)
    world.work("approved")
    world.advance()
    assert world.now.accepted["planning"].producer == ev.Producer(kind="attempt", id=f"{world.now.run}.1.1")


def test_a_command_stage_is_left_by_what_the_engine_made() -> None:
    fields = {"kind": "command", "run": "x", "results": {"*": "done"}, "transitions": {"done": "executing"}}
    world = World(workflow(changed(PLAIN, STAGES, fields)))
    world.work("done")
    assert codes(world.advance()) == "ok"
    assert world.now.accepted["planning"].producer.kind == "engine"


def test_a_stage_that_is_bound_gets_the_tree_it_is_entered_with() -> None:
    world = World(workflow(changed(PLAIN, "stages/executing/writes", "artifact")))
    world.work("approved")
    assert world.advance()[-1].tree == world.tree
    assert world.now.tree_ref == world.tree


def test_a_stage_within_its_globs_is_accepted() -> None:
    world = made(writes=["src/*"])
    world.project["src/a"] = "2"
    world.work("approved")
    assert codes(world.advance()) == "ok"


def test_a_run_that_was_taken_over_goes_on_with_its_decisions() -> None:
    world = made(gate=APPROVAL)
    world.work("approved")
    world.person("approve")
    world.do(cmd.Resume(holder=ev.Holder(kind="caller"), take_over=True), PERSON)
    assert codes(world.advance()) == "ok"


@pytest.mark.parametrize(
    ("fields", "result", "needed"),
    [
        ({}, "approved", False),
        ({"writes": "artifact"}, "approved", True),
        ({"writes": ["src/*"]}, "nonsense", True),
        ({"protects": ["tests/*"]}, "approved", True),
        ({"checks": TWO}, "approved", True),
        ({"checks": TWO}, "nonsense", False),
        ({"gate": APPROVAL}, "approved", True),
        ({"gate": APPROVAL, "writes": "artifact"}, "approved", True),
    ],
)
def test_when_the_tree_is_looked_at(fields: dict[str, Any], result: str, needed: bool) -> None:
    made_of = workflow(document(**fields))
    planning = made_of.stages["planning"]
    target = made_of.stages.get(planning.transitions.get(result, ""))
    assert needs_tree(planning, target, result) is needed


def test_the_tree_is_looked_at_for_the_stage_that_is_entered() -> None:
    made_of = workflow(changed(PLAIN, "stages/executing/writes", "artifact"))
    assert needs_tree(made_of.stages["planning"], made_of.stages["executing"], "approved")
    assert not needs_tree(made_of.stages["planning"], None, "approved")

"""Rules about a workflow as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from unit.core.documents import OURS, PLAIN, changed, problems

INLINE = {"execution": {"type": "inline"}}
X = "stages/planning/transitions"

CASES: list[tuple[Any, str, str, str]] = [
    (
        changed(PLAIN, "stages/lost", {**INLINE, "transitions": {"done": "complete"}}),
        "unreachable",
        "stages.lost",
        "from planning",
    ),
    (
        changed(
            changed(PLAIN, f"{X}/loop", "round"),
            "stages/round",
            {**INLINE, "transitions": {"again": "round"}},
        ),
        "no_terminal",
        "stages.round",
        "no terminal",
    ),
    (
        changed(PLAIN, f"{X}/skip", "reviewing"),
        "input_not_supplied",
        "stages.reviewing.inputs.required[1]",
        "executing is missing on the path planning -> reviewing",
    ),
    (
        changed(PLAIN, "stages/planning/inputs/required", [{"from_stage": "deploy"}]),
        "input_not_supplied",
        "stages.planning.inputs.required[0]",
        "deploy is missing on the path planning",
    ),
    (
        changed(PLAIN, "stages/executing/inputs/required", [{"from_stage": "executing"}]),
        "self_input",
        "stages.executing.inputs.required[0]",
        "its own artifact",
    ),
    (
        changed(OURS, "stages/release/gate", {"type": "require_approval", "explicit": False}),
        "gate",
        "stages.release.gate.explicit",
        "decided by a person",
    ),
    (changed(OURS, "stages/review/inputs", {}), "review_inputs", "stages.review.inputs", "judges nothing"),
]


@pytest.mark.rule("S1.30", "S1.31", "W12")
@pytest.mark.parametrize(("document", "code", "path", "words"), CASES)
def test_each_rule_of_the_graph(document: Any, code: str, path: str, words: str) -> None:
    hits = [p for p in problems(document) if p.severity == "error"]
    assert [(p.code, p.path) for p in hits] == [(f"workflow.{code}", path)]
    assert words in hits[0].text()


@pytest.mark.rule("S1.29")
def test_loops_and_branches_are_fine() -> None:
    document = changed(changed(PLAIN, f"{X}/again", "planning"), "stages/qa-ing/transitions/UNSURE", "qa-ing")
    assert [p for p in problems(document) if p.severity == "error"] == []


def test_an_initial_stage_may_be_required_by_the_others() -> None:
    document = changed(
        PLAIN, "stages/qa-ing/inputs/required", [{"from_stage": "planning"}, {"from_run_file": "baseline"}]
    )
    assert [p for p in problems(document) if p.severity == "error"] == []


def test_stage_rules_are_reported_though_the_graph_cannot_be_walked() -> None:
    document = changed(changed(OURS, "initial_stage", "nowhere"), "stages/review/inputs", {})
    assert {p.code for p in problems(document)} == {"workflow.initial_stage", "workflow.review_inputs"}


def test_an_interruptible_stage_without_a_gate_is_worth_a_warning() -> None:
    gate = {"type": "require_approval"}
    assert [p.path for p in problems(PLAIN) if p.code == "workflow.no_gate"] == ["stages.planning", "stages.deploy"]
    document = changed(PLAIN, "stages/planning/gate", gate)
    assert [p.path for p in problems(document) if p.code == "workflow.no_gate"] == ["stages.deploy"]


def test_only_a_decision_of_a_person_may_lead_to_cancelled() -> None:
    def wrong(document: Any) -> list[str]:
        found = [p for p in problems(document) if p.code == "workflow.cancelled_by_agent"]
        assert all(p.severity == "error" for p in found)
        return [p.path for p in found]

    base = changed(OURS, "terminal_stages", ["complete", "escalated", "failed", "cancelled"])
    stop = changed(base, "stages/build/transitions/stop", "cancelled")
    assert wrong(stop) == ["stages.build.transitions.stop"]
    assert wrong(changed(stop, "stages/build/gate", {"type": "require_approval"})) == []
    unproven = {"type": "require_approval", "explicit": False}
    assert wrong(changed(stop, "stages/build/gate", unproven)) == ["stages.build.transitions.stop"]
    other = {"type": "require_approval", "for": ["done"]}
    assert wrong(changed(stop, "stages/build/gate", other)) == ["stages.build.transitions.stop"]
    assert wrong(changed(base, "stages/release/transitions/stop", "cancelled")) == []
    plain = changed(PLAIN, "stages/executing/transitions/stop", "cancelled")
    assert wrong(plain) == ["stages.executing.transitions.stop"]

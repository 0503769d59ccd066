"""Findings, and the one error that carries them."""

from __future__ import annotations

from stagent.core.verify.problem import Findings, errors, refuse


def findings() -> Findings:
    found = Findings()
    found.error("stages", "stages", "no stage is declared", "Declare one.", ["a", "b"])
    found.warn("unknown_key", "", "an odd field", "Leave it out.")
    return found


def test_only_errors_stop_unless_strict() -> None:
    listed = findings().problems
    assert [p.code for p in errors(listed)] == ["workflow.stages"]
    assert [p.code for p in errors(listed, strict=True)] == ["workflow.stages", "workflow.unknown_key"]


def test_a_problem_in_words() -> None:
    first, second = findings().problems
    assert first.text() == "workflow.json: stages: no stage is declared. Known: a, b. Declare one."
    assert second.text("flow.json") == "flow.json: an odd field. Leave it out."


def test_the_refusal_lists_every_problem() -> None:
    listed = findings().problems
    error = refuse(listed, "flows/mine")
    assert error.code == "workflow.invalid"
    assert str(error).startswith("flows/mine: 2 problems\n  - workflow.json: stages")
    assert error.fields["problems"] == [
        {"code": "workflow.stages", "path": "stages", "message": listed[0].text()},
        {"code": "workflow.unknown_key", "path": "", "message": listed[1].text()},
    ]
    assert "1 problem\n" in str(refuse(listed[:1], "x"))

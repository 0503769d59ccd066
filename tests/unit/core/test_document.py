"""Every rule about the shape of a workflow document, each broken once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core.canonical import encode
from stagent.core.document import parse
from stagent.core.model import (
    ABORTS,
    Budget,
    Check,
    Gate,
    Input,
    Limit,
    Output,
    Persona,
    Retry,
    RunFile,
    Stop,
    Tools,
    Workflow,
)
from stagent.core.shapes import MAX_COUNT, MAX_SECONDS
from stagent.core.verify.problem import Findings, errors
from stagent.testing import strategies
from unit.core.documents import GONE, OURS, PLAIN, changed, problems, workflow

S = "stages/planning"
P = "stages.planning"
E = "stages/executing"
B = "stages/build"
NAMES = ["../up", "a b", ".hidden", "", "-x", "a/b", "x" * 101]

# path in the document, value set there, code, path of the finding
ORIGINAL: list[tuple[str, Any, str, str]] = [
    ("initial_stage", GONE, "initial_stage", "initial_stage"),
    ("initial_stage", "", "initial_stage", "initial_stage"),
    ("initial_stage", 3, "initial_stage", "initial_stage"),
    ("initial_stage", "nowhere", "initial_stage", "initial_stage"),
    ("initial_stage", "complete", "initial_stage", "initial_stage"),
    ("max_epoch", "20", "max_epoch", "max_epoch"),
    ("max_epoch", True, "max_epoch", "max_epoch"),
    ("max_epoch", 0, "max_epoch", "max_epoch"),
    ("max_epoch", -4, "max_epoch", "max_epoch"),
    ("max_epoch", 2.5, "max_epoch", "max_epoch"),
    ("max_epoch", 1e300, "max_epoch", "max_epoch"),
    ("terminal_stages", GONE, "terminals", "terminal_stages"),
    ("terminal_stages", "complete", "terminals", "terminal_stages"),
    ("terminal_stages", [], "terminals", "terminal_stages"),
    ("terminal_stages", ["complete", "complete"], "duplicate_terminal", "terminal_stages[1]"),
    ("terminal_stages", ["complete", 7], "unsafe_name", "terminal_stages[1]"),
    ("terminal_stages", ["complete", "a/b"], "unsafe_name", "terminal_stages[1]"),
    ("terminal_stages", ["complete", "interrupted"], "reserved_name", "terminal_stages[1]"),
    ("terminal_stages", ["complete", "deploy"], "reserved_name", "terminal_stages[1]"),
    ("stages", GONE, "stages", "stages"),
    ("stages", [], "stages", "stages"),
    ("stages", {}, "stages", "stages"),
    (S, "x", "stage", P),
    (f"{S}/execution", GONE, "execution", f"{P}.execution.type"),
    (f"{S}/execution", "inline", "execution", f"{P}.execution.type"),
    (f"{S}/execution", {}, "execution", f"{P}.execution.type"),
    (f"{S}/execution/type", "remote", "execution", f"{P}.execution.type"),
    (f"{S}/execution/type", ["inline"], "execution", f"{P}.execution.type"),
    (f"{S}/execution/model", "gpt", "model", f"{P}.execution.model"),
    (f"{S}/execution/model", {}, "model", f"{P}.execution.model"),
    (f"{S}/execution/subagent_type", "x", "subagent_type", f"{P}.execution.subagent_type"),
    (f"{E}/execution/subagent_type", "x", "subagent_type", "stages.executing.execution.subagent_type"),
    (f"{E}/interruptible", True, "subagent_interruptible", "stages.executing.interruptible"),
    (f"{S}/interruptible", "yes", "interruptible", f"{P}.interruptible"),
    ("modifies_worktree", "no", "modifies_worktree", "modifies_worktree"),
    (f"{S}/transitions", GONE, "dead_end", f"{P}.transitions"),
    (f"{S}/transitions", {}, "dead_end", f"{P}.transitions"),
    (f"{S}/transitions", ["executing"], "dead_end", f"{P}.transitions"),
    (f"{S}/transitions/approved", "", "target", f"{P}.transitions.approved"),
    (f"{S}/transitions/approved", 4, "target", f"{P}.transitions.approved"),
    (f"{S}/transitions/approved", {}, "target", f"{P}.transitions.approved.to"),
    (f"{S}/transitions/approved", {"to": "nowhere"}, "unknown_stage", f"{P}.transitions.approved.to"),
    (f"{S}/transitions/other", "nowhere", "unknown_stage", f"{P}.transitions.other"),
    (f"{S}/transitions/pending", "executing", "unsafe_name", f"{P}.transitions.pending"),
    (f"{S}/inputs", [], "inputs", f"{P}.inputs"),
    (f"{S}/inputs/required", {}, "inputs", f"{P}.inputs.required"),
    (f"{S}/inputs/optional", "x", "inputs", f"{P}.inputs.optional"),
    (f"{S}/inputs/required", ["x"], "input", f"{P}.inputs.required[0]"),
    (f"{S}/inputs/optional", [{"description": "?"}], "input", f"{P}.inputs.optional[0]"),
    (
        f"{S}/inputs/optional",
        [{"from_stage": "deploy", "from_run_file": "baseline"}],
        "input",
        f"{P}.inputs.optional[0]",
    ),
    (f"{S}/inputs/required", [{"from_stage": "nope"}], "unknown_input", f"{P}.inputs.required[0].from_stage"),
    (f"{S}/inputs/optional", [{"from_stage": "nope"}], "unknown_input", f"{P}.inputs.optional[0].from_stage"),
    (f"{S}/inputs/required", [{"from_run_file": "nope"}], "unknown_input", f"{P}.inputs.required[0].from_run_file"),
    (f"{S}/inputs/optional", [{"from_run_file": ["x"]}], "unknown_input", f"{P}.inputs.optional[0].from_run_file"),
    ("run_files", [], "run_files", "run_files"),
    ("run_files/other", "x", "run_files", "run_files.other"),
    ("run_files/other", {}, "run_file_init", "run_files.other.init"),
    ("run_files/other", {"init": " "}, "run_file_init", "run_files.other.init"),
    ("run_files/state.md", {"init": "x"}, "reserved_name", "run_files.state.md"),
    ("run_files/State.md", {"init": "x"}, "reserved_name", "run_files.State.md"),
    ("run_files/workflow", {"init": "x"}, "reserved_name", "run_files.workflow"),
    ("run_files/Workflow", {"init": "x"}, "reserved_name", "run_files.Workflow"),
    ("run_files/qa-report.md", {"init": "x"}, "reserved_name", "run_files.qa-report.md"),
    ("run_files/QA-Report.MD", {"init": "x"}, "reserved_name", "run_files.QA-Report.MD"),
    *[("run_files", {name: {"init": "x"}}, "unsafe_name", f"run_files.{name}") for name in NAMES],
    *[("stages", {name: PLAIN["stages"]["planning"]}, "unsafe_name", f"stages.{name}") for name in NAMES],
    *[(f"{S}/transitions", {name: "executing"}, "unsafe_name", f"{P}.transitions.{name}") for name in NAMES],
    ("stages/interrupted", PLAIN["stages"]["planning"], "reserved_name", "stages.interrupted"),
    ("stages/cancelled", PLAIN["stages"]["planning"], "reserved_name", "stages.cancelled"),
]
BEYOND: list[tuple[str, Any, str, str]] = [
    ("title", 5, "title", "title"),
    (f"{B}/title", [], "title", "stages.build.title"),
    (f"{B}/kind", "robot", "kind", "stages.build.kind"),
    (f"{B}/kind", [], "kind", "stages.build.kind"),
    (f"{B}/kind", "fanout", "not_implemented", "stages.build.kind"),
    (f"{B}/criteria", "good", "criteria", "stages.build.criteria"),
    (f"{B}/criteria", [""], "criteria", "stages.build.criteria"),
    (f"{B}/gate", True, "gate", "stages.build.gate"),
    (f"{B}/gate", {}, "gate", "stages.build.gate.type"),
    (f"{B}/gate", {"type": []}, "gate", "stages.build.gate.type"),
    (f"{B}/gate", {"type": "require_fields"}, "not_implemented", "stages.build.gate.type"),
    ("stages/plan/gate/explicit", 1, "explicit", "stages.plan.gate.explicit"),
    ("stages/plan/gate/unattended", None, "unattended", "stages.plan.gate.unattended"),
    (f"{B}/checks", {}, "checks", "stages.build.checks"),
    (f"{B}/checks/0", "make", "check", "stages.build.checks[0]"),
    (f"{B}/checks/0/name", GONE, "name", "stages.build.checks[0].name"),
    (f"{B}/checks/0/name", "a b", "unsafe_name", "stages.build.checks[0].name"),
    (f"{B}/checks/0/run", " ", "run", "stages.build.checks[0].run"),
    (f"{B}/checks/0/for", ["nope"], "unknown_result", "stages.build.checks[0].for"),
    (f"{B}/checks/0/for", "done", "for", "stages.build.checks[0].for"),
    (f"{B}/checks/0/protect", "x", "protect", "stages.build.checks[0].protect"),
    (f"{B}/checks/0/timeout", 0, "timeout", "stages.build.checks[0].timeout"),
    (f"{B}/checks/0/timeout", MAX_SECONDS * 2, "timeout", "stages.build.checks[0].timeout"),
    (f"{B}/checks/1/env", {"A": 1}, "check_env", "stages.build.checks[1].env"),
    (f"{B}/checks/1/env", [], "check_env", "stages.build.checks[1].env"),
    (f"{B}/checks/1/name", "tests", "check_name", "stages.build.checks[1].name"),
    (f"{B}/protects", "x", "protects", "stages.build.protects"),
    (f"{B}/watch", [1], "watch", "stages.build.watch"),
    (f"{B}/writes", "everything", "writes", "stages.build.writes"),
    (f"{B}/writes", [], "writes", "stages.build.writes"),
    (f"{B}/run", "make", "command", "stages.build.run"),
    (f"{B}/results", {}, "command", "stages.build.results"),
    ("stages/test/run", GONE, "command", "stages.test.run"),
    ("stages/test/results", GONE, "command", "stages.test.results"),
    ("stages/test/results", {}, "command", "stages.test.results"),
    ("stages/test/results", {"0": "PASS"}, "command", "stages.test.results"),
    ("stages/test/results/256", "PASS", "command", "stages.test.results.256"),
    ("stages/test/results/01", "PASS", "command", "stages.test.results.01"),
    ("stages/test/results/1", "nope", "command", "stages.test.results.1"),
    ("stages/test/results/1", [], "command", "stages.test.results.1"),
    ("stages/test/execution", {"type": "inline"}, "execution", "stages.test.execution"),
    ("stages/release/execution", {"type": "inline"}, "execution", "stages.release.execution"),
    ("stages/plan/stop", 5, "stop", "stages.plan.stop"),
    ("stages/plan/stop/blocks", 0, "blocks", "stages.plan.stop.blocks"),
    ("stages/plan/stop/blocks", MAX_COUNT + 1, "blocks", "stages.plan.stop.blocks"),
    ("stages/plan/stop/message", 5, "message", "stages.plan.stop.message"),
    ("stages/plan/retry", [], "retry", "stages.plan.retry"),
    ("stages/plan/retry/attempts", 1.5, "attempts", "stages.plan.retry.attempts"),
    ("stages/plan/retry/backoff", -1, "backoff", "stages.plan.retry.backoff"),
    ("stages/plan/timeout", True, "timeout", "stages.plan.timeout"),
    ("stages/plan/transitions/done/label", "", "label", "stages.plan.transitions.done.label"),
    ("budget", [], "budget", "budget"),
    ("budget", {}, "budget", "budget"),
    ("budget", {"tokens": None}, "budget", "budget"),
    ("budget/tokens", 5, "budget", "budget.tokens"),
    ("budget/tokens", {}, "budget", "budget.tokens"),
    ("budget/tokens", {"halt": None}, "budget", "budget.tokens"),
    ("budget/tokens/halt", 0, "budget", "budget.tokens.halt"),
    ("budget/tokens/halt", True, "budget", "budget.tokens.halt"),
    ("budget/tokens/halt", "5", "budget", "budget.tokens.halt"),
    ("budget/tokens/halt", MAX_COUNT + 1, "budget", "budget.tokens.halt"),
    ("budget/cost_usd/warn", 3, "budget", "budget.cost_usd.pause"),
    ("budget/cost_usd/halt", 2, "budget", "budget.cost_usd.halt"),
    ("budget/cost_usd", {"warn": 3, "halt": 2}, "budget", "budget.cost_usd.halt"),
    (f"{B}/tools", ["Read"], "no_object", "stages.build.tools"),
    (f"{B}/tools", {"allow": "Read"}, "tools", "stages.build.tools.allow"),
    (f"{B}/tools", {"allow": ["Bash git"]}, "tools", "stages.build.tools.allow"),
    *[
        (f"{B}/tools", {"deny": [name]}, "tools", "stages.build.tools.deny")
        for name in ("", "--x", "Read,Write", "Bash()", "Bash(x\ny)", "Read*", "Bash(a) ", "*")
    ],
    (f"{B}/tools", {"allow": ["Read", "Grep"], "deny": ["Read"]}, "tools", "stages.build.tools.deny"),
    *[(f"{B}/prompt", name, "prompt", "stages.build.prompt") for name in (*NAMES, "x.txt", ".md", "a/b.md", 5)],
    (f"{B}/persona", "Ann", "no_object", "stages.build.persona"),
    (f"{B}/persona", {"name": " "}, "persona", "stages.build.persona.name"),
    (f"{B}/persona", {"system_prompt": 5}, "persona", "stages.build.persona.system_prompt"),
    (f"{B}/persona", {"model": "--dangerous"}, "persona", "stages.build.persona.model"),
    (f"{B}/persona", {"model": "a\0b"}, "persona", "stages.build.persona.model"),
    (f"{B}/persona", {"system_prompt": "\u00e9" * 50_001}, "persona", "stages.build.persona.system_prompt"),
    (f"{B}/output", {"schema": {"title": "x" * 100_000}}, "output", "stages.build.output.schema"),
    (f"{B}/output", "json", "no_object", "stages.build.output"),
    (f"{B}/output", {"format": "yaml"}, "output", "stages.build.output.format"),
    (f"{B}/output", {"format": []}, "output", "stages.build.output.format"),
    (f"{B}/output", {"schema": True}, "output", "stages.build.output.schema"),
    (f"{B}/output", {"schema": {}, "format": "text"}, "output", "stages.build.output.format"),
    *[
        (f"stages/{stage}/{field}", value, "no_agent", f"stages.{stage}.{field}")
        for stage in ("test", "release")
        for field, value in [("tools", {}), ("prompt", "x.md"), ("persona", {}), ("output", {})]
    ],
    # what this version does not carry out
    ("groups", [], "not_implemented", "groups"),
    (f"{B}/output", {"file": "x.md"}, "not_implemented", "stages.build.output.file"),
    (f"{B}/output", {"format": "options"}, "not_implemented", "stages.build.output.format"),
    ("stages/plan/gate/quorum", 2, "not_implemented", "stages.plan.gate.quorum"),
    ("stages/plan/transitions/done/when", "x", "not_implemented", "stages.plan.transitions.done.when"),
    (f"{B}/inputs/required/0/else", "0", "not_implemented", "stages.build.inputs.required[0].else"),
]
WARNINGS: list[tuple[str, Any, str, str]] = [
    ("max_epoch", 2, "max_epoch_low", "max_epoch"),
    ("terminal_stages", ["complete"], "max_epoch_open", "max_epoch"),
    ("terminal_stages", ["complete", "halfway", "escalated"], "terminal_unreachable", "terminal_stages[1]"),
    ("colour", "red", "unknown_key", "colour"),
    (f"{S}/colour", "red", "unknown_key", f"{P}.colour"),
    (f"{S}/execution/colour", "red", "unknown_key", f"{P}.execution.colour"),
    (f"{S}/inputs/colour", "red", "unknown_key", f"{P}.inputs.colour"),
    (f"{S}/inputs/optional", [{"from_stage": "deploy", "colour": 1}], "unknown_key", f"{P}.inputs.optional[0].colour"),
    ("run_files/baseline/colour", "red", "unknown_key", "run_files.baseline.colour"),
    (f"{S}/stop", {"blocks": 8}, "blocks_high", f"{P}.stop.blocks"),
    ("budget", {"euros": 5, "tokens": {"halt": 1}}, "unknown_key", "budget.euros"),
    ("budget", {"tokens": {"halt": 1, "stop": 2}}, "unknown_key", "budget.tokens.stop"),
    *[
        (f"{S}/{field}", {"colour": "red"}, "unknown_key", f"{P}.{field}.colour")
        for field in ("tools", "persona", "output")
    ],
]


def found(document: Any, severity: str) -> set[tuple[str, str]]:
    return {(p.code, p.path) for p in problems(document) if p.severity == severity}


def rows(*codes: str) -> list[tuple[str, Any, str, str]]:
    """The rows of ORIGINAL that are found under these codes."""
    return [row for row in ORIGINAL if row[2] in codes]


def is_found(row: tuple[str, Any, str, str]) -> None:
    path, value, code, place = row
    assert (f"workflow.{code}", place) in found(changed(PLAIN, path, value), "error")


@pytest.mark.rule("S1.19")
@pytest.mark.parametrize("row", rows("initial_stage"))
def test_a_run_begins_in_a_declared_stage(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.6", "S1.20")
@pytest.mark.parametrize("row", rows("max_epoch"))
def test_the_cap_is_a_whole_number(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.21")
@pytest.mark.parametrize("row", rows("terminals"))
def test_there_are_terminals(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.22")
@pytest.mark.parametrize("row", rows("stages", "stage"))
def test_there_are_stages(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.24")
@pytest.mark.parametrize("row", rows("execution"))
def test_a_stage_says_who_works(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.25")
@pytest.mark.parametrize("row", rows("subagent_type"))
def test_there_is_one_kind_of_sub_agent(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.26")
@pytest.mark.parametrize("row", rows("subagent_interruptible"))
def test_a_sub_agent_is_not_interrupted(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.27")
@pytest.mark.parametrize("row", rows("target", "unknown_stage"))
def test_a_transition_leads_somewhere(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.28")
@pytest.mark.parametrize("row", rows("unknown_input"))
def test_an_input_comes_from_something_declared(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.30", "W12")
@pytest.mark.parametrize("row", rows("dead_end"))
def test_a_stage_can_be_left(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.15", "S1.32", "W12")
@pytest.mark.parametrize("row", rows("input", "inputs", "run_file_init", "run_files"))
def test_an_input_has_one_source_and_a_run_file_a_command(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.33", "W13")
@pytest.mark.parametrize("row", rows("unsafe_name"))
def test_names_can_be_file_names(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.34", "W12")
@pytest.mark.parametrize("row", rows("reserved_name", "duplicate_terminal"))
def test_names_are_free_and_used_once(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


@pytest.mark.rule("S1.8", "S1.35", "W12")
@pytest.mark.parametrize("row", rows("model", "interruptible", "modifies_worktree"))
def test_values_are_known_and_of_their_kind(row: tuple[str, Any, str, str]) -> None:
    is_found(row)


def test_no_row_is_left_out() -> None:
    """Every code of ORIGINAL is asked for by one of the tests above."""
    asked = {
        "dead_end",
        "duplicate_terminal",
        "execution",
        "initial_stage",
        "input",
        "inputs",
        "interruptible",
        "max_epoch",
        "model",
        "modifies_worktree",
        "reserved_name",
        "run_file_init",
        "run_files",
        "stage",
        "stages",
        "subagent_interruptible",
        "subagent_type",
        "target",
        "terminals",
        "unknown_input",
        "unknown_stage",
        "unsafe_name",
    }
    assert {code for _, _, code, _ in ORIGINAL} == asked


@pytest.mark.parametrize(("path", "value", "code", "place"), BEYOND)
def test_rules_of_our_fields(path: str, value: Any, code: str, place: str) -> None:
    assert (f"workflow.{code}", place) in found(changed(OURS, path, value), "error")


@pytest.mark.rule("S1.36")
@pytest.mark.parametrize(("path", "value", "code", "place"), WARNINGS)
def test_warnings_do_not_stop_a_workflow(path: str, value: Any, code: str, place: str) -> None:
    document = changed(PLAIN, path, value)
    assert found(document, "error") == set()
    assert (f"workflow.{code}", place) in found(document, "warning")


@pytest.mark.parametrize("document", ["text", 3, None, [], True])
def test_a_document_is_an_object(document: Any) -> None:
    assert found(document, "error") == {("workflow.not_object", "")}


def test_every_problem_says_what_to_do() -> None:
    for path, value, *_ in ORIGINAL:
        for problem in problems(changed(PLAIN, path, value)):
            assert problem.remedy
            assert problem.text().startswith("workflow.json")
            assert problem.remedy in problem.text()


def test_a_remedy_names_the_known_values() -> None:
    [problem] = [p for p in problems(changed(PLAIN, f"{S}/transitions/x", "nowhere")) if p.severity == "error"]
    assert problem.text() == (
        'workflow.json: stages.planning.transitions.x: no stage "nowhere". '
        "Known: deploy, executing, planning, qa-ing, reviewing, cancelled, complete, escalated. "
        "Add it or correct the name."
    )


@pytest.mark.rule("S1.17")
def test_fifty_faults_are_found_at_once() -> None:
    stage = {
        "execution": {"type": "x", "model": "y", "subagent_type": "z"},
        "interruptible": 1,
        "transitions": {"a b": "nowhere", "pending": ""},
        "inputs": {"required": [{}, 5], "optional": [{"from_stage": "x"}]},
    }
    document = {"stages": {f"s{index}": stage for index in range(5)}, "max_epoch": 0, "groups": 1, "terminal_stages": 5}
    listed = [p for p in problems(document) if p.severity == "error"]
    assert len(listed) >= 50
    assert len({(p.code, p.path) for p in listed}) == len(listed)
    for index in range(5):
        assert len([p for p in listed if p.path.startswith(f"stages.s{index}.")]) == 11


@pytest.mark.rule("S1.1")
def test_a_plain_original_workflow_is_valid_and_knows_no_tree_rule() -> None:
    made = workflow(PLAIN)
    assert list(made.stages) == ["planning", "executing", "reviewing", "qa-ing", "deploy"]
    assert made.terminals == ("complete", "escalated", "cancelled")
    assert made.run_files == (RunFile("baseline", "git rev-parse HEAD || echo EMPTY", "the commit at the start"),)
    assert {stage.writes for stage in made.stages.values()} == {None}
    assert [p.code for p in problems(PLAIN)] == ["workflow.no_gate", "workflow.no_gate"]
    assert made.stages["executing"].model == "opus"
    assert made.stages["deploy"].inputs[1] == Input("stage", "qa-ing", "", True)


def test_every_field_reaches_the_model() -> None:
    made = workflow(OURS)
    plan, build, test = made.stages["plan"], made.stages["build"], made.stages["test"]
    assert problems(OURS) == []
    assert made.title == "Everything"
    assert (plan.title, plan.criteria, plan.watch) == ("Plan", ("it can be carried out",), ("src/**",))
    assert plan.transitions == {"done": "build", "hopeless": "failed"}
    assert plan.labels == {"done": "The plan stands"}
    assert plan.gate == Gate(explicit=True, unattended=False)
    assert plan.stop == Stop(3, "The plan is not written.")
    assert plan.retry == Retry(2, 1.5)
    assert plan.timeout == 60.0
    assert build.checks == (
        Check(name="tests", run="make test", results=("done",), timeout=9.0, protect=("tests/**",)),
        Check(name="lint", run="make lint", results=("FAIL", "done"), env={"LEVEL": "high"}),
    )
    assert (build.protects, build.writes) == (("tests/**",), ("src/**", "tests/**"))
    assert (test.run, test.results) == ("make test", {"0": "PASS", "*": "FAIL"})
    assert test.writes == "project"
    assert made.stages["release"].kind == "human"
    assert plan.tools == Tools(("Read", "Grep"), ("WebFetch", "mcp__x__y"))
    assert (plan.prompt, plan.persona) == ("plan-prompt.md", Persona("Planner", "You plan.", "large-1"))
    assert made.stages["review"].output == Output('{"required":["verdict"],"type":"object"}')
    assert (build.tools, build.prompt, build.persona, build.output) == (Tools(), None, Persona(), Output())
    assert made.budget == Budget(Limit(1, 2.5, 5), Limit(None, None, 1_000_000), Limit(10, 10, None))
    assert msgspec.json.decode(encode(made), type=Workflow) == made


def test_json_without_a_schema_asks_for_any_object() -> None:
    for output, schema in [
        ({"format": "json"}, '{"type":"object"}'),
        ({"format": "text"}, None),
        ({"format": None, "schema": {}}, "{}"),
        ({}, None),
    ]:
        assert workflow(changed(OURS, f"{B}/output", output)).stages["build"].output == Output(schema)


def test_a_tool_named_twice_is_one_and_no_tool_is_not_any_tool() -> None:
    made = workflow(changed(OURS, f"{B}/tools", {"allow": ["Read", "mcp__a__*", "Bash(git log:*)", "Read"]}))
    assert made.stages["build"].tools == Tools(("Read", "mcp__a__*", "Bash(git log:*)"))
    assert workflow(changed(OURS, f"{B}/tools", {"allow": []})).stages["build"].tools == Tools(())
    assert workflow(changed(OURS, f"{B}/tools", {"allow": None})).stages["build"].tools == Tools(None)


@pytest.mark.parametrize("deep", [True, False])
def test_a_schema_that_cannot_be_written_is_reported(deep: bool) -> None:
    schema: Any = {"title": "\ud800"}
    for _ in range(20_000 if deep else 0):
        schema = {"not": schema}
    findings = Findings()
    parse(changed({**OURS, "budget": None}, "stages/build", {**OURS["stages"]["build"]}), findings)
    assert findings.problems == []
    document = {
        **OURS,
        "stages": {**OURS["stages"], "build": {**OURS["stages"]["build"], "output": {"schema": schema}}},
    }
    parse(document, findings)
    [problem] = findings.problems
    assert (problem.code, problem.path) == ("workflow.output", "stages.build.output.schema")


@pytest.mark.parametrize(
    ("path", "value", "writes"),
    [
        ("modifies_worktree", False, None),
        ("colour", "red", None),
        ("title", "x", "project"),
        ("$schema", "x", "project"),
        (f"{S}/title", "x", "project"),
        (f"{S}/retry", None, "project"),
        (f"{S}/transitions/approved", {"to": "executing"}, "project"),
    ],
)
def test_absent_writes_depends_on_whether_a_field_of_ours_is_used(path: str, value: Any, writes: Any) -> None:
    assert {stage.writes for stage in workflow(changed(PLAIN, path, value)).stages.values()} == {writes}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("max_epoch", None),
        ("max_epoch", 20.0),
        ("run_files/extra", {"init": "true", "description": 4}),
        (f"{E}/execution/model", None),
        ("stages/deploy/inputs", None),
        (f"{S}/inputs", {"required": None, "optional": None}),
        (f"{S}/inputs/optional", [{"from_stage": "deploy", "from_run_file": None, "description": None}]),
        (f"{S}/checks", None),
        (f"{S}/checks", [{"name": "t", "run": "true", "for": None, "protect": None, "env": None, "timeout": None}]),
        (f"{S}/gate", None),
        (f"{S}/stop", {"blocks": None, "message": None}),
        (f"{S}/retry", {"attempts": None, "backoff": 0}),
        (f"{S}/title", None),
        ("budget", None),
        ("budget", {"tokens": None, "minutes": {"warn": None, "pause": 0.5}}),
        (f"{S}/tools", None),
        (f"{S}/tools", {"allow": None, "deny": None}),
        (f"{S}/prompt", None),
        (f"{S}/persona", {"name": None, "system_prompt": None, "model": None}),
        (f"{S}/output", {"format": None, "schema": None}),
        ("stages/deploy/output", None),
        (f"{E}/transitions/again", "executing"),
    ],
)
def test_what_may_be_left_out_may_be_null(path: str, value: Any) -> None:
    assert found(changed(PLAIN, path, value), "error") == set()


@pytest.mark.rule("S1.5")
@pytest.mark.parametrize(("value", "expected"), [(None, 20), (7, 7), (20.0, 20)])
def test_the_cap(value: Any, expected: int) -> None:
    assert workflow(changed(PLAIN, "max_epoch", value)).max_epoch == expected


def test_run_files_may_be_null() -> None:
    document = changed(changed(PLAIN, "run_files", None), "stages/reviewing/inputs", {})
    assert workflow(document).run_files == ()


def test_long_values_are_quoted_short() -> None:
    [problem] = [p for p in problems(changed(PLAIN, "max_epoch", "9" * 500)) if p.code == "workflow.max_epoch"]
    assert len(problem.what) < 120
    [problem] = [p for p in problems(changed(PLAIN, "max_epoch", {"a": 1})) if p.code == "workflow.max_epoch"]
    assert "an object" in problem.what


@given(strategies.documents())
def test_documents_drawn_as_valid_are_valid(document: Any) -> None:
    assert errors(problems(document)) == []


@given(strategies.documents(original=True))
def test_original_documents_have_no_tree_rule(document: Any) -> None:
    assert all(stage.writes is None and stage.gate is None for stage in workflow(document).stages.values())


@given(st.data(), st.sampled_from([PLAIN, OURS]))
def test_any_value_anywhere_is_reported_and_never_raises(data: st.DataObject, base: Any) -> None:
    paths: list[str] = []

    def walk(value: Any, path: str) -> None:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            paths.append(f"{path}{key}")
            if isinstance(inner, (dict, list)):
                walk(inner, f"{path}{key}/")

    walk(base, "")
    document = changed(base, data.draw(st.sampled_from(paths)), data.draw(strategies.json_values()))
    findings = Findings()
    made = parse(document, findings)
    assert all(problem.remedy for problem in findings.problems)
    assert made is not None or errors(findings.problems)


def test_the_words_for_giving_up() -> None:
    assert {"escalated", "cancelled", "failed"} == ABORTS

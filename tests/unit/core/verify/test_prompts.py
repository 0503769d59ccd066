"""Prompt templates of a workflow: the file is there, it can be read, and it asks for what exists."""

from __future__ import annotations

from stagent.core.verify.folder import validate
from stagent.core.verify.problem import Problem, errors
from stagent.core.verify.prompts import NAMES, variables
from unit.core.documents import OURS, changed, files, workflow


def found(text: bytes | None, document: object = OURS) -> list[Problem]:
    """The errors about a workflow whose first stage has this prompt template (None: no such file)."""
    given = files(document)
    del given["plan-prompt.md"]
    return errors(validate(given if text is None else {**given, "plan-prompt.md": text})[1])


def test_every_name_may_be_used() -> None:
    known = variables(workflow(OURS))
    assert {"task", "previous_output", "stages.build.output", "stages.release.decision"} < set(known)
    assert len(known) == len(NAMES) + 3 * len(OURS["stages"])
    assert found("".join(f"{{{{{name}}}}}" for name in known).encode()) == []
    assert found("ü \\{{x}}".encode()) == []


def test_a_file_that_is_not_there_is_named() -> None:
    [problem] = found(None)
    assert (problem.code, problem.path) == ("workflow.prompt_file", "stages.plan.prompt")
    assert "plan-prompt.md" in problem.what


def test_a_file_that_is_no_text_is_named() -> None:
    [problem] = found(b"ab\xff")
    assert (problem.code, problem.path) == ("workflow.prompt_file", "stages.plan.prompt")
    assert "not UTF-8 at byte 2" in problem.what


def test_every_problem_in_a_template_is_told_with_its_line() -> None:
    listed = found(b"{{#if task}}\n{{x y}}\n{{tusk}}")
    assert [(problem.code, problem.path) for problem in listed] == [("workflow.template", "stages.plan.prompt")] * 3
    assert listed[0].what == "plan-prompt.md, line 1, column 1: this {{#if}} is not closed"
    assert listed[1].what.startswith("plan-prompt.md, line 2, column 1: ")
    assert listed[2].what == 'plan-prompt.md, line 3, column 1: unknown variable "tusk"'


def test_unknown_variables_are_told_with_the_known_ones() -> None:
    listed = found(b"{{tusk}}\n {{#if stages.biuld.output}}{{stages.build}}{{/if}}")
    assert [problem.what for problem in listed] == [
        'plan-prompt.md, line 1, column 1: unknown variable "tusk"',
        'plan-prompt.md, line 2, column 2: unknown variable "stages.biuld.output"',
        'plan-prompt.md, line 2, column 29: unknown variable "stages.build"',
    ]
    assert {"task", "stages.<name>.output"} < set(listed[0].known)
    assert {"stages.build.output", "stages.plan.decision"} < set(listed[1].known)


def test_two_stages_may_share_a_template() -> None:
    document = changed(OURS, "stages/build/prompt", "plan-prompt.md")
    assert found(b"{{stage}}", document) == []
    assert [problem.path for problem in found(b"{{x}}", document)] == ["stages.plan.prompt", "stages.build.prompt"]

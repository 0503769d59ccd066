"""The prompt templates of a workflow: are they there, can they be read, and do they ask for what exists?"""

from __future__ import annotations

from collections.abc import Mapping

from stagent.core import template
from stagent.core.model import Workflow
from stagent.core.verify.problem import Findings

NAMES = (
    *("task", "task_description", "criteria", "feedback", "user_input", "user_decision"),
    *("previous_output", "prior_attempt_output", "run", "stage", "epoch", "project", "artifact"),
)
"""What a prompt template of any workflow may ask for; `engine.prompt` makes the values."""
ASPECTS = ("output", "result", "decision")
"""What it may ask of each stage, as `stages.<name>.<aspect>`."""


def variables(workflow: Workflow) -> tuple[str, ...]:
    """Return the names a prompt template of this workflow may use."""
    return (*NAMES, *(f"stages.{name}.{aspect}" for name in workflow.stages for aspect in ASPECTS))


def check(workflow: Workflow, files: Mapping[str, bytes], findings: Findings) -> None:
    """Report prompt files that are missing, and every problem in those that are there."""
    known = frozenset(variables(workflow))
    for name, stage in workflow.stages.items():
        if stage.prompt is None:
            continue
        place, data = f"stages.{name}.prompt", files.get(stage.prompt)
        if data is None:
            findings.error("prompt_file", place, f"there is no file {stage.prompt} beside the document", "Write it.")
            continue
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            findings.error("prompt_file", place, f"{stage.prompt} is not UTF-8 at byte {error.start}", "Save it so.")
            continue
        _template(findings, workflow, known, place, stage.prompt, text)


def _template(findings: Findings, workflow: Workflow, known: frozenset[str], place: str, file: str, text: str) -> None:
    parts, problems = template.examine(text)
    found: list[tuple[int, int, str, str, tuple[str, ...]]]
    found = [(problem.line, problem.column, problem.what, problem.remedy, ()) for problem in problems]
    for part in parts:
        if part.kind in ("value", "if") and part.text not in known:
            what = f'unknown variable "{part.text}"'
            near = _near(workflow, part.text)
            found.append((part.line, part.column, what, "Correct its name or take it out.", near))
    for line, column, what, remedy, names in sorted(found):
        findings.error("template", place, f"{file}, line {line}, column {column}: {what}", remedy, names)


def _near(workflow: Workflow, name: str) -> tuple[str, ...]:
    """Return the known names to show for a wrong one: those of stages only where a stage was meant."""
    if name.startswith("stages."):
        return tuple(f"stages.{stage}.{aspect}" for stage in workflow.stages for aspect in ASPECTS)
    return (*NAMES, *(f"stages.<name>.{aspect}" for aspect in ASPECTS))

"""`stagent validate`: every problem of a workflow at once, without a run and without a data home."""

from __future__ import annotations

from pathlib import Path

import click

from stagent.cli import output
from stagent.core.model import Workflow
from stagent.core.verify.problem import Problem, errors
from stagent.engine import flows
from stagent.errors import UsageError, WorkflowError

_BUNDLED = "default"


@click.command(name="validate")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--flow", help="A workflow by name, or a folder as a path with a / in it, instead of DIR.")
@click.option("--strict", is_flag=True, help="Take warnings for errors.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def validate_command(folder: Path | None, flow: str | None, strict: bool, as_json: bool) -> int:
    """Check the workflow in DIR; without it the bundled default. Exit status 1 when it cannot be used.

    DIR may also be the path of the workflow.json in it.
    """
    if folder is not None and flow is not None:
        raise UsageError("validate.both", "a folder and --flow", where="validate", remedy="Give one of them.")
    if folder is not None and folder.name == "workflow.json" and folder.is_file():
        folder = folder.parent
    reference = str(folder.absolute()) if folder is not None else flow or _BUNDLED
    place = flows.folder_of(reference, Path.cwd())
    try:
        _, _, workflow, problems = flows.read(reference, Path.cwd())
    except WorkflowError as error:
        workflow = None
        problems = [Problem(code=error.code, path="", what=error.what, remedy=error.remedy)]
    bad = errors(problems, strict=strict)
    if as_json:
        output.as_json(_document(place, None if bad else workflow, problems, strict=strict))
    for problem in problems:
        mark = "❌" if problem in bad else "⚠"
        output.note(f"{mark} {problem.text(str(place / 'workflow.json') if not problem.path else 'workflow.json')}")
    if bad or workflow is None:
        rest = len(problems) - len(bad)
        output.note(_count(len(bad), "error") + (f", {_count(rest, 'warning')}" if rest else "") + f" in {place}")
        return output.ERROR
    if not as_json:
        _report(place, workflow)
    return output.OK


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _report(place: Path, workflow: Workflow) -> None:
    stages, ends = len(workflow.stages), len(workflow.terminals)
    output.line(f"✅ workflow validated: {_count(stages, 'stage')}, {_count(ends, 'terminal')}")
    output.line(f"Folder:    {place}")
    output.line(f"Initial:   {workflow.initial}")
    output.line(f"Stages:    {', '.join(sorted(workflow.stages))}")
    output.line(f"Terminals: {', '.join(workflow.terminals)}")


def _document(place: Path, workflow: Workflow | None, problems: list[Problem], *, strict: bool) -> dict[str, object]:
    return {
        "valid": workflow is not None,
        "strict": strict,
        "folder": str(place),
        "initial": workflow.initial if workflow else None,
        "stages": sorted(workflow.stages) if workflow else [],
        "terminals": list(workflow.terminals) if workflow else [],
        "problems": [
            {
                "code": problem.code,
                "path": problem.path,
                "severity": problem.severity,
                "message": problem.text(),
                "known": list(problem.known),
                "remedy": problem.remedy,
            }
            for problem in problems
        ],
    }

"""`stagent check`: run by hand, or from a workflow's check, what the engine's own checks run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from stagent.cli import output
from stagent.workspace import testcommand


@click.group(name="check", invoke_without_command=True)
@click.pass_context
def check_command(context: click.Context) -> int:
    """Run what the engine's own checks run, by hand."""
    if context.invoked_subcommand is None:
        output.line(context.get_help())
    return output.OK


@check_command.command(name="tests")
@click.option("--if-any", is_flag=True, help="A project without tests is well too.")
@click.option("--project", type=click.Path(path_type=Path, exists=True, file_okay=False), help="The project folder.")
def tests_command(if_any: bool, project: Path | None) -> int:
    """Run the project's own tests and judge what they report.

    Exit status: 0 when at least one test ran and none failed, else 1; an exit code of 0 alone proves nothing.
    """
    sys.stdout.flush()
    report = testcommand.run(project or Path.cwd(), sys.stdout.buffer)
    passed = report.ok or (if_any and report.empty)
    verdict = "passed" if report.ok else "passed, there is none" if passed else "failed"
    output.line(f"tests: {verdict}. {report.reason}")
    return output.OK if passed else output.ERROR

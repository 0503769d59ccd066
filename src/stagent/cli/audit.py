"""`stagent audit verify`: whether a run's log is what it was, as far as the log itself can show."""

from __future__ import annotations

import re

import click
import msgspec

from stagent.bootstrap import Home
from stagent.cli import output
from stagent.cli.options import selector_options
from stagent.cli.runs import entries
from stagent.cli.select import Selector, choose
from stagent.engine.audit import Verdict, verify
from stagent.errors import StagentError, UsageError

_HEAD = re.compile(r"[0-9a-f]{12,64}")


@click.group(name="audit", invoke_without_command=True)
@click.pass_context
def audit_command(context: click.Context) -> int:
    """Verify a run's log."""
    if context.invoked_subcommand is None:
        output.line(context.get_help())
    return output.OK


@audit_command.command(name="verify")
@selector_options
@click.option("--head", help="A head of the log that was written down elsewhere (12 digits or more).")
@click.option("--all", "everything", is_flag=True, help="Every run of every project.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify_command(selector: Selector, head: str | None, everything: bool, as_json: bool) -> int:
    """Fold the whole log anew and compare it with itself, its checkpoint, its blobs and, if given, a head.

    Exit status: 0 when it is consistent (and had the head that was given), else 1.
    """
    if head is not None:
        head = head.strip().lower()
        if everything or not _HEAD.fullmatch(head):
            raise UsageError(
                "audit.head",
                "a head is 12 to 64 hex digits and belongs to one run",
                where="--head",
                remedy="Copy it from where the run printed it, and name the run.",
            )
    home = Home()
    try:
        verdicts = _all(home) if everything else [_one(home, selector, head)]
    finally:
        home.close()
    if as_json:
        documents = [{**msgspec.to_builtins(item), "summary": item.summary} for item in verdicts]
        output.as_json(documents if everything else documents[0])
    else:
        for item in verdicts:
            output.line(item.summary)
        if not verdicts:
            output.note("There is no run.")
    return output.OK if all(item.consistent and item.anchored is not False for item in verdicts) else output.ERROR


def _one(home: Home, selector: Selector, head: str | None) -> Verdict:
    chosen = choose(home, selector)
    return verify(chosen.service.journal, chosen.run, head)


def _all(home: Home) -> list[Verdict]:
    found = []
    for entry in entries(home, home.index.projects()):
        try:
            if entry.service is None:
                raise entry.problem
            found.append(verify(entry.service.journal, entry.run))
        except StagentError as error:
            found.append(Verdict(run=entry.run, consistent=False, events=0, head="", problem=str(error)))
    return found

"""`stagent doctor`: look for what is broken, say how to mend it, change nothing."""

from __future__ import annotations

import click
import msgspec

from stagent.cli import output
from stagent.cli.checkup import CHECKS
from stagent.cli.patient import Finding, Patient
from stagent.cli.words import plain
from stagent.config import DataHome


@click.command(name="doctor")
@click.option("--deep", is_flag=True, help="Fold every log anew instead of looking at its end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor_command(deep: bool, as_json: bool) -> int:
    """Look for what is broken and say how to mend it. Exit status 1 when anything was found."""
    patient = Patient(DataHome.locate(), deep=deep)
    try:
        found = [(check.__name__, list(check(patient))) for check in CHECKS]
        runs = len(patient.entries)
    finally:
        patient.close()
    findings = [item for _, items in found for item in items]
    if as_json:
        document = {"home": str(patient.data.root), "deep": deep, "runs": runs, "well": not findings}
        checks = {name: msgspec.to_builtins(items) for name, items in found}
        output.as_json({**document, "checks": checks})
        return output.ERROR if findings else output.OK
    output.line(f"Data home: {patient.data.root}" + ("" if patient.data.root.exists() else " (not made yet)"))
    output.line(f"Runs:      {runs}, {'every log folded anew' if deep else 'the end of every log looked at'}")
    for name, items in found:
        output.line(f"{'✗' if items else '✓'} {name}")
        for item in items:
            _print(item)
    count = len(findings)
    output.line("All is well." if not count else f"{count} {'thing is' if count == 1 else 'things are'} broken.")
    return output.ERROR if findings else output.OK


def _print(item: Finding) -> None:
    output.line(f"    {item.code}: {plain(item.where)}: {plain(item.what)}.")
    output.line(f"      {plain(item.remedy)}")

"""`stagent ps`: the attempts, checks and commands whose processes run on this machine now."""

from __future__ import annotations

import click

from stagent.bootstrap import Home, millis
from stagent.cli import output
from stagent.cli.runs import entries
from stagent.cli.words import age, colourful, plain, table
from stagent.core.state import State
from stagent.errors import StagentError
from stagent.runner.roster import Marks, Seen, seen

_MIB = 1024 * 1024


class Row(Seen, frozen=True, kw_only=True):
    """One line of the list; `remedy` is the command that helps, empty where nothing is wrong."""

    project: str
    remedy: str


@click.command(name="ps")
@click.option("--all", "everything", is_flag=True, help="Also the attempts that are over.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ps_command(everything: bool, as_json: bool) -> int:
    """List the attempts, checks and commands that run on this machine now, of every project.

    Also what should not be: orphans (processes whose runner is gone) and stale attempts (nothing of them is left but
    the log's word). RUNNER is the process that runs it: `stagent run`, or the call of a session that runs a check.
    """
    home = Home()
    try:
        rows, problems = collect(home, ended=everything)
        if as_json:
            output.as_json(rows)
        elif rows:
            _print(rows)
        else:
            output.line("Nothing runs on this machine." if not everything else "There is no attempt.")
        for problem in problems:
            output.note(problem)
        return output.OK
    finally:
        home.close()


def collect(home: Home, *, ended: bool = False) -> tuple[list[Row], list[str]]:
    """Return what runs of every project of a data home, and which runs could not be read."""
    marks = Marks()
    rows: list[Row] = []
    problems: list[str] = []
    for entry in entries(home, home.index.projects()):
        if entry.service is None:
            problems.append(f"{entry.run}: {entry.problem}")
            continue
        try:
            state = entry.service.journal.load(entry.run)[0]
            for item in seen(entry.service, state, marks, ended=ended):
                fields = {name: getattr(item, name) for name in item.__struct_fields__}
                rows.append(Row(**fields, project=entry.project.root, remedy=remedy(item, state)))
        except StagentError as error:
            problems.append(f"{entry.run}: {error}")
    rows.sort(key=lambda row: (row.condition == "running", row.since))
    return rows, problems


def remedy(item: Seen, state: State) -> str:
    """Return the command that helps, empty where nothing is wrong."""
    if item.condition == "orphan":
        return f"stagent stop {item.id}"
    return go_on(state) if item.condition == "stale" else ""


def go_on(state: State) -> str:
    """Return the command that goes on with a run whose driver is gone."""
    return f"stagent run --resume {state.run}" if state.mode == "headless" else f"stagent continue {state.run}"


def _print(rows: list[Row]) -> None:
    now = millis()
    head = ["ID", "KIND", "STATE", "STAGE", "AGENT", "PID", "PROCS", "SINCE", "CPU", "MEMORY", "RUNNER"]
    cells = [
        [
            row.id,
            row.kind,
            row.outcome or "ended" if row.condition == "ended" else row.condition,
            row.stage or "-",
            plain(row.backend) or "-",
            str(row.pid or "-"),
            str(row.processes),
            age(now - row.since),
            "-" if row.cpu is None else f"{row.cpu:.1f} s",
            "-" if row.memory is None else f"{row.memory / _MIB:.0f} MiB",
            str(row.runner or "-"),
        ]
        for row in rows
    ]
    colours = {"orphan": "red", "stale": "yellow"}
    lines = table(head, cells)
    output.line(lines[0])
    for line, row in zip(lines[1:], rows, strict=True):
        colour = colours.get(row.condition) if colourful() else None
        output.line(click.style(line, fg=colour) if colour else line)
    for row in rows:
        if row.condition == "orphan":
            output.note(f"{row.id}: its runner is gone and its processes are not. End them: {row.remedy}")
        elif row.condition == "stale":
            output.note(f"{row.id}: its runner and its processes are gone. Go on: {row.remedy}")

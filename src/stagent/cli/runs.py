"""`stagent runs`: the runs of this project, or of all."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from stagent.bootstrap import Home, millis
from stagent.cli import output
from stagent.cli.awaits import provider_wait
from stagent.cli.words import age, columns, fit, one_line, plain, table, width
from stagent.core.masking import mask
from stagent.core.ports import ProjectRow
from stagent.core.state import State
from stagent.engine.brief import label
from stagent.engine.service import RunService
from stagent.engine.standing import waiting, word_of
from stagent.errors import StagentError, StoreError

_LEAST_LABEL = 12


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One run in a list. Without `service` its log cannot be read and `problem` says why."""

    run: str
    project: ProjectRow
    label: str
    created: int
    service: RunService | None
    problem: StagentError


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list; `status` is its word, as `engine.standing` says it.

    `waits` is what the session that drives the run waits for, or its runner when that is the agent's provider; `error`
    is what the agent's last turn ended with.
    """

    run: str
    label: str
    workflow: str
    stage: str
    status: str
    epoch: int
    started_at: int
    updated_at: int
    project: str
    gone: bool
    problem: str = ""
    waits: str = ""
    error: str = ""


def open_project(home: Home, row: ProjectRow) -> RunService:
    """Open a known project for reading its logs; that its folder is gone does not matter.

    Raises StoreError when its database is missing, damaged or of a newer version.
    """
    root = Path(row.root)
    database = home.data.project(row.project) / "stagent.db"
    if root.resolve() != root:
        raise StoreError(
            "project.moved",
            "the folder leads elsewhere now",
            where=row.root,
            remedy="Put the folder back in its place; its runs are kept in the data home.",
        )
    if not database.exists():
        raise StoreError(
            "project.no_database",
            "the project's database is missing",
            where=str(database),
            remedy="Restore it from a copy; without it the project's runs are lost.",
        )
    return home.open(row)


def entries(home: Home, projects: Sequence[ProjectRow]) -> Iterator[Entry]:
    """Yield every run of these projects, oldest first in each; a project that cannot be read costs no other."""
    for row in projects:
        known = {entry.run: entry for entry in home.index.runs(row.project)}
        service: RunService | None = None
        problem: StagentError = StoreError("run.missing", "the log is missing", remedy="Restore it from a copy.")
        held: set[str] = set()
        try:
            service = open_project(home, row)
            held = {found.run for found in service.store.runs()}
        except StagentError as error:
            service, problem = None, error
        for run in sorted({*known, *held}):
            entry = known.get(run)
            yield Entry(
                run=run,
                project=row,
                label=entry.label if entry else "",
                created=entry.created if entry else 0,
                service=service if run in held else None,
                problem=problem,
            )


def here(home: Home) -> list[ProjectRow]:
    """Return the project of the current folder, if the data home knows it, with what was moved to the same folder."""
    name, rows = home.known(Path.cwd()), home.index.projects()
    roots = {row.root for row in rows if row.project == name}
    return [row for row in rows if row.root in roots]


@click.command(name="runs")
@click.option("--all", "everything", is_flag=True, help="The runs of every project.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def runs_command(everything: bool, as_json: bool) -> int:
    """List the runs of this project, oldest first."""
    home = Home()
    try:
        projects = home.index.projects() if everything else here(home)
        rows = [_row(entry) for entry in entries(home, projects)]
        rows.sort(key=lambda row: (row.project, row.started_at) if everything else ("", row.started_at))
        if as_json:
            output.as_json(rows)
        elif rows:
            _print(rows, everything=everything)
        else:
            output.line("There is no run." if everything else "There is no run in this project.")
            output.note("Start one with `stagent run TASK`; `stagent runs --all` lists those of every project.")
        return output.OK
    finally:
        home.close()


def _row(entry: Entry) -> Row:
    gone = not Path(entry.project.root).is_dir()
    service, problem = entry.service, entry.problem
    if service is not None:
        try:
            return _read(entry, service, service.journal.load(entry.run)[0], gone)
        except StagentError as error:
            problem = error
    return Row(
        run=entry.run,
        label=mask(entry.label),
        workflow="",
        stage="",
        status="unreadable",
        epoch=0,
        started_at=entry.created,
        updated_at=entry.created,
        project=entry.project.root,
        gone=gone,
        problem=str(problem),
    )


def _read(entry: Entry, service: RunService, state: State, gone: bool) -> Row:
    held = waiting(service, state)
    return Row(
        run=state.run,
        label=mask(entry.label or label(service.text(state.task))),
        workflow=state.flow,
        stage=state.stage,
        status=word_of(service, state),
        epoch=state.epoch,
        started_at=state.started_at,
        updated_at=state.updated_at,
        project=entry.project.root,
        gone=gone,
        waits=held.what or provider_wait(service, state),
        error=held.error,
    )


def _print(rows: Sequence[Row], *, everything: bool) -> None:
    now = millis()
    head = ["RUN", "STATUS", "STAGE", "EPOCH", "AGE", "WORKFLOW", "LABEL"]
    cells = [
        [row.run, row.status, row.stage or "-", str(row.epoch), age(now - row.started_at), row.workflow or "-", ""]
        for row in rows
    ]
    room = max(columns() - max(width(line) for line in table(head, cells)) - 2, _LEAST_LABEL)
    for cell, row in zip(cells, rows, strict=True):
        cell[-1] = fit(one_line(row.label), room) if sys.stdout.isatty() else one_line(row.label)
    lines = table(head, cells)
    output.line(lines[0])
    project = ""
    for line, row in zip(lines[1:], rows, strict=True):
        if everything and row.project != project:
            project = row.project
            output.line(f"{plain(project)}{' (the folder is gone)' if row.gone else ''}")
        output.line(line)
    for row in rows:
        if row.waits:
            output.note(f"{row.run} waits for {plain(row.waits)}.")
        if row.error:
            output.note(f"{row.run}: the agent's last turn ended with: {plain(row.error)}")
        if row.problem:
            output.note(f"{row.run}: {row.problem}")

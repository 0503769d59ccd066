"""What `stagent doctor` looks at: one function per kind of trouble, in the list `CHECKS`.

A check takes the `Patient` and yields findings; it changes nothing. New checks are added to the list.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from stagent.cli import checkup_plugin
from stagent.cli.patient import Finding, Findings, Patient
from stagent.cli.ps import remedy
from stagent.core.ports import Store
from stagent.engine.audit import verify
from stagent.engine.leftovers import abandoned, find, settled
from stagent.engine.service import RunService
from stagent.engine.standing import driver_of
from stagent.errors import NotFoundError, StagentError
from stagent.runner.roster import Marks, seen

PYTHON = (3, 11)
SQLITE = (3, 31)
GIT = (2, 31)
_VERSION = re.compile(r"(\d+)\.(\d+)")
_OTHERS = 0o077
_DIGEST = 64
"""How many hex digits name a blob."""


def python(patient: Patient) -> Findings:
    """The interpreter and the SQLite in it are new enough."""
    if sys.version_info < PYTHON:
        yield Finding(
            code="python.old",
            where=sys.executable,
            what=f"Python {sys.version.split()[0]} is too old",
            remedy="Install Python 3.11 or newer.",
        )
    if sqlite3.sqlite_version_info < SQLITE:
        yield Finding(
            code="python.sqlite",
            where=sys.executable,
            what=f"its SQLite {sqlite3.sqlite_version} is too old",
            remedy="Use a Python with SQLite 3.31 or newer.",
        )


def git(patient: Patient) -> Findings:
    """Git is there and new enough."""
    program = shutil.which("git")
    if program is None:
        yield Finding(code="git.missing", where="PATH", what="there is no git", remedy="Install git 2.31 or newer.")
        return
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
        answer = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        answer = str(error)
    match = _VERSION.search(answer)
    if match is None or (int(match[1]), int(match[2])) < GIT:
        yield Finding(
            code="git.old",
            where=program,
            what=f"`git --version` says: {answer or 'nothing'}",
            remedy="Install git 2.31 or newer.",
        )


def path(patient: Patient) -> Findings:
    """Only one `stagent` can be meant by the name."""
    own = Path(sys.executable).with_name("stagent")
    found: list[Path] = []
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        place = shutil.which("stagent", path=folder or os.curdir)
        if place is not None and not any(Path(place).samefile(other) for other in found):
            found.append(Path(place))
    wrong = [place for place in found if not (own.exists() and place.samefile(own))]
    if wrong and (own.exists() or len(found) > 1):
        yield Finding(
            code="path.other",
            where=", ".join(str(place) for place in wrong),
            what=f"another stagent is on the PATH; this one belongs to {own.parent}",
            remedy="Remove the one you do not want, or put the other's folder first in PATH.",
        )


def home(patient: Patient) -> Findings:
    """The data home can be written, and by its owner alone."""
    root = patient.data.root
    if not root.exists():
        return
    if not root.is_dir() or not os.access(root, os.W_OK | os.X_OK):
        yield Finding(
            code="home.unwritable",
            where=str(root),
            what="the data home cannot be written",
            remedy="Give yourself the right to write it, or set STAGENT_HOME to another folder.",
        )
        return
    # What lies inside is as private as the folder around it.
    mode = root.stat().st_mode & 0o777
    if mode & _OTHERS:
        yield Finding(
            code="home.open",
            where=str(root),
            what=f"others than its owner may use it (mode {mode:03o})",
            remedy=f"chmod go-rwx {root}",
        )


def databases(patient: Patient) -> Findings:
    """The registry and every project's database can be read, and their folders are there."""
    if patient.problem is not None and patient.data.root.is_dir():
        yield _finding(patient.problem)
    if patient.home is None:
        return
    seen: set[str] = set()
    for entry in patient.entries:
        if entry.service is None and entry.problem.code != "run.missing" and entry.project.project not in seen:
            seen.add(entry.project.project)
            yield _finding(entry.problem)
    for row in patient.home.index.projects():
        if not Path(row.root).is_dir():
            yield Finding(
                code="project.gone",
                where=row.root,
                what="the project's folder does not exist any more",
                remedy="Put it back in its place; its runs are kept in the data home.",
            )


def logs(patient: Patient) -> Findings:
    """Every log ends where its checkpoint says; with `deep`, it folds to the checkpoint and its blobs are there."""
    for entry in patient.entries:
        if entry.service is None:
            if entry.problem.code == "run.missing":
                yield _finding(entry.problem, entry.run)
            continue
        try:
            what = _deep(entry.service, entry.run) if patient.deep else _quick(entry.service, entry.run)
        except StagentError as error:
            yield _finding(error, entry.run)
            continue
        if what:
            yield Finding(
                code="log.broken",
                where=entry.run,
                what=what,
                remedy="Restore the project's database from a copy; `stagent audit verify` says more.",
            )


def _quick(service: RunService, run: str) -> str:
    checkpoint = service.store.checkpoint(run)
    service.journal.load(run)
    tail = list(service.store.read(run, after=checkpoint.seq - 1))
    if len(tail) != 1 or (tail[0].seq, tail[0].hash) != (checkpoint.seq, checkpoint.head):
        return f"the log does not end at event {checkpoint.seq} as its checkpoint says"
    return ""


def _deep(service: RunService, run: str) -> str:
    return verify(service.journal, run).problem


def leases(patient: Patient) -> Findings:
    """No run is held by a process that is gone."""
    for service, state in patient.readable:
        if not state.ended and driver_of(service, state) == "stale":
            holder = state.lease.holder if state.lease else None
            remedy = f"Go on with it: stagent run --resume {state.run}; or end it: stagent cancel {state.run}."
            if holder is not None and holder.kind == "session":
                remedy = (
                    f"Resume that conversation, or pause it: stagent interrupt {state.run}, and go on anywhere: "
                    f"/stagent:continue {state.run} or stagent run --resume {state.run}; or end it: stagent cancel."
                )
            yield Finding(
                code="run.stale",
                where=state.run,
                what=f"the {holder.kind if holder else 'driver'} that drove it is gone (stage {state.stage})",
                remedy=remedy,
            )


def orphans(patient: Patient) -> Findings:
    """No process of an attempt, check or command lives without what ran it."""
    marks = Marks()
    for service, state in patient.readable:
        try:
            found = [item for item in seen(service, state, marks) if item.condition == "orphan"]
        except StagentError:
            continue  # `logs` reports it
        for item in found:
            yield Finding(
                code="attempt.orphaned",
                where=state.run,
                what=f"processes of {item.kind} {item.id} live without their runner: {item.processes}",
                remedy=f"{remedy(item, state)} ends them.",
            )


def spools(patient: Patient) -> Findings:
    """What hooks wrote down could be read."""
    folder = patient.data.root / "spool"
    for place in sorted(folder.glob("*.torn")):
        yield Finding(
            code="spool.torn",
            where=str(place),
            what="lines of a hook could not be read and were kept aside",
            remedy="Look at them; remove the file when nothing in it is missed.",
        )
    for place in sorted(folder.glob("*.ndjson")):
        data = place.read_bytes()
        if data and not data.endswith(b"\n") and settled(place):
            yield Finding(
                code="spool.unfinished",
                where=str(place),
                what="its last line was never finished",
                remedy="The hook that wrote it was killed; the line is passed over when the next one is written.",
            )


def leftovers(patient: Patient) -> Findings:
    """No temporary file of a process that is gone lies about; with `deep`, no large blob that no log ever named."""
    rows = patient.home.index.projects() if patient.home is not None else []
    unfinished = patient.data.root.glob("projects/*/blobs/*/*.tmp")
    places = [*find(patient.data, [Path(row.root) for row in rows]), *filter(abandoned, unfinished)]
    for place in sorted(places):
        yield _leftover(place, "a temporary file whose maker is gone")
    stores = {entry.service.project: entry.service.store for entry in patient.entries if entry.service is not None}
    for project, store in stores.items() if patient.deep else ():
        for place in sorted((patient.data.project(project) / "blobs").glob("*/*")):
            if len(place.name) == _DIGEST and settled(place) and _unnamed(store, place.name):
                yield _leftover(place, "a blob that was written for an event that never came to be")


def _unnamed(store: Store, digest: str) -> bool:
    try:
        store.blob(digest)
    except NotFoundError:
        return True
    except StagentError:
        return False  # it is damaged: the audit of the run that names it reports that
    return False


def _leftover(place: Path, what: str) -> Finding:
    remedy = f"rm {place} (the next start of a run in its project removes what is older than an hour)"
    return Finding(code="file.leftover", where=str(place), what=what, remedy=remedy)


def _finding(error: StagentError, where: str = "") -> Finding:
    return Finding(code=error.code, where=error.where or where, what=error.what, remedy=error.remedy)


CHECKS: tuple[Callable[[Patient], Findings], ...] = (
    python,
    git,
    path,
    home,
    databases,
    logs,
    leases,
    orphans,
    spools,
    leftovers,
    *checkup_plugin.CHECKS,
)

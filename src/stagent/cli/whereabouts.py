"""Whether a run goes on where it was left: in its project, at its commit, in a folder that is the same one."""

from __future__ import annotations

from pathlib import Path

from stagent.bootstrap import Home
from stagent.cli import output
from stagent.cli.select import Chosen
from stagent.core.state import State
from stagent.engine.service import RunService
from stagent.errors import RefusedError, StoreError


def project(service: RunService, state: State, *, force: bool) -> None:
    """Refuse when the project is not the one the run left.

    Programs look for the words mismatch, behind, diverged and advanced in what is said.
    """
    workspace = service.workspace
    now = workspace.fingerprint()
    problem = ""
    if state.fingerprint and now != state.fingerprint:
        problem = "project mismatch: " + (
            "the folder is no git repository with commits"
            if not now
            else f"its root commits ({now}) differ from those of the run ({state.fingerprint})"
        )
    elif state.last_head:
        relation = workspace.relation(state.last_head)
        if relation in ("behind", "diverged", "unknown"):
            what = {"unknown": "does not know"}.get(relation, f"is {relation}: it lacks")
            problem = f"the project {what} the last-seen commit {state.last_head[:12]}"
        elif relation == "ahead":
            output.note("The project has advanced since the run was last driven.")
    if problem and not force:
        raise RefusedError(
            "continue.project",
            problem,
            where=str(service.root),
            remedy="Bring the project to that commit, or call continue --force-project-mismatch.",
        )
    if problem:
        output.note(f"Warning: {problem}")
    dirty = workspace.dirty()
    if dirty:
        output.note("Uncommitted changes:\n" + "\n".join(f"  {line}" for line in dirty))


def moved(home: Home, run: str, gone: StoreError, *, force: bool) -> Chosen:
    """Return a run whose project lies in the present folder now, where it can be seen to. Raises RefusedError."""
    service = home.moved(str(gone.fields["project"]), Path.cwd())
    state = service.journal.load(run)[0]
    if not state.fingerprint and not force and not service.folder(state).path.is_dir():
        raise RefusedError(
            "continue.project",
            f"project mismatch: nothing shows that this folder is the run's project, which lay in {gone.where}",
            where=str(service.root),
            remedy="Call it where the project lies now, or with --force-project-mismatch.",
        )
    project(service, state, force=force)
    home.settle(service)
    output.note(f"The project of {run} lay in {gone.where}; it lies in {service.root} now.")
    return Chosen(service, run)


def session(home: Home, service: RunService, state: State, name: str | None, *, force: bool) -> None:
    """Refuse to go on in a session that works in another project; say so when it works in another copy of this one."""
    here = Path.cwd().resolve()
    if name is None or here.is_relative_to(service.root):
        return
    if state.fingerprint and home.fingerprint(here) != state.fingerprint:
        problem = f"project mismatch: this session works in {here}, the run's project is {service.root}"
        if not force:
            raise RefusedError(
                "continue.project",
                problem,
                where=str(here),
                remedy=f"Begin the session in {service.root}, or call continue --force-project-mismatch.",
            )
        output.note(f"Warning: {problem}")
    else:
        output.note(f"The run's project is {service.root}; this session works in {here}.")

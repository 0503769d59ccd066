"""Gathers what `decide` judges: the artifact on disk, the tree, the inputs, the processes. Reads; decides nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from stagent import processes
from stagent.core.canonical import digest
from stagent.core.evidence import Evidence, Found, needs_tree, target_of
from stagent.core.model import Stage, Workflow
from stagent.core.ports import Workspace
from stagent.core.state import State
from stagent.engine import structured
from stagent.engine.folder import RunFolder, file_digest, look
from stagent.errors import WorkspaceError

HOST = os.uname().nodename
"""The name of this machine, as leases record it."""


def alive(pid: int, started: str | None) -> bool:
    """Say whether the process with this pid runs; with its start time, exactly that one."""
    found = started or processes.start_time(pid)
    return found is not None and processes.alive(pid, found)


class Gathered:
    """The evidence, and the bytes it was read from (stored as blobs with the events that name them)."""

    def __init__(self, evidence: Evidence, blobs: dict[str, bytes]) -> None:
        self.evidence = evidence
        self.blobs = blobs


class Gatherer:
    """Looks at one project for its runs."""

    def __init__(self, workspace: Callable[[], Workspace]) -> None:
        self._open = workspace

    @property
    def workspace(self) -> Workspace:
        """The project folder; opened when it is first looked at."""
        return self._open()

    def for_advance(self, workflow: Workflow, state: State, folder: RunFolder) -> Gathered:
        """Return everything a transition out of the current stage could need."""
        stage = workflow.stages[state.stage]
        found, blobs = _artifact(stage, folder)
        result = found.result if found is not None and found.epoch == state.epoch else ""
        target = workflow.stages.get(target_of(workflow, state, result) or "")
        tree = entry = full = None
        if needs_tree(stage, target, result):
            tree = self.workspace.snapshot(stage.watch)
            entry = self._entry(stage, target, tree)
            full = self.workspace.snapshot() if stage.watch else tree
        evidence = Evidence(
            artifact_path=folder.artifact_path(stage.name),
            artifact=found,
            tree=tree,
            entry_tree=entry,
            full_tree=full,
            tree_changes=self._outside(stage, state, tree),
            laundered=self._laundered(workflow, stage, state, full),
            inputs=self._inputs(target, folder),
            run_files={name: file_digest(folder.run_file(name)) for name in state.run_files} if target else {},
            checker_alive=self._checker_alive(state),
            foreign_writer=_foreign_writer(stage, state, found),
            faults=structured.faults(stage, blobs[found.digest]) if found is not None and result else None,
            pid=os.getpid(),
            started=processes.start_time(os.getpid()) if stage.checks else None,
            head=self.head(),
        )
        return Gathered(evidence, blobs)

    def for_gate(self, workflow: Workflow, state: State, folder: RunFolder) -> Gathered:
        """Return what a decision on the current gate is bound to."""
        stage = workflow.stages[state.stage]
        found, blobs = _artifact(stage, folder)
        tree = self.workspace.snapshot(stage.watch) if stage.writes_project else None
        path = folder.artifact_path(stage.name)
        return Gathered(Evidence(artifact_path=path, artifact=found, tree=tree, head=self.head()), blobs)

    def for_lease(self, state: State) -> Evidence:
        """Return what is known about the process that holds the run."""
        return Evidence(holder_alive=self.holder_alive(state), head=self.head())

    def head(self) -> str | None:
        """Return the project's commit; None also where git cannot tell, because no run stands still for that."""
        with suppress(WorkspaceError):
            return self.workspace.head()
        return None

    def holder_alive(self, state: State) -> bool | None:
        """Say whether the lease's process lives; None when there is no way to know from this host."""
        if state.lease is None:
            return None
        holder = state.lease.holder
        if holder.pid is None or holder.host != HOST:
            return None
        return alive(holder.pid, holder.started)

    def _entry(self, stage: Stage, target: Stage | None, tree: str) -> str | None:
        if target is None or not target.bound_tree:
            return None
        return tree if target.watch == stage.watch else self.workspace.snapshot(target.watch)

    def _outside(self, stage: Stage, state: State, tree: str | None) -> tuple[str, ...]:
        if not stage.bound_tree or tree is None or state.tree_ref is None or tree == state.tree_ref:
            return ()
        allowed = stage.writes if isinstance(stage.writes, tuple) else ()
        return tuple(change.path for change in self.workspace.changes(state.tree_ref, tree, excluding=allowed))

    def _laundered(self, workflow: Workflow, stage: Stage, state: State, tree: str | None) -> tuple[str, ...]:
        if not stage.protects or tree is None or state.protect_ref is None:
            return ()
        globs = {glob for other in workflow.stages.values() for check in other.checks for glob in check.protect or ()}
        if not globs:
            return ()
        changes = self.workspace.changes(state.protect_ref, tree, only=sorted(globs), excluding=stage.protects)
        return tuple(change.path for change in changes if change.status != "A")

    def _inputs(self, target: Stage | None, folder: RunFolder) -> dict[str, str | None]:
        items = target.required if target else ()
        return {item.key: file_digest(folder.artifact(item.key)) for item in items if item.source == "stage"}

    def _checker_alive(self, state: State) -> bool:
        holder = state.lease.holder if state.lease else None
        for check in state.checks.values():
            if check.outcome == "running" and check.pid is not None:
                # A runner runs its checks itself: one of another process was begun under a lease that is over.
                foreign = holder is not None and holder.kind == "runner" and holder.pid != check.pid
                return not foreign and alive(check.pid, check.started)
        return False


def _artifact(stage: Stage, folder: RunFolder) -> tuple[Found | None, dict[str, bytes]]:
    """Return a stage's artifact as it lies there, and the blob of one that can be read."""
    seen = look(folder.artifact(stage.name))
    if seen is None:
        return None, {}
    found, data = seen
    return found, {} if found.problem else {found.digest: data}


def _foreign_writer(stage: Stage, state: State, found: Found | None) -> str | None:
    made = state.artifact
    if stage.execution == "subagent" or made is None or found is None or made.producer.kind != "subagent":
        return None
    return made.producer.id if made.digest == found.digest else None


def blob(data: bytes) -> tuple[str, dict[str, bytes]]:
    """Return the digest of a text and the blob to store with the event that names it."""
    name = digest(data)
    return name, {name: data}

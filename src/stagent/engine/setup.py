"""Begins a run: everything that can fail happens before anything is written, so nothing is half-made."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from stagent.core.canonical import digest, encode
from stagent.core.events import Event, Holder, RunStarted, StageEntered
from stagent.core.ids import run_id
from stagent.core.model import Workflow
from stagent.core.state import State
from stagent.engine.environment import environment, pinned_environment
from stagent.engine.flows import Flow, pin
from stagent.engine.folder import NAME, RunFolder
from stagent.engine.process import run as run_command
from stagent.engine.service import RunService
from stagent.errors import RefusedError, UsageError
from stagent.failpoints import hit

RUN_FILE_LIMIT = 1024 * 1024
"""The largest run file an init command may make (bytes)."""
INIT_TIMEOUT = 120.0
"""How long an init command may take (seconds)."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is started with; `session` names the run folder of a session's run."""

    task: str
    flow: Flow
    mode: Literal["session", "headless"]
    holder: Holder
    actor: str
    session: str | None = None


def start(service: RunService, request: Request) -> State:
    """Create a run in its first stage. Raises UsageError, WorkflowError or WorkspaceError before anything is written.

    The caller has made sure that the session has no live run.
    """
    if not request.task.strip():
        raise UsageError("start.no_task", "there is no task", where="start", remedy="Say what is to be done.")
    workflow = request.flow.workflow
    workspace = service.workspace
    baseline = workspace.snapshot() if workflow.modifies_worktree else None
    decisive = pinned_environment()
    files = _run_files(workflow, service.root, decisive)
    run = run_id(service.clock(), os.urandom(10))
    folder = request.session or run
    workspace.keep_private(f"/{NAME}/")
    archive(service.root, folder)
    pinned, model, blobs = pin(request.flow)
    task = request.task.encode("utf-8", "surrogateescape")
    pins = encode(decisive)
    blobs |= {digest(task): task, digest(pins): pins, **{digest(data): data for data in files.values()}}
    initial = workflow.stages[workflow.initial]
    tree = workspace.snapshot(initial.watch) if initial.bound_tree else None
    events: list[Event] = [
        RunStarted(
            workflow=pinned,
            model=model,
            flow=request.flow.name,
            project=service.project,
            folder=folder,
            mode=request.mode,
            holder=request.holder,
            stage=workflow.initial,
            task=digest(task),
            fingerprint=workspace.fingerprint(),
            baseline=baseline,
            head=workspace.head(),
            run_files={name: digest(data) for name, data in files.items()},
            environment=digest(pins),
        ),
        StageEntered(stage=workflow.initial, epoch=1, tree=tree),
    ]
    state = service.journal.begin(run, events, request.actor, blobs)
    service.publisher.refresh(state)
    return state


def _run_files(workflow: Workflow, root: Path, decisive: Mapping[str, str]) -> Mapping[str, bytes]:
    files: dict[str, bytes] = {}
    for file in workflow.run_files:
        done = run_command(file.init, cwd=root, env=environment(decisive, "", {}), timeout=INIT_TIMEOUT)
        if done.exit != 0:
            how = "did not finish in time" if done.timed_out else f"ended with exit code {done.exit}"
            tail = done.output.decode("utf-8", "replace")[-500:].strip()
            raise RefusedError(
                "start.run_file",
                f"the command of the run file {file.name} {how}: {tail}",
                where=f"run_files.{file.name}.init",
                remedy=f"Mend the command ({file.init}) or the project; nothing was started.",
            )
        if len(done.stdout) > RUN_FILE_LIMIT:
            raise RefusedError(
                "start.run_file",
                f"the command of the run file {file.name} printed more than {RUN_FILE_LIMIT} bytes",
                where=f"run_files.{file.name}.init",
                remedy="Let it print less; nothing was started.",
            )
        files[file.name] = done.stdout
    return files


def archive(root: Path, folder: str, suffix: str = "") -> Path | None:
    """Move an old run folder into `.stagent/.archive/` and return its new place; None when there is none."""
    old = RunFolder(root, folder).path
    if not old.exists():
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    safe = re.sub(r"-+", "-", re.sub(r"[^A-Za-z0-9_-]", "-", folder)).strip("-")[:40] or "orphan"
    base = root / NAME / ".archive" / f"{stamp}-{safe}{suffix}"
    base.parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        place = base if number == 1 else base.with_name(f"{base.name}-{number}")
        if not place.exists():
            hit("archive.move.before")
            shutil.move(old, place)
            hit("archive.move.after")
            return place
    raise UsageError("archive.full", "too many archives of one second", where=str(base), remedy="Try again.")

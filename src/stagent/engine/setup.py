"""Begins a run: everything that can fail happens before anything is written, so nothing is half-made."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from stagent import disk
from stagent.core.canonical import digest, encode
from stagent.core.events import Holder, RunStarted, StageEntered
from stagent.core.ids import run_id
from stagent.core.masking import mask
from stagent.core.model import Workflow
from stagent.core.ports import Workspace
from stagent.core.state import State
from stagent.engine.environment import environment, pinned_environment
from stagent.engine.flows import Flow, pin
from stagent.engine.folder import NAME, RunFolder, keeps_inside
from stagent.engine.leftovers import sweep
from stagent.engine.process import run as run_command
from stagent.engine.service import RunService
from stagent.errors import RefusedError, StagentError, UsageError, WorkspaceError
from stagent.failpoints import hit

RUN_FILE_LIMIT = 1024 * 1024
"""The largest run file an init command may make (bytes)."""
INIT_TIMEOUT = 120.0
"""How long an init command may take (seconds)."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is started with.

    `run` is the id it is to have, where somebody had to know it before. `session` names the run folder of a session's
    run; `replaced` is the topic of the run whose folder that was before.
    """

    task: str
    flow: Flow
    mode: Literal["session", "headless"]
    holder: Holder
    actor: str
    run: str | None = None
    session: str | None = None
    replaced: str = ""


def start(
    service: RunService,
    request: Request,
    note: Callable[[State], None] = lambda state: None,
    archived: Callable[[Path], None] = lambda place: None,
) -> State:
    """Create a run in its first stage. Raises UsageError, WorkflowError or WorkspaceError before anything is written.

    The caller has made sure that the session has no live run; `note` writes the run into the index, `archived` is told
    where the run folder that was in the way lies now.
    """
    _can_begin(service.root, request)
    workflow, workspace = request.flow.workflow, service.workspace
    baseline = workspace.snapshot() if workflow.modifies_worktree else None
    files = _run_files(workflow, service.root, decisive := pinned_environment())
    run = request.run or fresh_id(service)
    folder = request.session or run
    workspace.keep_private(NAME)
    _put_away(service.root, folder, request.replaced, archived)
    pinned, model, blobs = pin(request.flow)
    task, pins = request.task.encode("utf-8", "surrogateescape"), encode(decisive)
    blobs |= {digest(data): data for data in (task, pins, *files.values())}
    began = RunStarted(
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
    )
    entered = StageEntered(stage=workflow.initial, epoch=1, tree=_entry_tree(workflow, workspace, baseline))
    with _folder(service.root, folder):
        state = service.journal.begin(run, [began, entered], request.actor, blobs)
    note(state)
    service.publisher.refresh(state)
    sweep(service.home, service.root)
    return state


def fresh_id(service: RunService) -> str:
    """Return an id that no run has yet."""
    return run_id(service.clock(), os.urandom(10))


def _put_away(root: Path, folder: str, topic: str, archived: Callable[[Path], None]) -> None:
    place = archive(root, folder, topic=topic)
    if place is not None:
        archived(place)


def _can_begin(root: Path, request: Request) -> None:
    need(request.task, "run" if request.mode == "headless" else "start")
    keeps_inside(root)


def need(task: str, command: Literal["start", "run"] = "start") -> None:
    """Raise UsageError for a task without a word."""
    if not task.strip():
        remedy = f'Say what is to be done: stagent {command} "TASK".'
        raise UsageError(f"{command}.no_task", "there is no task", where=command, remedy=remedy)


def _entry_tree(workflow: Workflow, workspace: Workspace, baseline: str | None) -> str | None:
    """Return the tree the first stage is compared with; the baseline is it unless the stage narrows what it sees."""
    initial = workflow.stages[workflow.initial]
    if not initial.bound_tree:
        return None
    return baseline if baseline is not None and not initial.watch else workspace.snapshot(initial.watch)


@contextmanager
def _folder(root: Path, name: str) -> Iterator[None]:
    """Make a run folder, which stays if the block does not fail. Raises WorkspaceError when it cannot be made."""
    folder = RunFolder(root, name).path
    try:
        hit("folder.make.before")
        folder.mkdir(parents=True)
        hit("folder.make.after")
    except OSError as error:
        raise WorkspaceError(
            "workspace.run_folder",
            f"the run folder cannot be made: {error.strerror}",
            where=str(error.filename or folder),
            remedy="Make the project's folder writable, or move away what lies there; nothing was started.",
        ) from error
    try:
        yield
    except StagentError:
        disk.remove(folder)
        raise


def _run_files(workflow: Workflow, root: Path, decisive: Mapping[str, str]) -> Mapping[str, bytes]:
    files: dict[str, bytes] = {}
    for file in workflow.run_files:
        env = environment(decisive, "", {})
        done = run_command(file.init, cwd=root, env=env, timeout=INIT_TIMEOUT, keep=RUN_FILE_LIMIT)
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


def archive(root: Path, folder: str, suffix: str = "", topic: str = "") -> Path | None:
    """Move an old run folder into `.stagent/.archive/` and return its new place; None when there is none.

    It is named after the time, the run's topic (its folder, where that has no letter to show) and the suffix.
    """
    old = RunFolder(root, folder).path
    if not old.exists():
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    named = _as_name(mask(topic)) or _as_name(folder) or "orphan"
    base = root / NAME / ".archive" / f"{stamp}-{named}{suffix}"
    disk.make_folder(base.parent)
    for number in range(1, 1000):
        place = base if number == 1 else base.with_name(f"{base.name}-{number}")
        if not place.exists():
            hit("archive.move.before")
            shutil.move(old, place)
            hit("archive.move.after")
            return place
    raise UsageError("archive.full", "too many archives of one second", where=str(base), remedy="Try again.")


def _as_name(text: str) -> str:
    """Return at most 40 letters of a text that may stand in the name of a folder."""
    return re.sub(r"-+", "-", re.sub(r"[^A-Za-z0-9_-]", "-", text)).strip("-")[:40].rstrip("-")

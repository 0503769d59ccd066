"""Runs a declared check as evidence: protected files first, then the command, then what the command itself wrote."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath

import msgspec

from stagent.core.canonical import digest
from stagent.core.events import CheckEnded, CheckStarted
from stagent.core.masking import mask_bytes
from stagent.core.model import Check, Stage
from stagent.core.ports import Change, Workspace
from stagent.engine.process import run

_PACKAGE = ("package.json",)
_PYTEST = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg", "pyproject.toml")
_DEFINED_BY = {
    "make": ("Makefile", "makefile", "GNUmakefile"),
    "just": ("justfile", "Justfile"),
    "npm": _PACKAGE,
    "pnpm": _PACKAGE,
    "yarn": _PACKAGE,
    "bun": _PACKAGE,
    "npx": _PACKAGE,
    "pytest": _PYTEST,
    "py.test": _PYTEST,
    "tox": _PYTEST,
    "cargo": ("Cargo.toml",),
    "go": ("go.mod",),
}
_PROJECT_TESTS = "check tests"
_LONGEST = 1024


def command_files(command: str, workspace: Workspace, reference: str) -> list[str]:
    """Return the files of the reference tree that define what a check's command does.

    Scripts the command names, the Makefile of `make`, the package.json of `npm`; for the project's own tests every
    file that could define them.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    names = {word for word in words if word.strip() and "\0" not in word and not word.startswith(("-", "/", "$"))}
    for word in words:
        names |= set(_DEFINED_BY.get(PurePath(word).name, ()))
    if _PROJECT_TESTS in command:
        names |= {name for group in _DEFINED_BY.values() for name in group}
    wanted = {os.path.normpath(name) for name in names if len(name) < _LONGEST}
    return sorted(
        name
        for name in wanted
        if name != "." and not name.startswith("..") and workspace.read(reference, name) is not None
    )


def protected_changes(
    check: Check, stage: Stage, workspace: Workspace, reference: str, tree: str
) -> tuple[list[Change], list[Change]]:
    """Return what was changed or removed although protected, and what was added where files are protected.

    Files the stage declares with `protects` are its own to write. `protect: []` protects nothing at all.
    """
    if reference == tree or check.protect == ():
        return [], []
    globs = tuple(check.protect or ())
    changes = workspace.changes(reference, tree, only=globs, excluding=stage.protects) if globs else []
    bad = {change for change in changes if change.status != "A"}
    for name in command_files(check.run, workspace, reference):
        bad |= _changed_command(workspace, reference, tree, name)
    return sorted(bad), sorted(change for change in changes if change.status == "A")


def _changed_command(workspace: Workspace, reference: str, tree: str, name: str) -> set[Change]:
    if workspace.same_command(reference, tree, name):
        return set()
    return {Change(name, "M" if workspace.read(tree, name) is not None else "D")}


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """The event of a check that ended, and the blobs it names."""

    event: CheckEnded
    blobs: dict[str, bytes]


def execute(
    check: Check,
    stage: Stage,
    started: CheckStarted,
    workspace: Workspace,
    reference: str | None,
    env: Mapping[str, str],
    progress: Callable[[str, float], None],
) -> Ran:
    """Run a check that was recorded as started; never raises for what the command does."""
    blobs: dict[str, bytes] = {}

    def keep(data: bytes) -> str:
        name = digest(data)
        blobs[name] = data
        return name

    bad: list[Change] = []
    added: list[Change] = []
    if reference is not None:
        now = workspace.snapshot() if stage.watch else started.tree
        bad, added = protected_changes(check, stage, workspace, reference, now)
    ended = CheckEnded(
        name=check.name,
        epoch=started.epoch,
        artifact=started.artifact,
        tree=started.tree,
        tree_after=started.tree,
        outcome="protected",
        protected=keep(listing(bad)) if bad else None,
        added=keep(listing(added)) if added else None,
    )
    if bad:
        return Ran(event=ended, blobs=blobs)
    finished = run(
        check.run,
        cwd=Path(workspace.root),
        env=env,
        timeout=check.timeout,
        progress=lambda seconds: progress(check.name, seconds),
    )
    after = workspace.snapshot(stage.watch)
    changed = workspace.changes(started.tree, after) if after != started.tree else []
    outcome = "timeout" if finished.timed_out else "error" if finished.exit is None else "fail"
    event = msgspec.structs.replace(
        ended,
        tree_after=after,
        outcome="pass" if finished.exit == 0 else outcome,
        exit=finished.exit,
        output=keep(mask_bytes(finished.output)),
        changed=keep(listing(changed)) if changed else None,
        millis=finished.millis,
    )
    return Ran(event=event, blobs=blobs)


def listing(changes: Sequence[Change]) -> bytes:
    """Return changes as text, one `status path` a line."""
    return "".join(f"{change.status} {change.path}\n" for change in changes).encode("utf-8", "surrogateescape")

"""Runs a declared check as evidence: protected files first, then the command, then what the command itself wrote."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Literal

import msgspec

from stagent.core.canonical import digest
from stagent.core.events import CheckEnded, CheckStarted
from stagent.core.masking import mask_bytes
from stagent.core.model import Check, Stage
from stagent.core.ports import Change, Workspace
from stagent.engine.process import Finished, run
from stagent.engine.steering import steering

_MAKE = ("Makefile", "makefile", "GNUmakefile")
_PACKAGE = ("package.json",)
_PYTEST = (
    *("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg", "pyproject.toml"),
    *("conftest.py", "tests/conftest.py", "test/conftest.py"),
)
_GO = ("go.mod", "go.work")
_CARGO = ("Cargo.toml", ".cargo/config.toml", ".cargo/config")
_DEFINED_BY = {
    "make": _MAKE,
    "just": ("justfile", "Justfile", ".justfile"),
    "npm": _PACKAGE,
    "pnpm": _PACKAGE,
    "yarn": _PACKAGE,
    "bun": _PACKAGE,
    "npx": _PACKAGE,
    "pytest": _PYTEST,
    "py.test": _PYTEST,
    "tox": _PYTEST,
    "cargo": _CARGO,
    "go": _GO,
}
_PROJECT_TESTS = "check tests"
# What decides about a project's own tests, the first that says something about them wins.
_RANKS = (_PACKAGE, _PYTEST, _GO[:1], _CARGO[:1], _MAKE)
# These have other uses; they define a test command only with such a word in them.
_TELLING = {
    "package.json": b'"test"',
    "tox.ini": b"pytest",
    "setup.cfg": b"pytest",
    "pyproject.toml": b"pytest",
    **dict.fromkeys(_MAKE, b""),
}
_BETWEEN = re.compile(r"[\s;&|()'\"`<>=$]+")
_LONGEST = 1024


def _words(command: str) -> set[str]:
    """Return the words of a command line, those inside quotes as well: `sh -c 'make test'` runs make."""
    try:
        words = set(shlex.split(command))
    except ValueError:
        words = set()
    return words | set(_BETWEEN.split(command))


def command_files(command: str, root: Path) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the files that could define what a check's command does, and the groups in which one replaces another.

    Scripts the command names, the Makefile of `make`, the package.json of `npm`, at the top and in the folders the
    command names; for the project's own tests every file that could define them.
    """
    words = {word for word in _words(command) if word.strip() and "\0" not in word and len(word) < _LONGEST}
    plain = {os.path.normpath(word) for word in words if not word.startswith(("-", "/", "$", ":"))}
    inside = {word for word in plain if not word.startswith("..")}
    folders = {word for word in inside if word != "." and (root / word).is_dir()}
    groups = [_DEFINED_BY[name] for name in sorted({PurePath(word).name for word in words}) if name in _DEFINED_BY]
    groups += [tuple(f"{folder}/{name}" for name in group) for group in groups for folder in sorted(folders)]
    names = (inside - folders - {"."}) | {name for group in groups for name in group}
    if _PROJECT_TESTS in command:
        names |= {name for group in _DEFINED_BY.values() for name in group}
    return sorted(names), groups


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
    bad |= _changed_commands(check, stage, workspace, reference, tree)
    return sorted(bad), sorted(change for change in changes if change.status == "A" and change not in bad)


def _changed_commands(check: Check, stage: Stage, workspace: Workspace, reference: str, tree: str) -> set[Change]:
    names, groups = command_files(check.run, Path(workspace.root))
    changes = workspace.changes(reference, tree, only=names, excluding=stage.protects) if names else []
    bad = {
        change
        for change in changes
        if change.status != "A" and not workspace.same_command(reference, tree, change.path)
    }
    words = None if _PROJECT_TESTS in check.run else _words(check.run)
    bad |= steering(words, workspace, reference, tree, stage.protects)
    added = {change.path: change for change in changes if change.status == "A"}
    for group in groups:
        if any(workspace.read(reference, name) is not None for name in group):
            bad |= {added[name] for name in group if name in added and _defines(workspace, tree, name)}
    return bad | (_slipped_in(workspace, reference, tree, added) if _PROJECT_TESTS in check.run else set())


def _slipped_in(workspace: Workspace, reference: str, tree: str, added: Mapping[str, Change]) -> set[Change]:
    """Return the new files that could become the project's test command in place of the one it had.

    In a project that had nothing of the kind they are its first ones, and welcome.
    """
    found: set[Change] = set()
    had_any = False
    for rank in _RANKS:
        found |= {added[name] for name in rank if name in added and _defines(workspace, tree, name)}
        had_any = had_any or any(workspace.read(reference, name) is not None for name in rank)
        if any(_defines(workspace, reference, name) for name in rank):
            break
    return found if had_any else set()


def _defines(workspace: Workspace, tree: str, name: str) -> bool:
    data = workspace.read(tree, name)
    return data is not None and _TELLING.get(PurePath(name).name, b"") in data


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """The event of a check that ended, and the blobs it names."""

    event: CheckEnded
    blobs: dict[str, bytes]


class Execution:
    """One run of a check that was recorded as started; never raises for what the command does."""

    def __init__(
        self, check: Check, stage: Stage, started: CheckStarted, workspace: Workspace, reference: str | None
    ) -> None:
        self.check = check
        self.stage = stage
        self.workspace = workspace
        self.reference = reference
        self.blobs: dict[str, bytes] = {}
        self.event = CheckEnded(
            name=check.name,
            epoch=started.epoch,
            artifact=started.artifact,
            tree=started.tree,
            tree_after=started.tree,
            outcome="protected",
        )

    def run(self, env: Mapping[str, str], progress: Callable[[str, float], None], tidy: Callable[[], object]) -> Ran:
        """Look at protected files, run the command, and look at what changed while it ran."""
        before = self.event.tree
        if self._spoilt(before):
            return Ran(event=self.event, blobs=self.blobs)
        finished = run(
            self.check.run,
            cwd=Path(self.workspace.root),
            env=env,
            timeout=self.check.timeout,
            progress=lambda seconds: progress(self.check.name, seconds),
            tidy=tidy,
        )
        after = self.workspace.snapshot(self.stage.watch)
        # What was exchanged while the command ran may be what made it pass.
        exchanged = after != before and self._spoilt(after)
        changed = self.workspace.changes(before, after) if after != before else []
        self.event = msgspec.structs.replace(
            self.event,
            tree_after=after,
            outcome="protected" if exchanged else _outcome(finished),
            exit=finished.exit,
            output=self._keep(mask_bytes(finished.output)),
            changed=self._keep(listing(changed)) if changed else None,
            millis=finished.millis,
        )
        return Ran(event=self.event, blobs=self.blobs)

    def _spoilt(self, tree: str) -> bool:
        """Say whether a protected file is not as it was, and note which; new files are noted as well."""
        if self.reference is None:
            return False
        now = self.workspace.snapshot() if self.stage.watch else tree
        bad, added = protected_changes(self.check, self.stage, self.workspace, self.reference, now)
        self.event = msgspec.structs.replace(
            self.event,
            protected=self._keep(listing(bad)) if bad else None,
            added=self._keep(listing(added)) if added else None,
        )
        return bool(bad)

    def _keep(self, data: bytes) -> str:
        name = digest(data)
        self.blobs[name] = data
        return name


def _outcome(finished: Finished) -> Literal["pass", "fail", "timeout", "error"]:
    if finished.timed_out:
        return "timeout"
    if finished.exit is None:
        return "error"
    return "pass" if finished.exit == 0 else "fail"


def listing(changes: Sequence[Change]) -> bytes:
    """Return changes as text, one `status path` a line."""
    return "".join(f"{change.status} {change.path}\n" for change in changes).encode("utf-8", "surrogateescape")

"""New files that decide about a project's tests by being there: with one of them no test need be touched to go quiet.

A new `conftest.py` leaves tests out, a new `pytest.py` is what `python -m pytest` runs, a new `.mocharc` or `go.work`
names other tests. They count where the project had something to silence; a new package may bring its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence, Set
from functools import cache
from pathlib import Path, PurePosixPath

import msgspec

from stagent.checks.globs import matching
from stagent.core.ports import Change, Workspace

Folder = PurePosixPath


class _Family(msgspec.Struct, frozen=True):
    """Programs with the same habits; `needs` are globs of what they work on, `steering` of what decides about it."""

    programs: frozenset[str]
    needs: tuple[str, ...]
    steering: tuple[str, ...]


_PYTHON = _Family(
    frozenset({"python", "python3", "pytest", "py.test", "unittest", "tox", "nox"}),
    ("**/test_*.py", "**/*_test.py", "**/tests/**/*.py", "**/test/**/*.py"),
    ("**/conftest.py",),
)
_NODE = _Family(
    frozenset({"npm", "npx", "pnpm", "yarn", "bun", "node", "jest", "vitest", "mocha", "ava", "tap", "karma"}),
    ("**/package.json",),
    (
        *("**/jest.config.*", "**/vitest.config.*", "**/vitest.workspace.*", "**/vite.config.*", "**/.mocharc*"),
        *("**/ava.config.*", "**/.taprc", "**/karma.conf.*", "**/.npmrc", "**/.pnpmfile.*", "**/bunfig.toml"),
    ),
)
_GO = _Family(frozenset({"go"}), ("**/go.mod",), ("**/go.work",))
_CARGO = _Family(
    frozenset({"cargo"}),
    ("**/Cargo.toml",),
    ("**/.cargo/config", "**/.cargo/config.toml", "**/rust-toolchain", "**/rust-toolchain.toml"),
)
_FAMILIES = (_PYTHON, _NODE, _GO, _CARGO)
# What Python imports when it runs tests; a module of such a name beside them is imported instead.
_IMPORTED = sys.stdlib_module_names | {"pytest", "_pytest", "pluggy", "iniconfig", "sitecustomize", "usercustomize"}


def steering(
    words: Set[str] | None, workspace: Workspace, reference: str, tree: str, own: Sequence[str]
) -> set[Change]:
    """Return the new files that decide about what the project had to test at the reference.

    `words` are those of the command; None stands for any test program. `own` are globs of files the stage may write.
    """
    families = [family for family in _FAMILIES if words is None or words & family.programs]
    if not families:
        return set()
    changes = workspace.changes(reference, tree, excluding=own)
    added = {change.path for change in changes if change.status == "A"}
    had = cache(lambda: workspace.paths(reference))
    if _PYTHON in families and any(PurePosixPath(change.path).name == ".gitignore" for change in changes):
        # Rules that are new may hide what is new; only then are ignored files looked at, for some were always there.
        hidden = _beside(workspace.root, had()) - {*had(), *workspace.paths(tree)}
        added |= hidden - matching(own, hidden)
    found: set[str] = set()
    for family in families:
        names = matching(family.steering, added)
        if names:
            below = {folder for name in matching(family.needs, had()) for folder in Folder(name).parents}
            found |= {name for name in names if _governed(name) in below}
    modules = {name: folder for name in added if (folder := _imported_from(name)) is not None}
    if modules and _PYTHON in families:
        starts = _starts(had())
        found |= {name for name, folder in modules.items() if folder in starts}
    return {Change(name, "A") for name in found}


def _governed(name: str) -> Folder:
    """Return the folder a file decides about: its own, or the one above `.cargo`."""
    folder = Folder(name).parent
    return folder.parent if folder.name == ".cargo" else folder


def _imported_from(name: str) -> Folder | None:
    """Return the folder in which a file is a module of a name that test programs import; None for any other file."""
    path = PurePosixPath(name)
    module = path.parent if path.name == "__init__.py" else path.with_suffix("")
    return module.parent if path.suffix in (".py", ".pyc") and module.name in _IMPORTED else None


def _starts(had: Iterable[str]) -> set[Folder]:
    """Return the folders Python looks for modules in when it runs these tests: the top, and those of loose tests."""
    tests = {Folder(name).parent for name in matching(_PYTHON.needs, had)}
    packages = {Folder(name).parent for name in had if PurePosixPath(name).name == "__init__.py"}
    return (tests - packages) | ({Folder(".")} if tests else set())


def _beside(root: str, had: Iterable[str]) -> set[str]:
    """Return what lies on the disk where it would decide about Python tests, whether git sees it or not."""
    found = set()
    for folder in {folder for name in matching(_PYTHON.needs, had) for folder in Folder(name).parents}:
        place = Path(root, folder)
        for entry in sorted(path.name for path in place.iterdir()) if place.is_dir() else ():
            if entry == "conftest.py" or Folder(entry).stem in _IMPORTED:
                candidates = (str(folder / entry), str(folder / entry / "__init__.py"))
                found |= {name for name in candidates if Path(root, name).is_file()}
    return found

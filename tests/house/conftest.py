"""The checkout as the house tests see it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

MADE_BY_TOOLS = {"__pycache__", "build", "dist", "node_modules"}


def _known_to_git(checkout: Path) -> list[Path] | None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=checkout, capture_output=True, check=False)
    if listed.returncode != 0 or not (checkout / ".git").exists():
        return None
    return [checkout / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]


def _found_by_walking(checkout: Path) -> list[Path]:
    found = []
    for folder, folders, names in os.walk(checkout):
        folders[:] = [name for name in folders if name not in MADE_BY_TOOLS and (name == ".ci" or name[0] != ".")]
        found += [Path(folder, name) for name in names if not name.endswith(".pyc") and name != "uv.lock"]
    return found


@pytest.fixture(scope="session")
def project_files(checkout: Path) -> list[Path]:
    """Every file of the project, without what tools have made; works without a git repository too."""
    found = _known_to_git(checkout)
    files = _found_by_walking(checkout) if found is None else found
    return sorted(path for path in files if path.is_file())


@pytest.fixture(scope="session")
def sources(checkout: Path) -> dict[Path, str]:
    """The text of every module of the package, by its path below src/stagent."""
    package = checkout / "src" / "stagent"
    return {path.relative_to(package): path.read_text("utf-8") for path in sorted(package.rglob("*.py"))}


@pytest.fixture(scope="session")
def trees(sources: dict[Path, str]) -> dict[Path, ast.Module]:
    """The syntax tree of every module of the package."""
    return {path: ast.parse(text, filename=str(path)) for path, text in sources.items()}


@pytest.fixture
def copy_of_checkout(checkout: Path, project_files: list[Path], tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of the project's files in a folder whose name has a space in it."""

    def copy() -> Path:
        target = tmp_path / "a checkout"
        for path in project_files:
            place = target / path.relative_to(checkout)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place, follow_symlinks=False)
        return target

    return copy

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stagent.checks.globs import compiled, is_everything, matching

NAMES = [
    "a.py", "b.txt", "src/a.py", "src/deep/a.py", "src/deep/b.txt", "docs/x.md", "docs/y/z.md", "tests/test_a.py",
    "a-b", "x1", "x2", "src2/a.py", ".hidden", "src/.hidden",
]  # fmt: skip
GLOBS = [
    "a.py", "*.py", "**/*.py", "src", "src/", "src/**", "src/*", "**/a.py", "docs/**/z.md", "x[12]", "x[!1]", "?1",
    "**/deep/**", ".hidden", "*", "src/**/a.py", "a-*",
]  # fmt: skip


@pytest.mark.parametrize("glob", GLOBS)
def test_globs_match_as_in_git(glob: str, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    listed = subprocess.run(
        ["git", "-C", str(tmp_path), "ls-files", "-o", "--", f":(glob){glob}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert matching([glob], NAMES) == set(listed.stdout.split())


@pytest.mark.parametrize("glob", ["**", "**/*", "/", ".", "./", "", "**/**"])
def test_a_glob_that_holds_everything_is_known(glob: str) -> None:
    assert is_everything(glob)


@pytest.mark.parametrize("glob", ["src/**", "*", "*.py", "**/*.md", "a"])
def test_another_is_not(glob: str) -> None:
    assert not is_everything(glob)


def test_an_unclosed_bracket_stands_for_itself() -> None:
    assert compiled("a[b").match("a[b")
    assert not compiled("a[b").match("ab")

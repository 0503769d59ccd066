from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stagent.checks.listing import files_of, is_ignored, private_rules


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "p"
    for name, text in {
        "a.py": "x", ".gitignore": "*.log\n", "b.log": "x", "sub/c.py": "x", ".stagent/run/x": "x",
        ".agents/tmp/y": "x", ".agents/z.json": "{}",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def test_ignored_files_and_our_folders_are_left_out(repository: Path) -> None:
    assert files_of(repository) == [".agents/z.json", ".gitignore", "a.py", "sub/c.py"]
    assert is_ignored(repository, "b.log")
    assert not is_ignored(repository, "a.py")


def test_rules_of_another_time_hold_when_they_are_given(repository: Path) -> None:
    before = private_rules(repository)
    (repository / ".git" / "info" / "exclude").write_text("hidden.py\n")
    (repository / "hidden.py").write_text("x")
    assert "hidden.py" not in files_of(repository)
    assert "hidden.py" in files_of(repository, before)


def test_what_lies_in_an_inner_repository_counts(repository: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=repository / "sub", check=True)
    (repository / "sub" / "new.py").write_text("x")
    assert {"sub/c.py", "sub/new.py"} <= set(files_of(repository))


def test_without_git_every_file_counts_and_links_are_names(tmp_path: Path) -> None:
    root = tmp_path / "p"
    (root / "d").mkdir(parents=True)
    (root / "d" / "a").write_text("x")
    os.symlink(root / "d", root / "link")
    assert files_of(root) == ["d/a", "link"]
    assert not is_ignored(root, "d/a")
    assert private_rules(root) == ""


def test_names_of_any_bytes_survive(repository: Path) -> None:
    name = os.fsdecode(b"b\xff\xe4d name.py")
    (repository / name).write_text("x")
    assert name in files_of(repository)

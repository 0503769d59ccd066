from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stagent.core.story import FileChange
from stagent.engine.differences import Difference, parse


def git(folder: Path, *words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "same.txt").write_text("".join(f"{number}\n" for number in range(40)))
    (tmp_path / "moved.txt").write_text("".join(f"line {number}\n" for number in range(40)))
    (tmp_path / "gone.txt").write_text("-- a\n++ b\n")
    (tmp_path / "with blank.txt").write_text("x")
    (tmp_path / "bytes.bin").write_bytes(b"\0\1\2")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "begin")
    return tmp_path


def changes(repository: Path) -> dict[str, FileChange]:
    git(repository, "add", "-A")
    out = git(repository, "diff", "--cached", "--no-color", "--find-renames", "HEAD")
    return {item.path: item for item in parse(out)}


def test_counts_agree_with_git(repository: Path) -> None:
    lines = (repository / "same.txt").read_text().splitlines()
    lines[3], lines[30] = "+++ b/fake.txt", "diff --git a/x b/x"
    (repository / "same.txt").write_text("\n".join(lines))
    (repository / "gone.txt").unlink()
    (repository / "new.txt").write_text("@@ -1 +1 @@\n--- a\n")
    (repository / "with blank.txt").write_text("y")
    (repository / "bytes.bin").write_bytes(b"\0\2\3")
    (repository / "moved.txt").rename(repository / "sub.txt")
    found = changes(repository)
    counted = git(repository, "diff", "--cached", "--numstat", "--no-renames", "HEAD").decode().splitlines()
    for line in counted:
        added, removed, path = line.split("\t")
        if path not in ("moved.txt", "sub.txt", "bytes.bin"):
            assert (found[path].added, found[path].removed) == (int(added), int(removed)), path
    assert {path: item.status for path, item in found.items()} == {
        "same.txt": "M",
        "gone.txt": "D",
        "new.txt": "A",
        "with blank.txt": "M",
        "bytes.bin": "M",
        "sub.txt": "R",
    }
    assert found["bytes.bin"].binary


def test_a_mode_alone_is_a_change(repository: Path) -> None:
    (repository / "same.txt").chmod(0o755)
    assert changes(repository)["same.txt"] == FileChange(path="same.txt", status="M", added=0, removed=0)


def test_an_empty_new_file(repository: Path) -> None:
    (repository / "empty").write_text("")
    assert changes(repository)["empty"] == FileChange(path="empty", status="A", added=0, removed=0)


def test_nothing_gives_nothing() -> None:
    assert Difference("a", "a", b"").files == []

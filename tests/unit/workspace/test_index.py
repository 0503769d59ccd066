"""Reading git's index, against git's own account of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stagent.workspace import index

RunGit = Callable[..., str]


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
def test_entries_are_those_git_lists(tmp_path: Path, git: RunGit, kind: str) -> None:
    git(tmp_path, "init", "-q", f"--object-format={kind}")
    for length in range(1, 24):
        folder = tmp_path / ("d" * (length % 5 + 1))
        folder.mkdir(exist_ok=True)
        (folder / ("n" * length)).write_text(str(length))
    (tmp_path / "run").write_text("x")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / ".gitattributes").write_text("* text\n")
    git(tmp_path, "add", "-A")
    found = index.load(str(tmp_path / ".git/index"), kind)
    assert found is not None
    listed = [f"{entry.mode:o} {entry.oid.hex()} 0\t{os.fsdecode(entry.path)}" for entry in found.entries]
    assert listed == git(tmp_path, "ls-files", "-s").splitlines()
    assert [path for path, _ in found.attributes()] == [b".gitattributes"]
    stat = os.lstat(tmp_path / "run")
    recorded = next(entry for entry in found.entries if entry.path == b"run").ctime
    assert recorded == divmod(stat.st_ctime_ns, 10**9)


def test_an_absent_or_damaged_index_is_none(repo: Path) -> None:
    path = repo / ".git/index"
    good = path.read_bytes()
    assert index.load(str(path), "sha1") is not None
    assert index.load(str(path), "sha256") is None
    for bad in (b"", good[:20], good[:-1], good[:40] + b"\xff" + good[41:], good + b"x"):
        path.write_bytes(bad)
        assert index.load(str(path), "sha1") is None
    path.unlink()
    assert index.load(str(path), "sha1") is None


def test_a_file_changed_within_the_same_second_is_doubtful(repo: Path) -> None:
    found = index.load(str(repo / ".git/index"), "sha1")
    assert found is not None
    assert index.doubtful(found, str(repo)) == []
    entry = next(entry for entry in found.entries if entry.path == b"README")
    moved = entry._replace(ctime=(entry.ctime[0], entry.ctime[1] ^ 1))
    assert index.doubtful(found._replace(entries=[moved]), str(repo)) == [b"README"]


def test_a_folder_that_became_a_repository_is_doubtful(repo: Path, git: RunGit) -> None:
    found = index.load(str(repo / ".git/index"), "sha1")
    assert found is not None
    git(repo / "src", "init", "-q")
    assert index.doubtful(found, str(repo)) == [b"src/main.py"]


def test_a_commit_without_its_repository_is_doubtful(repo: Path, git: RunGit) -> None:
    git(repo, "clone", "-q", str(repo), "inner")
    git(repo, "add", "-A")
    found = index.load(str(repo / ".git/index"), "sha1")
    assert found is not None
    assert index.doubtful(found, str(repo)) == []
    (repo / "inner/.git").rename(repo / "moved")
    assert index.doubtful(found, str(repo)) == [b"inner"]

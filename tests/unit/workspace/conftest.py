"""Real repositories and an independent account of what a folder holds."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

OURS = (".stagent", ".agents/tmp", ".claude/worktrees")
Files = dict[str, tuple[str, bytes]]


def run_git(cwd: Path, *args: str) -> str:
    """Run git for a test's own preparations and return its output."""
    return subprocess.run(["git", *args], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def walk(root: Path, ignored: Collection[str] = ()) -> Files:
    """Return mode and bytes of every file below a folder, without our folders, repositories and ignored names."""
    found: Files = {}
    for folder, folders, files in os.walk(root):
        inner = os.path.relpath(folder, root)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [
            name
            for name in folders
            if name != ".git"
            and name not in links
            and not os.path.join("/", inner, name).endswith(tuple(f"/{ours}" for ours in OURS))
        ]
        for name in [*files, *links]:
            path = os.path.normpath(os.path.join(inner, name))
            full = os.path.join(root, path)
            if path in ignored:
                continue
            if os.path.islink(full):
                found[path] = ("120000", os.fsencode(os.readlink(full)))
            else:
                mode = "100755" if os.stat(full).st_mode & stat.S_IXUSR else "100644"
                found[path] = (mode, Path(full).read_bytes())
    return found


def tree_id(files: Files, kind: str = "sha1") -> str:
    """Work out, without git, the id of the tree object that holds these files."""
    folders: dict[str, Files] = {}
    entries: list[tuple[bytes, bytes]] = []
    for path, (mode, data) in files.items():
        head, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(head, {})[rest] = (mode, data)
        else:
            blob = hashlib.new(kind, b"blob %d\0" % len(data) + data).digest()
            entries.append((os.fsencode(head), mode.encode() + b" " + os.fsencode(head) + b"\0" + blob))
    for name, inner in folders.items():
        raw = os.fsencode(name)
        entries.append((raw + b"/", b"40000 " + raw + b"\0" + bytes.fromhex(tree_id(inner, kind))))
    body = b"".join(entry for _, entry in sorted(entries))
    return hashlib.new(kind, b"tree %d\0" % len(body) + body).hexdigest()


@pytest.fixture(autouse=True)
def quiet_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give git an empty home, since the workspace does not listen to GIT_CONFIG_GLOBAL."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    yield home


@pytest.fixture
def git() -> Callable[..., str]:
    """`run_git`."""
    return run_git


@pytest.fixture
def account() -> Callable[..., Files]:
    """`walk`."""
    return walk


@pytest.fixture
def digest() -> Callable[..., str]:
    """`tree_id`."""
    return tree_id


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one commit of two files."""
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src" / "main.py").write_text("print('one')\n")
    (root / "README").write_text("read me\n")
    run_git(root, "init", "-q")
    run_git(root, "add", "-A")
    run_git(root, "commit", "-qm", "first")
    return root

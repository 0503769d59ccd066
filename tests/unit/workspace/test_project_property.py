"""Random file operations: the digest is that of the content, and changes are exactly the paths that differ."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stagent.workspace.project import Project

Files = dict[str, tuple[str, bytes]]
TRACKED = "tracked"
NAMES = [TRACKED, "a", "b c", "d", "d/é", 'd/q"x', "d/e/new\nline", "d/e", os.fsdecode(b"f/\xff"), ".stagent/x"]

name = st.sampled_from(NAMES)
data = st.sampled_from([b"", b"one\n", b"two\n", b"2\r\n", b"\0\xff"])
operation = st.one_of(
    st.tuples(st.just("write"), name, data),
    st.tuples(st.just("write_keeping_times"), name, data),
    st.tuples(st.just("delete"), name),
    st.tuples(st.just("rename"), name, name),
    st.tuples(st.just("chmod"), name, st.booleans()),
    st.tuples(st.just("symlink"), name, st.sampled_from(["a", "d", "nowhere"])),
    st.tuples(st.just("ignore"), st.sets(st.sampled_from([TRACKED, "a", "b c", ".stagent/x"]))),
)


class Folder:
    """Carries the operations out on real files; one that makes no sense now does nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ignored: set[str] = set()

    def room(self, path: Path) -> Path:
        for parent in path.relative_to(self.root).parents:
            if (self.root / parent).is_symlink() or (self.root / parent).is_file():
                (self.root / parent).unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.clear(path)
        return path

    @staticmethod
    def clear(path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def reachable(self, path: Path) -> bool:
        return not any(parent.is_symlink() or parent.is_file() for parent in path.parents if parent != self.root)

    def write(self, where: str, what: bytes) -> None:
        self.room(self.root / where).write_bytes(what)

    def write_keeping_times(self, where: str, what: bytes) -> None:
        path = self.root / where
        if self.reachable(path) and path.is_file() and not path.is_symlink():
            times = path.stat()
            path.write_bytes(what)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def delete(self, where: str) -> None:
        if self.reachable(self.root / where):
            self.clear(self.root / where)

    def rename(self, old: str, new: str) -> None:
        nested = old.startswith(new + "/") or new.startswith(old + "/") or old == new
        if not nested and self.reachable(self.root / old) and os.path.lexists(self.root / old):
            target = self.room(self.root / new)
            if os.path.lexists(self.root / old):
                (self.root / old).rename(target)

    def chmod(self, where: str, executable: bool) -> None:
        path = self.root / where
        if self.reachable(path) and path.is_file() and not path.is_symlink():
            path.chmod(0o755 if executable else 0o644)

    def symlink(self, where: str, target: str) -> None:
        self.room(self.root / where).symlink_to(target)

    def ignore(self, names: set[str]) -> None:
        self.ignored = names
        (self.root / ".gitignore").write_text("".join(f"/{name}\n" for name in sorted(names)))


def expected_changes(before: Files, after: Files) -> list[tuple[str, str]]:
    found = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            found.append((path, "A" if old is None else "D"))
        elif old != new:
            found.append((path, "M" if old[0][:2] == new[0][:2] else "T"))
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@example(
    steps=[[("write", TRACKED, b"")], [("write", "d/é", b""), ("rename", "d", TRACKED), ("ignore", {TRACKED})]],
    with_git=True,
)
@given(steps=st.lists(st.lists(operation, min_size=1, max_size=6), min_size=2, max_size=4), with_git=st.booleans())
def test_the_digest_is_that_of_the_content(
    steps: list[list[tuple[object, ...]]],
    with_git: bool,
    git: Callable[..., str],
    account: Callable[..., Files],
    digest: Callable[..., str],
) -> None:
    with tempfile.TemporaryDirectory() as base:
        root = Path(base, "project")
        root.mkdir()
        (root / TRACKED).write_bytes(b"one\n")
        if with_git:
            git(root, "init", "-q")
            git(root, "add", TRACKED)
        folder, seen = Folder(root), []
        project = Project(root, Path(base, "shadow"), refresh_ignores=True)
        for operations in steps:
            for verb, *args in operations:
                getattr(folder, str(verb))(*args)
            ignored = {
                path
                for path in account(root)
                for rule in folder.ignored
                # The repository tracks the file of this name, not what a folder in its place would hold.
                if (path == rule and not (with_git and rule == TRACKED)) or path.startswith(rule + "/")
            }
            files = account(root, ignored)
            tree = project.snapshot()
            assert tree == digest(files)
            for earlier, content in seen:
                assert (earlier == tree) == (content == files)
                found = [(change.path, change.status) for change in project.changes(earlier, tree)]
                assert found == expected_changes(content, files)
            seen.append((tree, files))

"""The run folder the agent works with: where its files are, and how they are written.

Everything here can be made anew from the log; an artifact an agent wrote is the one exception, and the engine keeps
its own copy of each it read.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from stagent import disk
from stagent.core.canonical import digest
from stagent.core.events import FileMark
from stagent.core.evidence import Found
from stagent.core.frontmatter import Malformed, epoch_of, parse
from stagent.core.state import State
from stagent.errors import WorkspaceError
from stagent.failpoints import hit

NAME = ".stagent"
ARTIFACT_LIMIT = 64 * 1024 * 1024
"""An artifact larger than this is not read (bytes)."""

_BLOCK = 1024 * 1024
_COUNTER = itertools.count()


class RunFolder:
    """Paths of one run below `<project>/.stagent/<folder>/`."""

    def __init__(self, root: Path, folder: str) -> None:
        self.path = root / NAME / folder
        self.state_file = self.path / "state.md"
        self._artifacts: dict[str, Path] = {}
        self._instructions: dict[str, Path] = {}

    @classmethod
    def of(cls, root: Path, state: State) -> RunFolder:
        """Return the folder of a run."""
        return _folder(root, state.folder)

    def artifact(self, stage: str) -> Path:
        """Where a stage's artifact, or a terminal's report, lies."""
        found = self._artifacts.get(stage)
        if found is None:
            found = self._artifacts[stage] = self.path / f"{stage}-report.md"
        return found

    def artifact_path(self, stage: str) -> str:
        """The same as text."""
        return str(self.artifact(stage))

    def run_file(self, name: str) -> Path:
        """Where a run file lies."""
        return self.path / name

    def instructions(self, stage: str) -> Path:
        """Where the pinned instruction file of a stage lies."""
        found = self._instructions.get(stage)
        if found is None:
            found = self._instructions[stage] = self.path / "workflow" / f"{stage}.md"
        return found


def keeps_inside(root: Path) -> None:
    """Raise WorkspaceError where a link, as a repository may bring one, leads the project's run folders out of it."""
    for place in (root / NAME, root / NAME / ".archive"):
        real = Path(os.path.realpath(place))
        if not real.is_relative_to(os.path.realpath(root)):
            raise WorkspaceError(
                "workspace.outside",
                f"this is a link that leads out of the project, to {str(real)!r}; the run folder would lie there",
                where=repr(str(place)),
                remedy="Remove the link; see who put it into the repository.",
            )


@lru_cache(maxsize=64)
def _folder(root: Path, folder: str) -> RunFolder:
    return RunFolder(root, folder)


def overwrite(path: Path, data: bytes) -> None:
    """Write a generated file in place: quicker than `write`, for a file nothing decides by.

    It is cut before it is written, so that a crash between the two leaves a file that is seen to be behind.
    """
    hit("folder.overwrite.before")
    try:
        descriptor = _own(path)
    except OSError:
        make_room(path)
        descriptor = _own(path)
    try:
        os.ftruncate(descriptor, min(len(data), os.fstat(descriptor).st_size))
        hit("folder.overwrite.cut")
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    hit("folder.overwrite.after")


def _own(path: Path) -> int:
    """Open a regular file for writing; never waits for the other end of a pipe put in its place."""
    hit("folder.open.before")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileExistsError(errno.EEXIST, "not a regular file", str(path))


def write(path: Path, data: bytes) -> None:
    """Write a generated file whole or not at all (a crash leaves the old one); not durable against power loss."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{next(_COUNTER)}.new")
    try:
        hit("folder.write.before")
        _with_room(path, lambda: fresh.write_bytes(data))
        _with_room(path, lambda: disk.move(fresh, path))
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _with_room(path: Path, action: Callable[[], object]) -> None:
    """Do something that needs the place of a generated file to be free; when it fails, free the place and try again."""
    try:
        action()
    except OSError:
        make_room(path)
        action()


def make_room(path: Path) -> None:
    """Make the folders of a generated file, and remove what an agent put in the place of it or of one of them."""
    inside = [parent for parent in path.parents if NAME in parent.parts]
    for folder in reversed(inside):
        if not folder.is_dir():
            disk.remove(folder)
            disk.make_folder(folder)
    disk.make_folder(path.parent)
    if path.is_symlink() or not path.is_file():
        disk.remove(path)


def read(path: Path, limit: int = -1) -> bytes | None:
    """Return the bytes of a regular file, `limit` at most; None for anything else, a link or a pipe included."""
    opened = _regular(path)
    return None if opened is None else _drain(*opened, sys.maxsize if limit < 0 else limit)


def _regular(path: Path) -> tuple[int, os.stat_result] | None:
    try:
        # Non-blocking, so that a pipe put in a file's place cannot hold the engine up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status
    os.close(descriptor)
    return None


def _drain(descriptor: int, status: os.stat_result, limit: int) -> bytes:
    """Read a regular file to its end, `limit` bytes at most, and close it; takes no more memory than it has bytes."""
    wanted = min(status.st_size + 1, limit)
    try:
        data = os.read(descriptor, wanted)
        if len(data) == wanted < limit:
            # It has grown since its size was looked at.
            parts = [data]
            while wanted < limit and (part := os.read(descriptor, min(limit - wanted, _BLOCK))):
                parts.append(part)
                wanted += len(part)
            data = b"".join(parts)
        return data
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, or None when there is none to read."""
    data = read(path)
    return None if data is None else digest(data)


def look(path: Path) -> tuple[Found, bytes] | None:
    """Read an artifact as evidence; None when there is no regular file of an acceptable size."""
    opened = _regular(path)
    if opened is None:
        return None
    descriptor, status = opened
    data = _drain(descriptor, status, ARTIFACT_LIMIT + 1)
    mark = FileMark(status.st_size, status.st_mtime_ns, status.st_ino)
    whole = digest(data)
    if len(data) > ARTIFACT_LIMIT:
        return _broken(path, whole, mark, "the file is larger than 64 MiB"), b""
    parsed = parse(data)
    if isinstance(parsed, Malformed):
        return _broken(path, whole, mark, f"line {parsed.line}: {parsed.reason}"), data
    found = Found(
        path=str(path),
        digest=whole,
        body=digest(data[parsed.body :]),
        size=mark.size,
        mark=mark,
        epoch=epoch_of(parsed.fields),
        result=parsed.fields.get("result", ""),
    )
    return found, data


def _broken(path: Path, whole: str, mark: FileMark, problem: str) -> Found:
    return Found(path=str(path), digest=whole, body=whole, size=mark.size, mark=mark, problem=problem)

"""The run folder the agent works with: where its files are, and how they are written.

Everything here can be made anew from the log; an artifact an agent wrote is the one exception, and the engine keeps
its own copy of each it read.
"""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path

from stagent.core.canonical import digest
from stagent.core.events import FileMark
from stagent.core.evidence import Found
from stagent.core.frontmatter import Malformed, epoch_of, parse
from stagent.core.state import State
from stagent.failpoints import hit

NAME = ".stagent"
ARTIFACT_LIMIT = 64 * 1024 * 1024
"""An artifact larger than this is not read (bytes)."""


class RunFolder:
    """Paths of one run below `<project>/.stagent/<folder>/`."""

    def __init__(self, root: Path, folder: str) -> None:
        self.path = root / NAME / folder
        self.state_file = self.path / "state.md"
        self._artifacts: dict[str, Path] = {}

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

    def run_file(self, name: str) -> Path:
        """Where a run file lies."""
        return self.path / name

    def instructions(self, stage: str) -> Path:
        """Where the pinned instruction file of a stage lies."""
        return self.path / "workflow" / f"{stage}.md"


@lru_cache(maxsize=64)
def _folder(root: Path, folder: str) -> RunFolder:
    return RunFolder(root, folder)


def overwrite(path: Path, data: bytes) -> None:
    """Write a generated file in place: quicker than `write`, for a file nothing decides by.

    It is cut before it is written, so that a crash between the two leaves a file that is seen to be behind.
    """
    hit("folder.overwrite.before")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        os.ftruncate(descriptor, min(len(data), os.fstat(descriptor).st_size))
        hit("folder.overwrite.cut")
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    hit("folder.overwrite.after")


def write(path: Path, data: bytes) -> None:
    """Write a generated file whole or not at all (a crash leaves the old one); not durable against power loss."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        hit("folder.write.before")
        fresh.write_bytes(data)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(data)
    hit("folder.rename.before")
    fresh.replace(path)
    hit("folder.rename.after")


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, or None when there is none to read."""
    try:
        return digest(path.read_bytes())
    except OSError:
        return None


def look(path: Path) -> tuple[Found, bytes] | None:
    """Read an artifact as evidence; None when there is no regular file of an acceptable size."""
    try:
        # Non-blocking, so that a pipe put in the artifact's place cannot hold the engine up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        data = file.read(ARTIFACT_LIMIT + 1)
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

"""What changed in a project since a run began: the diff, and the counts of each file in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from stagent.core.state import State
from stagent.core.story import FileChange
from stagent.engine.service import RunService

_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_STATUS = (
    (b"new file mode ", "A"),
    (b"deleted file mode ", "D"),
    (b"rename from ", "R"),
)


class Difference(msgspec.Struct, frozen=True):
    """The tree a run began with, the tree now, and what lies between them as a unified diff."""

    baseline: str
    tree: str
    diff: bytes

    @property
    def files(self) -> list[FileChange]:
        """The files of the diff, in its order."""
        return list(parse(self.diff))


def since_start(service: RunService, state: State) -> Difference | None:
    """Compare the project with the tree a run began with; None for a workflow that records none.

    Raises WorkspaceError when the project cannot be read.
    """
    if state.baseline is None:
        return None
    tree = service.workspace.snapshot()
    diff = b"" if tree == state.baseline else service.workspace.diff(state.baseline, tree)
    return Difference(state.baseline, tree, diff)


def parse(diff: bytes) -> Iterator[FileChange]:
    """Yield path, kind of change and counts of lines for every file of a unified diff made by git."""
    lines = diff.split(b"\n")
    starts = [*_starts(lines), len(lines)]
    for start, end in pairwise(starts):
        yield _file(lines[start:end])


def _starts(lines: list[bytes]) -> Iterator[int]:
    left = (0, 0)
    for number, line in enumerate(lines):
        if left != (0, 0):
            left = _consume(line, left)
        elif line.startswith(b"diff --git "):
            yield number
        else:
            left = _opened(line)


def _opened(line: bytes) -> tuple[int, int]:
    match = _HUNK.match(line)
    if match is None:
        return 0, 0
    old, new = match.groups()
    return int(old if old is not None else 1), int(new if new is not None else 1)


def _consume(line: bytes, left: tuple[int, int]) -> tuple[int, int]:
    old, new = left
    mark = line[:1]
    if mark == b"\\":
        return left
    return max(old - (mark != b"+"), 0), max(new - (mark != b"-"), 0)


def _file(lines: list[bytes]) -> FileChange:
    status, path, added, removed, binary = "M", _path_of_header(lines[0]), 0, 0, False
    left = (0, 0)
    for line in lines[1:]:
        if left != (0, 0):
            added += line[:1] == b"+"
            removed += line[:1] == b"-"
            left = _consume(line, left)
            continue
        left = _opened(line)
        status = next((word for start, word in _STATUS if line.startswith(start)), status)
        binary = binary or line.startswith((b"Binary files ", b"GIT binary patch"))
        path = _path(line) or path
    return FileChange(path=path, status=status, added=added, removed=removed, binary=binary)


def _path(line: bytes) -> str:
    if line.startswith(b"rename to "):
        return _text(line[len(b"rename to ") :])
    for start in (b"--- ", b"+++ "):
        if line.startswith(start) and line[4:] != b"/dev/null":
            name = _text(line[4:])
            return name[2:] if name.startswith(("a/", "b/")) else name
    return ""


def _path_of_header(line: bytes) -> str:
    """Read the path of `diff --git a/x b/x`; both halves are the same where no later line names the file."""
    names = _text(line[len(b"diff --git ") :])
    return names[len(names) // 2 + 3 :].rstrip('"')


def _text(name: bytes) -> str:
    # git ends a name that holds blanks with a tab
    return name.rstrip(b"\t").strip(b'"').decode("utf-8", "replace")

"""A workflow folder on disk to its texts by name: `workflow.json` and every `*.md` beside it, nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from stagent.errors import WorkflowError

LIMIT = 1024 * 1024
"""The largest file a workflow may have (bytes)."""
_DOCUMENT = "workflow.json"


def load(folder: Path) -> dict[str, bytes]:
    """Return the files of a workflow folder by name.

    Raises WorkflowError when the folder or a file cannot be read, `workflow.json` is no file, or a file is larger
    than 1 MiB. What is named like a text and is no file is passed over; that a file is missing is left to validation,
    which says so among its other findings.
    """
    files: dict[str, bytes] = {}
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error.strerror or str(error), "Name a folder that holds a workflow.json.") from error
    for entry in entries:
        if entry.name == _DOCUMENT or entry.suffix == ".md":
            data = _text(entry)
            if data is not None:
                files[entry.name] = data
    return files


def _text(path: Path) -> bytes | None:
    try:
        # Non-blocking, so that a pipe in a file's place holds nobody up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None  # a link that leads nowhere
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error), "Make the file readable.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        if path.name == _DOCUMENT:
            raise _unreadable(path, "it is no file", "Put the workflow's document in its place.")
        return None
    with open(descriptor, "rb") as file:
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise WorkflowError(
            "workflow.too_large",
            "the file is larger than 1 MiB",
            where=str(path),
            remedy="Shorten it; put long material into the project and refer to it.",
        )
    return data


def _unreadable(path: Path, why: str, remedy: str) -> WorkflowError:
    return WorkflowError("workflow.unreadable", f"it cannot be read: {why}", where=str(path), remedy=remedy)

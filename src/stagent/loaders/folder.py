"""A workflow folder on disk to its texts by name: `workflow.json` and every `*.md` beside it, nothing else."""

from __future__ import annotations

from pathlib import Path

from stagent.errors import WorkflowError

LIMIT = 1024 * 1024
"""The largest file a workflow may have (bytes)."""


def load(folder: Path) -> dict[str, bytes]:
    """Return the files of a workflow folder by name.

    Raises WorkflowError when the folder cannot be read or a file is larger than 1 MiB. A missing `workflow.json` is
    left to validation, which says so among its other findings.
    """
    files: dict[str, bytes] = {}
    try:
        for entry in sorted(folder.iterdir()):
            if entry.name == "workflow.json" or entry.suffix == ".md":
                if entry.stat().st_size > LIMIT:
                    raise WorkflowError(
                        "workflow.too_large",
                        "the file is larger than 1 MiB",
                        where=str(entry),
                        remedy="Shorten it; put long material into the project and refer to it.",
                    )
                files[entry.name] = entry.read_bytes()
    except OSError as error:
        raise WorkflowError(
            "workflow.unreadable",
            f"the folder cannot be read: {error.strerror or error}",
            where=str(folder),
            remedy="Name a folder that holds a workflow.json.",
        ) from error
    return files

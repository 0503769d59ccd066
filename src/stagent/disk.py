"""What is done to files and folders that a crash must not halve, each with a fail point on either side.

Whoever writes anything uses these functions or passes points of its own; `tests/crash/test_writing_calls.py` looks.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from stagent.failpoints import hit


def make_folder(folder: Path, *, private: bool = False) -> None:
    """Make a folder and those above it, a private one for its owner alone; nothing when it is there. Raises OSError."""
    if not folder.is_dir():
        hit("disk.folder.before")
        folder.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
        hit("disk.folder.after")


def sync(descriptor: int) -> None:
    """Make what was written to a descriptor survive a power cut."""
    hit("disk.flush.before")
    if sys.platform == "darwin":
        # There fsync leaves the data in the drive's cache; only this reaches the medium.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)
    hit("disk.flush.after")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        hit("disk.name.before")
        os.fsync(descriptor)
        hit("disk.name.after")
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file durably in its place, with `mode` whatever the umask; a link is not followed. Raises OSError.

    A crash may leave it cut: nobody may look at it before it has its name, see `replace`.
    """
    hit("disk.write.before")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666 if mode is None else mode)
    try:
        if mode is not None:
            os.fchmod(descriptor, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        sync(descriptor)
    finally:
        os.close(descriptor)


def move(old: Path, new: Path) -> None:
    """Give a file or folder another name, in the place of a file that has it. Raises OSError."""
    hit("disk.rename.before")
    old.replace(new)
    hit("disk.rename.after")


def replace(path: Path, data: bytes, spare: Path, mode: int | None = None) -> None:
    """Write a file whole and durably or leave the old one, by way of `spare` beside it. Raises OSError."""
    try:
        write(spare, data, mode)
        move(spare, path)
    except BaseException:
        spare.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove(path: Path, *, as_far_as_possible: bool = False) -> None:
    """Remove whatever lies at a path, a folder with all that is in it; nothing when nothing does. Raises OSError."""
    hit("disk.remove.before")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=as_far_as_possible)
    else:
        # Where a file lies in the place of the folder above, nothing lies at the path either.
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
    hit("disk.remove.after")

"""Blobs as files: `<folder>/aa/<sha256>`, written so that a file of that name is always whole."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stagent.errors import StoreError
from stagent.failpoints import hit

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_COUNTER = itertools.count()
_UNFINISHED = re.compile(r"[0-9a-f]{64}\.(\d+)\.\d+\.tmp")
_WHOLE = re.compile(r"[0-9a-f]{64}")

SETTLED = 3600.0
"""Seconds after which the maker of a file that no row names is taken for gone."""


def full(where: str) -> StoreError:
    """Return the error for a disk or quota with no room left."""
    return StoreError(
        "store.full",
        "no room is left to write",
        where=where,
        remedy="Free some space and try again; nothing was stored.",
    )


def readonly(where: str) -> StoreError:
    """Return the error for a place that may not be written."""
    return StoreError(
        "store.readonly",
        "it may not be written",
        where=where,
        remedy="Give yourself write permission for it and its folder, or set STAGENT_HOME to a folder you may write.",
    )


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn an OSError of the block into a StoreError with its cause: `store.full`, `store.readonly` or `store.io`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise full(where) from error
        if error.errno in _FORBIDDEN:
            raise readonly(where) from error
        raise StoreError(
            "store.io",
            f"the system said: {error.strerror or error}",
            where=where,
            remedy="Check the disk and the path, and try again; nothing was stored.",
        ) from error


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


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, readable by the user only, each of them durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    # Two processes may make it at once; both sync it, since neither knows that the other has.
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def create_private(path: Path) -> None:
    """Create an empty file that only the user may read, with its folders; a file that is there stays as it is."""
    if not path.exists():
        make_folder(path.parent)
        hit("disk.create.before")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        hit("disk.create.after")


def _spare(place: Path) -> Path:
    return place.with_name(f"{place.name}.{os.getpid()}.{next(_COUNTER)}.tmp")


def _is_settled(place: Path) -> bool:
    try:
        return time.time() - place.stat().st_mtime > SETTLED
    except OSError:
        return False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class BlobFiles:
    """The folder of the large blobs of one project. Every method raises StoreError when the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _place(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    def write(self, digest: str, data: bytes) -> None:
        """Store bytes durably under their digest; a file of that name is replaced by the same bytes."""
        place = self._place(digest)
        spare = _spare(place)
        with translated(str(place)):
            make_folder(place.parent)
            try:
                self._fill(spare, data)
                hit("blob.before_rename")
                spare.replace(place)
            except BaseException:
                spare.unlink(missing_ok=True)
                raise
            hit("blob.after_rename")
            sync_folder(place.parent)
            hit("blob.after_fsync")

    def _fill(self, spare: Path, data: bytes) -> None:
        hit("blob.before_write")
        descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            hit("blob.before_fsync")
            sync(file.fileno())

    def exists(self, digest: str) -> bool:
        """Say whether there is a file for a digest."""
        return self._place(digest).exists()

    def tidy(self) -> list[str]:
        """Remove what killed processes left unfinished; return the digests of the files older than an hour."""
        settled = [place for place in self._folder.glob("[0-9a-f][0-9a-f]/*") if _is_settled(place)]
        for place in settled:
            maker = _UNFINISHED.fullmatch(place.name)
            if maker is not None and not _lives(int(maker[1])):
                hit("blob.before_remove")
                with translated(str(place)):
                    place.unlink(missing_ok=True)
                hit("blob.after_remove")
        return sorted(place.name for place in settled if _WHOLE.fullmatch(place.name))

    def discard(self, digest: str) -> None:
        """Remove a file no row names, unless it was written anew meanwhile; call it where no row can be written.

        It is taken aside before its age is looked at, so that a file that comes in its place stays.
        """
        place = self._place(digest)
        aside = _spare(place)
        hit("blob.before_remove")
        with translated(str(place)), suppress(FileNotFoundError):
            place.replace(aside)
            if _is_settled(aside):
                aside.unlink()
            else:
                aside.replace(place)
        hit("blob.after_remove")

    def read(self, digest: str) -> bytes | None:
        """Return the bytes of a file as they are, or None when there is no such file."""
        place = self._place(digest)
        with translated(str(place)):
            try:
                return place.read_bytes()
            except FileNotFoundError:
                return None

    def remove(self, digest: str) -> None:
        """Remove a file for good; without such a file do nothing."""
        place = self._place(digest)
        hit("blob.before_remove")
        with translated(str(place)):
            try:
                place.unlink()
            except FileNotFoundError:
                return
            hit("blob.after_remove")
            sync_folder(place.parent)

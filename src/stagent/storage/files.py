"""Blobs as files: `<folder>/aa/<sha256>`, written so that a file of that name is always whole."""

from __future__ import annotations

import errno
import itertools
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stagent import disk
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
    what = "it may not be written"
    remedy = "Give yourself write permission for it and its folder, or set STAGENT_HOME to a folder you may write."
    if _mounted_for_reading(where):
        what = "it lies on a file system that is mounted for reading only, and reading a log takes locks"
        remedy = "Mount it for writing, or copy the whole data home and set STAGENT_HOME to the copy."
    return StoreError("store.readonly", what, where=where, remedy=remedy)


def _mounted_for_reading(where: str) -> bool:
    for place in (Path(where), *Path(where).parents):
        with suppress(OSError):
            return bool(os.statvfs(place).f_flag & os.ST_RDONLY)
    return False


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


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, readable by the user only, each of them durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    # Two processes may make it at once; both sync it, since neither knows that the other has.
    disk.make_folder(folder, private=True)
    disk.sync_folder(folder.parent)


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
            disk.replace(place, data, spare, 0o600)

    def exists(self, digest: str) -> bool:
        """Say whether there is a file for a digest."""
        return self._place(digest).exists()

    def tidy(self) -> list[str]:
        """Remove what killed processes left unfinished; return the digests of the files older than an hour."""
        settled = [place for place in self._folder.glob("[0-9a-f][0-9a-f]/*") if _is_settled(place)]
        for place in settled:
            maker = _UNFINISHED.fullmatch(place.name)
            if maker is not None and not _lives(int(maker[1])):
                with translated(str(place)):
                    disk.remove(place)
        return sorted(place.name for place in settled if _WHOLE.fullmatch(place.name))

    def discard(self, digest: str) -> None:
        """Remove a file no row names, unless it was written anew meanwhile; call it where no row can be written.

        It is taken aside before its age is looked at, so that a file that comes in its place stays.
        """
        place = self._place(digest)
        aside = _spare(place)
        with translated(str(place)), suppress(FileNotFoundError):
            disk.move(place, aside)
            if _is_settled(aside):
                disk.remove(aside)
            else:
                disk.move(aside, place)

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
        with translated(str(place)):
            if place.exists():
                disk.remove(place)
                disk.sync_folder(place.parent)

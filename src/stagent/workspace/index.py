"""Reads git's index file, to tell what a kept index may no longer be trusted with.

A kept index is only a cache of file states. Three things in it would make a snapshot depend on history instead of
content: git compares times by the second, so that a file changed within the second of the last snapshot and given its
old time back looks clean; git goes on recording the files of a folder that has become a repository; and it goes on
recording the commit of a folder that has ceased to be one.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Iterable
from typing import NamedTuple

_STAT = struct.Struct(">10L")
_HEADER = struct.Struct(">4sLL")
_GITLINK = 0o160000
_RECENT = 600
"""Seconds before the index was written from which a file's change time is compared to the nanosecond: longer than
the git process that recorded it can have lived."""


class Entry(NamedTuple):
    """One recorded file: its path from the top of the work tree, change time (s, ns), mode and object id."""

    path: bytes
    ctime: tuple[int, int]
    mode: int
    oid: bytes


class Index(NamedTuple):
    """A parsed index: the raw bytes, when it was written (unix seconds) and its entries."""

    raw: bytes
    written: int
    entries: list[Entry]

    def attributes(self) -> list[tuple[bytes, bytes]]:
        """Return path and object of each .gitattributes file: they change how other, untouched files are recorded."""
        return [(e.path, e.oid) for e in self.entries if e.path.rpartition(b"/")[2] == b".gitattributes"]


def load(path: str, hash_name: str) -> Index | None:
    """Read an index file; None when there is none or its checksum or format is wrong."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
            written = int(os.fstat(file.fileno()).st_mtime)
    except FileNotFoundError:
        return None
    width = hashlib.new(hash_name).digest_size
    if len(raw) < _HEADER.size + width or hashlib.new(hash_name, raw[:-width]).digest() != raw[-width:]:
        return None
    magic, version, count = _HEADER.unpack_from(raw)
    if magic != b"DIRC" or version != 2:
        return None
    return Index(raw, written, list(_entries(raw, count, width)))


def _entries(raw: bytes, count: int, width: int) -> Iterable[Entry]:
    offset, fixed = _HEADER.size, _STAT.size + width + 2
    for _ in range(count):
        ctime_s, ctime_ns, _, _, _, _, mode, _, _, _ = _STAT.unpack_from(raw, offset)
        start = offset + fixed
        end = raw.index(b"\0", start)
        yield Entry(raw[start:end], (ctime_s, ctime_ns), mode, raw[offset + _STAT.size : start - 2])
        offset += (end - offset + 8) & ~7  # one to eight NULs, to a multiple of eight


def doubtful(index: Index, top: str) -> list[bytes]:
    """Return the recorded paths git must look at afresh, given the work tree as it is now."""
    root = os.fsencode(top) + b"/"
    repositories = _repositories(index.entries, root)
    found = []
    for entry in index.entries:
        if entry.mode == _GITLINK:
            wrong = not os.path.lexists(root + entry.path + b"/.git")
        else:
            wrong = _changed_unseen(entry, root, index.written)
        if wrong or (repositories and any(parent in repositories for parent in _parents(entry.path))):
            found.append(entry.path)
    return found


def _repositories(entries: Iterable[Entry], root: bytes) -> set[bytes]:
    """Return the folders holding recorded files that have a `.git` of their own now."""
    folders = {entry.path.rpartition(b"/")[0] for entry in entries} - {b""}
    folders.update(*map(_parents, tuple(folders)))
    return {folder for folder in folders if os.path.lexists(root + folder + b"/.git")}


def _parents(path: bytes) -> Iterable[bytes]:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def _changed_unseen(entry: Entry, root: bytes, written: int) -> bool:
    seconds, nanoseconds = entry.ctime
    # A git built without nanoseconds records 0; the fraction then says nothing.
    if not nanoseconds or seconds < (written & 0xFFFFFFFF) - _RECENT:
        return False
    try:
        now = os.lstat(root + entry.path)
    except OSError:
        return False  # gone or unreadable: git sees that by itself
    return now.st_ctime_ns % 1_000_000_000 != nanoseconds and not stat.S_ISDIR(now.st_mode)

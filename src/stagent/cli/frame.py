"""What surrounds every command: standard streams that take any text, and words for the system's errors."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from pathlib import Path
from typing import TextIO, cast

from stagent.errors import StagentError, StoreError, WorkspaceError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_ALLOW = ("Give yourself the right to", "Mount it for writing")
_SURVIVE = "stagent.survive"


def _survive(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def open_streams() -> None:
    """Have standard input, output and error take and give any text; one that was closed leads nowhere.

    Bytes that are not text pass through unchanged; a letter the terminal's encoding lacks is written as an escape.
    """
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        # A database opened next would get the number of a standard stream, and somebody's words would land in it.
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)
        sys.stdin, sys.stdout = sys.stdin or _nothing("r"), sys.stdout or _nothing("w")
        sys.stderr = sys.stderr or _nothing("w")
    codecs.register_error(_SURVIVE, _survive)
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, _SURVIVE), (sys.stderr, _SURVIVE)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _nothing(mode: str) -> TextIO:
    return cast(TextIO, open(os.devnull, mode, encoding="utf-8"))


def drop_output(stream: TextIO | None = None) -> None:
    """Let everything else that is printed (or written to `stream`) lead nowhere: nobody reads it, or there is no room.

    Also what is still buffered: it would fail once more at the end, and change the exit status.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, (stream or sys.stdout).fileno())
    os.close(nowhere)


def explained(error: OSError) -> StagentError:
    """Return our error for one of the system's that nobody nearer to it knew what to do about."""
    if isinstance(error, FileNotFoundError) and _nowhere():
        return WorkspaceError(
            "system.folder_gone",
            "the folder this command was called in does not exist any more",
            where="current folder",
            remedy="Change to one that does, and call it again.",
        )
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    what = f"the system said: {error.strerror or error}"
    if _mute():
        return StoreError(
            "system.output", what, where="standard output", remedy="See that what it leads to takes what is written."
        )
    if error.errno in _FULL:
        return StoreError(
            "system.full", what, where=where, remedy="Free some space, then look where the run stands: stagent status."
        )
    if error.errno in _DENIED:
        return StoreError(
            "system.denied",
            what,
            where=where,
            remedy=f"{_ALLOW[error.errno == errno.EROFS]}, then try again: stagent status.",
        )
    return StoreError("system.failed", what, where=where, remedy="Look at that place, then try again: stagent status.")


def _nowhere() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _mute() -> bool:
    """Say whether it is standard output that takes nothing; what else is printed then leads nowhere."""
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()
        return True
    return False

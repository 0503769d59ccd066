"""Reads from Claude Code's own record of a conversation what no hook came to tell."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from stagent.core.masking import mask
from stagent.engine.spool import ERROR

_TAIL = 64 * 1024
_MOST = 400


class _Part(msgspec.Struct, frozen=True):
    text: str = ""


class _Message(msgspec.Struct, frozen=True):
    content: list[_Part] | str = ""


class _Entry(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    is_api_error_message: bool = False
    error: str = ""
    message: _Message = _Message()


def error(path: str) -> str:
    """Return the error the last turn of a conversation ended with, as hooks note one; empty when it ended well.

    `path` is the record's; one that is not there or cannot be read tells nothing.
    """
    for line in reversed(_tail(Path(path))):
        entry = _Entry()
        with suppress(msgspec.MsgspecError):
            entry = msgspec.json.decode(line, type=_Entry)
        if entry.type in ("assistant", "user"):
            return _told(entry) if entry.is_api_error_message else ""
    return ""


def _tail(path: Path) -> list[bytes]:
    with suppress(OSError, ValueError):
        if path.is_file():
            with open(path, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
                return file.read(_TAIL).split(b"\n")
    return []


def _told(entry: _Entry) -> str:
    content = entry.message.content
    words = content if isinstance(content, str) else " ".join(part.text for part in content)
    return ERROR + mask(": ".join(filter(None, (entry.error, words))))[:_MOST]

"""Questions at a terminal: only what is typed after a question was asked answers it, and nothing is left for others.

The terminal keeps what was typed until somebody reads it. Whatever was typed before a question was meant for something
else, and what is left after its answer would be read by the next question, or by the shell as a command.
"""

from __future__ import annotations

import os
import re
import select
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stagent.cli.words import dumb

_POLL = 0.2
_CAPABLE = {"on": b"\x1b[?2004h", "off": b"\x1b[?2004l"}
"""Bracketed paste: the terminal says where a paste begins and ends, so that its lines are no answers of their own."""
_BEGIN, _END = b"\x1b[200~", b"\x1b[201~"
_LOCAL = 3
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")

Over = Callable[[bytes], bool]


class ClosedError(Exception):
    """The terminal is gone, or this process does not belong to it any more."""


def write(descriptor: int, text: str) -> None:
    """Write text on a terminal. Raises ClosedError."""
    data = text.encode("utf-8", "replace")
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError as error:
        raise ClosedError from error


def ask(descriptor: int, question: str, over: Over, meanwhile: Callable[[], bool]) -> str | None:
    """Ask, and return what was typed until `over` says that it is the answer, or until Ctrl-D.

    Returns None when `meanwhile`, looked at several times a second, says that no answer is needed any more. Raises
    ClosedError when the terminal is closed.
    """
    try:
        with _listening(descriptor):
            write(descriptor, question)
            typed = _typed(descriptor, over, meanwhile)
            if typed is None:
                write(descriptor, "\n")
    except (OSError, termios.error) as error:
        raise ClosedError from error
    return None if typed is None else _clean(typed).strip()


def forget(descriptor: int) -> None:
    """Throw away what was typed and not read."""
    try:
        termios.tcflush(descriptor, termios.TCIFLUSH)
    except termios.error as error:
        raise ClosedError from error


def one_line(typed: bytes) -> bool:
    """Say whether a line was finished, outside of a paste."""
    return not _pasting(typed) and bool(re.search(rb"[\r\n]", typed[typed.rfind(_END) + 1 :]))


def empty_line(typed: bytes) -> bool:
    """Say whether an empty line was entered, outside of a paste."""
    text = "\n" + _clean(typed)
    return not _pasting(typed) and text.endswith("\n\n")


def _pasting(typed: bytes) -> bool:
    return typed.rfind(_BEGIN) > typed.rfind(_END)


def _clean(typed: bytes) -> str:
    """Return what was typed as text, without what keys such as the arrows send."""
    text = _SEQUENCE.sub(b"", typed).decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")


def _typed(descriptor: int, over: Over, meanwhile: Callable[[], bool]) -> bytes | None:
    typed = b""
    while True:
        if select.select([descriptor], [], [], _POLL)[0]:
            part = os.read(descriptor, 4096)
            if not part:
                # Ctrl-D ends an answer, and so does the end of the terminal itself, which is none any more then.
                termios.tcgetattr(descriptor)
                return typed
            typed += part
            if over(typed):
                return typed
        elif meanwhile():
            return None


@contextmanager
def _listening(descriptor: int) -> Iterator[None]:
    """Take what is typed line by line, from now on and only for as long as this lasts."""
    before = termios.tcgetattr(descriptor)
    now = termios.tcgetattr(descriptor)
    now[0] |= termios.ICRNL
    # Without ECHOCTL the marks around a paste are not shown as letters.
    now[_LOCAL] = (now[_LOCAL] | termios.ICANON | termios.ECHO | termios.ISIG) & ~termios.ECHOCTL
    termios.tcsetattr(descriptor, termios.TCSADRAIN, now)
    forget(descriptor)
    try:
        _paste(descriptor, "on")
        yield
    finally:
        _paste(descriptor, "off")
        forget(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _paste(descriptor: int, how: str) -> None:
    if not dumb():
        os.write(descriptor, _CAPABLE[how])

"""The last line of a terminal, written over while something goes on: what works, for how long, and what it does."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import click

from stagent.cli.words import columns, duration, fit, plain, width
from stagent.core.masking import mask

_SECONDS = 1.0
_MINUTE = 60
_DOT = " · "
_Text = Callable[[int], str]


class LiveLine:
    """One line that is drawn again every second, as long as there is something to say.

    `guard` is entered for drawing, so that nothing else is printed in between. Use as a context manager: afterwards the
    line is wiped and drawn no more.
    """

    def __init__(self, guard: Callable[[], AbstractContextManager[None]], *, dim: bool) -> None:
        self._guard = guard
        self._dim = dim
        self._text: _Text | None = None
        self._drawn = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="live line", daemon=True)

    def __enter__(self) -> LiveLine:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        with self._guard():
            self.wipe()

    def say(self, text: _Text | None) -> None:
        """Draw this from now on, None nothing; it is asked each time, with the columns there are. Guard held."""
        self._text = text
        self.draw()

    def draw(self) -> None:
        """Draw the line as it is now, in the terminal's present width. Call with the guard held."""
        if self._text is None:
            self.wipe()
            return
        # One column stays free: a terminal that is full to its edge goes on in the next row.
        room = _columns() - 1
        text = fit(self._text(room), room)
        sys.stdout.write(f"\r\x1b[2K{click.style(text, dim=True) if self._dim else text}")
        sys.stdout.flush()
        self._drawn = True

    def wipe(self) -> None:
        """Take the line away, for something else to be printed in its place. Call with the guard held."""
        if self._drawn:
            sys.stdout.write("\r\x1b[2K")
            sys.stdout.flush()
            self._drawn = False

    def _tick(self) -> None:
        while not self._over.wait(_SECONDS):
            with self._guard():
                if self._text is not None and not self._over.is_set():
                    self.draw()


class Work:
    """What an agent's attempt shows of itself; `stopping` says that it is being ended."""

    def __init__(self, stage: str, number: int, stopping: Callable[[], bool]) -> None:
        self._what = f"{stage} · attempt {number}"
        self._stopping = stopping
        self._began = time.monotonic()
        self._tools = 0
        self._last = ""

    def did(self, what: str, *, tool: bool) -> None:
        """Note what it did last; `tool` when that was another call of a tool."""
        self._tools += tool
        self._last = one_row(what)

    def line(self, room: int) -> str:
        """Return it in so many columns; what it did last is cut first."""
        tools = f"{self._tools} tool{'' if self._tools == 1 else 's'}" if self._tools else ""
        first = [self._what, spent(time.monotonic() - self._began), *([tools] if tools else [])]
        end = "pausing" if self._stopping() else "Ctrl-C pauses"
        left = room - width(_DOT.join([*first, "", end]))
        return _DOT.join([*first, *([fit(self._last, left)] if self._last and left > 1 else []), end])


def one_row(text: str) -> str:
    """Return text in one row, masked, that cannot steer a terminal."""
    return plain(" ".join(mask(text).split()))


def spent(seconds: float) -> str:
    """Return a span of time in whole seconds."""
    return f"{int(seconds)} s" if seconds < _MINUTE else duration(int(seconds) * 1000)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or columns()
    except (OSError, ValueError):
        return columns()

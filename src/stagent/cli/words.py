"""How commands put times, amounts, tables and other people's text on a terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_KEEP = "\t"


def plain(text: str) -> str:
    """Return text that cannot steer a terminal: what an agent or a project wrote may hold escape sequences."""
    return "".join(
        letter if letter.isprintable() or letter in _KEEP else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def one_line(text: str) -> str:
    """Return a text as one line that cannot steer a terminal: what breaks a line becomes a space."""
    return plain(" ".join(text.split()))


def duration(millis: int) -> str:
    """Return a span of time as people say it."""
    seconds = max(millis, 0) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def amount(size: int) -> str:
    """Return a number of bytes as people say it."""
    if size < 1024:
        return f"{size} bytes"
    value, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if value >= 1024:
            value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"


def age(millis: int) -> str:
    """Return how long ago something was, in its largest unit."""
    seconds = max(millis, 0) // 1000
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def moment(millis: int) -> str:
    """Return unix milliseconds as local date and time."""
    return datetime.fromtimestamp(millis / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def dumb() -> bool:
    """Say whether the terminal understands nothing but letters."""
    return os.environ.get("TERM", "") in ("", "dumb")


def colourful() -> bool:
    """Say whether standard output is to be coloured: a terminal that can, and nobody asked for none."""
    return sys.stdout.isatty() and not dumb() and not os.environ.get("NO_COLOR")


def width(text: str) -> int:
    """Return how many columns a text takes."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def fit(text: str, columns: int) -> str:
    """Return a text shortened to so many columns, with an ellipsis where something was cut."""
    if width(text) <= columns:
        return text
    kept = ""
    for letter in text:
        if width(kept + letter) > columns - 1:
            break
        kept += letter
    return kept + "…"


def columns() -> int:
    """Return the width of the terminal, 100 without one."""
    return shutil.get_terminal_size((100, 24)).columns


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return aligned lines, the head first."""
    sizes = [max(width(row[place]) for row in [head, *rows]) for place in range(len(head))]
    return [
        "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(row, sizes, strict=True)).rstrip()
        for row in [head, *rows]
    ]


def wrapped(text: str, indent: str, *, limit: int | None = None) -> list[str]:
    """Return text as indented lines of the terminal's width; more than `limit` lines are counted instead."""
    found: list[str] = []
    for line in plain_lines(text):
        found += textwrap.wrap(line, max(columns() - len(indent), 20), replace_whitespace=False) or [""]
    if limit is not None and len(found) > limit:
        found = [*found[:limit], f"… {len(found) - limit} more lines"]
    return [(indent + line).rstrip() for line in found]


def plain_lines(text: str) -> list[str]:
    """Return the lines of a text, each harmless for a terminal."""
    return [plain(line) for line in text.replace("\r\n", "\n").split("\n")]


def program() -> str:
    """Return what to type to call this program: its name, or its path where the shell does not find it by name."""
    own = Path(sys.executable).parent / "stagent"
    return "stagent" if shutil.which("stagent") or not own.exists() else shlex.quote(str(own))

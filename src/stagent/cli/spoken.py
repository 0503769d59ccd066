"""What an agent said, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import click

from stagent.cli.storyline import used
from stagent.cli.words import amount, duration, plain, plain_lines
from stagent.core.masking import mask
from stagent.runner.roster import Attempt
from stagent.runner.typed import Typed

_COLOURS = {"tool": "cyan", "result": "green", "error": "red", "limit": "yellow"}
_DIM = frozenset({"session", "usage", "other"})
_MARGIN = " " * 18
_GOOD = {"ok": "green", "": "yellow"}


def heading(item: Attempt, *, colour: bool) -> str:
    """Return the line above an attempt's events."""
    text = f"== attempt {item.epoch}.{item.number}: {item.stage}, {plain(item.backend)}, {item.id} =="
    return click.style(text, bold=True) if colour else text


def ending(item: Attempt, *, colour: bool) -> str:
    """Return the line below the events of an attempt that does not run any more."""
    if item.ended_at is None:
        text = "its runner is gone before the attempt ended"
    else:
        parts = [item.outcome, duration(item.ended_at - item.began_at), amount(item.stream_bytes)]
        if item.code and item.code != f"attempt.{item.outcome}":
            parts[0] += f" ({item.code})"
        if item.tokens is not None or item.cost_usd is not None:
            parts.append(used(item.tokens, item.cost_usd))
        text = ", ".join(parts)
    line = f"== {text} =="
    return click.style(line, fg=_GOOD.get(item.outcome, "red")) if colour else line


def spoken(record: Typed, *, colour: bool) -> Iterator[str]:
    """Yield the lines of one event: local time, kind, and what it said; nothing in them steers a terminal."""
    at = datetime.fromtimestamp(record.at / 1000, UTC).astimezone().strftime("%H:%M:%S") if record.at else "--:--:--"
    word = "error" if record.error and record.kind != "tool" else record.kind
    first, *rest = plain_lines(_words(record).rstrip("\n"))
    yield _painted(f"{at} {plain(word):<8} {first}".rstrip(), record, colour)
    for line in rest:
        yield _painted(f"{_MARGIN}{line}".rstrip(), record, colour)


def _painted(line: str, record: Typed, colour: bool) -> str:
    if not colour:
        return line
    if record.error:
        return click.style(line, fg="red")
    return click.style(line, fg=_COLOURS.get(record.kind), dim=record.kind in _DIM)


def _words(record: Typed) -> str:
    parts = [f"{record.tool}: {record.text}" if record.tool and record.text else record.tool or record.text]
    if record.tool and record.error:
        parts.append("(failed)")
    if record.cut:
        parts.append("…")
    if record.code:
        parts.append(f"[{record.code}]")
    if record.tokens is not None or record.cost_usd is not None:
        parts.append(f"({used(record.tokens, record.cost_usd)})")
    # Masked when it was kept; a net that has learnt more since catches more.
    return mask(" ".join(part for part in parts if part))

"""What the tools of a session's run were used for, as its hooks wrote it down: one line at the start, one at the end.

A stream of its own, not a part of the log: it is bounded, nobody waits for it to be on the disk, and a line may be
missing. Its lines are masked before they are written, and again when they are read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, Self

import msgspec

from stagent.core.masking import mask

EARLIER = ".1.ndjson"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line: `e` is start, denied, end or failed, or `dropped` where older lines are gone."""

    t: int
    e: Literal["start", "denied", "end", "failed", "dropped"]
    v: int = 1
    id: str = ""
    tool: str = ""
    target: str = ""
    agent: str | None = None
    stage: str = ""
    epoch: int = 0
    ms: int | None = None
    cut: bool = False


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """One use of a tool: when it began (unix milliseconds), by whom, on what, how it ended and how long it took.

    `outcome` is open while it runs, and for good where its end was not seen.
    """

    at: int
    id: str
    tool: str
    target: str
    agent: str | None
    stage: str
    epoch: int
    outcome: Literal["open", "ended", "failed", "denied"]
    millis: int | None = None


_ENTRY = msgspec.json.Decoder(Entry)
_OUTCOMES: dict[str, Literal["open", "ended", "failed", "denied"]] = {
    "start": "open",
    "denied": "denied",
    "end": "ended",
    "failed": "failed",
}


class Reader:
    """Reads the lines of one run's activity, each once; `dropped` says that older ones are gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[str, Use] = {}
        self._file: BinaryIO | None = None
        self._rest = b""
        self.dropped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def uses(self) -> Iterator[Use]:
        """Yield what happened since the last call: each use when it began and when it ended."""
        if self._file is None:
            if not self._turn():
                return
            # Opened before: when the file is moved meanwhile it is read once, as the one that was opened.
            earlier = self._path.with_name(self._path.name.removesuffix(".ndjson") + EARLIER)
            if earlier.exists() and not self._is(earlier):
                yield from self._parsed(earlier.read_bytes())
        while self._file is not None:
            yield from self._parsed(self._file.read())
            if self._is(self._path):
                return
            # It was moved; whoever wrote to it until now has written.
            yield from self._parsed(self._file.read())
            if not self._turn():
                return

    def _turn(self) -> bool:
        """Go on to the file that stands in its place now; False when there is none."""
        try:
            fresh = open(self._path, "rb")  # noqa: SIM115 - it is followed while it grows
        except FileNotFoundError:
            return False
        if self._file is not None:
            self._file.close()
        self._file = fresh
        return True

    def _is(self, path: Path) -> bool:
        try:
            return self._file is not None and os.fstat(self._file.fileno()).st_ino == path.stat().st_ino
        except FileNotFoundError:
            return False

    def _parsed(self, data: bytes) -> Iterator[Use]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                entry = _ENTRY.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            if entry.e == "dropped":
                self.dropped = True
            else:
                yield self._use(entry)

    def _use(self, entry: Entry) -> Use:
        known = self._open.pop(entry.id, None)
        use = known or Use(
            at=entry.t,
            id=entry.id,
            tool=entry.tool,
            target=mask(entry.target),
            agent=entry.agent,
            stage=entry.stage,
            epoch=entry.epoch,
            outcome="open",
        )
        millis = entry.ms
        if entry.e in ("end", "failed") and known is not None and millis is None:
            millis = max(entry.t - known.at, 0)
        use = msgspec.structs.replace(use, outcome=_OUTCOMES[entry.e], millis=millis)
        if use.outcome == "open" and use.id:
            self._open[use.id] = use
        return use


def paired(uses: Iterator[Use]) -> list[Use]:
    """Return each use once, in the order in which they began, as it ended or stands."""
    found: dict[tuple[int, str], Use] = {}
    for use in uses:
        found[use.at, use.id] = use
    return list(found.values())


def digest(path: Path, agent: str) -> tuple[str, int]:
    """Return the SHA-256 of the lines that one sub-agent's tools left, and their length; ("", 0) without any."""
    made, size = hashlib.sha256(), 0
    mark = b'"agent":' + msgspec.json.encode(agent) + b","
    for place in (path.with_name(path.name.removesuffix(".ndjson") + EARLIER), path):
        try:
            lines = place.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            continue
        for line in lines:
            if mark in line:
                made.update(line)
                size += len(line)
    return (made.hexdigest(), size) if size else ("", 0)

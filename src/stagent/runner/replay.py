"""Reads what an attempt said, from its files: also while they grow, with torn last lines, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from stagent import disk
from stagent.core.ports import AgentEvent
from stagent.failpoints import hit
from stagent.runner.streams import MAX_LINE, LineSplitter, Place, unparsed
from stagent.runner.typed import END, LONGEST_RECORD, Typed, typed, typed_path

Parse = Callable[[bytes], list[AgentEvent]]

_BLOCK = 256 * 1024
_DECODER = msgspec.json.Decoder(Typed)


def plain_parse(line: bytes) -> list[AgentEvent]:
    """Turn a line into an event where the backend that said it is not installed any more."""
    return [AgentEvent(kind="other", text=line.decode("utf-8", "replace"))]


def is_whole(stream: str) -> bool:
    """Say whether the typed events of a stream go to its end."""
    path = typed_path(stream)
    lines = list(Follower(path, tail_offset(path, 1)).lines())
    last = _record(lines[-1]) if lines else None
    return last is not None and last.kind == END and last.offset == _size(stream)


def rebuild(stream: str, parse: Parse) -> bool:
    """Make the typed events of a stream nobody writes to again from its bytes; what is there is kept.

    Times that were not kept are 0. Returns False when they cannot be written; the stream itself is never touched.
    """
    target = Path(typed_path(stream))
    spare = target.with_name(f"{target.name}.{os.getpid()}.new")
    encoder = msgspec.json.Encoder()
    try:
        hit("stream.open.before")
        with open(spare, "wb", opener=_private) as file:
            hit("stream.open.after")
            for record in _mended(stream, parse):
                file.write(encoder.encode(record) + b"\n")
        disk.move(spare, target)
    except OSError:
        with suppress(OSError):
            disk.remove(spare)
        return False
    return True


def complete(stream: str, parse: Parse) -> Iterator[Typed]:
    """Yield every typed event of a stream nobody writes to, kept or not; nothing is written."""
    if is_whole(stream):
        yield from (record for record in _kept(stream) if record.kind != END)
    else:
        yield from (record for record in _mended(stream, parse) if record.kind != END)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _mended(stream: str, parse: Parse) -> Iterator[Typed]:
    """Yield the kept records but those of the last line they know, then what the stream says from there on."""
    last: Typed | None = None
    for record in _kept(stream):
        if record.kind != END:
            last = record
    place = Place()
    times: list[int] = []
    if last is not None:
        place = Place(last.offset, last.line - 1)
        for record in _kept(stream):
            if record.kind != END and record.offset < last.offset:
                yield record
            elif record.kind != END:
                times.append(record.at)
    for count, record in enumerate(_parsed(stream, parse, place)):
        yield msgspec.structs.replace(record, at=times[count]) if count < len(times) else record
    yield Typed(line=place.number, offset=_size(stream), kind=END)


def _kept(stream: str) -> Iterator[Typed]:
    """Yield the records that can be read, in order, none from beyond the end of the stream."""
    try:
        file = open(typed_path(stream), "rb")  # noqa: SIM115 - closed below; a missing file is no error
    except FileNotFoundError:
        return
    size, before = _size(stream), 0
    with file:
        for _, line in _lines(file, LONGEST_RECORD):
            record = _record(line)
            if record is not None and before <= record.offset <= size:
                before = record.offset
                yield record


def _record(line: bytes | None) -> Typed | None:
    try:
        return _DECODER.decode(line) if line else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _parsed(stream: str, parse: Parse, place: Place) -> Iterator[Typed]:
    try:
        file = open(stream, "rb")  # noqa: SIM115 - closed below; a missing file is no error
    except FileNotFoundError:
        return
    with file:
        file.seek(place.offset)
        for length, line in _lines(file, MAX_LINE, place):
            for event in parse(line) if line is not None else [unparsed(length)]:
                yield typed(event, place.number, place.offset, 0)


def _lines(file: BinaryIO, limit: int, place: Place | None = None) -> Iterator[tuple[int, bytes | None]]:
    """Yield length and bytes of each line; of one beyond the limit only the length. `place` follows."""
    found: list[tuple[int, int, int, bytes | None]] = []
    inner = Place(place.offset, place.number) if place is not None else Place()

    def take(line: bytes) -> None:
        found.append((inner.number, inner.offset, len(line), line))

    def take_long(length: int) -> None:
        found.append((inner.number, inner.offset, length, None))

    splitter = LineSplitter(take, take_long, limit, inner)
    while True:
        block = file.read(_BLOCK)
        splitter.feed(block) if block else splitter.finish()
        for number, offset, length, line in found:
            if place is not None:
                place.number, place.offset = number, offset
            yield length, line
        found.clear()
        if not block:
            break
    if place is not None:
        place.number, place.offset = inner.number, inner.offset


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0


def tail_offset(path: str, lines: int) -> int:
    """Return where the last so many lines of a file begin; a last line needs no newline. 0 without a file."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; a missing file is no error
    except FileNotFoundError:
        return 0
    with file:
        end = file.seek(0, os.SEEK_END)
        if end == 0 or lines <= 0:
            return end
        # The newline of the last line ends it and begins none.
        position, left = end - 1, lines
        while position > 0:
            start = max(0, position - _BLOCK)
            file.seek(start)
            block = file.read(position - start)
            found = block.count(b"\n")
            if found < left:
                left -= found
                position = start
                continue
            place = len(block)
            for _ in range(left):
                place = block.rindex(b"\n", 0, place)
            return start + place + 1
        return 0


class Follower:
    """Reads the whole lines of a file that grows; what is torn at its end waits for the rest."""

    def __init__(self, path: str, offset: int = 0) -> None:
        self._path = path
        self.offset = offset

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that were completed since the last call, without their newline; none without a file.

        A line of more than 256 KiB is left out.
        """
        try:
            file = open(self._path, "rb")  # noqa: SIM115 - closed below; a missing file is no error
        except FileNotFoundError:
            return
        with file:
            end = os.fstat(file.fileno()).st_size
            while self.offset < end:
                file.seek(self.offset)
                block = file.read(min(LONGEST_RECORD, end - self.offset))
                cut = block.rfind(b"\n")
                if cut < 0 and len(block) < LONGEST_RECORD:
                    return
                if cut < 0:
                    self.offset += len(block)
                    continue
                self.offset += cut + 1
                yield from block[:cut].split(b"\n")

    def records(self) -> Iterator[Typed]:
        """Yield the typed events among them, without the mark of the end."""
        for line in self.lines():
            record = _record(line)
            if record is not None and record.kind != END:
                yield record

    def bytes(self) -> Iterator[bytes]:
        """Yield the bytes that came since the last call, in blocks."""
        try:
            file = open(self._path, "rb")  # noqa: SIM115 - closed below; a missing file is no error
        except FileNotFoundError:
            return
        with file:
            file.seek(self.offset)
            while block := file.read(_BLOCK):
                self.offset += len(block)
                yield block

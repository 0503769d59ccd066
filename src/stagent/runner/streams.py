"""What an attempt's process says, kept on disk as it comes: exact bytes, any line length, bounded memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from stagent import disk
from stagent.core.ports import AgentEvent
from stagent.errors import StoreError
from stagent.failpoints import hit

MAX_LINE = 64 * 1024 * 1024
"""Longest line, in bytes, that is parsed; a longer one is kept in the stream and not parsed."""

KEEP_STDERR = 256 * 1024
"""How many of the first and of the last bytes of standard error are kept."""

_BLOCK = 1024 * 1024


def _unwritable(path: str, error: OSError) -> StoreError:
    return StoreError(
        "runner.stream_unwritable",
        f"the stream cannot be written: {error.strerror or error}",
        where=path,
        remedy="Make room or correct the permissions, then start a new attempt.",
    )


def unparsed(length: int) -> AgentEvent:
    """Return the event that stands for a line of `length` bytes, which is too long to parse."""
    return AgentEvent(kind="other", text=f"a line of {length} bytes is kept in the stream and was not parsed")


def seen(path: str) -> tuple[str | None, int]:
    """Return the SHA-256 digest and the length of what a stream holds, made durable; None and 0 without a file.

    For an attempt whose runner was killed: its stream is not written to any more. Raises StoreError.
    """
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, hashlib.sha256)
            disk.sync(file.fileno())
            return digest.hexdigest(), file.tell()
    except FileNotFoundError:
        return None, 0
    except OSError as error:
        raise _unwritable(path, error) from error


class AppendFile:
    """A private, append-only file; every write is in the file when the call returns."""

    durable = True

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            disk.make_folder(Path(path).parent)
            self._new = not Path(path).exists()
            hit("stream.open.before")
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            hit("stream.open.after")
        except OSError as error:
            raise _unwritable(path, error) from error

    def __enter__(self) -> AppendFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, data: bytes | bytearray) -> None:
        """Append bytes; they are in the file when this returns. Raises StoreError."""
        rest = memoryview(data)
        hit("stream.write.before")
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise _unwritable(self.path, error) from error
        hit("stream.write.after")

    def close(self) -> None:
        """Make the file and its name durable where that is wanted and close it; closing again does nothing.

        Raises StoreError when the bytes cannot be made durable.
        """
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            if self.durable:
                disk.sync(fd)
                if self._new:
                    disk.sync_folder(Path(self.path).parent)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        finally:
            os.close(fd)


class StreamFile(AppendFile):
    """Standard output of an attempt, byte for byte; knows the SHA-256 digest and the length of the whole file.

    A file that has bytes already is continued: they count in digest and length, and a torn last line is ended first.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._hash = hashlib.sha256()
        self.size = 0
        self.lines = 0
        """How many lines the file held when it was opened."""
        last = b"\n"
        for block in self._blocks():
            self._hash.update(block)
            self.size += len(block)
            self.lines += block.count(b"\n")
            last = block[-1:]
        if last != b"\n":
            self.write(b"\n")
            self.lines += 1

    def _blocks(self) -> Iterator[bytes]:
        while block := os.pread(self._fd, _BLOCK, self.size):
            yield block

    def write(self, data: bytes) -> None:
        """Append bytes; they are in the file when this returns. Raises StoreError."""
        self.append(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """The SHA-256 digest of the file's bytes, in hexadecimal."""
        return self._hash.hexdigest()


class BoundedFile(AppendFile):
    """Standard error of an attempt: the first bytes as they come, the last ones at the end, a note between them.

    Not made durable: it helps a person to see why an attempt failed and proves nothing.
    """

    durable = False

    def __init__(self, path: str, keep: int = KEEP_STDERR) -> None:
        super().__init__(path)
        self._keep = keep
        self._head = keep
        self._tail = bytearray()
        self._dropped = 0

    def write(self, data: bytes) -> None:
        """Keep bytes within the bounds. Raises StoreError."""
        first = data[: self._head]
        if first:
            self.append(first)
            self._head -= len(first)
        self._tail += data[len(first) :]
        if len(self._tail) > 2 * self._keep:
            self._trim()

    def _trim(self) -> None:
        excess = len(self._tail) - self._keep
        if excess > 0:
            del self._tail[:excess]
            self._dropped += excess

    def close(self) -> None:
        """Write the last bytes and close. Raises StoreError."""
        try:
            self._trim()
            if self._fd >= 0 and self._dropped:
                self.append(f"\n[{self._dropped} bytes left out]\n".encode())
            if self._fd >= 0 and self._tail:
                self.append(self._tail)
        finally:
            self._tail.clear()
            self._dropped = 0
            super().close()


class Place:
    """Which line of a stream is looked at: its number, from 1, and where its first byte stands in the file."""

    def __init__(self, offset: int = 0, lines: int = 0) -> None:
        self.number = lines
        self.offset = offset
        self.next = offset


class LineSplitter:
    """Cuts a stream of chunks into lines without their newline; the last line needs none.

    Memory stays within one line of `limit` bytes, its copy and one chunk: of a longer line only the length is reported.
    `place` tells, while a line is reported, which one it is; empty lines are counted and not reported.
    """

    def __init__(
        self,
        on_line: Callable[[bytes], None],
        on_long: Callable[[int], None],
        limit: int = MAX_LINE,
        place: Place | None = None,
    ) -> None:
        self._on_line = on_line
        self._on_long = on_long
        self._limit = limit
        self._place = place or Place()
        self._start = bytearray()
        self._length = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes and report every line they complete."""
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            self._end(part)
        self._length += len(rest)
        if self._length > self._limit:
            self._start = bytearray()
        else:
            self._start += rest

    def finish(self) -> None:
        """Report what stands after the last newline, if anything."""
        if self._length:
            self._end(b"")

    def _end(self, part: bytes) -> None:
        length = self._length + len(part)
        place = self._place
        place.number += 1
        place.offset = place.next
        place.next += length + 1
        if self._length and length <= self._limit:
            self._start += part
            part = bytes(self._start)
        if self._length:
            self._length = 0
            # Let go before the line is looked at: a very long one is in memory once.
            self._start = bytearray()
        if length > self._limit:
            self._on_long(length)
        elif length:
            self._on_line(part)

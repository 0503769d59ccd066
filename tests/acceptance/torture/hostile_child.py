"""A program that does everything an agent should not do; started as the process of an attempt. Standard library only.

HOSTILE names what it does at the first attempt of a stage; later ones are calm. What never ends by itself is done until
an attempt came as far as it should, however often one was ended before. HOSTILE_NOTES is a folder where it notes its
processes and what it was able to write.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

LINE = b'{"type": "text", "text": "%08d ' + b"z" * 962 + b'"}\n'
"""1,000 bytes when its number is filled in."""
RESULT = b'{"type": "result", "is_error": false}'
MEGABYTE = 1000 * 1000


def notes() -> Path:
    return Path(os.environ["HOSTILE_NOTES"])


def note(name: str, text: str) -> None:
    """Append a line to a file of notes, in one write."""
    descriptor = os.open(notes() / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def out(data: bytes, descriptor: int = 1) -> None:
    """Write bytes, all of them."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def artifact() -> None:
    """Write what the stage is to leave."""
    path = Path(os.environ["STAGENT_ARTIFACT"])
    path.write_text(f"---\nepoch: {os.environ['STAGENT_EPOCH']}\nresult: done\n---\nDone.\n")


def done(end: bytes = b"\n") -> None:
    """Leave the artifact and the last word."""
    artifact()
    out(RESULT + end)


def here() -> None:
    note("pids", str(os.getpid()))


def ignore() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def ready() -> None:
    """Note that this attempt did what it is there for; whatever ends it now may."""
    note("ready", os.environ["STAGENT_ATTEMPT"])


def forever() -> None:
    while True:
        time.sleep(60)


def relative(*, leave: bool, twice: bool, bare: bool) -> None:
    """Start a process that would live on: in a session of its own, without a parent, without our variables."""
    ready, told = os.pipe()
    if os.fork():
        os.close(told)
        os.read(ready, 1)
        return
    if leave:
        os.setsid()
    if twice and os.fork():
        os._exit(0)
    ignore()
    here()
    if bare:
        os.set_inheritable(told, True)
        code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); os.write(%d, b'.'); time.sleep(600)"
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code % told], {})
    os.write(told, b".")
    forever()


def calm() -> None:
    out(b'{"type": "text", "text": "at work"}\n')
    done()


def stubborn() -> None:
    ignore()
    relative(leave=True, twice=False, bare=False)
    ready()
    forever()


def family() -> None:
    for leave in (False, True):
        for twice in (False, True):
            for bare in (False, True):
                relative(leave=leave, twice=twice, bare=bare)
    done()


def mute() -> None:
    artifact()
    out(RESULT + b"\n")
    os.close(1)
    os.close(2)
    began = time.monotonic()
    while time.monotonic() - began < 0.3:
        time.sleep(0.05)
    note("lived", f"{time.monotonic() - began}")


def flood() -> None:
    block = b"".join(LINE % number for number in range(1000))
    for _ in range(int(os.environ["HOSTILE_MEGABYTES"])):
        out(block)
    done()


def long() -> None:
    out(b'{"type": "text", "text": "')
    for _ in range(64):
        out(b"y" * MEGABYTE)
    out(b'"}\n')
    done()


def longer() -> None:
    for _ in range(80):
        out(b"y" * MEGABYTE)
    out(b"\n")
    done()


def garbage() -> None:
    out(b"\xff\xfe\x00\x1b[2J\xc3(\n" * 1000 + b"\r\n\n\n{\n" + b"[" * 100_000 + b"\n")
    done(end=b"")


def silent() -> None:
    artifact()


def errors() -> None:
    for _ in range(50):
        out(b"e" * MEGABYTE, 2)
    done()


def hang() -> None:
    def asked(number: int, frame: object) -> None:
        note("asked", os.environ["STAGENT_ATTEMPT"])
        os._exit(7)

    signal.signal(signal.SIGTERM, asked)
    out(b'{"type": "text", "text": "soon"}\n')
    ready()
    forever()


def babble() -> None:
    out(LINE % 0)
    ready()
    while True:
        out(LINE % 0 * 100)


def expected(attempt: str, lines: int) -> bytes:
    """What `counted` writes: the same for the same attempt, whoever asks."""
    texts = (f"{attempt} {number} {'w' * (number * 37 % 500)}" for number in range(lines))
    return b"".join(json.dumps({"type": "text", "text": text}).encode() + b"\n" for text in texts)


def counted() -> None:
    """Write known bytes in pieces that tear lines, note what was written, and be alone while doing it."""
    lock = os.open(notes() / "alone", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        note("beside", os.environ["STAGENT_ATTEMPT"])
    note("running", "+")
    # Forked without a new program: it holds the lock as long as it lives.
    relative(leave=True, twice=True, bare=False)
    # Nothing about this one tells where it comes from.
    relative(leave=True, twice=True, bare=True)
    attempt = os.environ["STAGENT_ATTEMPT"]
    data = expected(attempt, int(os.environ["HOSTILE_LINES"]))
    for start in range(0, len(data), 777):
        out(data[start : start + 777])
        note(f"{attempt}.{os.getpid()}.written", str(min(start + 777, len(data))))
        time.sleep(0.001)
    note("running", "-")
    done()


DEEDS: dict[str, Callable[[], None]] = {
    deed.__name__: deed
    for deed in (calm, stubborn, family, mute, flood, long, longer, garbage, silent, errors, hang, babble, counted)
}


def main() -> None:
    here()
    deed = os.environ["HOSTILE"]
    first = os.environ["STAGENT_STAGE_ATTEMPT"] == "1" or deed == "counted"
    if deed in ("stubborn", "hang", "babble"):
        first = not (notes() / "ready").exists()
    DEEDS[deed if first else "calm"]()


if __name__ == "__main__":
    main()

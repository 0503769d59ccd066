"""Runs one shell command of the engine's own: a check, a command stage, a run file's init.

Its own process group, no input, output kept up to a bound (first and last part), a time limit that ends the whole
group. What the command leaves in the background is ended with it, and with this process should it be killed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import msgspec

from stagent import processes
from stagent.failpoints import hit
from stagent.guardian import guard

KEEP = 256 * 1024
"""How much of the beginning and of the end of the output is kept (bytes each)."""
_BEHIND = 1024 * 1024
"""How much is still read when a command is over (bytes): as much as a pipe can hold."""
_GRACE = 2.0
_TICK = 0.5


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended. `exit` is None when it could not be started or ran out of time."""

    exit: int | None
    output: bytes
    stdout: bytes
    timed_out: bool
    millis: int


class Bounded:
    """Keeps the first and the last part of a byte stream of any length."""

    def __init__(self, keep: int = KEEP) -> None:
        self._keep = keep
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Take more bytes."""
        room = self._keep - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        excess = len(self._tail) - self._keep
        if excess > 0:
            self._dropped += excess
            del self._tail[:excess]

    def value(self) -> bytes:
        """Return what was kept, with a line that says how much was left out."""
        gap = f"\n[... {self._dropped} bytes left out ...]\n".encode() if self._dropped else b""
        return bytes(self._head) + gap + bytes(self._tail)


def run(
    command: str,
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    progress: Callable[[float], None] = lambda seconds: None,
    tidy: Callable[[], object] = lambda: None,
    keep: int = KEEP,
) -> Finished:
    """Run a command through `/bin/sh -c` and wait for its end or the time limit (seconds).

    `progress` is called about twice a second with the seconds gone by; what it raises ends the command. `tidy` is
    called when the command is over, to end what it left behind in ways its group and mark do not show. Output of both
    streams is kept together in the order it came; `stdout` alone as well, of which `keep` bytes from either end.
    """
    began = time.monotonic()
    hit("command.spawn.before")
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=guard(),
        )
    except OSError as error:
        return Finished(
            exit=None, output=f"cannot be started: {error}\n".encode(), stdout=b"", timed_out=False, millis=0
        )
    hit("command.spawn.after")
    try:
        both, stdout, timed_out = _collect(process, began + timeout, progress, keep)
    finally:
        _end_group(process)
        # A program that left the group is known by its mark; what it would do later, nobody would look at.
        if processes.COMMAND_MARKER in env:
            processes.kill_attempt(env[processes.COMMAND_MARKER], None, None, env.get(processes.RUNNER_MARKER))
        tidy()
    millis = int((time.monotonic() - began) * 1000)
    return Finished(
        exit=None if timed_out else process.returncode, output=both, stdout=stdout, timed_out=timed_out, millis=millis
    )


def _collect(
    process: subprocess.Popen[bytes], deadline: float, progress: Callable[[float], None], keep: int
) -> tuple[bytes, bytes, bool]:
    both, stdout = Bounded(), Bounded(keep)
    began = time.monotonic()
    out, err = process.stdout, process.stderr
    assert out is not None and err is not None
    with selectors.DefaultSelector() as selector:
        for stream in (out, err):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ)
        while True:
            if selector.get_map():
                for key, _ in selector.select(timeout=_TICK if process.poll() is None else 0):
                    _take(key.fileobj, both, stdout if key.fileobj is out else None, selector)  # type: ignore[arg-type]
            else:
                # The command closed its output but lives on, mostly for a moment: its end or the time limit counts now.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(_TICK, max(deadline - time.monotonic(), 0)))
            now = time.monotonic()
            if now >= deadline and process.poll() is None:
                return both.value(), stdout.value(), True
            if process.poll() is not None:
                for stream in (out, err):
                    _drain(stream, both, stdout if stream is out else None)
                return both.value(), stdout.value(), False
            progress(now - began)


def _take(stream: IO[bytes], both: Bounded, only: Bounded | None, selector: selectors.BaseSelector) -> None:
    data = os.read(stream.fileno(), 65536)
    if not data:
        selector.unregister(stream)
        return
    both.add(data)
    if only is not None:
        only.add(data)


def _drain(stream: IO[bytes], both: Bounded, only: Bounded | None) -> None:
    """Take what the command left in the pipe; what it left in the background may go on writing for ever."""
    taken = 0
    while taken < _BEHIND:
        try:
            data = os.read(stream.fileno(), 65536)
        except BlockingIOError:
            return
        if not data:
            return
        taken += len(data)
        both.add(data)
        if only is not None:
            only.add(data)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
        except (ProcessLookupError, PermissionError):
            break
        limit = time.monotonic() + _GRACE
        while process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
    process.wait()

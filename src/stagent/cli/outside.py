"""Programs of the person's own that get his terminal for a while: a pager to read in, an editor to write in."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL = 0.2
_NOT_FOUND = 127


def page(descriptor: int, text: str, meanwhile: Callable[[], bool] = lambda: False) -> bool:
    """Show text in `$PAGER`, else `less`; return whether that could be started."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode("utf-8", "replace"))
        file.seek(0)
        return _lent(os.environ.get("PAGER") or "less", file.fileno(), descriptor, meanwhile) != _NOT_FOUND


def editor() -> str:
    """Return the person's editor, as `$VISUAL` or `$EDITOR` name it, or an empty text."""
    return os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""


def edited(descriptor: int, meanwhile: Callable[[], bool] = lambda: False) -> str:
    """Have the person write a text in his editor, and return it; empty when he leaves nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "feedback.md"
        _lent(f"{editor()} {shlex.quote(str(path))}", descriptor, descriptor, meanwhile)
        return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""


def _lent(command: str, source: int, descriptor: int, meanwhile: Callable[[], bool]) -> int:
    """Run a command at the terminal until it ends, or end it when `meanwhile` says so; return its exit status."""
    with _deaf():
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=source,
            stdout=descriptor,
            stderr=descriptor,
            env={"LESS": "FRX", **os.environ},
        )
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(_POLL)
            if meanwhile():
                process.terminate()
                return process.wait()


@contextmanager
def _deaf() -> Iterator[None]:
    """Leave Ctrl-C to the other program: it is typed for that one, and the terminal sends it to both."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

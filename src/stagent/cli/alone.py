"""One call at a time gives an agent session a run: from looking whether it has one to the beginning of the other.

Without this, of two calls at once each would find no run, and both would begin one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stagent import disk
from stagent.config import DataHome
from stagent.failpoints import hit

_NO_LOCKS = -1


@contextmanager
def alone(home: DataHome, session: str | None) -> Iterator[None]:
    """Hold a session's turn while the block runs; wait for whoever holds it. Outside of a session there is none.

    It is a lock on a file of the data home: the system lets go of it when its process ends, however that happens. Where
    the file system has no locks, nobody waits.
    """
    if session is None:
        yield
        return
    path = home.turn(session)
    descriptor = _take(path)
    try:
        yield
    finally:
        if descriptor != _NO_LOCKS:
            # Before the lock is let go: whoever waits for this file finds it gone, and makes another.
            disk.remove(path)
            os.close(descriptor)


def _take(path: Path) -> int:
    """Return a descriptor that holds the lock of the file which lies at this path."""
    try:
        disk.make_folder(path.parent, private=True)
        while True:
            hit("disk.create.before")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with ExitStack() as unless_held:
                unless_held.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _lies_there(descriptor, path):
                    unless_held.pop_all()
                    return descriptor
    except OSError:
        return _NO_LOCKS


def _lies_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

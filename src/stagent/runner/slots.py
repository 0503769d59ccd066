"""How many attempts run at once on this machine, over all runs of a data home; the others wait for a place.

A place is a lock on a file of the data home. The system lets go of it when the process that took it ends, however that
happens, so that there is nothing to recover. Where the file system has no locks, nobody waits.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stagent import disk
from stagent.config import DataHome, value
from stagent.failpoints import hit
from stagent.processes import MARKER

_POLL_SECONDS = (0.05, 0.15)
_TELL_SECONDS = 0.5
_QUEUE = "queue"
_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


def limit(home: DataHome) -> int:
    """Return how many attempts may run at once: the setting `attempts`."""
    return int(value(home, "attempts")[0])


@contextmanager
def take(
    home: DataHome,
    on_wait: Callable[[float], None] = lambda seconds: None,
    stopping: Callable[[], object] = lambda: False,
) -> Iterator[bool]:
    """Hold a place while the block runs; wait for one first.

    Gives True, or False when `stopping` said so while it waited: then no place is held. `on_wait` is called about twice
    a second with the seconds gone by, and may raise. Inside an attempt no place is needed: the attempt has one.
    Waiting is fair enough: who has just let go of a place waits behind those that were there before.
    """
    if os.environ.get(MARKER):
        yield True
        return
    place = _wait(home.slots, limit(home), on_wait, stopping)
    try:
        yield place is not None
    finally:
        if place is not None and place >= 0:
            os.close(place)


def _wait(folder: Path, count: int, on_wait: Callable[[float], None], stopping: Callable[[], object]) -> int | None:
    """Return the descriptor of a place, -1 where nobody needs one, None when it was stopped."""
    began = told = time.monotonic()
    queue: int | None = None
    try:
        while not stopping():
            if queue is None:
                queue = _lock(folder / _QUEUE)
            # Only the first of those that wait looks for a place, so that nobody passes him.
            place = _free(folder, count) if queue is not None else None
            if place is not None:
                return place
            now = time.monotonic()
            if now - told >= _TELL_SECONDS:
                told = now
                on_wait(now - began)
            time.sleep(random.uniform(*_POLL_SECONDS))
    finally:
        if queue is not None and queue >= 0:
            os.close(queue)
    return None


def _free(folder: Path, count: int) -> int | None:
    for number in range(1, count + 1):
        place = _lock(folder / str(number))
        if place is not None:
            return place
    return None


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock of a file, None when another holds it, -1 where there are no locks."""
    try:
        disk.make_folder(path.parent, private=True)
        hit("disk.create.before")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        return None if error.errno in _TAKEN else -1
    return descriptor

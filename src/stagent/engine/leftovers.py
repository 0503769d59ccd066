"""Temporary files whose maker was killed between writing one and putting it in its place.

Every file that must be whole is written under a name with its maker's process id and then renamed. What the store
and the record of a project leave behind, they sweep themselves.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from stagent import disk, processes
from stagent.config import DataHome
from stagent.engine.folder import NAME

SETTLED = 3600.0
"""Seconds after which nobody can be about to put a file in its place any more."""
_MAKER = re.compile(r"\.(\d+)\.(?:\d+\.)?(?:tmp|new|taken)\Z")
_IN_HOME = ("*.new", "live/*.new", "pending/*.new", "pending/*.taken")
_IN_PROJECT = ("*/.*.new", "*/workflow/.*.new")


def find(home: DataHome, roots: Iterable[Path]) -> Iterator[Path]:
    """Yield the temporary files of the data home and of the run folders of these projects whose maker is gone."""
    for pattern in _IN_HOME:
        yield from filter(abandoned, sorted(home.root.glob(pattern)))
    for root in roots:
        for pattern in _IN_PROJECT:
            yield from filter(abandoned, sorted((root / NAME).glob(pattern)))


def _beside(file: Path) -> Iterator[Path]:
    prefix = f".{file.name}."
    for place in sorted(file.parent.iterdir()) if file.parent.is_dir() else ():
        if place.name.startswith(prefix) and _MAKER.match(place.name, len(prefix) - 1) and abandoned(place):
            yield place


def abandoned(place: Path) -> bool:
    """Say whether nobody will put a temporary file in its place: its maker is gone, or it names none and is old."""
    maker = _MAKER.search(place.name)
    return processes.look(int(maker[1])) is None if maker is not None else settled(place)


def settled(place: Path) -> bool:
    """Say whether a file is there and was last written more than an hour ago."""
    try:
        return time.time() - place.stat().st_mtime > SETTLED
    except OSError:
        return False


def sweep(home: DataHome, root: Path) -> None:
    """Remove what was left more than an hour ago in the data home and in the run folders of one project."""
    _remove(place for place in find(home, [root]) if settled(place))


def sweep_beside(file: Path) -> None:
    """Remove what was to become a file, or a newer version of it, and never did."""
    _remove(_beside(file))


def _remove(places: Iterable[Path]) -> None:
    for place in places:
        with suppress(OSError):
            disk.remove(place)

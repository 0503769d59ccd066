"""A session with a run, for each test anew; the environment of this process is put back."""

from __future__ import annotations

import posix
from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.hooks.hook_world import Session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session whose run stands in an autonomous inline stage."""
    before = dict(posix.environ)
    yield Session(tmp_path)
    posix.environ.clear()
    posix.environ.update(before)

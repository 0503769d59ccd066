"""A machine for each test of bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.bad_input.kit import Bench


@pytest.fixture
def machine(tmp_path: Path) -> Bench:
    """A machine with a small repository as its project."""
    made = Bench(tmp_path)
    made.repository({"src.py": "x = 1\n"})
    return made

"""A machine with a small repository for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.create.kit import Author


@pytest.fixture
def author(tmp_path: Path) -> Author:
    made = Author(tmp_path)
    made.repository({"src.py": "x = 1\n"})
    return made

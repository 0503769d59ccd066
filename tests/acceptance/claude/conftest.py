"""A desk with Claude Code for each test, and nothing of it left afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.claude.kit import Desk
from stagent.testing.scripted_model import ScriptedModel


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as serving:
        yield serving


@pytest.fixture
def desk(tmp_path: Path, model: ScriptedModel) -> Iterator[Desk]:
    made = Desk(tmp_path, model)
    made.repository({"src.py": "x = 1\n"})
    try:
        yield made
    finally:
        made.close()
    assert made.processes() == []

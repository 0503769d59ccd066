"""A model, an office or a site with Claude Code for each test, and nothing of them left afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.headless.kit import Office
from acceptance.headless.site import Site
from stagent.testing.scripted_model import ScriptedModel


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as serving:
        yield serving


@pytest.fixture
def office(tmp_path: Path, model: ScriptedModel) -> Iterator[Office]:
    with Office(tmp_path, model) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, model: ScriptedModel) -> Iterator[Site]:
    made = Site(tmp_path, model)
    yield made
    made.nothing_left()

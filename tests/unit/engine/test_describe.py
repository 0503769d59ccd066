"""How events are put into words."""

from __future__ import annotations

import pytest

from stagent.engine.describe import left


@pytest.mark.parametrize(
    ("code", "words"), [(3, "exit 3"), (-15, "ended by SIGTERM"), (-9, "ended by SIGKILL"), (-99, "ended by signal 99")]
)
def test_how_a_process_ended(code: int, words: str) -> None:
    assert left(code) == words

"""The facts about Claude Code that several layers share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core import claudecode
from stagent.engine import install


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2.1.329 (Claude Code)", (2, 1, 329)),
        (" 10.0.2-beta.1\n", (10, 0, 2)),
        ("2.1", None),
        ("claude 2.1.329", None),
        ("", None),
        ("v2.1.329", None),
    ],
)
def test_versions_are_read(text: str, wanted: tuple[int, int, int] | None) -> None:
    assert claudecode.version(text) == wanted


@given(st.tuples(*[st.integers(0, 10**9 - 1)] * 3))
def test_a_version_is_read_as_it_is_written(number: tuple[int, int, int]) -> None:
    assert claudecode.version(claudecode.dotted(number)) == number


def test_the_plugin_is_named_in_one_way() -> None:
    assert install.PLUGIN_ID == claudecode.PLUGIN_ID
    assert claudecode.RUNNER_PLUGIN != claudecode.PLUGIN
    assert claudecode.OLDEST < claudecode.BELOW

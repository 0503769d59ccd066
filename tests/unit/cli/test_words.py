from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.cli.words import age, duration, fit, plain, program, table, width, wrapped


@given(st.text())
def test_plain_text_cannot_steer_a_terminal(text: str) -> None:
    shown = plain(text)
    assert len(shown) == len(text)
    assert all(letter == "\t" or letter.isprintable() for letter in shown)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])), st.integers(2, 40))
def test_what_is_fitted_fits(text: str, columns: int) -> None:
    assert width(fit(text, columns)) <= max(columns, 0)


@pytest.mark.parametrize(
    ("millis", "words"), [(-5, "0.0 s"), (1_250, "1.2 s"), (61_000, "1 min 1 s"), (3_661_000, "1 h 1 min")]
)
def test_durations(millis: int, words: str) -> None:
    assert duration(millis) == words


@pytest.mark.parametrize(
    ("millis", "words"), [(0, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (172_800_000, "2 d")]
)
def test_ages(millis: int, words: str) -> None:
    assert age(millis) == words


def test_a_table_is_aligned_by_columns_not_letters() -> None:
    assert table(["A", "B"], [["日本", "x"], ["abc", "y"]]) == ["A     B", "日本  x", "abc   y"]


def test_long_text_is_cut_and_counted() -> None:
    assert wrapped("a\nb\nc\nd", "  ", limit=2) == ["  a", "  b", "  … 2 more lines"]


def test_the_program_is_named_so_that_it_can_be_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == str(own / "stagent")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{own}")
    assert program() == "stagent"

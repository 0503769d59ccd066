"""Which JSON objects a text may mean: all that stand by themselves, and no part of anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core.structured import SCAN_LIMIT, objects
from stagent.testing import strategies

SOUND = st.dictionaries(st.text(max_size=6), strategies.json_values(), max_size=3)
PROSE = st.text(alphabet="abc \n'`.,:;-\\\"", max_size=12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("no object here", []),
        ("42", []),
        ("null", []),
        ('"s"', []),
        ("[1, 2]", []),
        ('[{"a": 1}]', []),
        ('[{"a": 1}]x', []),
        ('x [1, {"a": 1}, ["b"]] y', []),
        ('[[{"a": 1}]] {"b": 2}', [{"b": 2}]),
        (' \n{"a": 1}\n', [{"a": 1}]),
        ('{"a": 1} {"b": 2}', [{"a": 1}, {"b": 2}]),
        ('pre {"a": {"b": 1}} mid {"c": 2}', [{"a": {"b": 1}}, {"c": 2}]),
        ('{bad} {"ok": 1}', [{"ok": 1}]),
        ('{"a": {"b": 1},,} {"c": 3}', [{"c": 3}]),
        ('x {"a": "}{\\"", "b": "["} y', [{"a": '}{"', "b": "["}]),
        ('a { in prose, a [ too: {"ok": {}}', [{"ok": {}}]),
        ("x {} y", [{}]),
        ('see [1] and [it](there) {"a": 1}', [{"a": 1}]),
        ('[1 and then {"a": 1}', [{"a": 1}]),
        ('["open {"a": 1}', [{"a": 1}]),
        ('cut off: [{"a": 1}, {"b": 2}', []),
        ('cut off: [[1], {"b": 2}', []),
        ('cut off: {"a": {"b": 1}, "c"', []),
        ('cut off: {"a": "text {"b": 1}', []),
        ('x {"a": NaN} {"b": 1}', [{"b": 1}]),
        ('say\n```json\n{"a": 1}\n```\nand {"b": 2}', [{"a": 1}, {"a": 1}, {"b": 2}]),
        ('first {"b": 2}\n~~~~ JSON\r\n{"a": 1}\r\n~~~~\r\n', [{"a": 1}, {"b": 2}, {"a": 1}]),
        ('```json\n[{"a": 1}]\n```\n', []),
        ('```json\nnot json\n```\n{"b": 2}', [{"b": 2}]),
        ('```json\n{"a": 1}', [{"a": 1}]),
        ('```python\n{"a": 1}\n```', [{"a": 1}]),
    ],
)
def test_what_a_text_may_mean(text: str, expected: list[Any]) -> None:
    assert list(objects(text)) == expected


def test_a_long_text_is_not_searched_but_its_fenced_block_counts() -> None:
    text = "x" * SCAN_LIMIT + ' {"a": 1}\n'
    assert list(objects(text)) == []
    assert list(objects(text + '```json\n{"b": 2}\n```\n')) == [{"b": 2}]
    assert list(objects(json.dumps({"a": "x" * SCAN_LIMIT})))


def test_hostile_texts_come_to_an_end() -> None:
    for text in ('{"a":' * 100_000, "[" * 100_000, "[{" * 100_000, '{"' * 100_000, "```json\n" * 50_000, '["' * 50_000):
        assert list(objects(text)) == []
    assert list(objects("[0 " * 100 + '{"a": 1}')) == []


def test_what_cannot_be_decoded_is_no_object() -> None:
    assert list(objects('{"a": "\ud800"}')) == []
    assert list(objects('{"a":' * 5_000 + "1" + "}" * 5_000)) == []


@given(SOUND)
def test_an_object_is_found_alone_fenced_and_in_prose(value: dict[str, Any]) -> None:
    text = json.dumps(value)
    expected = json.loads(text)
    assert next(objects(text)) == expected
    assert next(objects(f"Here it is:\n\n```json\n{json.dumps(value, indent=2)}\n```\nDone.")) == expected
    assert next(objects(f"Here it is: {text} Done.")) == expected


@given(SOUND, PROSE, PROSE)
def test_nothing_inside_a_list_is_an_answer(value: dict[str, Any], before: str, after: str) -> None:
    assert list(objects(f"{before}[{json.dumps(value)}]{after}")) == []


@given(st.text())
def test_any_text_is_looked_through(text: str) -> None:
    assert all(isinstance(value, dict) for value in objects(text))

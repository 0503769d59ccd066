"""The grammar of front matter: one table of cases for every implementation, and rules for all bytes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stagent.core.frontmatter import LIMIT, FrontMatter, Malformed, epoch_of, parse, rewrite

TABLE = json.loads((Path(__file__).parent / "frontmatter_cases.json").read_text("utf-8"))
KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,12}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=30)


def content(case: dict[str, Any]) -> bytes:
    """The bytes of a case: `text` or `base64`; `repeat` puts a filling of n letters x for the mark @."""
    data = case["text"].encode() if "text" in case else base64.b64decode(case["base64"])
    return data.replace(b"@", b"x" * case["repeat"]) if "repeat" in case else data


@pytest.mark.rule("S2.9", "W1")
@pytest.mark.parametrize("case", TABLE["cases"], ids=[case["name"] for case in TABLE["cases"]])
def test_the_table(case: dict[str, Any]) -> None:
    data = content(case)
    parsed = parse(data)
    if "malformed" in case:
        assert isinstance(parsed, Malformed)
        assert parsed.line == case["malformed"]
        assert parsed.reason
    else:
        assert isinstance(parsed, FrontMatter)
        fields = {key: value.replace("@", "x" * case.get("repeat", 0)) for key, value in case["fields"].items()}
        assert parsed.fields == fields
        body = base64.b64decode(case["body64"]) if "body64" in case else case["body"].encode()
        assert data[parsed.body :] == body
    assert epoch_of(parsed.fields if isinstance(parsed, FrontMatter) else {}) == case.get("epoch")


def test_the_table_says_where_the_limit_is() -> None:
    assert TABLE["limit"] == LIMIT
    assert len({case["name"] for case in TABLE["cases"]}) == len(TABLE["cases"])


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: b"---\n" + tail))
def test_any_bytes_are_read(data: bytes) -> None:
    parsed = parse(data)
    assert isinstance(parsed, Malformed) or 0 < parsed.body <= len(data)


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.binary(max_size=100))
@example({"a": ' "x" ', "b": "'", "c": '""', "d": " x", "e": "x\r", "f": "\t"}, b"---\nepoch: 1\n---\n")
def test_what_is_rewritten_is_read_back(values: dict[str, str], body: bytes) -> None:
    first = rewrite(b"---\n---\n" + body, values)
    parsed = parse(first)
    assert isinstance(parsed, FrontMatter)
    assert parsed.fields == values
    assert first[parsed.body :] == body
    assert rewrite(first, {}) == first


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.dictionaries(KEYS, VALUES, max_size=4), st.binary(max_size=50))
def test_rewriting_changes_what_is_given_and_keeps_the_rest(
    old: dict[str, str], new: dict[str, str], body: bytes
) -> None:
    again = rewrite(rewrite(b"---\r\n---\r\n" + body, old), new)
    parsed = parse(again)
    assert isinstance(parsed, FrontMatter)
    assert parsed.fields == {**old, **new}
    assert again[parsed.body :] == body


@given(st.binary(max_size=100))
def test_a_file_without_a_block_gets_one_and_loses_nothing(data: bytes) -> None:
    if isinstance(parse(data), Malformed):
        assert rewrite(data, {"epoch": "3"}) == b"---\nepoch: 3\n---\n" + data


def test_a_value_stands_on_one_line() -> None:
    with pytest.raises(ValueError, match="one line"):
        rewrite(b"", {"result": "a\nb"})

"""Documents as JSON: what is wrong and where, and names that are given twice."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core.verify.problem import Findings
from stagent.core.verify.reading import decode, texts

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(DOCUMENTS)
def test_what_is_json_is_read_as_it_is(document: object) -> None:
    findings = Findings()
    assert decode(json.dumps(document).encode(), findings) == (document,)
    assert findings.problems == []


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        (b"", "it is empty", "Write"),
        (b"{\n  x}", "line 2 column 3", "Correct the syntax there"),
        (b"NaN", "malformed", "Correct the syntax"),
        (b'{"a":\n"\xff"}', "line 2 is not text in UTF-8", "Save it as UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark of UTF-8", "Save it as UTF-8"),
        ("{}".encode("utf-16-be"), "malformed", "Correct the syntax"),
        (b'{"a":' * 50_000, "nested too deeply", "Correct the syntax"),
        (b"[NaN," + b"[" * 50_000, "nested too deeply", "Correct the syntax"),
    ],
)
def test_what_is_no_json_has_its_place_and_remedy(text: bytes, what: str, remedy: str) -> None:
    findings = Findings()
    assert decode(text, findings) is None
    [problem] = findings.problems
    assert problem.code == "workflow.not_json"
    if what != "malformed":
        assert what in problem.what
    assert remedy in problem.remedy


def test_every_name_that_is_given_twice_is_named_with_its_path() -> None:
    findings = Findings()
    text = b'{"a": 1, "b": [{"c": 1, "c": 2}, {"d": {"e": 1, "e": 1, "e": 1}}], "a": 2}'
    assert decode(text, findings) == ({"a": 2, "b": [{"c": 2}, {"d": {"e": 1}}]},)
    assert [problem.path for problem in findings.problems] == ["a", "b[0].c", "b[1].d.e"]
    assert {problem.code for problem in findings.problems} == {"workflow.repeated_key"}


def test_the_first_line_that_is_no_text_is_named() -> None:
    findings = Findings()
    texts({"b.md": b"one\n\xff", "a.md": b"fine \xc3\xa9", "c.md": b""}, findings)
    [problem] = findings.problems
    assert (problem.code, problem.path, problem.what) == ("workflow.not_text", "b.md", "line 2 is not text in UTF-8")

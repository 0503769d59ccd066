"""The picture of a first session is one: recorded anew, it shows the same; and the README shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from acceptance.claude.kit import KEY
from docs.drawing import Cell, Look, Window, draw, read, rows_of, words
from docs.first_session import DESCRIPTION, PICTURE, TASK, TITLE, part, record, replaced
from docs.pages import ROOT, page
from docs.test_reference import section

SIZE = (4, 20)


def test_a_recorded_session_shows_what_the_picture_shows(tmp_path: Path) -> None:
    drawn = draw(record(tmp_path), TITLE, DESCRIPTION)
    assert read(drawn) == read(PICTURE.read_text(encoding="utf-8")), "the picture is behind: call scripts/picture"
    assert str(tmp_path) not in drawn


def test_the_picture_tells_the_story_and_nothing_of_a_machine() -> None:
    svg = PICTURE.read_text(encoding="utf-8")
    start, decide, end = ("".join(rows) for rows in read(svg))
    assert f"/stagent:start{TASK.replace(' ', '')}" in start
    assert "result:approved" in decide and "1.Approve" in decide and "2.Reject" in decide
    assert "Theengineranthetests:theypass." in end
    assert not re.search(r"/tmp|/var|/home|/Users|stagent-cc|\d\d:\d\d:(?!00)\d\d|[AP]M\b", svg)
    assert KEY[-20:] not in svg
    assert re.findall(r"(?:href|src)=|url\(|<script", svg) == []


def test_the_readme_shows_it_in_a_section_of_three_steps() -> None:
    text = section(page("README.md"), "A first session")
    assert re.findall(r"^(\d+)\. ", text, re.MULTILINE) == ["1", "2", "3"]
    [(place, words_for_it)] = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', text)
    assert ROOT / place == PICTURE
    assert f"/stagent:start {TASK}" in words_for_it
    assert f"`/stagent:start {TASK}`" in text


def shows(raw: str) -> list[str]:
    return [words(row) for row in rows_of(raw.encode(), SIZE)]


def test_a_screen_is_what_was_drawn_last() -> None:
    assert shows("one\r\ntwo\x1b[1;1Hnew") == ["new", "two", "", ""]
    assert shows("\x1b[>1u\x1b[<u\x1bP+q\x1b\\a\x1b]0;title\x07b") == ["ab", "", "", ""]


def test_looks_are_kept() -> None:
    row = rows_of(b"\x1b[1;38;2;1;2;3mx\x1b[0;7my\x1b[0m", SIZE)[0]
    assert row[0] == Cell("x", Look(ink="#010203", bold=True))
    assert (row[1].look.paper, row[2].look.paper) == (Look().ink, "")


@pytest.mark.parametrize("said", ["a <b> & c", "❯ ● ⎿ x", "1  far   apart", 'it\'s "so"'])
def test_a_picture_can_be_read(said: str) -> None:
    svg = draw([Window("w", rows_of(said.encode(), SIZE)), Window("v", rows_of(b"x\r\ny", SIZE))], "t", "d")
    bare = re.sub(r"[❯●⎿ ]", "", said)
    assert read(svg) == [[bare], ["x", "y"]]


def test_a_picture_that_says_something_else_is_found() -> None:
    svg = PICTURE.read_text(encoding="utf-8")
    assert read(svg.replace(">Approve<", ">Reject<")) != read(svg)


def test_what_varies_is_replaced_and_looks_as_before() -> None:
    row = rows_of(b"ab \x1b[2;31mv1.2.3", SIZE)[0]
    assert words(replaced(row)) == "ab"
    [wide] = rows_of(b"agent aaaabbbbcccc, started 12:34:56 UTC!", (1, 60))
    assert words(replaced(wide)) == "agent 0123456789ab, started 09:00:00 UTC!"


def test_a_part_ends_before_a_row_or_at_the_end() -> None:
    rows = rows_of(b"a\r\nb\r\nc\r\n", SIZE)
    assert [words(row) for row in part(rows, "b", "")] == ["b", "c"]
    assert [words(row) for row in part(rows, "a", "c")] == ["a", "b"]

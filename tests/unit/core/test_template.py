"""The template engine: what a tag is, what it becomes, and that values never are templates."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core.template import Problem, Template, parse

NAMES = ("task", "a", "stages.qa-ing.output")
TAGGY = st.sampled_from(
    ["{{a}}", "{{#if a}}", "{{else}}", "{{/if}}", "{{ nothing }}", "\\{{", "}}", "$&", "$$", "\\1", "\\g<0>", "{", "%s"]
)
VALUES = st.lists(TAGGY | st.text(max_size=5), max_size=5).map("".join)


def template(text: str) -> Template:
    read = parse(text)
    assert isinstance(read, Template), read
    return read


def filled(text: str, **values: str) -> str:
    return template(text).render(values).text


def problems(text: str) -> list[Problem]:
    read = parse(text)
    assert isinstance(read, list)
    return read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("{{a}}", "A"),
        ("x{{a}}y{{a}}", "xAyA"),
        ("{{ a }}{{\ta \t}}", "AA"),
        ("{{#if a}}yes{{/if}}", "yes"),
        ("{{#if none}}yes{{/if}}.", "."),
        ("{{#if blank}}yes{{else}}no{{/if}}", "no"),
        ("{{#if a}}yes{{else}}no{{/if}}", "yes"),
        ("{{ #if a }}{{a}}{{ else }}no{{ /if }}", "A"),
        ("{{#if  a}}yes{{/if}}", "yes"),
        ("{{#if a}}1{{#if none}}2{{#if a}}3{{/if}}{{else}}4{{/if}}5{{else}}6{{/if}}7", "1457"),
        ("{{#if none}}1{{#if a}}2{{else}}3{{/if}}4{{else}}5{{#if a}}6{{/if}}{{/if}}7", "567"),
        ("\\{{a}} {{a}}", "{{a}} A"),
        ("}} { a } {%", "}} { a } {%"),
        ("line 1\r\n{{a}}\n", "line 1\r\nA\n"),
    ],
)
def test_what_a_template_becomes(text: str, expected: str) -> None:
    assert filled(text, a="A", none="", blank=" \n\t ") == expected


def test_names_have_dots_and_hyphens() -> None:
    text = "{{stages.qa-ing.output}} {{#if stages.1st.result}}x{{/if}}"
    assert template(text).names == {"stages.qa-ing.output", "stages.1st.result"}
    assert template(text).render({"stages.qa-ing.output": "Q", "stages.1st.result": "r"}).text == "Q x"


def test_where_names_stand() -> None:
    uses = template("a\n {{x}}\n\n{{#if y}}{{z}}{{/if}}").uses
    assert [(part.kind, part.text, part.line, part.column) for part in uses] == [
        ("value", "x", 2, 2),
        ("if", "y", 4, 1),
        ("value", "z", 4, 10),
    ]


def test_an_unknown_variable_is_empty_and_told_once() -> None:
    made = template("a {{x}} {{x}}\n{{#if y}}{{z}}{{else}}no{{/if}}").render({})
    assert made.text == "a  \nno"
    assert made.warnings == ('line 1, column 3: unknown variable "x"', 'line 2, column 1: unknown variable "y"')


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("{{", 1, 1, '"{{" is no tag'),
        ("x {{}}", 1, 3, '"{{}}" is no tag'),
        ("{{a b}}", 1, 1, '"{{a b}}" is no tag'),
        ("{{a\n}}", 1, 1, '"{{a" is no tag'),
        ("{{a | upper}}", 1, 1, "is no tag"),
        ("{{{a}}}", 1, 1, "is no tag"),
        ("{{ü}}", 1, 1, "is no tag"),
        ("\n\n {{#if}}", 3, 2, "is no tag"),
        ("{{#if else}}", 1, 1, "is no tag"),
        ("{{#if /if}}", 1, 1, "is no tag"),
        ("{{#each a}}", 1, 1, "is no tag"),
        ("{{#if a}}\n{{#if b}}{{/if}}", 1, 1, "this {{#if}} is not closed"),
        ("a\n{{/if}}", 2, 1, "this {{/if}} has no {{#if}} before it"),
        ("{{else}}", 1, 1, "this {{else}} has no {{#if}} before it"),
        ("{{#if a}}{{else}}\n{{else}}{{/if}}", 2, 1, "this condition has an {{else}} already"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, line: int, column: int, words: str) -> None:
    [problem] = problems(text)
    assert (problem.line, problem.column) == (line, column)
    assert words in problem.what
    assert problem.remedy.endswith(".")


def test_every_problem_is_told_at_once_in_order() -> None:
    text = "{{#if a}}\n{{x y}}\n{{/if}}{{/if}}\n{{#if b}}{{else}}{{else}}"
    assert [problem.line for problem in problems(text)] == [2, 3, 4, 4]
    assert "no tag" in problems("{{" + "x" * 1000)[0].what
    assert len(problems("{{" + "x" * 1000)[0].what) < 80


@given(VALUES, VALUES)
def test_values_stay_as_they_are(first: str, second: str) -> None:
    text = "<{{task}}|{{#if a}}[{{a}}]{{else}}{{task}}{{/if}}|{{task}}>"
    inner = f"[{second}]" if second.strip() else first
    assert filled(text, task=first, a=second) == f"<{first}|{inner}|{first}>"


@given(st.text().filter(lambda text: "{{" not in text))
def test_a_text_without_tags_is_what_it_was(text: str) -> None:
    made = template(text).render(dict.fromkeys(NAMES, "value"))
    assert (made.text, made.warnings) == (text, ())


@given(st.text())
def test_escaped_a_text_is_what_it_was(text: str) -> None:
    if "\\{{" not in text and not re.search(r"\{\{\{", text):
        assert filled(text.replace("{{", "\\{{")) == text


PIECES = st.deferred(
    lambda: st.lists(st.sampled_from(["x", " ", "\n", "{{a}}", "{{ task }}"]) | CONDITIONS, max_size=4).map("".join)
)
CONDITIONS = st.builds(
    lambda name, then, other: f"{{{{#if {name}}}}}{then}" + (f"{{{{else}}}}{other}" if other else "") + "{{/if}}",
    st.sampled_from(NAMES),
    PIECES,
    st.none() | PIECES,
)


@given(PIECES, st.fixed_dictionaries(dict.fromkeys(NAMES, VALUES)))
def test_balanced_templates_are_read_and_leave_no_tag_of_theirs(text: str, values: dict[str, str]) -> None:
    read = template(text)
    made = read.render(values)
    assert made.warnings == ()
    assert made == read.render(values)
    assert filled(text, **dict.fromkeys(NAMES, "v")).count("{{") == 0
    # What is left when nothing has a value is plain text, and rendering that again changes nothing.
    empty = filled(text, **dict.fromkeys(NAMES, ""))
    assert filled(empty) == empty


@given(PIECES, st.sampled_from(["{{/if}}", "{{else}}"]))
def test_one_word_too_many_is_found(text: str, word: str) -> None:
    assert problems(text + word)
    assert problems("{{#if a}}" + text)


@given(st.lists(TAGGY | st.text(max_size=3), max_size=12).map("".join))
def test_anything_is_read_or_explained(text: str) -> None:
    read = parse(text)
    if isinstance(read, Template):
        assert read.render(dict.fromkeys(read.names, "v")).warnings == ()
    else:
        assert read
        assert all(1 <= item.line <= text.count("\n") + 1 and item.column >= 1 for item in read)


def test_depth_and_length_do_not_matter() -> None:
    deep = "{{#if a}}" * 50_000 + "x" + "{{/if}}" * 50_000
    assert filled(deep, a="1") == "x"
    assert filled("{{a}}" * 100_000, a="1") == "1" * 100_000

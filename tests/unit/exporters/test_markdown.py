from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from fixtures_story import story
from stagent.core.story import DiffPart
from stagent.exporters.markdown import render

ATTACKS = [
    "```\n# Not a heading\n```",
    "````\n~~~\n# Not a heading",
    "<script>alert(1)</script>\n\n<img src=x>",
    "![p](https://example.org/p.png)",
    "# Not a heading",
    "| a |\n| b |",
    "*x* _y_ [z](https://example.org)",
    "<!--",
]


def outline(text: str) -> tuple[list[str], list[str]]:
    """The headings of a document, and the kinds of everything in it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    kinds = [token.type for token in tokens]
    kinds += [child.type for token in tokens for child in token.children or []]
    heads = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    return heads, kinds


@pytest.mark.parametrize("text", ATTACKS)
def test_what_others_wrote_stays_text(text: str) -> None:
    heads, kinds = outline(render(story(text)))
    assert len(heads) == len(outline(render(story("words")))[0])
    assert not {"html_block", "html_inline", "image", "link_open"} & set(kinds)


@given(st.lists(st.sampled_from([*ATTACKS, *"<>&`~#*[]()!-|\n\t ", "a", "\n\n    "]), max_size=30).map("".join))
def test_any_mixture_stays_text(text: str) -> None:
    heads, kinds = outline(render(story("w" + text)))
    assert len(heads) == len(outline(render(story("words")))[0])
    assert not {"html_block", "html_inline", "image", "link_open"} & set(kinds)


def test_what_it_says() -> None:
    page = render(story("A word"))
    for words in (
        "# A word\n",
        "**running** in stage build, epoch 2",
        "| 1 | A word | refused (check.failed) | 1.0 s |  |  |",
        "| 2 | scripted | ok | 1.0 s | 1,500 | $0.50 |",
        "**a declared policy, no person**",
        "**answered yes** by person:x, channel terminal",
        "an earlier approval was stale",
        "**waits for a person**",
        "**unproven approval**",
        "### Artifact of plan, epoch 1",
        "changed or removed although protected:",
        "**7,000 more lines of the diff are left out here.**",
        f"- head: `{'a' * 64}`",
    ):
        assert words in page, words
    assert "left-behind" not in page


def test_a_fence_is_longer_than_any_in_the_text() -> None:
    assert "\n``````text\n`````\n``````\n" in render(story("words", report="`````\n"))


def test_without_a_diff_the_reason_is_given() -> None:
    assert "It is gone" in render(story(diff=DiffPart(problem="It is gone")))
    assert "What changed" not in render(story(diff=None))


def test_what_a_check_changed_itself_is_named() -> None:
    assert "it changed in the project itself:\n\n" in render(story("made-by-check.txt"))

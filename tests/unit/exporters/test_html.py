from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures_story import story
from stagent.core.story import DiffPart
from stagent.exporters.html import render

VOID = {"meta", "br", "hr", "rect"}
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "div"),
    *("span", "p", "h1", "h2", "h3", "h4", "h5", "h6", "a", "b", "code"),
    *("pre", "ol", "ul", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr"),
    *("th", "td", "details", "summary", "blockquote", "time", "strong", "em", "del", "s", "br"),
    *("hr", "svg", "rect"),
}


class Reader(HTMLParser):
    """Collects the elements of a page and checks that they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag


def read(page: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader.seen


def assert_inert(page: str) -> None:
    for tag, attributes in read(page):
        assert tag in ELEMENTS, tag
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("style", "src", "srcset", "action", "formaction", "background")
            if name == "href":
                assert (value or "").lower().startswith(("#epoch-", "https://", "http://", "mailto:"))


ATTACKS = [
    "<script>alert(1)</script>",
    "</pre></details><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "![p](https://example.org/p.png)",
    "[a](javascript:alert(1)) [b](data:text/html,x) [c](//example.org) [d](https://example.org)",
    "<a href='javascript:alert(1)' onclick=x>y</a>",
    "<style>body{display:none}</style>",
    "```\n</code></pre><b>x\n```",
    "| a | b |\n|---|---|\n| <svg onload=x> | y |",
    "</title><script>x</script>",
    "---\nepoch: 1\n---\n# <iframe>",
    "\x00\x1b[2J\ud800",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_what_others_wrote_stays_text(text: str) -> None:
    assert_inert(render(story(text)))


@given(st.lists(st.sampled_from([*ATTACKS, *"<>&\"'`#*[]()!-|\n\t ", "a", "://"]), max_size=30).map("".join))
def test_any_mixture_stays_text(text: str) -> None:
    assert_inert(render(story(text)))


def test_the_policy_allows_its_own_style_and_nothing_else() -> None:
    page = render(story())
    found = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert found is not None
    assert style is not None
    own = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = found[1].replace("&#x27;", "'")
    assert policy == f"default-src 'none'; style-src 'sha256-{own}'; base-uri 'none'; form-action 'none'"
    assert "http" not in style[1]
    assert "prefers-color-scheme: dark" in style[1]
    assert "max-width: 640px" in style[1]


def test_what_it_says() -> None:
    page = render(story("A <word>"))
    for words in (
        "A &lt;word&gt;",
        "refused",
        "check.failed",
        "declared policy, no person",
        "a person, by terminal",
        "answered yes",
        "An earlier approval was void",
        "waits for a person",
        "unproven approval",
        "the run stands here",
        "1,500 tokens, $0.50",
        "7,000 more lines of the diff are left out",
        "stagent audit verify r-",
        "1 min 14 s",
    ):
        assert words in page, words
    assert "left-behind" not in page


def test_markdown_of_artifacts_is_rendered() -> None:
    page = render(story("# Head\n\n- one\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n`code` ~~gone~~"))
    for words in ("<h1>Head</h1>", "<li>one</li>", "<td>1</td>", "<code>code</code>", "<s>gone</s>"):
        assert words in page, words


def test_the_lines_of_a_diff_are_marked() -> None:
    page = render(story())
    assert '<span class="hunk">--- a/a.txt</span>' in page
    assert '<span class="del">--- old &lt;b&gt;</span>' in page
    assert '<span class="add">+new</span>' in page
    assert '<span class="file">diff --git a/a.txt b/a.txt</span>' in page


def test_a_log_that_is_not_consistent_is_said_first() -> None:
    page = render(story(consistent=False, audit="NOT consistent: torn"))
    assert page.index("NOT consistent: torn") < page.index('class="facts"')


@pytest.mark.parametrize(
    ("status", "success", "badge"),
    [("complete", True, "good"), ("failed", False, "bad"), ("escalated", False, "over"), ("cancelled", False, "off")],
)
def test_the_badge(status: str, success: bool, badge: str) -> None:
    assert f'<span class="badge {badge}">' in render(story(status=status, success=success))


def test_without_a_diff_the_reason_is_given() -> None:
    assert "The folder &lt;is&gt; gone" in render(story(diff=DiffPart(problem="The folder <is> gone")))
    assert "<p>Nothing.</p>" in render(story(diff=DiffPart()))
    assert "What changed" not in render(story(diff=None))


def test_what_a_check_changed_itself_is_named() -> None:
    assert "It changed in the project itself" in render(story("made-by-check.txt"))

"""Pieces of the HTML report: untrusted Markdown made harmless, badges, bars, diffs, times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from stagent.core.frontmatter import FrontMatter, parse

_TAGS = {
    *("a", "p", "br", "hr", "em", "strong", "del", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES = {"a": {"href"}, "ol": {"start"}}
_SHOWN_PATHS = 5
_LINKS = ("https://", "http://", "mailto:")
_WORDS = {
    "ok": ("good", "✓"),
    "pass": ("good", "✓"),
    "running": ("busy", "◌"),
    "stale": ("off", "–"),
    "stopped": ("pause", "‖"),
    "abandoned": ("off", "–"),
    "orphaned": ("off", "–"),
}
_STATES = {
    "running": ("busy", "◌"),
    "stale": ("over", "▲"),
    "waiting": ("wait", "◆"),
    "ready": ("pause", "‖"),
    "interrupted": ("pause", "‖"),
    "stalled": ("pause", "‖"),
    "blocked": ("wait", "◆"),
    "escalated": ("over", "▲"),
    "cancelled": ("off", "⊘"),
}


def _image(self: object, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    """Put a picture's words in its place: a report loads nothing."""
    return f"[picture: {escape(tokens[index].content)}]"


def _markdown() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    reader.add_render_rule("image", _image)
    return reader


_MARKDOWN = _markdown()


def _keep(tag: str, attribute: str, value: str) -> str | None:
    """Let only links lead out that say where they lead."""
    return value if attribute != "href" or value.lower().startswith(_LINKS) else None


def prose(text: str) -> str:
    """Return an artifact's Markdown as clean HTML, without its front matter."""
    data = text.encode("utf-8", "replace")
    head = parse(data)
    body = data[head.body if isinstance(head, FrontMatter) else 0 :].decode("utf-8", "replace")
    options: dict[str, Any] = {"link_rel": "noopener noreferrer nofollow", "attribute_filter": _keep}
    return nh3.clean(_MARKDOWN.render(body), tags=_TAGS, attributes=_ATTRIBUTES, **options)


def badge(status: str, *, success: bool) -> str:
    """Return the state of a run as sign, word and colour."""
    colour, sign = ("good", "✓") if success else _STATES.get(status, ("bad", "✕"))
    return f'<span class="badge {colour}"><span aria-hidden="true">{sign}</span>{escape(status)}</span>'


def word(outcome: str) -> str:
    """Return how an attempt or check ended as sign, word and colour."""
    colour, sign = _WORDS.get(outcome, ("bad", "✕"))
    return f'<span class="{colour}"><span aria-hidden="true">{sign}</span> {escape(outcome)}</span>'


def bar(start: float, length: float) -> str:
    """Return where a stay lies in the whole time, both as parts of one."""
    left = min(max(start, 0.0), 1.0) * 100
    wide = min(max(length * 100, 0.8), 100.0)
    left = min(left, 100 - wide)
    return (
        '<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" '
        f'height="8" rx="1"/><rect class="bar" x="{left:.2f}" width="{wide:.2f}" height="8"/></svg>'
    )


def folded(summary: str, text: str) -> str:
    """Return text behind a line that unfolds it; `summary` is HTML, `text` is not."""
    body = escape(text.strip("\n"))
    return f'<details><summary>{summary}</summary><pre class="output">{body}</pre></details>'


def paths(words: str, text: str) -> str:
    """Return a list of paths, one per line of `text`; a long one is folded."""
    names = text.strip("\n").split("\n")
    if len(names) > _SHOWN_PATHS:
        return folded(f"{words} ({len(names)})", text)
    return f'<p class="bound">{words}: {", ".join(f"<code>{escape(name)}</code>" for name in names)}</p>'


def diff(text: str) -> str:
    """Return a unified diff with its lines marked."""
    found = []
    in_head = False
    for line in text.split("\n"):
        if line.startswith("diff --git "):
            in_head = True
        elif line.startswith("@@"):
            in_head = False
        kind = _kind(line, in_head)
        found.append(f'<span class="{kind}">{escape(line)}</span>' if kind else f"<span>{escape(line)}</span>")
    return "".join(found)


def _kind(line: str, in_head: bool) -> str:
    if in_head:
        return "file" if line.startswith("diff --git ") else "hunk"
    return {"+": "add", "-": "del", "@": "hunk"}.get(line[:1], "")


def stamp(millis: int) -> str:
    """Return unix milliseconds as UTC text that programs can read too."""
    at = datetime.fromtimestamp(millis / 1000, UTC)
    return f'<time datetime="{at.isoformat(timespec="seconds")}">{at.strftime("%Y-%m-%d %H:%M:%S")} UTC</time>'


def span(start: int, end: int | None) -> str:
    """Return how long something took; empty when it has not ended."""
    if end is None:
        return ""
    seconds = max(end - start, 0) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min {int(seconds % 60)} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def used(tokens: int | None, cost: float | None) -> str:
    """Return what was used, as far as it is known."""
    found = [f"{tokens:,} tokens"] if tokens is not None else []
    return ", ".join([*found, f"${cost:.2f}"] if cost is not None else found)

"""The pages of the documentation as the tests see them: headings, links, and fenced blocks with their directives.

A block may have a directive on the line before it: `<!-- doc: word key=value -->`. The words are those of `WORDS`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent.parent
LANGUAGES = ("console", "sh", "json", "python", "markdown", "text")
WORDS = {
    "new": "begin with a fresh sandbox; `new=empty`: before its repository is made",
    "file": "write the block to this file of the sandbox",
    "exit": "the exit status that the last command of the block ends with",
    "says": "run the block at a person's terminal and give these answers, separated by |, with \\n for a further line",
    "stage": "the JSON object is a stage of a workflow",
    "shown": "a block of text for people, with nothing in it to run",
}
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<language>\S*)[ \t]*$")
_DIRECTIVE = re.compile(r"^<!-- doc: (.*) -->$")
_HEADING = re.compile(r"^(#{1,6}) (.*?) *$")
_LINK = re.compile(r"(?<!\\)!?\[[^\]\n]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


class Block(msgspec.Struct, frozen=True):
    """A fenced block: the line of its fence, its language, its text, and what its directive says."""

    line: int
    language: str
    text: str
    directive: dict[str, str]


class Page(msgspec.Struct, frozen=True):
    """One Markdown file."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """Its place in the checkout."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def lines(self) -> Iterator[tuple[int, str]]:
        """The lines outside fenced blocks, with their numbers."""
        fence = ""
        for number, line in enumerate(self.text.splitlines(), start=1):
            match = _FENCE.match(line)
            if match and not fence:
                fence = match["fence"]
            elif fence and line.strip() == fence:
                fence = ""
            elif not fence:
                yield number, line

    @property
    def headings(self) -> list[tuple[int, str]]:
        """Level and words of every heading, without code marks."""
        found = (_HEADING.match(line) for _, line in self.lines)
        return [(len(match[1]), match[2].replace("`", "")) for match in found if match]

    @property
    def anchors(self) -> set[str]:
        """What a link to a place in this page may name, as GitHub forms it."""
        return {re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-") for _, words in self.headings}

    @property
    def links(self) -> list[tuple[int, str]]:
        """Line and target of every link and picture."""
        return [
            (number, target)
            for number, line in self.lines
            for pair in _LINK.findall(re.sub(r"`[^`]*`", "", line))
            for target in pair
            if target
        ]

    @property
    def blocks(self) -> list[Block]:
        """Every fenced block, in order."""
        found: list[Block] = []
        lines = self.text.splitlines()
        number = 0
        while number < len(lines):
            match = _FENCE.match(lines[number])
            number += 1
            if match is None:
                continue
            begin = number
            while lines[number].strip() != match["fence"]:
                number += 1
            indent = len(match["indent"])
            text = "".join(f"{line[indent:]}\n" for line in lines[begin:number])
            found.append(Block(begin, match["language"], text, directive(lines, begin - 2)))
            number += 1
        return found


def directive(lines: list[str], number: int) -> dict[str, str]:
    """Read the directive on a line, empty when there is none; a word without a value maps to an empty text."""
    match = _DIRECTIVE.match(lines[number].strip()) if number >= 0 else None
    pairs = (word.partition("=") for word in shlex.split(match[1])) if match else ()
    return {key: value for key, _, value in pairs}


def pages() -> list[Page]:
    """Every page: the README, the change log, the guide for contributors, and everything below docs/."""
    top = [ROOT / name for name in ("README.md", "CHANGELOG.md", "AGENTS.md", "scripts/README.md")]
    found = [*top, *sorted((ROOT / "docs").rglob("*.md"))]
    return [Page(path, path.read_text(encoding="utf-8")) for path in found]


def page(name: str) -> Page:
    """One page by its place in the checkout."""
    return Page(ROOT / name, (ROOT / name).read_text(encoding="utf-8"))

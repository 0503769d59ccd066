"""Prompt templates: `{{name}}` and `{{#if name}} ... {{else}} ... {{/if}}`, and nothing else.

Blanks inside a tag do not matter; conditions may be nested. Only the template is read for tags, once: a value is put
in as it stands, whatever it holds. A condition holds when its value is more than white space. `\\{{` is a plain `{{`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_TAG = re.compile(r"\\\{\{|\{\{(?:[ \t]*(?:(#if)[ \t]+)?(" + _NAME + r"|/if)[ \t]*\}\})?")
_WORDS = ("else", "/if")
_SHOWN = 40


class Part(msgspec.Struct, frozen=True):
    """A piece of a template: `text` holds plain text, or the name of a value or condition.

    `line` and `column` count from 1 and say where a value or condition stands.
    """

    kind: Literal["text", "value", "if", "else", "end"]
    text: str
    line: int = 0
    column: int = 0


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a template, and where."""

    line: int
    column: int
    what: str
    remedy: str


class Rendered(msgspec.Struct, frozen=True):
    """A finished text, and what was amiss while it was made."""

    text: str
    warnings: tuple[str, ...]


class Template(msgspec.Struct, frozen=True):
    """A template without a problem in it."""

    parts: tuple[Part, ...]

    @property
    def uses(self) -> tuple[Part, ...]:
        """The values and conditions in the order they stand."""
        return tuple(part for part in self.parts if part.kind in ("value", "if"))

    @property
    def names(self) -> frozenset[str]:
        """The names of everything the template may ask for."""
        return frozenset(part.text for part in self.uses)

    def render(self, values: Mapping[str, str]) -> Rendered:
        """Return the text with these values; an unknown name is an empty one and a warning, once for each name."""
        made: list[str] = []
        warnings: dict[str, str] = {}
        # Whether each open branch is kept, and whether the condition around it is.
        kept, around = True, list[tuple[bool, bool]]()
        for part in self.parts:
            if part.kind in ("value", "if") and kept and part.text not in values:
                place = f"line {part.line}, column {part.column}"
                warnings.setdefault(part.text, f'{place}: unknown variable "{part.text}"')
            if part.kind == "if":
                holds = bool(values.get(part.text, "").strip())
                around.append((kept, holds))
                kept = kept and holds
            elif part.kind == "else":
                kept = around[-1][0] and not around[-1][1]
            elif part.kind == "end":
                kept = around.pop()[0]
            elif kept:
                made.append(part.text if part.kind == "text" else values.get(part.text, ""))
        return Rendered("".join(made), tuple(warnings.values()))


def parse(text: str) -> Template | list[Problem]:
    """Read a template; every problem at once where there is one."""
    parts, problems = examine(text)
    return problems or Template(parts)


def examine(text: str) -> tuple[tuple[Part, ...], list[Problem]]:
    """Return the parts of a text that can be read, for whoever looks at their names, and every problem."""
    reader = _Reader(text)
    reader.read()
    return tuple(reader.parts), reader.problems


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.parts: list[Part] = []
        self.problems: list[Problem] = []
        # The open conditions: their place, and whether their `else` was seen.
        self.open: list[tuple[int, int, bool]] = []
        self.line, self.start, self.seen = 1, 0, 0

    def read(self) -> None:
        """Take the text apart."""
        done = 0
        for match in _TAG.finditer(self.text):
            self._plain(self.text[done : match.start()])
            self._tag(match)
            done = match.end()
        self._plain(self.text[done:])
        for line, column, _ in self.open:
            self.problems.append(Problem(line, column, "this {{#if}} is not closed", "Close it with {{/if}}."))
        self.problems.sort(key=lambda problem: (problem.line, problem.column))

    def _plain(self, text: str) -> None:
        if text:
            self.parts.append(Part("text", text))

    def _tag(self, match: re.Match[str]) -> None:
        line, column = self._place(match.start())
        if match[0].startswith("\\"):
            self.parts.append(Part("text", "{{"))
        elif match[2] is None or (match[1] and match[2] in _WORDS):
            rest = self.text[match.start() : match.start() + _SHOWN].split("\n")[0]
            what = f'"{rest}" is no tag'
            known = "Write {{name}}, {{#if name}}, {{else}} or {{/if}}; \\{{ for braces that are meant as they are."
            self.problems.append(Problem(line, column, what, known))
        elif match[2] in _WORDS:
            self._close(match[2], line, column)
        else:
            self.parts.append(Part("if" if match[1] else "value", match[2], line, column))
            if match[1]:
                self.open.append((line, column, False))

    def _close(self, word: str, line: int, column: int) -> None:
        if not self.open:
            what = f"this {{{{{word}}}}} has no {{{{#if}}}} before it"
            self.problems.append(Problem(line, column, what, "Remove it, or open the condition."))
        elif word == "/if":
            self.open.pop()
            self.parts.append(Part("end", ""))
        elif self.open[-1][2]:
            what = "this condition has an {{else}} already"
            self.problems.append(Problem(line, column, what, "Keep one of them."))
        else:
            self.open[-1] = (*self.open[-1][:2], True)
            self.parts.append(Part("else", ""))

    def _place(self, at: int) -> tuple[int, int]:
        """Return line and column of a position; positions are asked for in rising order."""
        newlines = self.text.count("\n", self.seen, at)
        if newlines:
            self.line += newlines
            self.start = self.text.rindex("\n", self.seen, at) + 1
        self.seen = at
        return self.line, at - self.start + 1

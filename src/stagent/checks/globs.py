"""Matches paths with globs as git does: `*` stays inside a folder, `**` crosses them, a folder's name holds it all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_WILD = frozenset("*?[")
_PROBES = ("q0", "q0/q1/q2.q3")


def compiled(glob: str) -> re.Pattern[str]:
    """Return the expression that matches exactly the paths a glob does; an unclosed bracket stands for itself."""
    text = glob.removeprefix("./").rstrip("/")
    out, at = "", 0
    while at < len(text):
        piece, at = _piece(text, at)
        out += piece
    # As in git, only a name without wildcards means a folder with all below it.
    below = "" if set(text) & _WILD else "(?:/.*)?"
    return re.compile(rf"(?:{out}){below}\Z", re.DOTALL)


def _piece(text: str, at: int) -> tuple[str, int]:
    if text.startswith("**/", at):
        return "(?:.*/)?", at + 3
    if text.startswith("**", at):
        return ".*", at + 2
    character = text[at]
    if character == "*":
        return "[^/]*", at + 1
    if character == "?":
        return "[^/]", at + 1
    end = text.find("]", at + 2) if character == "[" else -1
    if end > 0:
        inner = text[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
        negated = inner.startswith(("!", "^"))
        return f"(?!/)[{'^' if negated else ''}{inner[1:] if negated else inner}]", end + 1
    return re.escape(character), at + 1


def matching(globs: Sequence[str], names: Iterable[str]) -> set[str]:
    """Return the names that at least one glob matches."""
    patterns = [compiled(glob) for glob in globs]
    return {name for name in names if any(pattern.match(name) for pattern in patterns)}


def is_everything(glob: str) -> bool:
    """Say whether a glob leaves nothing out: then it draws no line."""
    return glob.strip("./") == "" or len(matching([glob], _PROBES)) == len(_PROBES)

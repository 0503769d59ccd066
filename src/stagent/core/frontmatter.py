"""The fixed grammar of an artifact's front matter.

The first line is `---`; lines `key: scalar` follow until the next line `---`. Lines end in LF or CRLF. A key is a
letter or underscore followed by letters, digits, `_` or `-`; a scalar is the rest of the line without the blanks
around it and without one matching pair of quotes around it. Empty lines and lines that begin with `#` are passed
over. It is not YAML: no nesting, no lists, no escapes. Only a block at the very start of the file counts.
"""

from __future__ import annotations

import re

import msgspec

_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)[ \t]*:(.*)\Z", re.DOTALL)
_BOM = b"\xef\xbb\xbf"
LIMIT = 64 * 1024
"""The closing line must begin within so many bytes of the first `---`; a longer block is no front matter."""


class FrontMatter(msgspec.Struct, frozen=True):
    """The fields of the block, and where the body begins (bytes from the start of the file)."""

    fields: dict[str, str]
    body: int


class Malformed(msgspec.Struct, frozen=True):
    """Why a file has no readable front matter; `line` counts from 1."""

    reason: str
    line: int = 1


def parse(data: bytes) -> FrontMatter | Malformed:
    """Read the front matter of a file's bytes; never raises."""
    start = len(_BOM) if data.startswith(_BOM) else 0
    position, line = _line(data, start)
    if line != b"---":
        return Malformed("the file does not begin with a line ---")
    fields: dict[str, str] = {}
    number = 1
    while position < len(data) and position - start <= LIMIT:
        number += 1
        position, line = _line(data, position)
        if line == b"---":
            return FrontMatter(fields, position)
        problem = _field(line, fields)
        if problem:
            return Malformed(problem, number)
    return Malformed("the block is not closed by a line ---", number)


def _line(data: bytes, start: int) -> tuple[int, bytes]:
    end = data.find(b"\n", start)
    stop, after = (len(data), len(data)) if end < 0 else (end, end + 1)
    return after, data[start:stop].removesuffix(b"\r")


def _field(line: bytes, fields: dict[str, str]) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return "the line is not UTF-8"
    stripped = text.strip(" \t")
    if not stripped or stripped.startswith("#"):
        return ""
    match = _KEY.match(text)
    if match is None:
        return "the line is not of the form key: value"
    key, value = match.group(1), match.group(2).strip(" \t")
    if key in fields:
        return f"the key {key} stands twice"
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    fields[key] = value
    return ""


def epoch_of(fields: dict[str, str]) -> int | None:
    """Return the epoch a front matter states, or None when it is absent or not a plain whole number."""
    text = fields.get("epoch", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def rewrite(data: bytes, values: dict[str, str]) -> bytes:
    """Return the file with these fields set in its front matter, adding a block when there is none to change.

    Raises ValueError for a value that does not fit on one line.
    """
    parsed = parse(data)
    kept = {} if isinstance(parsed, Malformed) else dict(parsed.fields)
    body = data if isinstance(parsed, Malformed) else data[parsed.body :]
    kept.update(values)
    head = "".join(f"{key}: {_scalar(value)}\n" for key, value in kept.items())
    return b"---\n" + head.encode() + b"---\n" + body


def _scalar(value: str) -> str:
    if "\n" in value:
        raise ValueError("a value of the front matter stands on one line")
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return f'"{value}"' if quoted or value != value.strip(" \t\r") else value

"""The front matter of an artifact, read as the engine reads it: one grammar, one table of cases."""

from __future__ import annotations

import _io

LONGEST = 64 << 10  # how long front matter may be (bytes)


def front(data: bytes) -> tuple[dict[str, str] | None, str]:
    """Read front matter as the engine does; return (fields, "") or (None, why)."""
    file = _io.BytesIO(data.removeprefix(b"\xef\xbb\xbf"))
    number, fields, ends = 1, dict[str, str](), (b"---\n", b"---\r\n", b"---", b"---\r")
    if file.readline() not in ends:
        return None, "line 1: the file does not begin with a line ---"
    while file.tell() <= LONGEST and (line := file.readline()):
        number += 1
        if line in ends:
            return fields, ""
        if problem := _field(line.removesuffix(b"\n").removesuffix(b"\r"), fields):
            return None, f"line {number}: {problem}"
    return None, f"line {number}: the block is not closed by a line ---"


def _field(line: bytes, fields: dict[str, str]) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return "the line is not UTF-8"
    if not text.strip(" \t") or text.strip(" \t").startswith("#"):
        return ""
    key, colon, value = text.partition(":")
    key, value = key.rstrip(" \t"), value.strip(" \t")
    if not colon or not key.isascii() or not key.replace("-", "_").isidentifier() or key[0] == "-":
        return "the line is not of the form key: value"
    if key in fields:
        return f"the key {key} stands twice"
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    fields[key] = value[1:-1] if quoted else value
    return ""

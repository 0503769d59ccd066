"""The bytes of a workflow's files as JSON and as text: where they are not, with the place; names said twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from stagent.core.verify.problem import Findings

_MARKS = ((b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_AS_UTF8 = "Save it as UTF-8, without a byte order mark."


class _Object(dict[str, Any]):
    """An object of a document, and the names it gives more than once."""

    twice: tuple[str, ...] = ()


def decode(text: bytes, findings: Findings) -> tuple[object] | None:
    """Return what a document says, in a tuple; None when it is not JSON. Problems go to `findings`."""
    try:
        document = msgspec.json.decode(text)
        pairs = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        what, remedy = _why_not(text, error)
        findings.error("not_json", "", f"the file is not JSON: {what}", remedy)
        return None
    for path in _repeated(pairs, ""):
        findings.error("repeated_key", path, "the name stands there more than once", "Keep one of them.")
    return (document,)


def texts(files: Mapping[str, bytes], findings: Findings) -> None:
    """Report every instruction file that is not text."""
    for name, data in sorted(files.items()):
        try:
            data.decode()
        except UnicodeDecodeError as error:
            findings.error("not_text", name, f"line {_line(data, error.start)} is not text in UTF-8", _AS_UTF8)


def _line(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def _why_not(text: bytes, error: Exception) -> tuple[str, str]:
    if not text.strip():
        return "it is empty", "Write the workflow's document into it."
    for mark, name in _MARKS:
        if text.startswith(mark):
            return f"it begins with a byte order mark of {name}", _AS_UTF8
    if isinstance(error, RecursionError):
        return "it is nested too deeply", "Correct the syntax."
    try:
        json.loads(text.decode())
    except UnicodeDecodeError as bad:
        return f"line {_line(text, bad.start)} is not text in UTF-8", _AS_UTF8
    except json.JSONDecodeError as bad:
        return f"{bad.msg}: line {bad.lineno} column {bad.colno}", "Correct the syntax there."
    except RecursionError:
        return "it is nested too deeply", "Correct the syntax."
    return str(error), "Correct the syntax."


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        made.twice = tuple(sorted({name for name in names if names.count(name) > 1}))
    return made


def _repeated(value: object, path: str) -> Iterator[str]:
    """Yield the path of every name an object gives more than once."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, f"{path}[{index}]")
    elif isinstance(value, _Object):
        start = f"{path}." if path else ""
        yield from (f"{start}{name}" for name in value.twice)
        for name, item in value.items():
            yield from _repeated(item, f"{start}{name}")

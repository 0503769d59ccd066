"""Structured answers: the JSON objects a text may mean, and whether an artifact holds the one its stage asks for.

Only an object counts as an answer. What a text offers is tried in this order: the text as a whole, the first block
fenced as `json`, then each object that stands in it, from the beginning. A part of another value is never taken:
neither an element of a list nor an object inside one that is broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from stagent.core import refusals as no
from stagent.core.evidence import Evidence
from stagent.core.model import Stage, Workflow
from stagent.core.refusals import Refusal
from stagent.core.state import Recorded, State

SCAN_LIMIT = 4 * 1024 * 1024
"""A longer text is not searched for objects (characters); as a whole, or in a fenced block, it still counts."""
_OPEN_TRIES = 8
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*json[ \t]*\r?\n", re.M | re.I)
_BEGIN = re.compile(r"\{(?=\s*[\"}])|\[(?=\s*[\[{\"\]0-9tfn-])")
_CUT_OFF = re.compile(r"\{|\[\s*[\[{]")
_TOKEN = re.compile(r"\"(?:[^\"\\]|\\.)*\"|[\"{}\[\]]", re.S)


def satisfied(workflow: Workflow, state: State, stage: Stage, recorded: Recorded, evidence: Evidence) -> Refusal | None:
    """Refuse unless the artifact holds the answer its stage asks for."""
    if stage.output.schema is None or evidence.faults == ():
        return None
    faults = evidence.faults or ("nobody looked at it",)
    return no.work(
        state,
        "output.invalid",
        "the artifact does not hold the object this stage asks for: " + "; ".join(faults),
        "Put one JSON object that satisfies the schema into a ```json block below the front matter.",
        faults=faults,
    )


def objects(text: str) -> Iterator[dict[str, object]]:
    """Yield the JSON objects a text may mean, in the order they are tried; the same one may come twice."""
    whole = _decode(text)
    if whole is not None:
        if isinstance(whole, dict):
            yield whole
        return
    block = _fenced(text)
    if isinstance(block, dict):
        yield block
    if len(text) <= SCAN_LIMIT:
        yield from _standing(text)


def _decode(text: str) -> object:
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return value


def _fenced(text: str) -> object:
    """Return what the first block fenced as `json` holds, None where there is none that can be read."""
    begin = _FENCE.search(text)
    if begin is None:
        return None
    end = re.compile(rf"^ {{0,3}}{begin[1]}[ \t]*\r?$", re.M).search(text, begin.end())
    return _decode(text[begin.end() : end.start()]) if end is not None else None


def _standing(text: str) -> Iterator[dict[str, object]]:
    tries, begin = 0, _BEGIN.search(text)
    while begin is not None and tries < _OPEN_TRIES:
        end = _end(text, begin.start())
        if end is None:
            if _CUT_OFF.match(text, begin.start()):
                return  # what is inside it is a part of something nobody finished
            tries += 1
        value = _decode(text[begin.start() : end]) if end is not None else None
        if isinstance(value, dict):
            yield value
        begin = _BEGIN.search(text, end if end is not None else begin.end())


def _end(text: str, start: int) -> int | None:
    """Return the end of the balanced region that begins here, None where it is not closed."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] in "{[":
            depth += 1
        elif token[0] == '"':
            return None
        elif token[0] in "}]":
            depth -= 1
            if depth == 0:
                return token.end()
    return None

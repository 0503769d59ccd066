"""Identifiers: which names are safe as file names, and how run ids are formed."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
RUN = re.compile(r"r-[0-9A-HJKMNP-TV-Z]{26}\Z")

RESERVED_STAGES = frozenset({"interrupted", "cancelled"})
"""Stage names with a meaning of their own: the pause, and the terminal only a person reaches."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def is_name(text: str) -> bool:
    """Say whether a stage, result, check or run file may carry this name (it becomes a file name)."""
    return bool(NAME.match(text)) and len(text) <= 100


def is_session(text: str) -> bool:
    """Say whether this is a session id we accept in paths and look-ups."""
    return bool(SESSION.match(text))


def is_run(text: str) -> bool:
    """Say whether this has the form of a run id."""
    return bool(RUN.match(text))


def run_id(millis: int, entropy: bytes) -> str:
    """Form a run id `r-` + ULID from unix milliseconds and 10 random bytes; ids sort by time."""
    value = (millis << 80) | int.from_bytes(entropy[:10], "big")
    return "r-" + "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


def attempt_id(run: str, epoch: int, number: int) -> str:
    """Form the id of one attempt; it names its stream file and marks its processes."""
    return f"{run}.{epoch}.{number}"

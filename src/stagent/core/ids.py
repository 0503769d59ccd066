"""Identifiers: which names are safe as file names, and how run ids are formed."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
RUN = re.compile(r"r-[0-9A-HJKMNP-TV-Z]{26}\Z")
_MARK = re.compile(r"(r-[0-9A-HJKMNP-TV-Z]{26})\.([0-9]{1,9})\.(?:([0-9]{1,9})|check\.([A-Za-z0-9][A-Za-z0-9._-]*))\Z")

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


def check_id(run: str, epoch: int, name: str) -> str:
    """Form the id of one check as it runs in an epoch; it marks its processes."""
    return f"{run}.{epoch}.check.{name}"


def run_of(mark: str) -> str:
    """Return the run that the id of an attempt or a check names; empty when the text is neither."""
    found = _MARK.match(mark)
    return found[1] if found else ""


def check_of(mark: str) -> tuple[int, str] | None:
    """Return the epoch and the name that the id of a check is made of, or None when it is none."""
    found = _MARK.match(mark)
    return (int(found[2]), found[4]) if found and found[4] else None


def attempt_of(mark: str) -> tuple[int, int] | None:
    """Return the epoch and the number that the id of an attempt is made of, or None when it is none."""
    found = _MARK.match(mark)
    return (int(found[2]), int(found[3])) if found and found[3] else None


def attempt_id(run: str, epoch: int, number: int) -> str:
    """Form the id of one attempt; it names its stream file and marks its processes."""
    return f"{run}.{epoch}.{number}"

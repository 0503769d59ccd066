"""Small readers for values of a document that report instead of raising."""

from __future__ import annotations

from collections.abc import Mapping

from stagent.core.verify.problem import Findings

Json = Mapping[str, object]
MAX_SECONDS = 100_000_000
"""No time limit or pause is longer (about three years), so that every clock can count it."""
MAX_COUNT = 2**53 - 1
"""No count is larger, so that every reader of JSON gets the same number."""


def shown(value: object) -> str:
    """Return a value of a document as messages quote it, short whatever it holds."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class Shapes:
    """Reads texts, lists, numbers and booleans under a path, reporting what does not fit."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    def keys(self, raw: Json, path: str, known: frozenset[str], later: frozenset[str]) -> None:
        """Report keys that are not carried out: ours as errors, any other as a warning."""
        for key in raw:
            place = f"{path}.{key}" if path else key
            if key in later:
                self.findings.error(
                    "not_implemented",
                    place,
                    f'the field "{key}" is not carried out by this version',
                    "Leave it out, or use a version that carries it out.",
                )
            elif key not in known:
                self.findings.warn(
                    "unknown_key",
                    place,
                    f'unknown field "{key}"',
                    "Correct its name or leave it out.",
                    sorted(known),
                )

    def text(self, raw: Json, path: str, key: str, *, needed: bool = False) -> str:
        """Return a text, or an empty one when it is absent or wrong."""
        value = raw.get(key)
        if isinstance(value, str) and (value.strip() or not needed):
            return value
        if needed or value is not None:
            self.findings.error(key, f"{path}.{key}" if path else key, f"{key} is not a text", "Write a text.")
        return ""

    def texts(self, raw: Json, path: str, key: str) -> tuple[str, ...]:
        """Return a list of non-empty texts, or an empty one when it is absent or wrong."""
        value = raw.get(key)
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
            return tuple(value)
        self.findings.error(key, f"{path}.{key}", f"{key} is not a list of texts", 'Write ["...", "..."].')
        return ()

    def boolean(self, raw: Json, path: str, key: str, *, default: bool) -> bool:
        """Return a boolean, or the default when it is absent or wrong."""
        value = raw.get(key, default)
        if isinstance(value, bool):
            return value
        self.findings.error(key, f"{path}.{key}", f"{shown(value)} is not a boolean", "Write true or false.")
        return default

    def seconds(self, raw: Json, path: str, key: str, *, zero: bool = False) -> float | None:
        """Return a positive number of seconds, or None when it is absent or wrong."""
        value = raw.get(key)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            fits = 0 < value <= MAX_SECONDS or (zero and value == 0)
            if fits:
                return float(value)
        self.findings.error(key, f"{path}.{key}", f"{shown(value)} is no number of seconds", "Write a positive number.")
        return None

    def count(self, raw: Json, path: str, key: str, default: int) -> int:
        """Return a whole number of 1 or more, or the default when it is absent or wrong."""
        value = raw.get(key)
        if value is None:
            return default
        if not isinstance(value, bool) and isinstance(value, int) and 1 <= value <= MAX_COUNT:
            return value
        self.findings.error(key, f"{path}.{key}", f"{shown(value)} is no whole number of 1 or more", "Write one.")
        return default

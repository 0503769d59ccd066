"""Small readers for values of a document that report instead of raising."""

from __future__ import annotations

from collections.abc import Mapping

from stagent.core.verify.problem import Findings

Json = Mapping[str, object]


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
        self.findings.error(key, f"{path}.{key}", f"{value!r} is not a boolean", "Write true or false.")
        return default

    def seconds(self, raw: Json, path: str, key: str, *, zero: bool = False) -> float | None:
        """Return a positive number of seconds, or None when it is absent or wrong."""
        value = raw.get(key)
        if value is None:
            return None
        if not isinstance(value, bool) and isinstance(value, int | float) and (value > 0 or (zero and value == 0)):
            return float(value)
        self.findings.error(key, f"{path}.{key}", f"{value!r} is no number of seconds", "Write a positive number.")
        return None

    def count(self, raw: Json, path: str, key: str, default: int) -> int:
        """Return a whole number of 1 or more, or the default when it is absent or wrong."""
        value = raw.get(key)
        if value is None:
            return default
        if not isinstance(value, bool) and isinstance(value, int) and value >= 1:
            return value
        self.findings.error(key, f"{path}.{key}", f"{value!r} is no whole number of 1 or more", "Write one.")
        return default

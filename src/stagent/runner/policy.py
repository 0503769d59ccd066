"""Decisions a person declared beforehand for an unattended run; marked in the log as a policy's, never a person's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from stagent.core.canonical import digest
from stagent.errors import UsageError


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to decide at one gate; `choice` for a human stage."""

    decision: Literal["approve", "reject", "redo", "answer"]
    reason: str
    choice: str = ""


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    gates: dict[str, Decision]


class Policy:
    """The gates of one policy file, and the digest the log names it by."""

    def __init__(self, text: bytes, where: str) -> None:
        try:
            self.gates = msgspec.json.decode(text, type=_Document).gates
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(
                "policy.invalid",
                f"the policy cannot be read: {error}",
                where=where,
                remedy='Write {"gates": {"STAGE": {"decision": "approve", "reason": "..."}}}.',
            ) from error
        self.text = text
        self.digest = digest(text)

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy file. Raises UsageError when it is missing or not of the form."""
        try:
            return cls(path.read_bytes(), str(path))
        except OSError as error:
            raise UsageError(
                "policy.missing",
                f"the policy cannot be read: {error.strerror}",
                where=str(path),
                remedy="Name a file that exists.",
            ) from error

    @property
    def actor(self) -> str:
        """How the log names this policy."""
        return f"policy:{self.digest[:16]}"

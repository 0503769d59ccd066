"""Masks what looks like a secret before text is stored as output or shown: a net, not a proof."""

from __future__ import annotations

import re

MASK = "[masked]"

_SOURCES = (
    r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    r"\b(?:sk|rk|pk)-[A-Za-z0-9_-]{16,}",
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",
    r"\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"\bglpat-[A-Za-z0-9_-]{16,}",
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"\bAKIA[0-9A-Z]{16}\b",
    r"\bAIza[0-9A-Za-z_-]{30,}",
    r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
)
_BEARER = r"(?i)\b(authorization\s*:\s*(?:bearer|basic)\s+)\S+"
_ASSIGNED = r"(?i)\b([A-Z0-9_]*(?:API_?KEY|SECRET|TOKEN|PASSWORD|PASSWD)[A-Z0-9_]*)(\s*[=:]\s*[\"']?)([^\s\"',;]{8,})"


def mask(text: str) -> str:
    """Return the text with keys, tokens, passwords and private keys replaced by `[masked]`."""
    # Given as text, the patterns are compiled when they are first needed: most commands mask nothing.
    for source in _SOURCES:
        text = re.sub(source, MASK, text)
    text = re.sub(_BEARER, rf"\1{MASK}", text)
    return re.sub(_ASSIGNED, rf"\1\2{MASK}", text)


def mask_bytes(data: bytes) -> bytes:
    """Mask bytes that are mostly text; bytes that are not UTF-8 survive."""
    return mask(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

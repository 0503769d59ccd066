"""Masks what looks like a secret before text is stored as output or shown: a net, not a proof."""

from __future__ import annotations

import re

MASK = "[masked]"

_PATTERNS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\b(?:sk|rk|pk)-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}"),
    re.compile(r"\bgithub_pat_[A-Za-z0-9_]{20,}"),
    re.compile(r"\bglpat-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    re.compile(r"\bAIza[0-9A-Za-z_-]{30,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
)
_BEARER = re.compile(r"(?i)\b(authorization\s*:\s*(?:bearer|basic)\s+)\S+")
_ASSIGNED = re.compile(
    r"(?i)\b([A-Z0-9_]*(?:API_?KEY|SECRET|TOKEN|PASSWORD|PASSWD)[A-Z0-9_]*)(\s*[=:]\s*[\"']?)([^\s\"',;]{8,})"
)


def mask(text: str) -> str:
    """Return the text with keys, tokens, passwords and private keys replaced by `[masked]`."""
    for pattern in _PATTERNS:
        text = pattern.sub(MASK, text)
    text = _BEARER.sub(rf"\1{MASK}", text)
    return _ASSIGNED.sub(rf"\1\2{MASK}", text)


def mask_bytes(data: bytes) -> bytes:
    """Mask bytes that are mostly text; bytes that are not UTF-8 survive."""
    return mask(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

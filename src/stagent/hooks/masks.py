"""What looks like a secret, for the hook: the rules of `stagent.core.masking`, in a file that needs nothing of ours."""

from __future__ import annotations

import re

MASK = "[masked]"
SOURCES = (
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
BEARER = r"(?i)\b(authorization\s*:\s*(?:bearer|basic)\s+)\S+"
ASSIGNED = r"(?i)\b([A-Z0-9_]*(?:API_?KEY|SECRET|TOKEN|PASSWORD|PASSWD)[A-Z0-9_]*)(\s*[=:]\s*[\"']?)([^\s\"',;]{8,})"


def mask(text: str) -> str:
    """Return the text with keys, tokens, passwords and private keys replaced by `[masked]`."""
    for source in SOURCES:
        text = re.sub(source, MASK, text)
    text = re.sub(BEARER, rf"\1{MASK}", text)
    return re.sub(ASSIGNED, rf"\1\2{MASK}", text)

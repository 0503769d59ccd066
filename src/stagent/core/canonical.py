"""Canonical bytes and digests: the one way anything is hashed.

Canonical JSON here is UTF-8, keys sorted, no blanks, as `msgspec.json.encode(order="sorted")` writes it. The hash
of an event is the SHA-256 of the canonical JSON of its envelope, which holds the hash of the event before it.
"""

from __future__ import annotations

import hashlib

import msgspec

_ENCODER = msgspec.json.Encoder(order="sorted")

GENESIS = "0" * 64
"""The `prev` of a run's first event."""


def encode(value: object) -> bytes:
    """Return the canonical JSON of a value made of structs, dicts, lists, strings, numbers, booleans and None."""
    return _ENCODER.encode(value)


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes in hex: the name of a blob and the link of the chain."""
    return hashlib.sha256(data).hexdigest()

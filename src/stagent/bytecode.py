"""A hook's source as the byte code that is run: reading the source at every event would take longer than the hook."""

from __future__ import annotations

import importlib.util
import marshal


def byte_code(source: bytes, shown: str) -> bytes:
    """Return the source as byte code of this interpreter, which is to run it: a `.pyc` that names `shown`.

    Any other version of Python refuses it; whether the source has changed is not looked at when it is run.
    """
    code = compile(source, shown, "exec", dont_inherit=True, optimize=2)
    unchecked = (1).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + unchecked + importlib.util.source_hash(source) + marshal.dumps(code)

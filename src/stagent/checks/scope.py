"""A declared scope: which files a task may change, and the proof that no other did."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec

from stagent.checks import declared
from stagent.checks.declared import Seal, Unmet
from stagent.checks.globs import is_everything, matching
from stagent.checks.listing import files_of, private_rules

KIND = "scope"
_RULES = "ignore"


class Scope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `.agents/scope.json` says: globs of the files that may change, and why just these."""

    may_change: list[str]
    because: str = ""


def declaration(root: Path, out: BinaryIO) -> str:
    """Judge whether a scope is declared that leaves something out. Raises Unmet otherwise."""
    scope = _read(root)
    known = files_of(root)
    inside = matching(scope.may_change, known)
    return f"it holds {len(inside)} of the {len(known)} files there are now."


def lock(root: Path, out: BinaryIO) -> str:
    """Record every file outside the scope as it is now. Raises Unmet when that is not possible."""
    scope = _read(root)
    rules = private_rules(root)
    outside = _outside(root, scope, rules)
    declared.seal(root, KIND, Seal(files=outside, notes={_RULES: rules}))
    return f"everything outside the scope is recorded ({declared.counted(len(outside), 'file')})."


def kept(root: Path, out: BinaryIO) -> str:
    """Judge whether everything outside the scope is as it was recorded. Raises Unmet with what is not."""
    scope = _read(root)
    locked = declared.sealed(root, KIND)
    now = _outside(root, scope, locked.notes.get(_RULES, ""))
    changes = [
        f"{_status(locked.files.get(name), now.get(name))} {name}"
        for name in sorted({*now, *locked.files})
        if now.get(name) != locked.files.get(name)
    ]
    if changes:
        out.write("".join(f"{line}\n" for line in changes).encode("utf-8", "surrogateescape"))
        out.flush()
        raise Unmet(
            f"outside the declared scope ({', '.join(scope.may_change)}) these are not as they were: "
            f"{declared.listed(changes)}. Undo that, or have a person widen the scope."
        )
    return f"everything outside the scope is as it was ({declared.counted(len(now), 'file')})."


def _read(root: Path) -> Scope:
    scope = declared.read(root, KIND, Scope)
    if not scope.may_change:
        raise Unmet(f"{declared.place(KIND)}: `may_change` is empty. Name the files the task may change.")
    for glob in scope.may_change:
        if is_everything(glob):
            raise Unmet(f'{declared.place(KIND)}: "{glob}" is no scope, it holds every file. Name fewer.')
        if glob.startswith("/") or ".." in glob.split("/"):
            raise Unmet(f'{declared.place(KIND)}: "{glob}" leaves the project. Write it relative to the project.')
    return scope


def _outside(root: Path, scope: Scope, rules: str) -> dict[str, str]:
    names = [name for name in files_of(root, rules) if name != declared.lock_place(KIND)]
    inside = matching(scope.may_change, names)
    return {name: declared.digest_of(root / name) for name in names if name not in inside}


def _status(before: str | None, now: str | None) -> str:
    return "A" if before is None else "D" if now is None else "M"

"""Declared findings, each with a command that shows it: whether they are there, and whether they are gone."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from stagent.checks import declared
from stagent.checks.declared import Ran, Unmet

KIND = "findings"


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finding: `run` fails and prints `shows` while the defect is there, and ends with 0 when it is gone."""

    id: str
    title: str
    severity: Literal["critical", "high", "medium", "low"]
    where: str
    run: str
    shows: str
    timeout: float = 120.0


class Findings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `.agents/findings.json` says."""

    findings: list[Finding]


def reproduced(root: Path, out: BinaryIO) -> str:
    """Judge whether every declared finding shows itself. Raises Unmet with those that do not."""
    found = _read(root)
    silent = []
    for finding in found:
        ran = declared.run(finding.run, root, out, finding.timeout)
        why = _not_shown(finding, ran)
        if why:
            silent.append(f"{finding.id} ({why})")
    if silent:
        raise Unmet(f"not reproduced: {declared.listed(silent)}. Show them or take them out.")
    return f"every finding shows itself ({len(found)})."


def gone(root: Path, out: BinaryIO) -> str:
    """Judge whether no declared finding shows itself any more. Raises Unmet with those that do."""
    found = _read(root)
    left = []
    for finding in found:
        ran = declared.run(finding.run, root, out, finding.timeout)
        if ran.code != 0:
            left.append(f"{finding.id} (`{finding.run}` {ran.how})")
    if left:
        raise Unmet(f"still there: {declared.listed(left)}.")
    return f"every finding is gone ({len(found)})."


def _not_shown(finding: Finding, ran: Ran) -> str:
    if ran.code is None or not ran.started:
        return f"`{finding.run}` {ran.how}"
    if ran.code == 0:
        return f"`{finding.run}` ended with exit code 0: the defect is not there"
    if finding.shows.encode() not in ran.stdout + ran.stderr:
        return f"`{finding.run}` failed without printing {finding.shows!r}"
    return ""


def _read(root: Path) -> list[Finding]:
    found = declared.read(root, KIND, Findings).findings
    where = declared.place(KIND)
    if not found:
        raise Unmet(f"{where}: there is no finding in it. Without any, end with the result for that.")
    ids = [finding.id for finding in found]
    if len(set(ids)) != len(ids):
        raise Unmet(f"{where}: two findings have the same id. Give each its own.")
    empty = [
        finding.id
        for finding in found
        if not all(text.strip() for text in (finding.id, finding.title, finding.where, finding.run, finding.shows))
    ]
    if empty:
        raise Unmet(f"{where}: a field is empty in: {declared.listed(empty)}. Fill in every one.")
    return found

"""Suites a project declares for what users do and see: journeys, and pictures compared with reference pictures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import BinaryIO

import msgspec

from stagent.checks import declared, testcommand
from stagent.checks.declared import Seal, Unmet
from stagent.checks.globs import matching
from stagent.checks.listing import files_of
from stagent.checks.testdetect import DECLARED

JOURNEYS, VISUAL = "journeys", "visual"
# What speaks for a suite although none is declared: files, and scripts of package.json by the words in their names.
_FILES = {
    JOURNEYS: ["**/playwright.config.*", "**/cypress.config.*", "**/cypress.json", "**/wdio.conf.*", "**/*.feature"],
    VISUAL: ["**/backstop.json", "**/__screenshots__/**", "**/*-snapshots/*.png", "**/__image_snapshots__/**"],
}
_SCRIPTS = {JOURNEYS: re.compile(r"\b(e2e|journeys?|acceptance)\b"), VISUAL: re.compile(r"\b(visual|screenshots?)\b")}


class Journey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One journey: an id that stands in the file of its test, and what a user does, in words."""

    id: str
    says: str
    file: str


class Journeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `.agents/journeys.json` says: the command that runs all journeys, and which there are."""

    run: str
    journeys: list[Journey]


class Visual(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `.agents/visual.json` says: the command that compares, and globs of the reference pictures."""

    run: str
    images: list[str]
    files: list[str] = []
    timeout: float = 1200.0


def none(root: Path, out: BinaryIO, kind: str) -> str:
    """Judge whether a project really has no suite of a kind. Raises Unmet with what speaks for one."""
    signs = [declared.place(kind)] if declared.exists(root, kind) else []
    signs += sorted(matching(_FILES[kind], files_of(root)))
    try:
        signs += [f'the script "{name}" of package.json' for name in _scripts(root, kind)]
    except _Unreadable:
        signs.append("package.json, which cannot be read")
    if signs:
        raise Unmet(f"there is something to run: {declared.listed(signs)}. Declare it in {declared.place(kind)}.")
    return f"nothing of the kind {kind} is declared or found."


class _Unreadable(Exception):
    """The package.json is there but is not JSON."""


def _scripts(root: Path, kind: str) -> list[str]:
    """Return the scripts of package.json whose names speak of a kind, sorted."""
    manifest = root / "package.json"
    if not manifest.is_file():
        return []
    try:
        data = msgspec.json.decode(manifest.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Unreadable from error
    scripts = data.get("scripts") if isinstance(data, dict) else None
    return sorted(name for name in scripts if _SCRIPTS[kind].search(name)) if isinstance(scripts, dict) else []


def journeys_declared(root: Path, out: BinaryIO) -> str:
    """Judge whether journeys are declared. Raises Unmet otherwise; their tests need not be there yet."""
    suite = _journeys(root)
    return f"{declared.counted(len(suite.journeys), 'journey')}, run by `{suite.run}`."


def journeys_pass(root: Path, out: BinaryIO) -> str:
    """Judge whether each declared journey has a test and the suite passes, by its own count. Raises Unmet otherwise."""
    suite = _journeys(root)
    missing = [f"{item.id} (in {item.file})" for item in suite.journeys if not _stands_in(root / item.file, item.id)]
    if missing:
        raise Unmet(f"no test names these journeys: {declared.listed(missing)}. Write them, with the id in the test.")
    report = _counted(root, out, suite.run)
    if (report.ran or 0) < len(suite.journeys):
        raise Unmet(f"{report.reason} That is fewer than the journeys declared ({len(suite.journeys)}).")
    return report.reason


def journeys_walked(root: Path, out: BinaryIO) -> str:
    """Judge whether the journeys pass: those declared, or else the project's own script for them, by its own count.

    Raises Unmet otherwise, also when there is neither.
    """
    if declared.exists(root, JOURNEYS):
        return journeys_pass(root, out)
    try:
        scripts = _scripts(root, JOURNEYS)
    except _Unreadable as error:
        raise Unmet("package.json cannot be read. Correct it.") from error
    if not scripts:
        raise Unmet(f"no journeys were run: {declared.place(JOURNEYS)} declares none, and package.json has no script.")
    return _counted(root, out, f"npm run {shlex.quote(scripts[0])}").reason


def _counted(root: Path, out: BinaryIO, command: str) -> testcommand.TestReport:
    """Run a suite. Raises Unmet unless it reports that tests ran and none failed."""
    report = testcommand.run(root, out, {**declared.environment(), DECLARED: command})
    if not report.ok:
        raise Unmet(report.reason)
    return report


def visual_declared(root: Path, out: BinaryIO) -> str:
    """Judge whether a comparison is declared and has reference pictures. Raises Unmet otherwise."""
    suite = _visual(root)
    return f"{declared.counted(len(_images(root, suite)), 'reference picture')}, compared by `{suite.run}`."


def visual_seal(root: Path, out: BinaryIO) -> str:
    """Record the reference pictures and what compares them. Raises Unmet when there are none."""
    suite = _visual(root)
    files = declared.behind(root, VISUAL, [suite.run], suite.files) | _images(root, suite)
    declared.seal(root, VISUAL, Seal(files=files))
    return f"the seal covers {declared.counted(len(files), 'file')}."


def visual_same(root: Path, out: BinaryIO) -> str:
    """Judge whether the comparison passes with the sealed reference pictures. Raises Unmet otherwise."""
    suite = _visual(root)
    _untouched(root, suite)
    ran = declared.run(suite.run, root, out, suite.timeout)
    if ran.code != 0:
        raise Unmet(f"`{suite.run}` {ran.how}: what is shown differs from the reference pictures.")
    # A comparison that accepts what it sees as the new reference passes always.
    _untouched(root, suite)
    return f"`{suite.run}` {ran.how}; the reference pictures are as they were recorded."


def _untouched(root: Path, suite: Visual) -> None:
    declared.unbroken(root, VISUAL, [suite.run], [*suite.files, *suite.images])


def _images(root: Path, suite: Visual) -> dict[str, str]:
    found = matching(suite.images, files_of(root))
    if not found:
        globs = ", ".join(suite.images)
        raise Unmet(f"{declared.place(VISUAL)}: no reference picture matches {globs}. Make them, or correct `images`.")
    return {name: declared.digest_of(root / name) for name in sorted(found)}


def _stands_in(path: Path, text: str) -> bool:
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False


def _journeys(root: Path) -> Journeys:
    found = declared.read(root, JOURNEYS, Journeys)
    ids = [item.id for item in found.journeys]
    if not found.run.strip() or not ids:
        raise Unmet(f"{declared.place(JOURNEYS)}: it needs a command in `run` and at least one journey.")
    if len(set(ids)) != len(ids) or not all(name.strip() for name in ids):
        raise Unmet(f"{declared.place(JOURNEYS)}: every journey needs an id of its own.")
    return found


def _visual(root: Path) -> Visual:
    found = declared.read(root, VISUAL, Visual)
    if not found.run.strip() or not found.images:
        raise Unmet(f"{declared.place(VISUAL)}: it needs a command in `run` and globs in `images`.")
    return found

"""What `stagent doctor` looks at in the Claude Code plugin; nothing of it is asked for where none was installed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from stagent import processes
from stagent.cli.checkup_claude import claude
from stagent.cli.checkup_hook import hook, read_text
from stagent.cli.patient import Finding, Findings, Patient
from stagent.engine import install
from stagent.engine.projections.publish import COMPANIONS
from stagent.errors import StagentError, UsageError
from stagent.version import __version__

AGAIN = "stagent install claude-code"
_FRESH = 60.0
"""Seconds a command's arguments may wait to be taken."""


def plugin(patient: Patient) -> Findings:
    """The plugin is generated, of this version, and as it was generated."""
    layout = install.Layout(patient.data)
    for place in (layout.root, Path(patient.data.launcher)):
        for rest in install.unfinished(place):
            yield Finding(
                code="plugin.unfinished",
                where=str(rest),
                what="an installation of the plugin was cut short",
                remedy=f"Do it again: {AGAIN}.",
            )
    if not layout.root.exists():
        session = next((state for _, state in patient.readable if state.live and state.session), None)
        if session is not None:
            yield Finding(
                code="plugin.missing",
                where=str(layout.root),
                what=f"a session drives {session.run}, but the plugin whose hooks hold it is not there",
                remedy=f"Install it: {AGAIN}.",
            )
        return
    version = read_text(layout.version)
    if version != __version__:
        yield Finding(
            code="plugin.version",
            where=str(layout.root),
            what=f"the plugin is of version {version or 'unknown'}, this program of {__version__}",
            remedy=f"Bring it up to date: {AGAIN}.",
        )
        return
    changed = _changed(patient, layout)
    if changed:
        yield Finding(
            code="plugin.changed",
            where=str(layout.root),
            what=f"files of the plugin are missing or were changed: {', '.join(changed[:5])}",
            remedy=f"Generate them anew: {AGAIN}.",
        )


def _changed(patient: Patient, layout: install.Layout) -> list[str]:
    try:
        planned = install.plan(patient.data, read_text(layout.python), read_text(layout.launcher))
    except UsageError:
        return ["launcher"]
    # Byte code is compared by `hook`, with the interpreter that reads it.
    wanted = {name: data for name, data in planned.files.items() if not name.endswith(".pyc")}
    return sorted(name for name, data in wanted.items() if _bytes(layout.root / name) != data)


def launcher(patient: Patient) -> Findings:
    """The launcher is ours, runs this version, and its folder is on the PATH."""
    layout = install.Layout(patient.data)
    if not layout.root.exists():
        return
    place = Path(patient.data.launcher)
    owner = install.launcher_home(place)
    if owner != str(patient.data.root):
        if owner is None:
            yield Finding(code="launcher.missing", where=str(place), what="the launcher is gone", remedy=f"{AGAIN}.")
            return
        yield Finding(
            code="launcher.foreign",
            where=str(place),
            what="the launcher is not the one of this data home",
            remedy=f"Move that file away, then: {AGAIN}.",
        )
    elif not os.access(place, os.X_OK):
        yield Finding(
            code="launcher.mode", where=str(place), what="the launcher cannot be run", remedy=f"chmod 755 {place}"
        )
    else:
        said = install.ask(str(place), "--version", seconds=20)
        if (said.status, said.text) != (0, f"stagent {__version__}"):
            yield Finding(
                code="launcher.broken",
                where=str(place),
                what=f"the launcher does not start this program: {said.text[-200:] or said.status}",
                remedy=f"Write it anew: {AGAIN}.",
            )
    folders = [Path(name).resolve() for name in os.environ.get("PATH", "").split(os.pathsep) if name]
    if place.parent.resolve() not in folders:
        yield Finding(
            code="launcher.path",
            where=str(place.parent),
            what=f"the launcher's folder is not on the PATH, so {place.name} cannot be called by its name",
            remedy=f'Add it: export PATH="{place.parent}:$PATH"; or install again with STAGENT_BIN in one that is.',
        )


def pending(patient: Patient) -> Findings:
    """Nothing a hook kept for a command waits any more for somebody to take it."""
    folder = patient.data.pending
    wanted = _unfolded(patient)
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            age = time.time() - place.stat().st_mtime
        except OSError:
            continue
        if age > _FRESH and os.fsencode(place.name) not in wanted:
            yield Finding(
                code="pending.orphaned",
                where=str(place),
                what=f"what a hook kept for a command {int(age)} s ago was never taken and counts no more",
                remedy=f"rm {place}",
            )


def _unfolded(patient: Patient) -> bytes:
    """Return what hooks wrote down and no command has folded yet: it may refer to files that are still needed."""
    parts: list[bytes] = []
    for service, state in patient.readable:
        data = _bytes(patient.data.spool(state.run)) or b""
        parts.append(data[service.journal.folded(state.run) :])
    return b"\n".join(parts)


def live(patient: Patient) -> Findings:
    """Every file hooks read belongs to a run that goes on."""
    folder = patient.data.root / "live"
    if not folder.is_dir() or patient.home is None:
        return
    going = {state.session for _, state in patient.readable if state.session and not state.ended}
    # What a headless attempt left is taken away by the next runner of its run.
    going |= {f"attempt-{state.run}" for _, state in patient.readable if not state.ended}
    held = {state.lease.holder.pid for _, state in patient.readable if state.lease is not None}
    for place in sorted(folder.iterdir()):
        what = _leftover(patient, place, going, held)
        if what:
            yield Finding(code="live.leftover", where=str(place), what=what, remedy=f"rm {place}")


def _leftover(patient: Patient, place: Path, going: set[str], held: set[int | None]) -> str:
    name = place.name
    if name.startswith("pid-") and name[4:].isdigit():
        pid = int(name[4:])
        return "" if pid in held or processes.look(pid) is not None else "the session's process is gone"
    if place.suffix in COMPANIONS and place.with_suffix(".json").exists():
        return ""
    if place.suffix == ".json" and (going & {place.stem, place.stem.partition(".")[0]} or _unreadable(patient, place)):
        return ""
    known = place.suffix in (*COMPANIONS, ".json") and not name.startswith(".")
    return "hooks read it for a session that has no run any more" if known else ""


def _unreadable(patient: Patient, place: Path) -> bool:
    """Say whether the run of a live file is known but cannot be looked at now: other checks report that."""
    try:
        run = msgspec.json.decode(place.read_bytes(), type=dict[str, object]).get("run")
        return any(entry.run == run and entry.service is None for entry in patient.entries)
    except (OSError, msgspec.MsgspecError, StagentError):
        return False


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


CHECKS: tuple[Callable[[Patient], Findings], ...] = (plugin, hook, launcher, claude, pending, live)

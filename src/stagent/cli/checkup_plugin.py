"""What `stagent doctor` looks at in the Claude Code plugin; nothing of it is asked for where none was installed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from stagent import processes
from stagent.cli.patient import Finding, Findings, Patient
from stagent.core import claudecode
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
    version = _text(layout.version)
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
        planned = install.plan(patient.data, _text(layout.python), _text(layout.launcher))
    except UsageError:
        return ["launcher"]
    places = {name: layout.root / name for name in planned.files}
    return sorted(name for name, place in places.items() if _bytes(place) != planned.files[name])


def hook(patient: Patient) -> Findings:
    """The interpreter is there, and the hook runs under it and leaves a session without a run alone."""
    layout = install.Layout(patient.data)
    if not layout.root.exists():
        return
    python = _text(layout.python)
    if not python or not os.access(python, os.X_OK):
        yield Finding(
            code="plugin.python",
            where=python or str(layout.python),
            what="the interpreter of the hooks is gone or cannot be run",
            remedy=f"Generate the plugin for the interpreter there is: {AGAIN}.",
        )
        return
    if not layout.hook.is_file():
        yield Finding(
            code="plugin.hook_missing",
            where=str(layout.hook),
            what="the hook file is gone",
            remedy=f"Generate it anew: {AGAIN}.",
        )
        return
    event = msgspec.json.encode({"session_id": f"doctor-{os.getpid()}", "hook_event_name": "Stop"})
    said = install.ask(python, "-I", "-S", str(layout.hook), str(patient.data.root), given=event, seconds=20)
    if said.status != 0 or said.text:
        why = said.text.splitlines()[-1] if said.text else f"exit status {said.status}"
        yield Finding(
            code="plugin.hook_broken",
            where=str(layout.hook),
            what=f"the hook does not leave a session without a run alone: {why}",
            remedy=f"Generate it anew for its interpreter: {AGAIN}.",
        )


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


def claude(patient: Patient) -> Findings:
    """Claude Code is there, of a version the plugin was tried with, has the plugin, and runs hooks."""
    layout = install.Layout(patient.data)
    if not layout.root.exists():
        return
    program = shutil.which("claude")
    if program is None:
        yield Finding(
            code="claude.missing",
            where="PATH",
            what="there is no claude to use the plugin with",
            remedy=f"Install Claude Code, then: {AGAIN}; or take the plugin away: {AGAIN} --uninstall.",
        )
        return
    said = install.ask(program, "--version", seconds=30)
    found = claudecode.version(said.text) if said.status == 0 else None
    if found is None or not claudecode.OLDEST <= found < claudecode.BELOW:
        oldest, below = claudecode.dotted(claudecode.OLDEST), claudecode.dotted(claudecode.BELOW)
        old = "; no decision in its sessions counts as a person's" if found is None or found < claudecode.OLDEST else ""
        yield Finding(
            code="claude.version",
            where=program,
            what=f"its version is {said.text or 'unknown'}; the plugin was tried from {oldest} to below {below}{old}",
            remedy="Use a version in that range, or try a run and watch that its hooks fire.",
        )
    if found is not None:
        yield from _loads(program, layout)


def _loads(program: str, layout: install.Layout) -> Findings:
    """The program has the plugin and runs hooks."""
    listed = install.ask(program, "plugin", "list", "--json", seconds=30)
    if not _enabled(listed.text):
        yield Finding(
            code="claude.plugin",
            where=program,
            what=f"it does not have the plugin {install.PLUGIN_ID}, or has it switched off",
            remedy=f"{AGAIN}; or start sessions with: claude --plugin-dir {layout.plugin}",
        )
    settings = Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude") / "settings.json"
    if _hooks_off(settings):
        yield Finding(
            code="claude.hooks_off",
            where=str(settings),
            what="disableAllHooks is set, so that no hook fires and nothing holds a session to its run",
            remedy="Remove disableAllHooks from it.",
        )


class _Plugin(msgspec.Struct, frozen=True):
    id: str = ""
    enabled: bool = True


class _Settings(msgspec.Struct, frozen=True):
    disableAllHooks: bool = False


def _enabled(text: str) -> bool:
    try:
        plugins = msgspec.json.decode(text[max(text.find("["), 0) :], type=list[_Plugin])
    except msgspec.MsgspecError:
        return False
    return any(item.id == install.PLUGIN_ID and item.enabled for item in plugins)


def _hooks_off(settings: Path) -> bool:
    try:
        return msgspec.json.decode(settings.read_bytes(), type=_Settings).disableAllHooks
    except (OSError, msgspec.MsgspecError):
        return False


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


def _text(path: Path) -> str:
    return (_bytes(path) or b"").decode("utf-8", "replace").strip()


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


CHECKS: tuple[Callable[[Patient], Findings], ...] = (plugin, hook, launcher, claude, pending, live)

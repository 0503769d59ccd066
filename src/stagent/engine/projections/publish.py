"""Keeps the projections of a run in step with its log. All of them can be deleted and are made anew, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stagent.config import DataHome
from stagent.core.events import Escalated, Event, StageEntered, Terminal
from stagent.core.ports import BlobGone
from stagent.core.state import State
from stagent.engine.flows import Pinned
from stagent.engine.folder import RunFolder, write
from stagent.engine.projections import live, statefile

_HEAD = 4096


class Publisher:
    """Writes `state.md`, the instruction files, run files, reports and, for sessions, the live file."""

    def __init__(self, pinned: Pinned, home: DataHome, root: Path) -> None:
        self.pinned = pinned
        self.home = home
        self.root = root

    def after(self, state: State, events: Sequence[Event]) -> None:
        """Bring the projections to a state that was just committed."""
        if not events:
            return
        folder = RunFolder.of(self.root, state)
        for event in events:
            if isinstance(event, StageEntered):
                self._enter(state, folder, event.stage)
            elif isinstance(event, Terminal | Escalated) and event.report:
                name = event.terminal if isinstance(event, Terminal) else "escalated"
                write(folder.artifact(name), self._blob(event.report))
        self._write(state, folder)

    def refresh(self, state: State) -> None:
        """Write what is missing or behind; costs one small read when all is well."""
        folder = RunFolder.of(self.root, state)
        if state.terminal == "cancelled" or self._current(state, folder):
            # The folder of a cancelled run was archived or removed by whoever cancelled it.
            return
        for name, content in state.run_files.items():
            if not folder.run_file(name).exists():
                write(folder.run_file(name), self._blob(content))
        if not state.ended:
            self._instructions(state, folder, state.stage)
        if state.report:
            report = folder.artifact(state.terminal or "escalated")
            if not report.exists():
                write(report, self._blob(state.report))
        self._write(state, folder)

    def _current(self, state: State, folder: RunFolder) -> bool:
        try:
            with open(folder.state_file, "rb") as file:
                head = file.read(_HEAD)
        except OSError:
            return False
        mark = f"\nseq: {state.seq}\nhead: {state.head}\n".encode()
        return mark in head and (state.mode != "session" or state.ended or self._live_current(state))

    def _live_current(self, state: State) -> bool:
        path = self._live_path(state)
        if path is None:
            return True
        try:
            return f'"run":"{state.run}","seq":{state.seq},'.encode() in path.read_bytes()[:_HEAD]
        except OSError:
            return False

    def _enter(self, state: State, folder: RunFolder, stage: str) -> None:
        old = folder.artifact(stage)
        if state.stage == stage and old.exists():
            # The engine holds every artifact it accepted; one of an earlier epoch only misleads.
            old.unlink(missing_ok=True)
        self._instructions(state, folder, stage)

    def _instructions(self, state: State, folder: RunFolder, stage: str) -> None:
        text = self.pinned.file(state.workflow, f"{stage}.md")
        path = folder.instructions(stage)
        try:
            same = path.read_bytes() == text
        except OSError:
            same = False
        if text and not same:
            write(path, text)

    def _write(self, state: State, folder: RunFolder) -> None:
        write(folder.state_file, statefile.render(state, str(self.root)))
        path = self._live_path(state) if state.mode == "session" else None
        if path is None:
            return
        if state.ended:
            path.unlink(missing_ok=True)
            return
        workflow = self.pinned.workflow(state.workflow)
        data = live.render(workflow, state, folder, project=str(self.root), home=str(self.home.root))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(path, data)

    def _live_path(self, state: State) -> Path | None:
        session = state.lease.holder.session if state.lease else state.folder
        return self.home.live(session) if session and os.sep not in session else None

    def _blob(self, name: str) -> bytes:
        found = self.pinned.blob(name)
        return b"" if isinstance(found, BlobGone) else found

"""Keeps the projections of a run in step with its log. All of them can be deleted and are made anew, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from stagent import disk
from stagent.config import DataHome
from stagent.core.events import Escalated, Event, GateDecided, Interrupted, Resumed, StageEntered, Terminal
from stagent.core.ports import BlobGone
from stagent.core.state import State
from stagent.engine.brief import Brief
from stagent.engine.folder import RunFolder, file_digest, look, overwrite, read, write
from stagent.engine.journal import Journal
from stagent.engine.pinned import Pinned
from stagent.engine.projections import live, statefile

_HEAD = 4096
_MOVES = (StageEntered, GateDecided, Interrupted, Resumed)
COMPANIONS = (".begun", ".stop", ".held", ".waiting", ".tree", ".doubt", ".skill")
"""What hooks and commands keep beside a session's live file, as long as that is there."""


class Publisher:
    """Writes `state.md`, the instruction files, run files, reports and, for sessions, the live file."""

    def __init__(
        self,
        pinned: Pinned,
        home: DataHome,
        root: Path,
        brief: Callable[[State], Brief],
        journal: Journal,
    ) -> None:
        self.pinned = pinned
        self.home = home
        self.root = root
        self.brief = brief
        self.journal = journal
        self._published: dict[str, str] = {}
        self._seen: dict[str, tuple[int, int, int]] = {}

    def after(self, before: State, state: State, events: Sequence[Event]) -> None:
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
        path = self._live_path(state)
        if path is not None and any(isinstance(event, _MOVES) for event in events):
            # What the session waited for is behind it.
            disk.remove(path.with_suffix(".waiting"))
        self._publish(before, state)

    def _publish(self, before: State, state: State) -> None:
        """Write every view of a state, and of each newer one that came meanwhile.

        Another writer may have shown a newer state already, and what is written here would hide it. Whoever writes
        last looks again afterwards, so that what stays is the newest.
        """
        while True:
            if state.ended or before.session != state.session:
                self._forget(before)
            elif before.lease is not None and (
                state.lease is None or state.lease.holder.pid != before.lease.holder.pid
            ):
                self._forget_process(before)
            self._write(state, RunFolder.of(self.root, state))
            latest, _ = self.journal.load(state.run)
            if latest.head == state.head:
                return
            before, state = state, latest

    def begun(self, state: State) -> None:
        """Note that the driver of a session's run has looked at it: until then the hook asks it to begin."""
        path = self._live_path(state)
        if path is not None and state.epoch == 1:
            mark = path.with_suffix(".begun")
            if not mark.exists():
                write(mark, state.run.encode())

    def refresh(self, state: State) -> None:
        """Write what is missing or behind; costs two small reads when all is well, none after an own write."""
        folder = RunFolder.of(self.root, state)
        if self._published.get(state.run) == state.head and self._live_path(state) is None:
            return
        if state.terminal == "cancelled":
            # Whoever cancelled it puts its folder away; a kill may have come before the live file was removed.
            if self._live_left(state):
                self._forget(state)
            return
        if self._current(state, folder):
            return
        for name, content in state.run_files.items():
            if not folder.run_file(name).exists():
                write(folder.run_file(name), self._blob(content))
        if not state.ended:
            self._instructions(state, folder, state.stage)
        if state.report and state.status in ("ended", "escalated"):
            report = folder.artifact(state.terminal or "escalated")
            if file_digest(report) != state.report:
                write(report, self._blob(state.report))
        self._publish(state, state)

    def _live_left(self, state: State) -> bool:
        """Say whether the session's live file is still this run's, not that of a newer one."""
        path = self._live_path(state)
        data = read(path, _HEAD) if path is not None else None
        return data is not None and f'"run":"{state.run}",'.encode() in data

    def _current(self, state: State, folder: RunFolder) -> bool:
        head = read(folder.state_file, _HEAD)
        if head is None:
            return False
        mark = f"\nseq: {state.seq}\nhead: {state.head}\n".encode()
        return mark in head and self._live_current(state, folder) and self._instructed(state, folder)

    def _instructed(self, state: State, folder: RunFolder) -> bool:
        if state.ended:
            return True
        text = self.pinned.file(state.workflow, f"{state.stage}.md")
        return not text or read(folder.instructions(state.stage)) == text

    def _live_current(self, state: State, folder: RunFolder) -> bool:
        path = self._live_path(state)
        if path is None or state.ended:
            return True
        seen = look(folder.artifact(state.stage))
        mark = seen[0].mark if seen else None
        size, mtime, ino = (mark.size, mark.mtime_ns, mark.ino) if mark else ("null", "null", "null")
        try:
            data = path.read_bytes()
        except OSError:
            return False
        here = f'"run":"{state.run}","seq":{state.seq},' in data[:_HEAD].decode("utf-8", "replace")
        # A line that changed nothing was read all the same: the hook must not take it for news.
        parts = (f'"size":{size},"mtime_ns":{mtime},"ino":{ino}', f'"folded":{self.journal.folded(state.run)},')
        return here and all(part.encode() in data for part in parts)

    def _enter(self, state: State, folder: RunFolder, stage: str) -> None:
        if state.stage == stage:
            # The engine holds every artifact it accepted; one of an earlier epoch only misleads.
            disk.remove(folder.artifact(stage))
        self._instructions(state, folder, stage)

    def _instructions(self, state: State, folder: RunFolder, stage: str) -> None:
        text = self.pinned.file(state.workflow, f"{stage}.md")
        path = str(folder.instructions(stage))
        try:
            # A file that was not touched since it was last compared need not be read again.
            mark = _mark(path)
            if self._seen.get(path) == mark:
                return
            same = read(Path(path)) == text
        except OSError:
            same = False
        if text and not same:
            write(Path(path), text)
            mark = _mark(path)
        if text:
            self._seen[path] = mark

    def _write(self, state: State, folder: RunFolder) -> None:
        overwrite(folder.state_file, statefile.render(state, str(self.root)))
        self._published[state.run] = state.head
        path = self._live_path(state)
        if path is None or state.ended:
            return
        workflow = self.pinned.workflow(state)
        data = live.render(workflow, state, folder, self.brief(state), self.home, self.journal.folded(state.run))
        places = (self.home.spool(state.run).parent, self.home.activity(state.run).parent, self.home.pending)
        for folder_of_hooks in (path.parent, *places):
            disk.make_folder(folder_of_hooks, private=True)
        write(path, data)
        pid = state.lease.holder.pid if state.lease else None
        if pid is not None:
            write(path.with_name(f"pid-{pid}"), state.session.encode())

    def _forget(self, state: State) -> None:
        """Remove what hooks read about a session that drives the run no longer."""
        path = self._live_path(state)
        if path is not None:
            disk.remove(path)
            for suffix in COMPANIONS:
                disk.remove(path.with_suffix(suffix))
        self._forget_process(state)

    def _forget_process(self, state: State) -> None:
        """Remove which session the process of a lease that is over stands for."""
        path = self._live_path(state)
        pid = state.lease.holder.pid if state.lease else None
        if path is not None and pid is not None:
            disk.remove(path.with_name(f"pid-{pid}"))

    def _live_path(self, state: State) -> Path | None:
        """Where hooks look for the run of a session; None for a run no hook watches."""
        holder = state.lease.holder if state.lease else None
        if not state.session or (holder is not None and holder.kind != "session"):
            return None
        return self.home.live(state.session)

    def _blob(self, name: str) -> bytes:
        found = self.pinned.blob(name)
        return b"" if isinstance(found, BlobGone) else found


def _mark(path: str) -> tuple[int, int, int]:
    status = os.stat(path)  # noqa: PTH116 - a path object would cost more than the call
    return status.st_size, status.st_ctime_ns, status.st_ino

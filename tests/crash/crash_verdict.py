"""What must be true of a scene after its driver was killed, whenever that was, and after it was driven to its end."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stagent import processes
from stagent.bootstrap import millis, project_id
from stagent.core import events as ev
from stagent.core.canonical import digest
from stagent.core.state import State
from stagent.engine.audit import verify
from stagent.engine.folder import RunFolder
from stagent.engine.journal import Journal, state_bytes
from stagent.engine.projections import statefile
from stagent.storage.sqlite import SqliteStore

Acknowledged = dict[int, str]
_TEXTS = ("task", "text", "reason", "output", "changed", "report", "protected", "added", "workflow", "environment")


def acknowledged(output: bytes) -> Acknowledged:
    """The events a driver's output says are committed, by seq."""
    words = output.decode().split()
    return {int(words[at + 1]): words[at + 2] for at, word in enumerate(words[:-2]) if word == "ack"}


def home_of(scene: Path) -> Path:
    """Where a scene's project has its database, blobs, streams and shadow."""
    return scene / "home" / "projects" / project_id((scene / "project").resolve())


class Log:
    """The log of a scene's one run, read from a copy, so that the next process finds the files as they were left."""

    def __init__(self, scene: Path) -> None:
        self.scene = scene
        kept = home_of(scene)
        self.events: list[ev.Envelope] = []
        self.hashes: list[str] = []
        self.state: State | None = None
        if not (kept / "stagent.db").exists():
            return
        copy = scene / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(kept, copy, ignore=shutil.ignore_patterns("shadow", "streams"))
        self.store = SqliteStore(copy / "stagent.db", copy / "blobs")
        try:
            self._read()
        finally:
            self.store.close()

    def _read(self) -> None:
        journal = Journal(self.store, millis)
        runs = self.store.runs()
        assert len(runs) <= 1
        for row in runs:
            records = list(self.store.read(row.run))
            self.events = [ev.unseal(record.body) for record in records]
            self.hashes = [record.hash for record in records]
            self.state = journal.refold(row.run)
            checkpoint = self.store.checkpoint(row.run)
            assert state_bytes(self.state) == checkpoint.state
            assert (checkpoint.seq, checkpoint.head) == (len(records), records[-1].hash)
            verdict = verify(journal, row.run, records[-1].hash)
            assert (verdict.consistent, verdict.anchored, verdict.events) == (True, True, len(records)), verdict.summary
            self._blobs()

    def _blobs(self) -> None:
        for name in set(self._named()):
            found = self.store.blob(name)
            assert isinstance(found, bytes)
            assert digest(found) == name

    def _named(self) -> Iterator[str]:
        """Every blob that an event, or the manifest of the pinned workflow, says exists."""
        for envelope in self.events:
            data: Any = envelope.data
            for field in _TEXTS:
                name = getattr(data, field, None)
                if name:
                    yield name
            if isinstance(data, ev.ArtifactRecorded):
                yield data.digest
            if isinstance(data, ev.RunStarted):
                yield from data.run_files.values()
                manifest = self.store.blob(data.workflow)
                assert isinstance(manifest, bytes)
                yield from json.loads(manifest).values()


def check_log(scene: Path, said: Acknowledged) -> Log:
    """Nothing acknowledged is lost, nothing is half there, nothing happened twice."""
    log = Log(scene)
    for seq, head in said.items():
        assert seq <= len(log.hashes), f"event {seq} was acknowledged, the log ends at {len(log.hashes)}"
        assert log.hashes[seq - 1] == head
    _whole([envelope.data for envelope in log.events])
    started = [
        (item.data.stage, item.data.epoch, item.data.number)
        for item in log.events
        if isinstance(item.data, ev.AttemptStarted)
    ]
    assert len(started) == len(set(started)), f"an attempt was started twice: {started}"
    times = [item.at for item in log.events]
    assert times == sorted(times)
    return log


def _whole(events: Sequence[Any]) -> None:
    """Transitions stand whole in the log: the stage entered or the terminal follows at once, one per epoch."""
    epoch = 1
    for place, event in enumerate(events):
        after = events[place + 1] if place + 1 < len(events) else None
        if isinstance(event, ev.RunStarted):
            assert isinstance(after, ev.StageEntered)
        elif isinstance(event, ev.Transitioned):
            epoch += 1
            assert isinstance(after, ev.StageEntered | ev.Terminal)
            assert (event.epoch, after.epoch) == (epoch, epoch)
        elif isinstance(event, ev.StageEntered):
            assert isinstance(events[place - 1], ev.RunStarted | ev.Transitioned)


def running(run: str) -> list[processes.ProcessInfo]:
    """The processes that carry the mark of an attempt of a run, or of a command the engine runs for it."""
    found = []
    for row in processes.table().values():
        marks = processes.markers(row.pid) or {}
        names = (marks.get(processes.MARKER, ""), marks.get(processes.COMMAND_MARKER, ""))
        if not row.dead and any(name.startswith(run) for name in names):
            found.append(row)
    return found


def check_end(scene: Path, said: Acknowledged) -> Log:
    """The run came to its end, left no process and no attempt beside another, and its folder shows where it stands."""
    log = check_log(scene, said)
    state = log.state
    assert state is not None
    assert (state.terminal, state.success) == ("complete", True)
    assert running(state.run) == []
    beside = scene / "pids.beside"
    assert not beside.exists(), beside.read_text()
    folder = RunFolder(scene / "project", state.folder)
    assert folder.state_file.read_bytes() == statefile.render(state, str((scene / "project").resolve()))
    assert state.report is not None
    assert digest(folder.artifact("complete").read_bytes()) == state.report
    for item in log.events:
        if isinstance(item.data, ev.AttemptEnded) and item.data.stream is not None:
            stream = home_of(scene) / "streams" / state.run / f"{item.data.epoch}.{item.data.number}.ndjson"
            assert hashlib.sha256(stream.read_bytes()).hexdigest() == item.data.stream
    return log

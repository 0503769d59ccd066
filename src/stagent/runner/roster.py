"""Which attempts have processes on this machine: found from the logs and from the marks processes carry."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Literal

import msgspec

from stagent import processes
from stagent.core.events import AttemptEnded, AttemptStarted
from stagent.core.ids import attempt_id
from stagent.core.state import State
from stagent.engine.evidence import HOST
from stagent.engine.history import events
from stagent.engine.service import RunService
from stagent.processes import ProcessInfo, Table

Condition = Literal["running", "orphan", "stale", "ended"]
_PAUSE_SECONDS = 0.02


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt with a process of its own, as the log tells it. `ended_at` is None until the log says it ended."""

    id: str
    run: str
    stage: str
    epoch: int
    number: int
    backend: str
    pid: int | None
    started: str | None
    began_at: int
    ended_at: int | None = None
    outcome: str = ""
    code: str = ""
    tokens: int | None = None
    cost_usd: float | None = None
    stream_bytes: int = 0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt and its processes on this machine.

    `running`: its runner lives. `orphan`: its processes live, its runner does not, or the attempt is over. `stale`: the
    log says it runs, but neither its runner nor its processes live. `ended`: it is over and left nothing. `since` is
    unix milliseconds, `memory` bytes of all its processes, `cpu` their processor seconds; both None where unknown.
    """

    attempt: str
    run: str
    stage: str
    backend: str
    condition: Condition
    pid: int | None
    processes: int
    since: int
    runner: int | None
    outcome: str = ""
    cpu: float | None = None
    memory: int | None = None


class Marks:
    """What processes of this machine carry an attempt's mark, looked at once."""

    def __init__(self) -> None:
        self.table: Table = processes.table()
        self.attempts: dict[str, list[ProcessInfo]] = {}
        for row in self.table.values():
            if row.dead:
                continue
            known = processes.markers(row.pid) or {}
            for name in {known.get(processes.MARKER, ""), known.get(processes.COMMAND_MARKER, "")} - {""}:
                self.attempts.setdefault(name, []).append(row)

    def of(self, run: str) -> set[str]:
        """Return the attempts of a run that processes carry the mark of."""
        return {name for name in self.attempts if name.partition(".")[0] == run and name.count(".") == 2}


def attempts(service: RunService, run: str) -> list[Attempt]:
    """Return the attempts of a run that a runner started, in order. Raises StoreError for a damaged log."""
    found: dict[str, Attempt] = {}
    for envelope in events(service, run):
        data = envelope.data
        if isinstance(data, AttemptStarted) and data.agent is None:
            name = attempt_id(run, data.epoch, data.number)
            found[name] = Attempt(
                id=name,
                run=run,
                stage=data.stage,
                epoch=data.epoch,
                number=data.number,
                backend=data.backend,
                pid=data.pid,
                started=data.started,
                began_at=envelope.at,
            )
        elif isinstance(data, AttemptEnded) and data.agent is None:
            name = attempt_id(run, data.epoch, data.number)
            if name in found:
                found[name] = _over(found[name], data, envelope.at)
    return list(found.values())


def _over(attempt: Attempt, data: AttemptEnded, at: int) -> Attempt:
    """Note an ending; a refusal comes after the ending of the process, and says less about it."""
    return msgspec.structs.replace(
        attempt,
        ended_at=attempt.ended_at or at,
        outcome=data.outcome,
        code=data.code,
        tokens=attempt.tokens if data.tokens is None else data.tokens,
        cost_usd=attempt.cost_usd if data.cost_usd is None else data.cost_usd,
        stream_bytes=data.stream_bytes or attempt.stream_bytes,
    )


def runner_of(state: State) -> ProcessInfo | None:
    """Return the living runner process of this machine that holds a run, or None."""
    holder = state.lease.holder if state.lease else None
    if holder is None or holder.kind != "runner" or holder.pid is None or holder.host != HOST:
        return None
    row = processes.look(holder.pid)
    return row if row is not None and row.started == holder.started and not row.dead else None


def elsewhere(state: State) -> str:
    """Return the other machine a run's runner is on, or an empty text."""
    holder = state.lease.holder if state.lease else None
    return holder.host if holder is not None and holder.kind == "runner" and holder.host != HOST else ""


def is_open(state: State, attempt: Attempt) -> bool:
    """Say whether the log holds an attempt as running."""
    return state.attempt_open and (state.epoch, state.attempt) == (attempt.epoch, attempt.number)


def members(attempt: Attempt, table: Table) -> list[ProcessInfo]:
    """Return the living processes of an attempt; the engine that runs a command is none of them."""
    # The process of a command's attempt is the engine that ran it, perhaps one that still serves other runs.
    by_mark = attempt.backend == "command"
    pid, started = (None, None) if by_mark else (attempt.pid, attempt.started)
    return [row for row in processes.members(table, attempt.id, pid, started) if not row.dead]


def seen(service: RunService, state: State, marks: Marks, *, ended: bool = False) -> Iterator[Seen]:
    """Yield the attempts of a run that run here, or should; with `ended` also those that are over."""
    marked = marks.of(state.run)
    if elsewhere(state) and not marked:
        return
    if not (marked or state.attempt_open or ended):
        return
    runner = runner_of(state)
    known = {item.id: item for item in attempts(service, state.run)}
    for name in sorted(marked - known.keys()):
        known[name] = unlogged(name, state)
    for item in known.values():
        found = members(item, marks.table) if item.id in marked or is_open(state, item) else []
        condition = _condition(state, item, bool(found), runner is not None)
        if condition == "orphan":
            # They may have ended, and the log have said so, since the processes were looked at.
            found = [row for row in found if processes.alive(row.pid, row.started)]
            condition = _condition(state, item, bool(found), runner is not None)
        if condition != "ended" or ended:
            yield _seen(item, condition, found, runner)


def unlogged(name: str, state: State) -> Attempt:
    """Return an attempt that only its processes know: its runner has not logged it yet, or was killed before."""
    _, epoch, number = name.split(".")
    return Attempt(
        id=name,
        run=state.run,
        stage=state.stage,
        epoch=int(epoch) if epoch.isdecimal() else 0,
        number=int(number) if number.isdecimal() else 0,
        backend="",
        pid=None,
        started=None,
        began_at=state.updated_at,
    )


def _condition(state: State, item: Attempt, has_processes: bool, has_runner: bool) -> Condition:
    begins = (item.epoch, item.number) == (state.epoch, state.attempt + 1) and item.ended_at is None
    if has_runner and (is_open(state, item) or begins):
        return "running"
    if has_processes:
        return "orphan"
    return "stale" if is_open(state, item) and not elsewhere(state) else "ended"


def _seen(item: Attempt, condition: Condition, found: list[ProcessInfo], runner: ProcessInfo | None) -> Seen:
    cpu, memory = usage(row.pid for row in found)
    leads = [row.pid for row in found if row.pid == item.pid]
    return Seen(
        attempt=item.id,
        run=item.run,
        stage=item.stage,
        backend=item.backend,
        condition=condition,
        pid=leads[0] if leads else found[0].pid if found else None,
        processes=len(found),
        since=item.began_at,
        runner=runner.pid if runner and condition == "running" else None,
        outcome=item.outcome,
        cpu=cpu,
        memory=memory,
    )


def usage(pids: Iterable[int]) -> tuple[float | None, int | None]:
    """Return the processor seconds and the resident bytes of processes; None where the system does not tell cheaply."""
    if not processes.LINUX:
        return None, None
    ticks = pages = known = 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            pages += int(fields[21])
            known += 1
    if not known:
        return None, None
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def end_orphan(attempt: Attempt, grace: float) -> int:
    """End the processes an attempt left behind when its runner is gone: asked first, forced after `grace` seconds.

    Returns how many there were. Another process that got a used id is never touched.
    """
    asked: dict[tuple[int, str], ProcessInfo] = {}
    until = time.monotonic() + grace
    while found := members(attempt, processes.table()):
        for row in found:
            if (row.pid, row.started) not in asked:
                asked[row.pid, row.started] = row
                processes.send(row, signal.SIGTERM)
                processes.send(row, signal.SIGCONT)
        if time.monotonic() >= until:
            break
        time.sleep(_PAUSE_SECONDS)
    by_mark = attempt.backend == "command"
    pid, started = (None, None) if by_mark else (attempt.pid, attempt.started)
    processes.kill_attempt(attempt.id, pid, started)
    return len(asked)


def await_end(over: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is over, at most so long; say whether it is."""
    until = time.monotonic() + seconds
    while not over():
        if time.monotonic() >= until:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True

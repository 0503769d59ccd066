"""What has processes on this machine: attempts, checks and commands, found from the logs and from what they carry."""

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
from stagent.core.ids import attempt_id, attempt_of, check_of, run_of
from stagent.core.state import State
from stagent.engine.evidence import HOST
from stagent.engine.history import events
from stagent.engine.service import RunService
from stagent.processes import ProcessInfo, Table

Condition = Literal["running", "orphan", "stale", "ended"]
Kind = Literal["attempt", "command", "check"]
Process = tuple[int | None, str | None]
"""A process id and its start; both None for no process."""
_PAUSE_SECONDS = 0.02


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt with a process of its own, as the log tells it. `ended_at` is None until the log says it ended.

    That of a command stage is of the engine that runs the command, perhaps one that still serves other runs.
    """

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

    @property
    def kind(self) -> Kind:
        """Whether an agent is at work, or a command of the workflow."""
        return "command" if self.backend == "command" else "attempt"

    @property
    def root(self) -> Process:
        """The process that all others of the attempt descend from."""
        return (None, None) if self.kind == "command" else (self.pid, self.started)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A check that processes carry the mark of. `pid` and `started` name who runs it, None once it ended by the log."""

    id: str
    run: str
    stage: str
    pid: int | None
    started: str | None
    began_at: int
    backend: str = ""
    outcome: str = ""

    @property
    def kind(self) -> Kind:
        """A check is one."""
        return "check"

    @property
    def root(self) -> Process:
        """Only the mark tells its processes."""
        return None, None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt, check or command and its processes on this machine, its guardian not counted.

    `running`: `runner`, the process that runs it, lives. `orphan`: its processes live, but nothing that runs it, or it
    is over. `stale`: the log says it runs, but neither its runner nor its processes live. `ended`: it is over and left
    nothing. `since` is unix milliseconds, `memory` bytes of all its processes, `cpu` their processor seconds; both
    None where unknown.
    """

    id: str
    kind: Kind
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
    """What processes of this machine carry the mark of an attempt, check or command, looked at once."""

    def __init__(self) -> None:
        self.table: Table = processes.table()
        self.carriers: dict[str, list[ProcessInfo]] = {}
        for row in self.table.values():
            if row.dead:
                continue
            known = processes.markers(row.pid) or {}
            for name in {known.get(processes.MARKER, ""), known.get(processes.COMMAND_MARKER, "")} - {""}:
                self.carriers.setdefault(name, []).append(row)

    def of(self, run: str) -> set[str]:
        """Return the ids of what belongs to a run and has processes that carry its mark."""
        return {name for name in self.carriers if run_of(name) == run}


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
    return _living(holder.pid, holder.started)


def elsewhere(state: State) -> str:
    """Return the other machine a run's runner is on, or an empty text."""
    holder = state.lease.holder if state.lease else None
    return holder.host if holder is not None and holder.kind == "runner" and holder.host != HOST else ""


def is_open(state: State, item: Attempt | Check) -> bool:
    """Say whether the log holds something as an attempt that runs."""
    if isinstance(item, Check):
        return False
    return state.attempt_open and (state.epoch, state.attempt) == (item.epoch, item.number)


def find(service: RunService, state: State, name: str) -> Attempt | Check | None:
    """Return the attempt of an id, or the check that has processes here; None when there is none. Raises StoreError."""
    known = next((item for item in attempts(service, state.run) if item.id == name), None)
    return known or (unlogged(name, state) if name in Marks().of(state.run) else None)


def members(item: Attempt | Check, table: Table) -> list[ProcessInfo]:
    """Return the living processes of an attempt, check or command, without the engine that runs it."""
    return [row for row in processes.members(table, item.id, *item.root) if not row.dead]


def own(item: Attempt | Check, found: Iterable[ProcessInfo]) -> list[ProcessInfo]:
    """Return these processes without the guardian that stands above them."""
    return [row for row in found if row.pid != item.root[0] or row.name != processes.GUARDIAN]


def seen(service: RunService, state: State, marks: Marks, *, ended: bool = False) -> Iterator[Seen]:
    """Yield what of a run has processes here, or should; with `ended` also the attempts that are over."""
    marked = marks.of(state.run)
    if elsewhere(state) and not marked:
        return
    if not (marked or state.attempt_open or ended):
        return
    known: dict[str, Attempt | Check] = {item.id: item for item in attempts(service, state.run)}
    for name in sorted(marked - known.keys()):
        known[name] = unlogged(name, state)
    for item in known.values():
        found = members(item, marks.table) if item.id in marked or is_open(state, item) else []
        runner = driver(state, item)
        condition = _condition(state, item, bool(found), runner)
        if condition == "orphan":
            # They may have ended, and the log have said so, since the processes were looked at.
            found = [row for row in found if processes.alive(row.pid, row.started)]
            condition = _condition(state, item, bool(found), runner)
        # Of a check that is over nothing is kept but what the log says of it.
        if condition != "ended" or (ended and item.kind != "check"):
            yield _seen(item, condition, found, runner)


def unlogged(name: str, state: State) -> Attempt | Check:
    """Return a check, or an attempt that only its processes know: its runner had not logged it yet."""
    check = check_of(name)
    if check is not None:
        known = state.checks.get(check[1]) if check[0] == state.epoch else None
        runs = known is not None and known.outcome == "running"
        return Check(
            id=name,
            run=state.run,
            stage=state.stage if known else "",
            pid=known.pid if known and runs else None,
            started=known.started if known and runs else None,
            began_at=known.at if known else state.updated_at,
        )
    epoch, number = attempt_of(name) or (0, 0)
    return Attempt(
        id=name,
        run=state.run,
        stage=state.stage,
        epoch=epoch,
        number=number,
        backend="",
        pid=None,
        started=None,
        began_at=state.updated_at,
    )


def driver(state: State, item: Attempt | Check) -> ProcessInfo | None:
    """Return the living process that runs something: the runner of an attempt, the engine of a check or command."""
    if isinstance(item, Attempt) and item.kind == "attempt":
        begins = (item.epoch, item.number) == (state.epoch, state.attempt + 1) and item.ended_at is None
        return runner_of(state) if is_open(state, item) or begins else None
    if isinstance(item, Attempt) and not is_open(state, item):
        return None
    return _living(item.pid, item.started)


def _living(pid: int | None, started: str | None) -> ProcessInfo | None:
    row = processes.look(pid) if pid is not None else None
    return row if row is not None and row.started == started and not row.dead else None


def _condition(state: State, item: Attempt | Check, has_processes: bool, runner: ProcessInfo | None) -> Condition:
    if runner is not None:
        return "running"
    if has_processes:
        return "orphan"
    return "stale" if is_open(state, item) and not elsewhere(state) else "ended"


def _seen(item: Attempt | Check, condition: Condition, found: list[ProcessInfo], runner: ProcessInfo | None) -> Seen:
    shown = own(item, found)
    cpu, memory = usage(row.pid for row in shown)
    leads = [row.pid for row in shown if item.root[0] in (row.pid, row.ppid)] or [row.pid for row in shown]
    return Seen(
        id=item.id,
        kind=item.kind,
        run=item.run,
        stage=item.stage,
        backend=item.backend,
        condition=condition,
        pid=leads[0] if leads else None,
        processes=len(shown),
        since=item.began_at,
        runner=runner.pid if runner is not None else None,
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


def end_orphan(item: Attempt | Check, grace: float) -> int:
    """End the processes of something that nothing runs any more: asked first, forced after `grace` seconds.

    Returns how many there were. Another process that got a used id is never touched.
    """
    asked: dict[tuple[int, str], ProcessInfo] = {}
    until = time.monotonic() + grace
    while found := members(item, processes.table()):
        for row in found:
            if (row.pid, row.started) not in asked:
                asked[row.pid, row.started] = row
                processes.send(row, signal.SIGTERM)
                processes.send(row, signal.SIGCONT)
        if time.monotonic() >= until:
            break
        time.sleep(_PAUSE_SECONDS)
    processes.kill_attempt(item.id, *item.root)
    return len(own(item, asked.values()))


def await_end(over: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is over, at most so long; say whether it is."""
    until = time.monotonic() + seconds
    while not over():
        if time.monotonic() >= until:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True

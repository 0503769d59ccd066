"""`stagent stop`: ends one attempt; its run is interrupted and can be gone on with."""

from __future__ import annotations

import re
import signal

import click
import msgspec

from stagent import processes
from stagent.bootstrap import Home
from stagent.cli import output, people
from stagent.cli.ps import collect
from stagent.core.ids import is_run
from stagent.core.state import State
from stagent.engine.service import RunService
from stagent.errors import NotFoundError, RefusedError
from stagent.processes import ProcessInfo
from stagent.runner.roster import (
    Attempt,
    Marks,
    attempts,
    await_end,
    elsewhere,
    end_orphan,
    is_open,
    members,
    runner_of,
    unlogged,
)

_NUMBERS = re.compile(r"\d{1,9}\.\d{1,9}\Z")
_RUNNER_SECONDS = 8.0
"""What a runner needs beyond the agent's own grace of 5 s: it ends what is left and writes the log."""


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an attempt; `processes` counts orphans that were ended, 0 where the runner did it."""

    attempt: str
    run: str
    by: str
    processes: int
    status: str
    remedy: str


@click.command(name="stop")
@click.argument("attempt")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="How long it may take before force is used.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stop_command(attempt: str, timeout: float, as_json: bool) -> int:
    """End the processes of ATTEMPT: they are asked first, then forced. The run is interrupted.

    It goes on with `stagent run --resume RUN`. `stagent ps` lists the attempts that run.
    """
    home = Home()
    try:
        people.no_agent("stop an attempt")
        done = _stop(home, attempt, timeout)
        if as_json:
            output.as_json(done)
        elif done.by == "runner":
            output.line(f"{done.attempt} is stopped; the run is {done.status}. Go on: {done.remedy}")
        else:
            what = f"{done.attempt} had no runner any more; {done.processes} of its processes were ended"
            output.line(f"{what}. Go on: {done.remedy}")
        return output.OK
    finally:
        home.close()


def _stop(home: Home, name: str, timeout: float) -> Stopped:
    run, _, numbers = name.partition(".")
    if not is_run(run) or not _NUMBERS.match(numbers):
        raise _unknown(home, name, "is no attempt's id")
    try:
        service = home.of(run)
    except NotFoundError as error:
        raise _unknown(home, name, "is of no known run") from error
    state = service.journal.load(run)[0]
    runner = runner_of(state)
    people.no_agent("stop an attempt", [runner.pid] if runner and runner.pid else ())
    marks = Marks()
    known = {item.id: item for item in attempts(service, run)}
    item = known.get(name) or (unlogged(name, state) if name in marks.of(run) else None)
    if item is None:
        raise _unknown(home, name, "is no attempt of this run")
    if runner is not None and (is_open(state, item) or item.pid is None):
        return _by_runner(service, state, item, runner, timeout)
    _not_here(state, item)
    ended = end_orphan(item, timeout)
    if not ended and not is_open(state, item):
        raise RefusedError(
            "stop.over",
            f"the attempt is over ({item.outcome or 'it left no process'})",
            where=name,
            known=_running(home),
            remedy="Nothing is to be done.",
        )
    return _told(item, "orphan", ended, state.status)


def _by_runner(service: RunService, state: State, item: Attempt, runner: ProcessInfo, timeout: float) -> Stopped:
    """Ask the runner to end its attempt and interrupt the run, as a person's Ctrl-C would."""

    def over() -> bool:
        now = service.journal.load(item.run)[0]
        return (now.lease is None or not now.live) and not is_open(now, item)

    processes.send(runner, signal.SIGTERM)
    if not await_end(lambda: over() or not processes.alive(runner.pid, runner.started), timeout):
        # The agent outlasts its grace, or the runner is stuck: with the processes gone a runner that works goes on.
        for row in members(item, processes.table()):
            processes.send(row, signal.SIGKILL)
        await_end(lambda: over() or not processes.alive(runner.pid, runner.started), _RUNNER_SECONDS)
    if over():
        return _told(item, "runner", 0, service.journal.load(item.run)[0].status)
    if not processes.alive(runner.pid, runner.started):
        return _told(item, "orphan", end_orphan(item, 0.0), state.status)
    raise RefusedError(
        "stop.stuck",
        f"the runner, process {runner.pid}, does not answer; the attempt's processes were ended",
        where=item.id,
        remedy=f"Kill it (kill -9 {runner.pid}), then: stagent run --resume {item.run}.",
    )


def _not_here(state: State, item: Attempt) -> None:
    host = elsewhere(state)
    if host and is_open(state, item):
        raise RefusedError(
            "stop.elsewhere",
            f"the runner is on another machine ({host})",
            where=item.id,
            remedy="Call it there, or take the run over: stagent continue --take-over.",
        )


def _told(item: Attempt, by: str, ended: int, status: str) -> Stopped:
    remedy = f"stagent run --resume {item.run}"
    return Stopped(attempt=item.id, run=item.run, by=by, processes=ended, status=status, remedy=remedy)


def _running(home: Home) -> list[str]:
    return [row.attempt for row in collect(home)[0]]


def _unknown(home: Home, name: str, what: str) -> NotFoundError:
    known = _running(home)
    remedy = "Name a known one." if known else "No attempt runs on this machine; `stagent ps --all` lists those over."
    return NotFoundError("stop.unknown", f'"{name}" {what}', where="stop", known=known, remedy=remedy)

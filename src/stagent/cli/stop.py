"""`stagent stop`: ends one attempt, check or command; its run is interrupted and can be gone on with."""

from __future__ import annotations

import signal

import click
import msgspec

from stagent import processes
from stagent.bootstrap import Home
from stagent.cli import output, people
from stagent.cli.ps import collect, go_on
from stagent.core import commands as cmd
from stagent.core.events import AttemptEnded
from stagent.core.ids import run_of
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine.service import RunService
from stagent.errors import NotFoundError, RefusedError
from stagent.processes import ProcessInfo
from stagent.runner.roster import (
    Attempt,
    Check,
    await_end,
    driver,
    elsewhere,
    end_orphan,
    find,
    is_open,
    members,
    runner_of,
)

_RUNNER_SECONDS = 8.0
"""What a runner needs beyond the agent's own grace of 5 s: it ends what is left and writes the log."""


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it. `by` is who ended it: its `runner`, or we, as an `orphan` or in a call of a session (`call`).

    `processes` counts those that we ended.
    """

    id: str
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

    `stagent ps` lists what runs; a check or command is named by its id there as well. A headless run goes on with
    `stagent run --resume RUN`. In a session a terminal is needed, and the run goes on with `stagent continue RUN`.
    """
    home = Home()
    try:
        people.no_agent("stop an attempt")
        done = _stop(home, attempt, timeout)
        if as_json:
            output.as_json(done)
        elif done.by != "orphan":
            output.line(f"{done.id} is stopped; the run is {done.status}. Go on: {done.remedy}")
        else:
            what = f"{done.id} had no runner any more; {done.processes} of its processes were ended"
            output.line(f"{what}. Go on: {done.remedy}")
        return output.OK
    finally:
        home.close()


def _stop(home: Home, name: str, timeout: float) -> Stopped:
    run = run_of(name)
    if not run:
        raise _unknown(home, name, "is the id of no attempt or check")
    try:
        service = home.of(run)
    except NotFoundError as error:
        raise _unknown(home, name, "is of no known run") from error
    state = service.journal.load(run)[0]
    runner = runner_of(state)
    people.no_agent("stop an attempt", [runner.pid] if runner and runner.pid else ())
    item = find(service, state, name)
    if item is None:
        raise _unknown(home, name, "is nothing that runs or ran in this run")
    by = driver(state, item)
    if by is not None and runner is not None and by.pid == runner.pid:
        return _by_runner(service, state, item, runner, timeout)
    if by is not None:
        return _in_call(service, state, item, timeout)
    _not_here(state, item)
    ended = end_orphan(item, timeout)
    if not ended and not is_open(state, item):
        raise RefusedError(
            "stop.over",
            f"it is over ({item.outcome or 'it left no process'})",
            where=name,
            known=_running(home),
            remedy="Nothing is to be done.",
        )
    return _told(state, item, "orphan", ended)


def _in_call(service: RunService, state: State, item: Attempt | Check, timeout: float) -> Stopped:
    """End what a session's call runs. The run is interrupted first, so that its end says nothing about the work."""
    tty = people.terminal("stop what a session runs", state)
    try:
        who = people.caller(tty)
    finally:
        tty.close()
    if isinstance(item, Attempt):
        ended = AttemptEnded(
            stage=item.stage, epoch=item.epoch, number=item.number, outcome="stopped", code="attempt.stopped"
        )
        service.submit(item.run, who, cmd.EndAttempt(event=ended))
    answer = service.submit(item.run, who, cmd.Interrupt())
    if isinstance(answer, Refusal):
        raise answer.error()
    return _told(answer, item, "call", end_orphan(item, timeout))


def _by_runner(
    service: RunService, state: State, item: Attempt | Check, runner: ProcessInfo, timeout: float
) -> Stopped:
    """Ask the runner to end what it runs and interrupt the run, as a person's Ctrl-C would."""

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
        return _told(service.journal.load(item.run)[0], item, "runner", 0)
    if not processes.alive(runner.pid, runner.started):
        return _told(state, item, "orphan", end_orphan(item, 0.0))
    raise RefusedError(
        "stop.stuck",
        f"the runner, process {runner.pid}, does not answer; its processes were ended",
        where=item.id,
        remedy=f"Kill it (kill -9 {runner.pid}), then: stagent run --resume {item.run}.",
    )


def _not_here(state: State, item: Attempt | Check) -> None:
    host = elsewhere(state)
    if host and is_open(state, item):
        raise RefusedError(
            "stop.elsewhere",
            f"the runner is on another machine ({host})",
            where=item.id,
            remedy="Call it there, or take the run over: stagent continue --take-over.",
        )


def _told(state: State, item: Attempt | Check, by: str, ended: int) -> Stopped:
    return Stopped(id=item.id, run=item.run, by=by, processes=ended, status=state.status, remedy=go_on(state))


def _running(home: Home) -> list[str]:
    return [row.id for row in collect(home)[0]]


def _unknown(home: Home, name: str, what: str) -> NotFoundError:
    known = _running(home)
    remedy = "Name a known one." if known else "Nothing runs on this machine; `stagent ps --all` lists those over."
    return NotFoundError("stop.unknown", f'"{name}" {what}', where="stop", known=known, remedy=remedy)

"""`stagent status`: where a run stands, who drives it, what it waits for and what to do next."""

from __future__ import annotations

import click
import msgspec

from stagent.bootstrap import Home
from stagent.cli import output
from stagent.cli.awaits import awaited
from stagent.cli.options import selector_options
from stagent.cli.select import Selector, choose
from stagent.cli.words import age, plain, wrapped
from stagent.core.masking import mask
from stagent.core.state import State
from stagent.engine.evidence import HOST
from stagent.engine.service import RunService
from stagent.engine.spool import ERROR
from stagent.engine.spoolfold import doubted
from stagent.engine.standing import Driver, driver_of, waiting, word_of
from stagent.errors import NotFoundError

_REFUSAL_LINES = 12
_HELD = {
    "attempt.stopped": "Stopped:  the last attempt, from outside",
    "budget.paused": "Paused:   by the budget",
    "gate.redo": "Redo:     a person sent the work back",
    "gate.rejected": "Rejected: by a person",
}
"""What stands between the run and the next stage without being the engine's refusal of the work."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands, for people and programs; `word` and `driver` are those of `engine.standing`.

    `session_waits` is what the session that drives the run waits for, `session_since` since when (unix milliseconds),
    `error` what its last turn ended with, `reason` with which words the run was interrupted or stalled, `doubt` why the
    last decision a hook saw did not count.
    """

    run: str
    status: str
    terminal: str | None
    success: bool
    workflow: str
    stage: str
    epoch: int
    word: str
    driver: Driver
    holder: str
    waits_for: str
    remedy: str
    refusal: str
    feedback: str
    head: str
    seq: int
    started_at: int
    updated_at: int
    session_waits: str = ""
    session_since: int = 0
    error: str = ""
    reason: str = ""
    doubt: str = ""


def stand(service: RunService, state: State) -> Standing:
    """Return where a run stands."""
    driver = driver_of(service, state)
    waits, remedy = awaited(service, state, driver)
    reason = "" if state.live or state.ended else mask(service.text(state.reason))
    return Standing(
        run=state.run,
        status=state.status,
        terminal=state.terminal,
        success=state.success,
        workflow=state.flow,
        stage=state.stage,
        epoch=state.epoch,
        word=word_of(service, state),
        driver=driver,
        holder=_holder(state),
        waits_for=waits,
        remedy=remedy,
        refusal="" if state.ended else state.refusal,
        feedback="" if state.ended else mask(service.text(state.obstacle or state.feedback)),
        head=state.head,
        seq=state.seq,
        started_at=state.started_at,
        updated_at=state.updated_at,
        reason="" if reason.startswith(ERROR) else reason,
        **_session_side(service, state),  # type: ignore[arg-type]  # its keys are those fields
    )


def _session_side(service: RunService, state: State) -> dict[str, str | int]:
    """Return what hooks noted about the session that drives a run, beside its live file."""
    if not state.session or state.ended:
        return {}
    found = waiting(service, state)
    doubt = mask(doubted(service.home, state.session))
    since = found.since if found.what else 0
    return {"session_waits": found.what, "session_since": since, "error": found.error, "doubt": doubt}


def _holder(state: State) -> str:
    holder = state.lease.holder if state.lease else None
    if holder is None:
        return ""
    name = f" {holder.session}" if holder.session else ""
    process = f", process {holder.pid}" if holder.pid is not None else ""
    place = f" on {holder.host}" if holder.host and holder.host != HOST else ""
    return f"{holder.kind}{name}{process}{place}"


@click.command(name="status")
@selector_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status_command(selector: Selector, as_json: bool) -> int:
    """Show where a run stands, what it waits for and what to do next."""
    home = Home()
    try:
        try:
            chosen = choose(home, selector)
        except NotFoundError as error:
            if error.code != "run.none" or selector != Selector():
                raise
            return _nothing(error, as_json)
        state = chosen.service.state(chosen.run)
        standing = stand(chosen.service, state)
        if as_json:
            output.as_json({**msgspec.to_builtins(standing), "project": str(chosen.service.root)})
        else:
            _print(chosen.service, state, standing)
        return output.OK
    finally:
        home.close()


def _nothing(error: NotFoundError, as_json: bool) -> int:
    if as_json:
        output.as_json({"run": None})
    else:
        output.line(f"There is {error.what}.")
    output.note(error.remedy)
    return output.OK


def _print(service: RunService, state: State, standing: Standing) -> None:
    since = age(service.clock() - state.updated_at)
    title = service.workflow(state).stages[state.stage].title
    output.line(f"Run:      {state.run} ({state.flow}) in {service.root}")
    output.line(f"State:    {standing.word}, last change {since} ago")
    output.line(f"Stage:    {state.stage}" + (f" ({title})" if title else "") + f", epoch {state.epoch}")
    if standing.driver != "none":
        output.line(f"Driver:   {standing.driver}: {standing.holder}")
    if standing.waits_for:
        output.line(f"Waits:    for {standing.waits_for}")
    if standing.session_waits:
        since = age(service.clock() - standing.session_since)
        output.line(f"Session:  waits for {plain(standing.session_waits)}, since {since}")
    if standing.error:
        output.line(f"Error:    the agent's last turn ended with: {plain(standing.error)}")
    if standing.reason:
        output.line(f"Reason:   {plain(standing.reason)}")
    if standing.doubt:
        output.line(f"Doubt:    {plain(standing.doubt)}")
    if standing.refusal:
        output.line(_HELD.get(standing.refusal, f"Refused:  {standing.refusal}"))
        for line in wrapped(standing.feedback.strip(), "          ", limit=_REFUSAL_LINES):
            output.line(line)
    output.line(f"Log head: {state.head}")
    output.line(f"Next:     {standing.remedy}")

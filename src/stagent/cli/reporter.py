"""What `stagent run` shows while it runs: one line per event, plain when piped, coloured on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click
import msgspec

from stagent.cli import frame, output
from stagent.cli.words import plain, program
from stagent.core.events import (
    AttemptEnded,
    Blocked,
    CheckEnded,
    Envelope,
    Escalated,
    GateOpened,
    Terminal,
    Transitioned,
    unseal,
)
from stagent.core.masking import mask
from stagent.core.ports import AgentEvent
from stagent.core.state import State
from stagent.engine.describe import describe
from stagent.engine.service import RunService

_SHOWN = 100
_AGAIN_SECONDS = 5.0


class Reporter:
    """Prints the events of one run as they are committed, by whomever."""

    def __init__(self, service: RunService, run: str, *, as_json: bool) -> None:
        self._service = service
        self._run = run
        self._as_json = as_json
        self._seq = 0
        self._terminal = sys.stdout.isatty() and not as_json
        self._transient = False
        self._waited = ("", 0.0)

    def catch_up(self) -> None:
        """Print the events since the last call."""
        with _whoever_reads():
            for record in self._service.store.read(self._run, after=self._seq):
                self._seq = record.seq
                self._clear()
                envelope = unseal(record.body)
                if self._as_json:
                    document = {**msgspec.json.decode(record.body), "hash": record.hash}
                    output.line(msgspec.json.encode(document).decode())
                else:
                    output.line(self._line(envelope))
            sys.stdout.flush()

    def agent(self, event: AgentEvent) -> None:
        """Show what the agent does, on a terminal only: one line that is written over."""
        if self._terminal and (event.text or event.tool):
            words = plain(" ".join(mask(event.tool or event.text).split()))
            self._show(f"      {words[:_SHOWN]}")

    def check(self, name: str, seconds: float) -> None:
        """Show that a check runs, on a terminal only."""
        if self._terminal:
            self._show(f"      checking {name} ({seconds:.0f} s)")

    def wait(self, what: str, seconds: float) -> None:
        """Show what is waited for: on a terminal all the time, elsewhere once for each wait, as a message."""
        if self._terminal:
            self._show(f"      waiting for {what} ({seconds:.0f} s)")
            return
        before, told = self._waited
        self._waited = (what, time.monotonic())
        if before != what or self._waited[1] - told > _AGAIN_SECONDS:
            output.note(f"Waiting for {what} ({seconds:.0f} s).")

    def summary(self, state: State, ending: str) -> None:
        """Print how it ended and where to read more."""
        with _whoever_reads():
            self._summary(state, ending)
            sys.stdout.flush()

    def _summary(self, state: State, ending: str) -> None:
        self._clear()
        folder = self._service.folder(state)
        report = folder.artifact(state.terminal or "escalated") if state.report else None
        if self._as_json:
            document = {
                "type": "summary",
                "run": state.run,
                "ending": ending,
                "status": state.terminal or state.status,
                "stage": state.stage,
                "epoch": state.epoch,
                "refusal": state.refusal or None if ending != "ended" else None,
                "report": str(report) if report else None,
                "head": state.head,
            }
            output.line(msgspec.json.encode(document).decode())
            return
        output.line()
        output.line(f"State:    {self._ending(state, ending)}")
        output.line(f"Run:      {state.run}")
        if report is not None:
            output.line(f"Report:   {report}")
        output.line(f"Log head: {state.head}")
        for hint in _hints(state, ending):
            output.line(hint)

    def _ending(self, state: State, ending: str) -> str:
        if ending == "ended":
            return f"{state.terminal} at epoch {state.epoch}"
        if is_paused(state):
            return f"paused by its budget in stage {state.stage}, epoch {state.epoch}, a person decides"
        words = {
            "waiting": "waits for a person",
            "blocked": "blocked",
            "escalated": "given up, a person decides",
            "interrupted": "interrupted",
            "stalled": "stalled, no progress",
        }
        return f"{words[ending]} in stage {state.stage}, epoch {state.epoch}"

    def _line(self, envelope: Envelope) -> str:
        at = datetime.fromtimestamp(envelope.at / 1000, UTC).astimezone().strftime("%H:%M:%S")
        text = f"{at} {envelope.seq:>4}  {describe(envelope.data)}"
        return click.style(text, fg=_colour(envelope)) if self._terminal and _colour(envelope) else text

    def _show(self, text: str) -> None:
        with _whoever_reads():
            sys.stdout.write(f"\r\x1b[2K{click.style(text, dim=True)}")
            sys.stdout.flush()
            self._transient = True

    def _clear(self) -> None:
        if self._transient:
            sys.stdout.write("\r\x1b[2K")
            self._transient = False


@contextmanager
def _whoever_reads() -> Iterator[None]:
    """Print what the block prints if it can be; a run goes on to its end whether or not anybody reads along."""
    try:
        yield
    except BrokenPipeError:
        frame.drop_output()
    except OSError as error:
        frame.drop_output()
        output.note(f"Nothing more is printed, standard output takes no more: {error.strerror}. The run goes on.")


def is_paused(state: State) -> bool:
    """Say whether a budget paused the run: whoever goes on with it accepts what it costs."""
    return state.status == "blocked" and state.refusal == "budget.paused"


def _hints(state: State, ending: str) -> list[str]:
    run, call = state.run, program()
    if ending == "waiting":
        return [
            "",
            f"Decide:   {call} approve {run}   (or reject, redo, answer)",
            f"Go on:    {call} run --resume {run}",
        ]
    if ending in ("blocked", "escalated", "interrupted", "stalled"):
        return ["", f"Look:     {call} show {run}", f"Go on:    {call} run --resume {run}"]
    return [f"Read:     {call} show {run}", f"Verify:   {call} audit verify {run} --head {state.head}"]


def _colour(envelope: Envelope) -> str | None:
    data = envelope.data
    if isinstance(data, Terminal):
        return "green" if data.success else "red"
    if isinstance(data, CheckEnded):
        return "green" if data.outcome == "pass" else "red"
    if isinstance(data, AttemptEnded) and data.outcome != "ok":
        return "yellow"
    if isinstance(data, Blocked | Escalated):
        return "red"
    if isinstance(data, GateOpened):
        return "magenta"
    return "cyan" if isinstance(data, Transitioned) else None

"""What `stagent run` shows while it runs: one line per event, plain when piped, coloured on a terminal."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Self

import click
import msgspec

from stagent.cli import frame, output
from stagent.cli.hints import deciding
from stagent.cli.liveline import LiveLine, Work, spent
from stagent.cli.words import colourful, dumb, program
from stagent.core.events import (
    AttemptEnded,
    AttemptStarted,
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

_AGAIN_SECONDS = 5.0


class Reporter:
    """Prints the events of one run as they are committed, by whomever."""

    def __init__(
        self,
        service: RunService,
        run: str,
        *,
        as_json: bool,
        stopping: Callable[[], bool],
        earlier: int = 0,
        again: Sequence[str] = (),
    ) -> None:
        """Report from the event after so many `earlier` ones, which are only counted.

        `stopping` says that the runner is to end, `again` are the options to go on with.
        """
        self._service = service
        self._run = run
        self._as_json = as_json
        self._earlier = 0 if as_json else earlier
        self._seq = self._earlier
        self._stopping = stopping
        self._again = again
        self._colour = colourful() and not as_json
        self._waited = ("", 0.0)
        self._work: Work | None = None
        self._guard = threading.RLock()
        shown = sys.stdout.isatty() and not dumb() and not as_json
        self._live = LiveLine(self._printing, dim=self._colour) if shown else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        if self._earlier:
            output.line(f"… {self._earlier} earlier events: {program()} log {self._run}")
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(*error)

    def catch_up(self) -> None:
        """Print the events since the last call."""
        with self._printing():
            for record in self._service.store.read(self._run, after=self._seq):
                self._seq = record.seq
                envelope = unseal(record.body)
                if self._live is not None:
                    self._live.say(None)
                    self._work = None
                if self._as_json:
                    document = {**msgspec.json.decode(record.body), "hash": record.hash}
                    output.line(msgspec.json.encode(document).decode())
                else:
                    output.line(self._line(envelope))
                data = envelope.data
                if self._live is not None and isinstance(data, AttemptStarted) and data.agent is None:
                    self._work = Work(data.stage, data.number, self._stopping)
                    self._live.say(self._work.line)
            sys.stdout.flush()

    @contextmanager
    def _printing(self) -> Iterator[None]:
        with self._guard, _whoever_reads():
            yield

    def settle(self) -> None:
        """Print what is new, and leave the terminal to a question."""
        self.catch_up()
        self._say("")

    def agent(self, event: AgentEvent) -> None:
        """Note what the agent does, for the line that says so on a terminal."""
        if self._work is not None and (event.tool or (event.kind == "text" and event.code != "delta")):
            self._work.did(f"{event.tool} {event.text}", tool=event.kind == "tool" and not event.is_error)

    def check(self, name: str, seconds: float) -> None:
        """Show that a check runs, on a terminal only."""
        self._say(f"checking {name} · {spent(seconds)} · {'pausing' if self._stopping() else 'Ctrl-C pauses'}")

    def wait(self, what: str, seconds: float) -> None:
        """Show what is waited for: on a terminal all the time, elsewhere once for each wait, as a message."""
        if self._live is not None:
            self._say(f"waiting for {what} · {spent(seconds)} · Ctrl-C pauses")
            return
        before, told = self._waited
        self._waited = (what, time.monotonic())
        if before != what or self._waited[1] - told > _AGAIN_SECONDS:
            output.note(f"Waiting for {what} ({seconds:.0f} s).")

    def _say(self, text: str) -> None:
        if self._live is not None:
            with self._printing():
                self._live.say((lambda room: text) if text else None)

    def summary(self, state: State, ending: str) -> None:
        """Print how it ended and where to read more."""
        with self._printing():
            self._summary(state, ending)
            sys.stdout.flush()

    def _summary(self, state: State, ending: str) -> None:
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
        for hint in self._hints(state, ending):
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

    def _hints(self, state: State, ending: str) -> list[str]:
        run, call = state.run, program()
        go_on = f"Go on:    {call} {mask(shlex.join(['run', '--resume', run, *self._again]))}"
        if ending == "waiting":
            stage = self._service.workflow(state).stages[state.stage]
            return ["", f"Decide:   {deciding(stage, run, call)}", go_on]
        if ending in ("blocked", "escalated", "interrupted", "stalled"):
            return ["", f"Look:     {call} show {run}", go_on]
        return [f"Read:     {call} show {run}", f"Verify:   {call} audit verify {run} --head {state.head}"]

    def _line(self, envelope: Envelope) -> str:
        at = datetime.fromtimestamp(envelope.at / 1000, UTC).astimezone().strftime("%H:%M:%S")
        text = f"{at} {envelope.seq:>4}  {describe(envelope.data)}"
        return click.style(text, fg=_colour(envelope)) if self._colour and _colour(envelope) else text


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

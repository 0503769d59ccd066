"""`stagent log`: a run's events, one line each."""

from __future__ import annotations

import sys
import time

import click
import msgspec

from stagent.bootstrap import Home
from stagent.cli import output
from stagent.cli.options import selector_options
from stagent.cli.select import Selector, choose
from stagent.cli.status import stand
from stagent.cli.words import moment, plain
from stagent.core.events import unseal
from stagent.core.ports import Record
from stagent.core.state import State
from stagent.engine.describe import describe
from stagent.engine.service import RunService

_POLL = 0.25


@click.command(name="log")
@selector_options
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="Print each event with its hash as one line of JSON.")
def log_command(selector: Selector, follow: bool, as_json: bool) -> int:
    """Print a run's events in order: local time, number, what happened, and by whom when that changes."""
    home = Home()
    try:
        chosen = choose(home, selector)
        printer = _Printer(chosen.service, chosen.run, as_json=as_json)
        while True:
            # Read before the events: nothing follows the end of a run, so nothing is missed after it.
            state = chosen.service.state(chosen.run)
            printer.catch_up()
            if state.ended or not follow:
                return output.ERROR if printer.broken else output.OK
            printer.standing(state)
            time.sleep(_POLL)
    finally:
        home.close()


class _Printer:
    """Prints the events of one run, each once."""

    def __init__(self, service: RunService, run: str, *, as_json: bool) -> None:
        self._service = service
        self._run = run
        self._line = _document if as_json else self._words
        self._seq = 0
        self._actor = ""
        self._idle = ""
        self.broken = False

    def catch_up(self) -> None:
        """Print the events since the last call."""
        for record in self._service.store.read(self._run, after=self._seq):
            self._seq = record.seq
            try:
                output.line(self._line(record))
            except msgspec.DecodeError as error:
                output.note(f"event {record.seq} cannot be read: {error}")
                self.broken = True
        sys.stdout.flush()

    def standing(self, state: State) -> None:
        """Say so, once for each, when the run goes no further before somebody does something."""
        now = stand(self._service, state)
        idle = f"Waits for {now.waits_for}. Next: {now.remedy}" if now.driver in ("stale", "waiting", "none") else ""
        if idle and idle != self._idle:
            output.note(idle)
        self._idle = idle

    def _words(self, record: Record) -> str:
        envelope = unseal(record.body)
        by = f"  (by {plain(envelope.actor)})" if envelope.actor != self._actor else ""
        self._actor = envelope.actor
        return f"{moment(envelope.at)} {envelope.seq:>4}  {plain(describe(envelope.data))}{by}"


def _document(record: Record) -> str:
    return msgspec.json.encode({**msgspec.json.decode(record.body), "hash": record.hash}).decode()

"""`stagent activity`: what the tools of a session's run were used for."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import click
import msgspec

from stagent.bootstrap import Home
from stagent.cli import output
from stagent.cli.options import selector_options
from stagent.cli.select import Selector, choose
from stagent.cli.words import duration, plain
from stagent.engine.activity import Reader, Use, paired
from stagent.engine.service import RunService

_POLL = 0.25
_WORDS = {"open": "…", "ended": "", "failed": "failed", "denied": "denied"}


@click.command(name="activity")
@selector_options
@click.option(
    "-f", "--follow", is_flag=True, help="Go on until the run ends, with the beginning and the end of each use."
)
@click.option("--tail", metavar="N", type=click.IntRange(min=0), help="Begin with the last N uses.")
@click.option("--json", "as_json", is_flag=True, help="Print each use as one line of JSON.")
def activity_command(selector: Selector, follow: bool, tail: int | None, as_json: bool) -> int:
    """Print what the tools of a session's run were used for: local time, tool, target, how it ended, how long it took.

    Only the start of a command or a path is kept, masked; see `stagent logs` for the attempts of a headless run.
    """
    home = Home()
    try:
        chosen = choose(home, selector)
        with Reader(home.data.activity(chosen.run)) as reader:
            _print(chosen.service, chosen.run, reader, follow=follow, tail=tail, as_json=as_json)
        return output.OK
    finally:
        home.close()


def _print(service: RunService, run: str, reader: Reader, *, follow: bool, tail: int | None, as_json: bool) -> None:
    known = paired(reader.uses())
    if reader.dropped:
        output.note("Older activity of this run was dropped: its file has a limit.")
    if not known and not follow:
        output.note("Nothing is known: only a session with the plugin keeps what its tools are used for.")
    for use in known if tail is None else known[len(known) - min(tail, len(known)) :]:
        output.line(_document(use) if as_json else line(use))
    while follow:
        # Asked before the lines are read: what is written until then is printed.
        ended = service.journal.load(run)[0].ended
        for use in reader.uses():
            output.line(_document(use) if as_json else line(use))
        sys.stdout.flush()
        if ended:
            return
        time.sleep(_POLL)


def line(use: Use) -> str:
    """Return a use as one line; nothing in it steers a terminal."""
    at = datetime.fromtimestamp(use.at / 1000, UTC).astimezone().strftime("%H:%M:%S")
    what = f"{use.tool}: {use.target}" if use.target else use.tool
    how = [word for word in (_WORDS[use.outcome], duration(use.millis) if use.millis is not None else "") if word]
    who = f"  [{use.agent[:12]}]" if use.agent else ""
    return plain(f"{at} {use.stage}.{use.epoch}  {what}" + (f"  ({', '.join(how)})" if how else "") + who)


def _document(use: Use) -> str:
    return msgspec.json.encode(use).decode()

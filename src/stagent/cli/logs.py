"""`stagent logs`: what the agents of a run said, attempt by attempt."""

from __future__ import annotations

import codecs
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec

from stagent.bootstrap import Home
from stagent.cli import output
from stagent.cli.options import selector_options
from stagent.cli.select import Chosen, Selector, choose
from stagent.cli.spoken import ending, heading, spoken
from stagent.cli.words import colourful, plain_lines
from stagent.core.ids import is_run
from stagent.core.masking import mask_bytes
from stagent.core.state import State
from stagent.engine.standing import driver_of
from stagent.errors import NotFoundError, UsageError
from stagent.registry import resolve
from stagent.runner.replay import Follower, Parse, complete, is_whole, plain_parse, rebuild, tail_offset
from stagent.runner.roster import Attempt, attempts, elsewhere, is_open, runner_of
from stagent.runner.typed import Typed, typed_path

_POLL = 0.25
_NUMBERS = re.compile(r"\d{1,9}\.\d{1,9}\Z")


class How(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be printed of each attempt, and how; `form` is words, json, raw or stderr."""

    form: str
    follow: bool
    tail: int | None


@click.command(name="logs")
@selector_options
@click.argument("attempt", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on, also with later attempts, until the run ends or waits.")
@click.option("--all", "everything", is_flag=True, help="Every attempt of the run, not only the last.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), help="Begin with the last N lines of each attempt.")
@click.option("--raw", is_flag=True, help="Print the agent's own output, byte for byte and not masked.")
@click.option("--stderr", is_flag=True, help="Print what went to standard error (its first and last 256 KiB).")
@click.option("--json", "as_json", is_flag=True, help="Print each typed event as one line of JSON.")
def logs_command(
    selector: Selector,
    attempt: tuple[str, ...],
    follow: bool,
    everything: bool,
    tail: int | None,
    raw: bool,
    stderr: bool,
    as_json: bool,
) -> int:
    """Print what the agent of the last attempt said and did, or that of each ATTEMPT (its id, or EPOCH.NUMBER)."""
    forms = [name for name, given in (("raw", raw), ("stderr", stderr), ("json", as_json)) if given]
    if len(forms) > 1:
        raise UsageError("logs.one", "--raw, --stderr and --json", where="logs", remedy="Give one of them.")
    how = How(form=forms[0] if forms else "words", follow=follow, tail=tail)
    home = Home()
    try:
        selector, names = _split(selector, attempt)
        if names and everything:
            raise UsageError("logs.one", "ATTEMPT and --all", where="logs", remedy="Give one of them.")
        chosen = choose(home, selector)
        _Printer(chosen, how).print(names, everything=everything)
        return output.OK
    finally:
        home.close()


def _split(selector: Selector, names: tuple[str, ...]) -> tuple[Selector, list[str]]:
    """Tell a run from attempts: an attempt's id names its run, and without a run the first word may be an attempt."""
    words = [word for word in (selector.run, *names) if word is not None]
    runs = {word.partition(".")[0] for word in words if is_run(word.partition(".")[0])}
    if len(runs) > 1:
        raise UsageError("logs.one", "attempts of several runs", where="logs", remedy="Name those of one run.")
    found = [word.partition(".")[2] if is_run(word.partition(".")[0]) else word for word in words]
    wrong = [word for word in found if word and not _NUMBERS.match(word)]
    if wrong and not (len(wrong) == 1 and wrong[0] == selector.run):
        raise UsageError("logs.attempt", f'"{wrong[-1]}" is no attempt', where="logs", remedy="Write it as 2.1.")
    run = runs.pop() if runs else selector.run if wrong else None
    return msgspec.structs.replace(selector, run=run), [word for word in found if word and word not in wrong]


class _Printer:
    """Prints attempts of one run, each once."""

    def __init__(self, chosen: Chosen, how: How) -> None:
        self._service = chosen.service
        self._run = chosen.run
        self._how = how
        self._folder = chosen.service.home.project(chosen.service.project) / "streams" / chosen.run
        self._colour = colourful()

    def print(self, names: list[str], *, everything: bool) -> None:
        """Print the named attempts, all, or the last; with `follow` all that come later too.

        Raises NotFoundError for an attempt that is not there.
        """
        known = self._known()
        todo = self._named(known, names) if names else known if everything else known[-1:]
        if not todo and not self._how.follow:
            raise NotFoundError(
                "logs.none",
                "no attempt of this run has said anything",
                where=self._run,
                remedy="Only attempts of a runner have a stream; `stagent log` prints the run's events.",
            )
        done = {item.id for item in known} - {item.id for item in todo}
        for item in todo:
            self._attempt(item)
            done.add(item.id)
        over = False
        while self._how.follow and not names:
            # Read before the attempts: nothing follows the end of a run, so nothing is missed after it. And twice: a
            # gate that a policy decides is open for a moment, too.
            before, over = over, self._over()
            for item in self._known():
                if item.id not in done:
                    self._attempt(item)
                    done.add(item.id)
                    over = False
            if before and over:
                return
            time.sleep(_POLL)

    def _known(self) -> list[Attempt]:
        """Return the attempts that have a stream, or will have one."""
        found = attempts(self._service, self._run)
        return [item for item in found if item.backend != "command"]

    def _named(self, known: list[Attempt], names: list[str]) -> list[Attempt]:
        by_number = {f"{item.epoch}.{item.number}": item for item in known}
        for name in names:
            if name not in by_number:
                raise NotFoundError(
                    "logs.attempt",
                    f'no attempt "{name}"',
                    where=self._run,
                    known=list(by_number),
                    remedy="Name a known one." if by_number else "The run has not come that far.",
                )
        return [by_number[name] for name in names]

    def _state(self) -> State:
        return self._service.journal.load(self._run)[0]

    def _over(self) -> bool:
        """Say whether nothing more comes for now: the run ended or rests, waits for a person, or has no driver."""
        state = self._state()
        if not state.live:
            return True
        if state.gate is not None and not state.gate.decision and not state.attempt_open:
            return True
        return driver_of(self._service, state) in ("stale", "waiting", "ready")

    def _running(self, item: Attempt) -> bool:
        state = self._state()
        return is_open(state, item) and (runner_of(state) is not None or bool(elsewhere(state)))

    def _attempt(self, item: Attempt) -> None:
        stream = str(self._folder / f"{item.epoch}.{item.number}.ndjson")
        if self._how.form == "words":
            output.line(heading(item, colour=self._colour))
        if self._how.form in ("raw", "stderr"):
            self._bytes(item, stream if self._how.form == "raw" else f"{stream}.stderr")
        else:
            for record in self._records(item, stream):
                output.line(self._line(item, record))
        if self._how.form == "words" and not self._running(item):
            now = {found.id: found for found in self._known()}
            output.line(ending(now.get(item.id, item), colour=self._colour))
        sys.stdout.flush()

    def _line(self, item: Attempt, record: Typed) -> str:
        if self._how.form == "json":
            return msgspec.json.encode({"attempt": item.id, **msgspec.to_builtins(record)}).decode()
        return "\n".join(spoken(record, colour=self._colour))

    def _bytes(self, item: Attempt, path: str) -> None:
        tail = self._how.tail
        follower = Follower(path, tail_offset(path, tail) if tail is not None else 0)
        show = _shown if self._colour else _written
        for _ in self._rounds(item):
            show(follower.bytes(), masks=self._how.form == "stderr")

    def _rounds(self, item: Attempt) -> Iterator[bool]:
        """Give a round to print what is there, and with `follow` further ones until after the attempt is over."""
        while True:
            # Asked before the round: what is said until then is printed in it.
            running = self._running(item)
            yield running
            if not (running and self._how.follow):
                return
            sys.stdout.flush()
            time.sleep(_POLL)

    def _records(self, item: Attempt, stream: str) -> Iterator[Typed]:
        follower: Follower | None = None
        for running in self._rounds(item):
            if not running and not is_whole(stream) and Path(stream).exists():
                parse = _parser(item.backend)
                if not rebuild(stream, parse) and follower is None:
                    yield from complete(stream, parse)
                    return
            if follower is None:
                follower = Follower(typed_path(stream), self._begin(stream))
            yield from follower.records()

    def _begin(self, stream: str) -> int:
        if self._how.tail is None:
            return 0
        return tail_offset(typed_path(stream), self._how.tail + is_whole(stream))


def _parser(backend: str) -> Parse:
    try:
        make: Callable[[], object] = resolve("agents", backend)  # type: ignore[assignment]  # a backend's class
        return make().parse  # type: ignore[attr-defined, no-any-return]
    except UsageError:
        output.note(f"The backend {backend} is not installed any more; its lines are shown as they are.")
        return plain_parse


def _written(blocks: Iterator[bytes], *, masks: bool) -> None:
    """Write bytes as they are; what is not the stream itself is masked."""
    sys.stdout.flush()
    for block in [mask_bytes(b"".join(blocks))] if masks else blocks:
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


def _shown(blocks: Iterator[bytes], *, masks: bool) -> None:
    """Write bytes so that they cannot steer the terminal."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for block in [mask_bytes(b"".join(blocks))] if masks else blocks:
        sys.stdout.write("\n".join(plain_lines(decoder.decode(block))))
    sys.stdout.write("\n".join(plain_lines(decoder.decode(b"", final=True))))
    sys.stdout.flush()

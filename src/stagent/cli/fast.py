"""The commands an agent calls often, parsed without click: tick, next, advance, wait, context, bootstrap."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import suppress

import msgspec

from stagent.bootstrap import Home
from stagent.cli import output, select
from stagent.cli.awaits import awaited
from stagent.cli.hints import going_on
from stagent.core.masking import mask
from stagent.core.state import State
from stagent.engine.projections.live import picker, shown
from stagent.engine.service import RunService
from stagent.engine.spoolfold import doubted
from stagent.engine.standing import driver_of
from stagent.errors import RefusedError, UsageError

_POLL = 0.25
_UNATTENDED = 10
"""Seconds that a session nobody sits in front of waits for a person, before it ends its turn."""
_REPEAT = 10.0
_HELP = {
    "tick": "Print where the run stands for its driver, as JSON.",
    "next": "Print where a result would lead, as JSON; nothing moves.",
    "advance": "Leave the current stage if everything a transition needs is there; runs the checks it needs.",
    "wait": "Wait until the run changes, then say how.",
    "context": "Print what the agent of the current stage must know.",
    "bootstrap": "Print what the sub-agent of the current stage must know.",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError("usage", message, where=self.prog, remedy=f"See: {self.prog} --help.")


def parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of one command."""
    made = _Parser(prog=f"stagent {name}", description=_HELP[name], allow_abbrev=False)
    made.add_argument("run", nargs="?", help="the run; without it the session's, else the folder's only one")
    made.add_argument("--session", help="the run of this agent session")
    made.add_argument("--topic", help="the run with exactly this topic")
    made.add_argument("--json", action="store_true", help="print JSON")
    if name == "next":
        made.add_argument("--result", required=True, help="a result of the current stage")
    if name == "advance":
        made.add_argument("--to", metavar="STAGE", help="assert that the result leads there")
        made.add_argument("--producer", metavar="NAME", help="who did the work: your own word, where no hook tells")
        made.add_argument("--escalate", metavar="REASON", help="give up this stage; - reads the reason from input")
    if name == "wait":
        made.add_argument("--timeout", type=_seconds, default=None, metavar="SECONDS", help="give up after this long")
    return made


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if float(text) >= 0:
            return float(text)
    raise argparse.ArgumentTypeError(f'"{text}" is no number of seconds')


def run(name: str, arguments: list[str], asked: int | None = None) -> int:
    """Run one of these commands and return its exit status; `asked` is when it was called (unix milliseconds)."""
    try:
        options = parser(name).parse_args(arguments, argparse.Namespace(asked=asked))
    except SystemExit as stop:
        # Only --help gets here: it has printed its text and asks for status 0.
        return int(stop.code or 0)
    home = Home()
    try:
        chosen = select.choose(home, select.Selector(run=options.run, session=options.session, topic=options.topic))
        return _COMMANDS[name](chosen.service, chosen.run, options)
    finally:
        home.close()


def _tick(service: RunService, run: str, options: argparse.Namespace) -> int:
    state = service.state(run)
    service.publisher.begun(state)
    tick = service.brief(state).tick()
    if not state.ended:
        asked = picker(service.workflow(state), state, service.folder(state))
        doubt = mask(doubted(service.home, state.session)) if asked and state.session else ""
        waits = _waits(service.home.launcher) if asked and asked["explicit"] else None
        tick = msgspec.structs.replace(tick, picker=shown(asked) if asked else None, wait=waits, doubt=doubt or None)
    output.as_json(tick)
    return 0


def _waits(launcher: str) -> str:
    """Return the command that waits for a person: for ever only where one sits in front of the session."""
    attended = os.environ.get("CLAUDE_CODE_SESSION_ATTENDED") == "1"
    return f"{launcher} wait" + ("" if attended else f" --timeout {_UNATTENDED}")


def _next(service: RunService, run: str, options: argparse.Namespace) -> int:
    state = service.state(run)
    _working(state)
    preview = service.brief(state).next(options.result)
    if preview is None:
        stage = service.workflow(state).stages[state.stage]
        raise UsageError(
            "result.unknown",
            f'no result "{options.result}"',
            where=f"stage {state.stage}",
            known=sorted(stage.transitions),
            remedy="Use a known one.",
        )
    output.as_json(preview)
    return 0


def _context(service: RunService, run: str, options: argparse.Namespace) -> int:
    state = service.state(run)
    _working(state)
    text = service.brief(state).context()
    if options.json:
        output.as_json({"run": run, "stage": state.stage, "epoch": state.epoch, "context": text})
    else:
        sys.stdout.write(text)
    return 0


def _bootstrap(service: RunService, run: str, options: argparse.Namespace) -> int:
    state = service.state(run)
    stage = service.workflow(state).stages[state.stage]
    if stage.execution != "subagent" and not state.ended:
        raise RefusedError(
            "bootstrap.inline",
            "this stage is not worked by a sub-agent",
            where=f"stage {state.stage}",
            remedy="Do it in the main conversation: stagent context.",
        )
    return _context(service, run, options)


def _advance(service: RunService, run: str, options: argparse.Namespace) -> int:
    state = service.state(run)
    caller = select.caller(state)
    if options.escalate is not None:
        return _escalate(service, run, options)
    printed: dict[str, float] = {}

    def progress(name: str, seconds: float) -> None:
        if seconds - printed.get(name, -_REPEAT) >= _REPEAT:
            printed[name] = seconds
            output.note(f"checking {name} ({seconds:.0f} s)")

    done = service.advance(
        run, caller, to=options.to, producer=options.producer, asked=options.asked, progress=progress
    )
    overtaken = done.refusal is None and not done.moved
    if done.warning:
        output.note(done.warning)
    checks = [{"name": name, "outcome": check.outcome, "exit": check.exit} for name, check in done.state.checks.items()]
    tick = None if done.refusal is not None else service.brief(done.state).tick()
    if options.json:
        refusal = output.refusal_document(done.refusal) if done.refusal else None
        moved = "overtaken" if overtaken else "ended" if done.state.ended else "advanced"
        status = "refused" if done.refusal else moved
        output.as_json({"status": status, "refusal": refusal, "checks": checks, "next": {"tick": tick}})
    if done.refusal is not None:
        return output.refused(done.refusal)
    if overtaken:
        output.note("Another call moved the run meanwhile; this one moved nothing.")
    if not options.json:
        _say(service, done.state)
    return 0


def _escalate(service: RunService, run: str, options: argparse.Namespace) -> int:
    reason = sys.stdin.read() if options.escalate == "-" else options.escalate
    state = service.state(run)
    answer = service.give_up(run, select.caller(state), reason)
    if not isinstance(answer, State):
        return output.refused(answer, as_json_too=options.json)
    if options.json:
        output.as_json({"status": "escalated", "refusal": None, "checks": [], "next": {"tick": None}})
        return 0
    output.line(f"given up by the agent in stage {answer.stage}; a person decides how it goes on: {answer.run}")
    return 0


def _say(service: RunService, state: State) -> None:
    if state.ended:
        output.line(f"Run {state.run} ended as {state.terminal} at epoch {state.epoch}. Log head: {state.head}")
        return
    output.line(f"Stage {state.stage}, epoch {state.epoch}.")
    sys.stdout.write(service.brief(state).context())


def _wait(service: RunService, run: str, options: argparse.Namespace) -> int:
    began = time.monotonic()
    first = service.state(run)
    while True:
        state = service.state(run)
        # A decision made before this call began changes nothing any more: whoever waited for it would wait for ever.
        decided = state.gate is not None and bool(state.gate.decision)
        if state.seq != first.seq or not state.live or decided:
            if options.json:
                output.as_json({"changed": state.seq != first.seq, "tick": service.brief(state).tick()})
            else:
                output.line(f"Run {run}: {state.status} in stage {state.stage}, epoch {state.epoch}.")
            return 0
        if options.timeout is not None and time.monotonic() - began >= options.timeout:
            what, remedy = awaited(service, state, driver_of(service, state))
            output.note(f"Nothing changed in {options.timeout:g} s. It waits for {what}. Next: {remedy}")
            return output.WAITING
        time.sleep(_POLL)


def _working(state: State) -> None:
    if state.ended:
        raise RefusedError(
            "run.ended", f"the run ended as {state.terminal}", where=state.run, remedy="Start a new run."
        )
    if not state.live:
        raise RefusedError(
            f"run.{state.status}", f"the run is {state.status}", where=state.run, remedy=f"Go on: {going_on(state)}."
        )


_COMMANDS = {
    "tick": _tick,
    "next": _next,
    "advance": _advance,
    "wait": _wait,
    "context": _context,
    "bootstrap": _bootstrap,
}

"""`stagent hook`: what a hook or a command of the plugin asks the program for, parsed without click.

`report` says what the command a person just typed decided; `snapshot` and `unchanged` let the Stop hook know whether
anything in the project moves (exit status 0: nothing did, 3: something did, any other: it could not be told); `names`
whether a command line only names the program instead of calling it; `EVENT` runs the hook file itself on the event in
standard input.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec

from stagent import disk
from stagent.bootstrap import Home
from stagent.cli import output, pending, select, shellwords
from stagent.config import DataHome
from stagent.core import commands as cmd
from stagent.core.canonical import digest
from stagent.core.masking import mask
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine import folder, setup
from stagent.engine.service import RunService
from stagent.engine.spoolfold import DOUBT
from stagent.errors import RefusedError, UsageError
from stagent.hooks import shellguard, standstill

OWN = ("report", "snapshot", "unchanged", "names", "agent-names")
EVENTS = (
    *("SessionStart", "SessionEnd", "UserPromptSubmit", "UserPromptExpansion", "PreToolUse", "PostToolUse"),
    *("PostToolUseFailure", "PermissionRequest", "SubagentStart", "SubagentStop", "Stop", "StopFailure"),
    *("Notification", "PreCompact", "PostCompact", "ConfigChange"),
)
ENDS = ("interrupt", "cancel")
VERBS = ("approve", "reject", *ENDS)


class Standing(msgspec.Struct, frozen=True):
    """Where a run and its project stood when a turn was first asked to go on."""

    run: str
    stage: str
    epoch: int
    tree: str


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError("usage", message, where=self.prog, remedy=f"See: {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = _Parser(prog="stagent hook", description=__doc__, allow_abbrev=False)
    made.add_argument("what", metavar="|".join((*OWN, "EVENT")), help="what is asked, or a hook event")
    made.add_argument("--line", default="", help="the command line that `names` asks about")
    made.add_argument("--session", help="the agent session; without it the one of the environment")
    return made


def run(arguments: list[str]) -> int:
    """Run the command and return its exit status."""
    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:
        # Only --help gets here: it has printed its text and asks for status 0.
        return int(stop.code or 0)
    if options.what in EVENTS:
        return _event()
    if options.what not in OWN:
        raise UsageError(
            "hook.unknown",
            f'nothing is called "{options.what}"',
            where="stagent hook",
            known=(*OWN, *EVENTS),
            remedy="Use a known name.",
        )
    if options.what in ("names", "agent-names"):
        return _names(options.line, shellguard.PERSONS if options.what == "names" else shellguard.AGENT_NEVER)
    if options.what == "unchanged":
        return _unchanged(options.session)
    if options.what == "snapshot":
        return _snapshot(options.session or pending.session_of_environment())
    return pending.answered(lambda: _report(options.session or pending.session_of_environment()))


def _event() -> int:
    file = Path(__file__).resolve().parent.parent / "hooks" / "hook.py"
    home = str(DataHome.locate().root)
    # In the place of this process, so that the hook's parent stays whoever called.
    os.execv(sys.executable, [sys.executable, "-I", "-S", str(file), home])


def _present(session: str) -> tuple[Standing, Path]:
    """Return where the session's run and its project stand now, and where that is kept."""
    home = Home()
    try:
        chosen = select.choose(home, select.Selector(session=session))
        state = chosen.service.journal.load(chosen.run)[0]
        tree = chosen.service.workspace.snapshot()
        kept = home.data.live(session).with_suffix(".tree")
        return Standing(chosen.run, state.stage, state.epoch, tree), kept
    finally:
        home.close()


def _snapshot(session: str) -> int:
    standing, place = _present(session)
    folder.write(place, msgspec.json.encode(standing))
    return output.OK


def _names(line: str, verbs: set[str]) -> int:
    """Exit 0 only when the line certainly calls nothing that is forbidden."""
    return output.OK if shellwords.only_named(line, DataHome.locate().launcher, verbs) else output.ERROR


def _unchanged(named: str | None) -> int:
    """Exit 0 when everything is as it was at the snapshot, 3 when something moved; raise when it cannot be told."""
    standing, place = _present(named or pending.session_of_environment())
    try:
        kept = msgspec.json.decode(place.read_bytes(), type=Standing)
    except (OSError, msgspec.MsgspecError) as error:
        raise _untold(standing, f"there is no snapshot to compare with: {error}") from error
    if (kept.run, kept.stage, kept.epoch) != (standing.run, standing.stage, standing.epoch):
        raise _untold(standing, f"the snapshot is of stage {kept.stage}, epoch {kept.epoch}")
    return output.OK if kept.tree == standing.tree else standstill.CHANGED


def _untold(standing: Standing, why: str) -> RefusedError:
    return RefusedError(
        "hook.untold",
        f"it cannot be told whether the project changed; {why}",
        where=f"stage {standing.stage}, epoch {standing.epoch}",
        remedy="See whether a snapshot can be taken: stagent hook snapshot; then go on: stagent continue.",
    )


def _report(session: str) -> int:
    home = Home()
    try:
        kept = pending.take(home.data, session, *(f"stagent:{verb}" for verb in VERBS))
        verb = kept.command.partition(":")[2]
        words = pending.end_words(kept.args, verb) if verb in ENDS else pending.EndWords()
        service, state = _meant(home, session, verb, words)
        why = ""
        # No hook decides about a run that is named, or that nobody drives.
        if not state.ended and (words.selects or (verb == "cancel" and not state.live)):
            state, why = _ordered(service, state, kept, session, words)
        if why:
            output.line(mask(f"Nothing was decided: {why}. In a terminal: stagent {verb} {state.run}."))
            return output.OK
        if not _decided(state, verb, kept):
            output.line(mask(f"Nothing was decided: {_why(home.data, session, state, verb, kept)}"))
            return output.OK
        if verb in ENDS:
            _ended(home, service, state, verb, hard=words.hard)
        else:
            _judged(service, state)
        return output.OK
    finally:
        home.close()


def _meant(home: Home, session: str, verb: str, words: pending.EndWords) -> tuple[RunService, State]:
    """Return the session's own run, also where it is named. Raises RefusedError for any other."""
    selector = select.Selector(session=words.session, topic=words.topic)
    chosen = select.choose(home, selector if words.selects else select.Selector(session=session))
    state = chosen.service.state(chosen.run)
    if words.selects and state.session != session:
        raise RefusedError(
            "hook.other_run",
            f"{state.run} is not the run of this session, so nothing was done to it",
            where=f"/stagent:{verb}",
            remedy=f"In a terminal: stagent {verb} {state.run}{' --hard' if words.hard else ''}.",
            fields={"run": state.run},
        )
    return chosen.service, state


def _ordered(
    service: RunService, state: State, kept: pending.Kept, session: str, words: pending.EndWords
) -> tuple[State, str]:
    """Do to the session's run what its person ordered and no hook could decide; return the state, and why not.

    The order counts as one to take a run over does.
    """
    verb = kept.command.partition(":")[2]
    doubt = pending.doubt(kept)
    if doubt:
        return state, f"{verb} does not count: {doubt}"
    text = words.text.encode("utf-8", "replace")
    name = digest(text) if text else None
    caller = cmd.Caller(actor=f"person:command:{session}", kind="person")
    command = cmd.Cancel(text=name) if verb == "cancel" else cmd.Interrupt(reason=name)
    answer = service.submit(state.run, caller, command, {name: text} if name else None)
    return (state, answer.what) if isinstance(answer, Refusal) else (answer, "")


def _decided(state: State, verb: str, kept: pending.Kept) -> bool:
    if verb == "interrupt":
        return state.status == "interrupted"
    if verb == "cancel":
        return state.terminal == "cancelled"
    return bool(kept.prompt) and kept.prompt in state.prompts


def _why(home: DataHome, session: str, state: State, verb: str, kept: pending.Kept) -> str:
    if state.ended:
        return f"the run ended as {state.terminal}."
    if not state.live:
        return f"the run is {state.status}, and nobody drives it. Go on with it first: /stagent:continue"
    noted = folder.read(home.live(session).with_suffix(DOUBT), 65536)
    prompt, _, text = (noted or b"").decode("utf-8", "replace").partition("\n")
    remedy = f"In a terminal: stagent {verb} {state.run}."
    if text and prompt in (kept.prompt, ""):
        return f"{text}. {remedy}" if not text.endswith(".") else f"{text} {remedy}"
    if verb in ("approve", "reject") and state.gate is None:
        return f"stage {state.stage}, epoch {state.epoch}, waits for no decision yet; {remedy}"
    return f"no hook saw this command as a person's. See stagent doctor. {remedy}"


def _judged(service: RunService, state: State) -> None:
    gate = state.gate
    word = {"approve": "approval", "answer": "choice"}.get(gate.decision if gate else "", "rejection")
    where = f"stage {state.stage}, epoch {state.epoch}"
    output.line(f"The {word} counts: {where}, run {state.run}. Log head: {state.head}")
    text = service.text(gate.text) if gate else ""
    if text:
        output.line(mask(f"Words: {text}"))


def _ended(home: Home, service: RunService, state: State, verb: str, *, hard: bool) -> None:
    agents = [agent.id for agent in state.others]
    if agents:
        output.line(f"STAGENT_STOP_AGENT_IDS: {' '.join(agents)}")
    if verb == "interrupt":
        output.line(f"{state.run} is interrupted in stage {state.stage}. Go on with: /stagent:continue")
        return
    if hard:
        disk.remove(service.folder(state).path, as_far_as_possible=True)
        output.line(f"{state.run} is cancelled; its folder is removed, its log is kept.")
    else:
        place = setup.archive(service.root, state.folder, "-cancelled", home.index.find_run(state.run).label)
        output.line(f"{state.run} is cancelled" + (f"; its folder is now {place}" if place else "") + ".")
    output.line(f"Log head: {state.head}")

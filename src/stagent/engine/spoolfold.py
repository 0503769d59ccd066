"""Folds a run's spool into its log: each line once, in order, under the same rules as any other command."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stagent import disk, processes
from stagent.config import DataHome
from stagent.core import commands as cmd
from stagent.core.decide import decide
from stagent.core.events import Event, Holder
from stagent.core.evidence import Evidence
from stagent.core.ids import is_session
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine import activity, persons, spool, transcript
from stagent.engine.evidence import HOST, Gatherer
from stagent.engine.folder import RunFolder, look, read, write
from stagent.engine.journal import Journal
from stagent.engine.projections.publish import Publisher
from stagent.errors import ConflictError
from stagent.failpoints import hit

DOUBT = ".doubt"
"""Beside a session's live file: the prompt of the last decision that did not count, and why, on two lines."""


def doubted(home: DataHome, session: str) -> str:
    """Return why the last decision a hook saw in a session did not count; empty when there is none."""
    noted = read(home.live(session).with_suffix(DOUBT), 65536) or b""
    return noted.decode("utf-8", "replace").partition("\n")[2]


class SpoolFold:
    """The spools of one project's runs."""

    def __init__(self, journal: Journal, publisher: Publisher, gatherer: Gatherer, home: DataHome, root: Path) -> None:
        self.journal = journal
        self.publisher = publisher
        self.gatherer = gatherer
        self.home = home
        self.root = root
        self.doubts: list[str] = []

    def fold(self, state: State, offset: int) -> State:
        """Return the state after every complete line behind `offset`; only sessions with hooks have any.

        `doubts` then holds why decisions among them did not count as a person's.
        """
        if not state.session:
            return state
        path = self.home.spool(state.run)
        lines, end, torn = spool.read(path, offset)
        if end == offset:
            return state
        if torn:
            hit("spool.aside.before")
            with open(path.with_suffix(".torn"), "ab") as aside:
                aside.writelines(torn)
            hit("spool.aside.after")
        for line, behind in lines:
            while behind > offset:
                try:
                    state, offset = self._line(state, line, behind), behind
                except ConflictError:
                    # Another writer was first, perhaps with something else: the line may still have to be folded.
                    state, offset = self.journal.load(state.run)
        return state if offset >= end else self._move(state, end)

    def _line(self, state: State, line: spool.Line, behind: int) -> State:
        actor, events, blobs = "", list[Event](), dict[str, bytes]()
        if spool.is_holders(line, state):
            actor, events, blobs = self._events(state, self._with_error(line))
        elif spool.is_next_process(line, state):
            actor, events = "engine", self._next_process(state, line)
        elif line.e == "Decision" and line.s == state.session:
            self._stray(state, line)
        elif line.s == state.session:
            # Whoever was left behind may end after the lease has.
            actor, events = f"hook:{line.s}", spool.others(line, state) if not state.live else []
        fresh = self.journal.append(state, events, actor, blobs, behind)
        self.publisher.after(state, fresh, events)
        reference = line.d.get("reference") if line.e == "Decision" else None
        if isinstance(reference, str) and reference and "/" not in reference:
            disk.remove(self.home.pending / reference)
        return fresh

    def _events(self, state: State, line: spool.Line) -> tuple[str, list[Event], dict[str, bytes]]:
        if line.e == "Decision":
            return self._decision(state, line)
        workflow = self.publisher.pinned.workflow(state)
        seen = look(RunFolder.of(self.root, state).artifact(state.stage))
        found = seen[0] if seen else None
        actor = f"hook:{line.s}"
        foreign = spool.foreign_artifact(line, state, found)
        if foreign and seen and found:
            return actor, foreign, {found.digest: seen[1]}
        command, beside = spool.command(line, state, found), spool.others(line, state)
        if isinstance(command, cmd.EndAttempt) and command.event.agent:
            # What it did is a stream of its own; its end names it as it is now.
            stream, size = activity.digest(self.home.activity(state.run), command.event.agent)
            event = msgspec.structs.replace(command.event, stream=stream or None, stream_bytes=size)
            command = cmd.EndAttempt(event=event)
        if command is None:
            return actor, beside, {}
        holder = state.lease.holder if state.lease else None
        caller = cmd.Caller(
            actor=actor, kind="session", session=holder.session if holder else None, pid=holder.pid if holder else None
        )
        leaves = isinstance(command, cmd.Stall | cmd.Interrupt)
        evidence = Evidence(head=self.gatherer.head()) if leaves else Evidence()
        answer = decide(workflow, state, caller, command, evidence)
        named = command.text if isinstance(command, cmd.Stall) else None
        named = command.reason if isinstance(command, cmd.Interrupt) else named
        blobs = {named: spool.words(line)} if named else {}
        return actor, [*([] if isinstance(answer, Refusal) else answer), *beside], blobs

    def _with_error(self, line: spool.Line) -> spool.Line:
        """Return the end of a session with the error its last turn ended with.

        Claude Code does not wait for the hook that hears of the error before it ends the session, and may end that
        hook: then the conversation itself says it.
        """
        if line.e != "SessionEnd" or line.d.get("waiting"):
            return line
        return msgspec.structs.replace(line, d={**line.d, "waiting": transcript.error(str(line.d.get("transcript")))})

    def _next_process(self, state: State, line: spool.Line) -> list[Event]:
        """Let the process that went on with the session's conversation have the lease of one that is dead."""
        started = processes.start_time(line.p) if line.p is not None else None
        if started is None:
            return []
        holder = Holder(kind="session", session=line.s, pid=line.p, started=started, host=HOST)
        workflow = self.publisher.pinned.workflow(state)
        caller = cmd.Caller(actor="engine", kind="engine")
        answer = decide(workflow, state, caller, cmd.Resume(holder=holder), self.gatherer.for_lease(state))
        return [] if isinstance(answer, Refusal) else answer

    def _stray(self, state: State, line: spool.Line) -> None:
        """Say why the decision of somebody who does not drive the run does not count."""
        claim = self._claim(line)
        if claim is not None:
            why = persons.doubt(claim, state, line.p, line.a) if state.live else f"the run is {state.status}"
            self._doubt(line, claim.prompt, f"{claim.decision} does not count: {why}")

    def _claim(self, line: spool.Line) -> persons.Claim | None:
        try:
            return msgspec.convert(line.d, persons.Claim)
        except msgspec.ValidationError as error:
            self._doubt(line, "", f"the decision cannot be read: {error}")
            return None

    def _doubt(self, line: spool.Line, prompt: str, text: str) -> None:
        """Keep why a decision did not count, also for a later call: another one may be the first to fold the line."""
        self.doubts.append(text)
        if is_session(line.s):
            write(self.home.live(line.s).with_suffix(DOUBT), f"{prompt}\n{text}".encode("utf-8", "replace"))

    def _decision(self, state: State, line: spool.Line) -> tuple[str, list[Event], dict[str, bytes]]:
        claim = self._claim(line)
        if claim is None:
            return "", [], {}
        doubt = persons.doubt(claim, state, line.p, line.a)
        if doubt:
            self._doubt(line, claim.prompt, f"{claim.decision} does not count: {doubt}")
            return "", [], {}
        workflow = self.publisher.pinned.workflow(state)
        gathered = self.gatherer.for_gate(workflow, state, RunFolder.of(self.root, state))
        command, blobs = persons.command(claim, state, gathered.evidence, self._words(claim))
        caller = cmd.Caller(actor=f"person:hook:{line.s}", kind="person")
        answer = decide(workflow, state, caller, command, gathered.evidence)
        if isinstance(answer, Refusal):
            self._doubt(line, claim.prompt, f"{claim.decision} does not count: {answer.message}")
            return "", [], {}
        disk.remove(self.home.live(line.s).with_suffix(DOUBT))
        return caller.actor, answer, {**gathered.blobs, **blobs}

    def _words(self, claim: persons.Claim) -> str:
        if not claim.reference or "/" in claim.reference:
            return claim.text
        try:
            return (self.home.pending / claim.reference).read_text("utf-8", "replace")
        except OSError:
            return claim.text

    def _move(self, state: State, offset: int) -> State:
        try:
            return self.journal.append(state, [], "", {}, offset)
        except ConflictError:
            return self.journal.load(state.run)[0]

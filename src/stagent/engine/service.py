"""`RunService`: the one door every interface goes through.

It loads a run, folds what hooks saw, gathers evidence, lets `core.decide` answer, appends the events under the
expected seq, and refreshes the projections. Of two racing writers one wins; the other re-reads and asks again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import msgspec

from stagent.config import DataHome
from stagent.core import commands as cmd
from stagent.core.advance import holds
from stagent.core.canonical import digest
from stagent.core.decide import decide
from stagent.core.events import (
    BudgetReached,
    CheckStarted,
    Event,
    Resumed,
    TakenOver,
    Transitioned,
)
from stagent.core.evidence import Evidence, target_of
from stagent.core.frontmatter import rewrite
from stagent.core.model import Workflow
from stagent.core.ports import BlobGone, Store, Workspace
from stagent.core.refusals import Refusal, work
from stagent.core.state import State
from stagent.engine.brief import Brief
from stagent.engine.evidence import Gathered, Gatherer, blob
from stagent.engine.folder import NAME, RunFolder, look, write
from stagent.engine.journal import Journal
from stagent.engine.pinned import Pinned
from stagent.engine.projections.publish import Publisher
from stagent.engine.report import final_report
from stagent.engine.spoolfold import SpoolFold
from stagent.errors import ConflictError, RefusedError, StagentError
from stagent.registry import resolve

Progress = Callable[[str, float], None]
_TURNS = 10_000
_POLL = 0.2
_CHECK_RUNS = 3
_FEEDBACK_TAIL = 6_000
_MOVES = (Transitioned, Resumed, TakenOver)


class Advanced(msgspec.Struct, frozen=True, kw_only=True):
    """What an `advance` came to: the state, and the refusal when nothing moved."""

    state: State
    refusal: Refusal | None = None
    moved: bool = False
    warning: str = ""


class Worker(Protocol):
    """Runs what the engine runs itself; see `engine.workshop`."""

    def check(self, state: State, caller: cmd.Caller, started: CheckStarted, progress: Progress) -> None: ...
    def command(self, state: State, caller: cmd.Caller, progress: Progress) -> None: ...


class RunService:
    """Runs of one project."""

    def __init__(
        self,
        *,
        store: Store,
        root: Path,
        workspace: Callable[[], Workspace],
        home: DataHome,
        project: str,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.store = store
        self._open = workspace
        self.home = home
        self.project = project
        self.clock = clock
        self.root = root
        self.journal = Journal(store, clock)
        self.pinned = Pinned(store)
        self.gatherer = Gatherer(lambda: self.workspace)
        self.publisher = Publisher(self.pinned, home, self.root, self.brief, self.journal)
        self.listeners: list[Callable[[], None]] = []
        self._spool = SpoolFold(self.journal, self.publisher, self.gatherer, home, root)
        self.tidy: Callable[[], object] = lambda: None

    @cached_property
    def workspace(self) -> Workspace:
        """The project folder; opened when it is first looked at, because that asks git."""
        return self._open()

    # -- reading ---------------------------------------------------------------------------------------------

    def state(self, run: str) -> State:
        """Return where a run stands, after folding what its hooks saw; refresh projections that are behind.

        Raises NotFoundError for an unknown run.
        """
        state, offset = self.journal.load(run)
        state = self._spool.fold(state, offset)
        self.publisher.refresh(state)
        return state

    def workflow(self, state: State) -> Workflow:
        """Return the workflow a run pinned."""
        return self.pinned.workflow(state)

    def folder(self, state: State) -> RunFolder:
        """Return the run folder."""
        return RunFolder.of(self.root, state)

    def text(self, name: str | None) -> str:
        """Return a blob as text; a deleted one says so; none gives an empty text."""
        if not name:
            return ""
        found = self.store.blob(name)
        if isinstance(found, BlobGone):
            return f"[deleted: {found.reason}]"
        return found.decode("utf-8", "replace")

    def pinned_environment(self, state: State) -> dict[str, str]:
        """Return the variables that decide what a command means, as they were when the run began."""
        text = self.text(state.environment)
        return msgspec.json.decode(text, type=dict[str, str]) if text else {}

    def brief(self, state: State) -> Brief:
        """Return the renderer of what an agent is told about the present stage."""
        return Brief(
            self.workflow(state),
            state,
            self.folder(state),
            project=str(self.root),
            task=self.text(state.task),
            feedback=self.text(state.feedback),
        )

    # -- moving ----------------------------------------------------------------------------------------------

    def advance(
        self,
        run: str,
        caller: cmd.Caller,
        *,
        to: str | None = None,
        producer: str | None = None,
        asked: int | None = None,
        progress: Progress = lambda name, seconds: None,
    ) -> Advanced:
        """Leave the current stage if everything a transition needs is there; run the checks it needs.

        A check another process is running is waited for. A refusal that blames the work is recorded as feedback. When
        another call moves the run meanwhile, this one moves nothing and shows where the run stands now; so it does when
        that happened since this one was `asked` for (unix milliseconds).
        """
        command = cmd.Advance(to=to, producer=producer)
        began, epoch, ran = time.monotonic(), 0, Counter[str]()
        for _ in range(_TURNS):
            state = self.state(run)
            moved = state.epoch != epoch if epoch else _entered_since(state, asked, self.clock())
            epoch = state.epoch
            if moved:
                return Advanced(state=state, refusal=holds(state, caller) if state.live else None)
            gathered = self._gather(state)
            answer = decide(self.workflow(state), state, caller, command, gathered.evidence)
            if isinstance(answer, Refusal):
                if self._stands_by(state, answer, caller, progress, began):
                    continue
                return Advanced(state=self._refused(state, answer, caller), refusal=answer)
            started = next((event for event in answer if isinstance(event, CheckStarted)), None)
            if started is not None and ran[started.name] >= _CHECK_RUNS:
                refusal = _unsettled(state, started.name)
                return Advanced(state=self._refused(state, refusal, caller), refusal=refusal)
            try:
                fresh = self.append(state, answer, caller.actor, gathered.blobs)
            except ConflictError:
                continue
            if started is not None:
                ran[started.name] += 1
                self._workshop.check(fresh, caller, started, progress)
            elif any(isinstance(event, Transitioned) for event in answer):
                return Advanced(state=fresh, moved=True, warning=_cap_warning(answer))
        raise RefusedError(
            "advance.busy", "other writers kept changing the run", where=run, remedy="Advance again in a moment."
        )

    def submit(
        self,
        run: str,
        caller: cmd.Caller,
        command: cmd.Command,
        blobs: Mapping[str, bytes] | None = None,
    ) -> State | Refusal:
        """Put any other command to the run and return its new state, or the refusal."""
        for _ in range(_TURNS):
            state = self.state(run)
            gathered = self._evidence_for(state, command)
            answer = decide(self.workflow(state), state, caller, command, gathered.evidence)
            if isinstance(answer, Refusal):
                return answer
            try:
                return self.append(state, answer, caller.actor, {**gathered.blobs, **(blobs or {})})
            except ConflictError:
                continue
        raise RefusedError(
            "run.busy", "other writers kept changing the run", where=run, remedy="Try again in a moment."
        )

    def gate_evidence(self, state: State) -> Gathered:
        """Return what a decision on the current gate would be bound to, with the bytes to show to whoever decides."""
        return self.gatherer.for_gate(self.workflow(state), state, self.folder(state))

    def give_up(self, run: str, caller: cmd.Caller, reason: str) -> State | Refusal:
        """Escalate from the current stage for an agent, with its reason."""
        name, blobs = blob(reason.strip().encode("utf-8", "replace"))
        return self.submit(run, caller, cmd.GiveUp(by="agent", text=name if reason.strip() else None), blobs)

    # -- inside ----------------------------------------------------------------------------------------------

    def _stands_by(self, state: State, refusal: Refusal, caller: cmd.Caller, progress: Progress, began: float) -> bool:
        """Run the stage's command, or wait a moment for a check another process runs, where that is all it takes."""
        if refusal.code == "command.pending":
            self._workshop.command(state, caller, progress)
            return True
        if refusal.code == "check.running":
            progress(str(refusal.fields.get("check")), time.monotonic() - began)
            time.sleep(_POLL)
            return True
        return False

    def append(self, state: State, events: list[Event], actor: str, blobs: Mapping[str, bytes]) -> State:
        """Append events that follow `state` and publish what they lead to. Raises ConflictError."""
        fresh = self.journal.append(state, events, actor, blobs)
        self.publisher.after(state, fresh, events)
        if any(isinstance(event, _MOVES) for event in events):
            # The repository may have been made since the start, which says when this cannot be done.
            with suppress(StagentError):
                self.workspace.keep_private(NAME)
        for listener in self.listeners:
            listener()
        return fresh

    def _gather(self, state: State) -> Gathered:
        if not state.live:
            return Gathered(Evidence(), {})
        workflow, folder = self.workflow(state), self.folder(state)
        self._write_choice(workflow, state, folder)
        gathered = self.gatherer.for_advance(workflow, state, folder)
        found = gathered.evidence.artifact
        if found is None:
            return gathered
        target = target_of(workflow, state, found.result)
        if target is not None and workflow.is_terminal(target):
            return self._with_report(workflow, state, gathered, target, state.epoch + 1)
        return gathered

    def _with_report(self, workflow: Workflow, state: State, gathered: Gathered, terminal: str, epoch: int) -> Gathered:
        last = gathered.evidence.artifact
        report = final_report(workflow, state, self.folder(state), terminal, epoch, self.clock(), last)
        name, blobs = blob(report)
        evidence = msgspec.structs.replace(gathered.evidence, report=name)
        return Gathered(evidence, {**gathered.blobs, **blobs})

    def _evidence_for(self, state: State, command: cmd.Command) -> Gathered:
        workflow = self.workflow(state)
        if isinstance(command, cmd.DecideGate):
            return self.gatherer.for_gate(workflow, state, self.folder(state))
        if isinstance(command, cmd.Resume):
            return Gathered(self.gatherer.for_lease(state), {})
        leaves = isinstance(command, cmd.Interrupt | cmd.Stall | cmd.GiveUp | cmd.ReachBudget)
        empty = Gathered(Evidence(head=self.gatherer.head()) if leaves else Evidence(), {})
        if isinstance(command, cmd.GiveUp) or (isinstance(command, cmd.ReachBudget) and command.action == "halt"):
            return self._with_report(workflow, state, empty, "escalated", state.epoch)
        if isinstance(command, cmd.Cancel):
            return self._with_report(workflow, state, empty, "cancelled", state.epoch + 1)
        return empty

    def _write_choice(self, workflow: Workflow, state: State, folder: RunFolder) -> None:
        """Write the artifact of a human stage from the decision in the log, whatever lies there."""
        gate = state.gate
        if workflow.stages[state.stage].kind != "human" or gate is None or gate.decision != "answer":
            return
        text = self.text(gate.text)
        data = rewrite(text.encode(), {"epoch": str(state.epoch), "result": gate.choice})
        path = folder.artifact(state.stage)
        seen = look(path)
        if seen is None or seen[1] != data:
            write(path, data)

    @property
    def _workshop(self) -> Worker:
        """What runs checks and commands; imported when there is one to run."""
        make = cast(Callable[[RunService], Worker], resolve("parts", "workshop"))
        return make(self)

    def _refused(self, state: State, refusal: Refusal, caller: cmd.Caller) -> State:
        """Record a refusal that blames the work, once for the same words, as feedback for the next attempt."""
        if refusal.blame != "work" or caller.agent is not None:
            return state
        text = refusal.message + self._output_tail(refusal)
        # A refusal names files, and the name of a file need not be text.
        text = text.encode("utf-8", "backslashreplace").decode()
        name = digest(text.encode())
        again = state.refusal == refusal.code and state.feedback == name
        # Each of a runner's refusals counts against another attempt, but none is made of what a person rejected.
        if again and (caller.kind != "runner" or refusal.code == "gate.rejected"):
            return state
        answer = decide(self.workflow(state), state, caller, cmd.Refuse(code=refusal.code, text=name), Evidence())
        if isinstance(answer, Refusal):
            return state
        try:
            return self.append(state, answer, caller.actor, {name: text.encode()})
        except ConflictError:
            # The run is not where it was refused any more; the words must not be held against what is there now.
            return self.state(state.run)

    def _output_tail(self, refusal: Refusal) -> str:
        parts = ""
        for field, label in (("protected", "Changed, removed or added"), ("output", "Output")):
            name = refusal.fields.get(field)
            if isinstance(name, str):
                tail = self.text(name)[-_FEEDBACK_TAIL:].strip("\n")
                parts += f"\n\n{label}:\n{tail}\n"
        feedback = refusal.fields.get("feedback")
        return parts + (f"\n\n{self.text(feedback)}" if isinstance(feedback, str) else "")


def _entered_since(state: State, asked: int | None, now: int) -> bool:
    """Say whether the stage was entered after a call was made; a clock that was set back makes no call late."""
    return asked is not None and asked < state.entered_at <= now


def _unsettled(state: State, check: str) -> Refusal:
    return work(
        state,
        "check.unsettled",
        f"the project kept changing, so that what check {check} found was out of date each time",
        "End what changes it (a watcher, a server, a build in the background), or let the project ignore those files.",
        check=check,
    )


def _cap_warning(events: list[Event]) -> str:
    for event in events:
        if isinstance(event, BudgetReached):
            if event.action == "escalate":
                return f"max-epoch {event.limit} reached: the run ends as escalated"
            return f"max-epoch {event.limit} reached, but escalated is not declared as a terminal: the run goes on"
    return ""

"""A world for the engine's core without any world: trees are dicts, files are digests, time is a counter.

It gathers evidence as the real engine would and keeps the log, so that tests say only what happens.
"""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

from msgspec.structs import replace

from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.canonical import GENESIS, digest, encode
from stagent.core.decide import decide
from stagent.core.events import Envelope, FileMark, Holder, Producer, seal
from stagent.core.evidence import Evidence, Found
from stagent.core.model import Workflow
from stagent.core.reducer import apply
from stagent.core.refusals import Refusal
from stagent.core.state import State

RUN = "r-01ARZ3NDEKTSV4RRFFQ69G5FAV"
SESSION = Holder(kind="session", session="session-1", pid=100, started="1", host="host")
RUNNER = Holder(kind="runner", pid=200, started="2", host="host")
PERSON = cmd.Caller(actor="person", kind="person")
ENGINE = cmd.Caller(actor="engine", kind="engine")
FIRST = {"src/a": "1", "tests/t": "1"}


def text(value: str) -> str:
    """The digest of a text, as events hold it."""
    return digest(value.encode())


class World:
    """One run, its project and its log."""

    def __init__(self, workflow: Workflow, holder: Holder = SESSION, run_files: dict[str, str] | None = None) -> None:
        self.workflow = workflow
        self.trees: dict[str, dict[str, str]] = {}
        self.project = dict(FIRST)
        self.artifact: Found | None = None
        self.faults: tuple[str, ...] = ()
        self.files: dict[str, str] = {}
        self.made = {"baseline": text("baseline")} if run_files is None else run_files
        self.run_files = dict(self.made)
        self.checker_alive = False
        self.holder_alive: bool | None = True
        self.marks = 0
        self.state: State | None = None
        self.log: list[tuple[bytes, str]] = []
        self.states: list[State] = []
        start = ev.RunStarted(
            workflow="w" * 64,
            flow="flow",
            project="p",
            folder="session-1",
            mode="headless" if holder.kind == "runner" else "session",
            holder=holder,
            stage=workflow.initial,
            task=text("task"),
            baseline=self.tree,
            run_files=self.made,
        )
        entered = ev.StageEntered(stage=workflow.initial, epoch=1, tree=self.tree)
        self.append(ENGINE, [start, entered])

    # what is there

    @property
    def now(self) -> State:
        """The state of the run."""
        assert self.state is not None
        return self.state

    @property
    def stage(self) -> Any:
        """The stage the run stands in."""
        return self.workflow.stages[self.now.stage]

    @property
    def tree(self) -> str:
        """The digest of the project as it is."""
        name = digest(encode(self.project))
        self.trees[name] = dict(self.project)
        return name

    @property
    def driver(self) -> cmd.Caller:
        """The one who holds the lease, or held it last."""
        holder = self.now.lease.holder if self.now.lease else SESSION
        return cmd.Caller(actor="agent", kind=holder.kind, session=holder.session, pid=holder.pid, fence=self.now.fence)

    @property
    def events(self) -> list[Any]:
        """The payloads of the log."""
        return [ev.unseal(body).data for body, _ in self.log]

    def changed(self, reference: str | None, *, only: tuple[str, ...] = ("*",), outside: Any = ()) -> tuple[str, ...]:
        """The paths that differ from a tree, narrowed by globs."""
        before = self.trees[reference] if reference else self.project
        names = sorted(
            name for name in before.keys() | self.project.keys() if before.get(name) != self.project.get(name)
        )
        globs = outside if isinstance(outside, tuple) else ()
        return tuple(
            name
            for name in names
            if any(fnmatch(name, glob) for glob in only) and not any(fnmatch(name, glob) for glob in globs)
        )

    def evidence(self) -> Evidence:
        """What the engine would find now."""
        stage, state = self.stage, self.now
        protected = {glob for s in self.workflow.stages.values() for c in s.checks for glob in c.protect or ()}
        lost = self.changed(state.protect_ref, only=tuple(protected), outside=stage.protects) if protected else ()
        return Evidence(
            artifact_path=f"/run/{stage.name}-report.md",
            artifact=self.artifact,
            tree=self.tree,
            entry_tree=self.tree,
            full_tree=self.tree,
            tree_changes=self.changed(state.tree_ref, outside=stage.writes) if stage.bound_tree else (),
            laundered=lost if stage.protects else (),
            inputs=dict(self.files),
            run_files=dict(self.run_files),
            checker_alive=self.checker_alive,
            holder_alive=self.holder_alive,
            faults=self.faults if stage.output.schema is not None else None,
            pid=300,
            started="3",
            report=text("report"),
        )

    # what happens

    def append(self, caller: cmd.Caller, events: list[Any]) -> None:
        """Append events to the log and fold them."""
        for data in events:
            seq = len(self.log) + 1
            prev = self.log[-1][1] if self.log else GENESIS
            envelope = Envelope(v=1, run=RUN, seq=seq, at=1000 + seq, actor=caller.actor, data=data, prev=prev)
            body, head = seal(envelope)
            self.state = apply(self.state, envelope, head)
            self.log.append((body, head))
            self.states.append(self.state)
            if isinstance(data, ev.Transitioned) and self.artifact is not None:
                self.files[data.source] = self.artifact.digest
            if isinstance(data, ev.StageEntered):
                self.artifact = None

    def ask(self, command: cmd.Command, caller: cmd.Caller | None = None, **given: Any) -> Any:
        """Put one command to `decide` without appending anything."""
        evidence = replace(self.evidence(), **given) if given else self.evidence()
        return decide(self.workflow, self.now, caller or self.driver, command, evidence)

    def do(self, command: cmd.Command, caller: cmd.Caller | None = None, **given: Any) -> Any:
        """Put one command to `decide` and append what it allows."""
        caller = caller or self.driver
        answer = self.ask(command, caller, **given)
        if not isinstance(answer, Refusal):
            self.append(caller, answer)
        return answer

    def write(
        self,
        result: str = "done",
        epoch: int | None = -1,
        body: str = "body",
        problem: str = "",
        faults: tuple[str, ...] = (),
    ) -> Found:
        """Somebody writes the artifact of the current stage; `faults` is what its answer lacks, where one is asked."""
        self.marks += 1
        self.faults = faults
        stated = self.now.epoch if epoch == -1 else epoch
        self.artifact = Found(
            path=f"/run/{self.now.stage}-report.md",
            digest=text(f"{stated} {result} {body}"),
            body=text(body),
            size=len(body),
            mark=FileMark(len(body), self.marks, 7),
            epoch=stated,
            result=result,
            problem=problem,
        )
        return self.artifact

    def attempt(self, outcome: str = "ok", session: str | None = None) -> None:
        """The runner makes one attempt."""
        stage, epoch, number = self.now.stage, self.now.epoch, self.now.attempt + 1
        begun = ev.AttemptStarted(stage=stage, epoch=epoch, number=number, backend="scripted", pid=400)
        self.do(cmd.BeginAttempt(event=begun))
        ended = ev.AttemptEnded(
            stage=stage, epoch=epoch, number=number, outcome=outcome, session=session, text=text("feedback")
        )
        self.do(cmd.EndAttempt(event=ended), ENGINE)

    def launch(self, agent: str) -> None:
        """A sub-agent of the session starts."""
        state = self.now
        begun = ev.AttemptStarted(
            stage=state.stage, epoch=state.epoch, number=state.attempt + 1, backend="session", agent=agent
        )
        self.do(cmd.BeginAttempt(event=begun), ENGINE)

    def land(self, agent: str) -> None:
        """A sub-agent of the session stops, and the artifact is as it is."""
        found, state = self.artifact, self.now
        ended = ev.AttemptEnded(
            stage=state.stage,
            epoch=state.epoch,
            number=max(state.attempt, 1),
            outcome="ok",
            agent=agent,
            mark=found.mark if found else None,
            digest=found.digest if found else None,
        )
        self.do(cmd.EndAttempt(event=ended), ENGINE)

    def work(self, result: str = "done", body: str = "body", agent: str = "agent-1") -> Found:
        """The right producer of the current stage writes its artifact."""
        stage = self.stage
        if stage.kind == "command":
            found = self.write(result, body=body)
            made = ev.ArtifactRecorded(
                stage=stage.name,
                epoch=self.now.epoch,
                digest=found.digest,
                body=found.body,
                result=found.result,
                size=found.size,
                producer=Producer(kind="engine"),
            )
            self.append(ENGINE, [made])
            return found
        if stage.kind != "human" and self.driver.kind == "runner":
            self.attempt()
            return self.write(result, body=body)
        if stage.kind != "human" and stage.execution == "subagent":
            self.launch(agent)
            found = self.write(result, body=body)
            self.land(agent)
            return found
        return self.write(result, body=body)

    def end_check(self, outcome: str = "pass", writes: dict[str, str] | None = None) -> Any:
        """The running check ends, having written these files."""
        name, running = next((n, c) for n, c in self.now.checks.items() if c.outcome == "running")
        self.project.update(writes or {})
        self.checker_alive = False
        ended = ev.CheckEnded(
            name=name,
            epoch=self.now.epoch,
            artifact=running.artifact,
            tree=running.tree,
            tree_after=self.tree,
            outcome=outcome,
            exit=0 if outcome == "pass" else 1,
            output=text("output"),
        )
        return self.do(cmd.EndCheck(event=ended), ENGINE)

    def advance(self, outcome: str = "pass", writes: dict[str, str] | None = None, **given: Any) -> Any:
        """Advance as the service does: record, run checks with this outcome, open the gate, ask again."""
        for _ in range(20):
            answer = self.do(cmd.Advance(), **given)
            if isinstance(answer, Refusal) or any(isinstance(event, ev.Transitioned) for event in answer):
                return answer
            if isinstance(answer[-1], ev.CheckStarted):
                self.end_check(outcome, writes)
                writes = None
        raise AssertionError(f"advance never came to an end: {answer}")

    def person(self, decision: str, choice: str = "", channel: str = "terminal", **given: Any) -> Any:
        """A person decides the gate as it lies before him."""
        command = cmd.DecideGate(decision=decision, channel=channel, choice=choice, text=text("words"))
        return self.do(command, PERSON, **given)

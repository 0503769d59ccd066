"""A run service in a folder of its own: a real run folder, real commands, and a project whose trees are kept in memory.

Time is what the test says; who drives the run and what lies in the project as well. Everything else is the product.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import msgspec

from stagent import processes
from stagent.config import DataHome
from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.canonical import digest, encode
from stagent.core.events import Holder
from stagent.core.ports import Change, Store
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.core.verify.folder import validate
from stagent.engine import setup
from stagent.engine.audit import verify
from stagent.engine.evidence import HOST
from stagent.engine.flows import Flow
from stagent.engine.folder import RunFolder, look
from stagent.engine.journal import state_bytes
from stagent.engine.projections import statefile
from stagent.engine.service import Advanced, RunService

PERSON = cmd.Caller(actor="person:somebody", kind="person")
ENGINE = cmd.Caller(actor="engine", kind="engine")
Mode = Literal["session", "runner", "caller"]


class Trees:
    """A project folder whose trees are remembered by the digest of all its files; the engine's `Workspace`."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._trees: dict[str, dict[str, bytes]] = {}

    def fingerprint(self) -> str:
        """There is no repository."""
        return ""

    def head(self) -> str | None:
        """There is no repository."""
        return None

    def relation(self, recorded: str) -> Literal["equal", "behind", "ahead", "diverged", "unknown"]:
        """There is no repository."""
        return "unknown"

    def dirty(self, limit: int = 10) -> list[str]:
        """There is no repository."""
        return []

    def snapshot(self, watch: Sequence[str] = ()) -> str:
        """Remember all files outside of .stagent."""
        root = Path(self.root)
        files = {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and ".stagent" not in path.parts
        }
        kept = {name: data for name, data in files.items() if not watch or _matches(name, watch)}
        tree = digest(encode({name: digest(data) for name, data in kept.items()}))
        self._trees[tree] = kept
        return tree

    def changes(
        self, before: str, after: str, *, only: Sequence[str] = (), excluding: Sequence[str] = ()
    ) -> list[Change]:
        """Compare two remembered trees."""
        old, new = self._trees[before], self._trees[after]
        found = []
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name) and (not only or _matches(name, only)) and not _matches(name, excluding):
                found.append(Change(name, "A" if name not in old else "D" if name not in new else "M"))
        return found

    def paths(self, tree: str) -> list[str]:
        """Return the names of a remembered tree."""
        return sorted(self._trees[tree])

    def diff(self, before: str, after: str) -> bytes:
        """Return the names of what changed."""
        return repr(self.changes(before, after)).encode()

    def read(self, tree: str, path: str) -> bytes | None:
        """Return a file of a remembered tree."""
        return self._trees[tree].get(path)

    def same_command(self, before: str, after: str, path: str) -> bool:
        """Every byte of a file may define a command."""
        return self.read(before, path) == self.read(after, path)

    def keep_private(self, folder: str) -> None:
        """There is no repository."""


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatch(name, glob) for glob in globs)


class ServiceWorld:
    """One run and everything around it."""

    def __init__(self, place: Path, store: Store, files: dict[str, bytes], mode: Mode) -> None:
        self.place = place
        self.root = place / "project"
        (self.root / "src").mkdir(parents=True)
        (self.root / "tests").mkdir()
        (self.root / "src" / "a").write_text("1")
        (self.root / "tests" / "t").write_text("1")
        self.clock = 1_700_000_000_000
        self.marks = 0
        self.trees = Trees(self.root)
        self.store = store
        self.mode = mode
        self.service = self.fresh()
        started = processes.start_time(os.getpid())
        pid = os.getpid() if mode == "runner" else None
        session = None if mode == "runner" else "session-1"
        files = self.local(files)
        workflow, problems = validate(files)
        assert workflow is not None, problems
        self.workflow = workflow
        self.holder = Holder(kind=mode, session=session, pid=pid, started=started if pid else None, host=HOST)
        request = setup.Request(
            task="Whatever it takes.",
            flow=Flow(name="flow", folder=Path("flow"), files=files, workflow=workflow, problems=tuple(problems)),
            mode="headless" if mode == "runner" else "session",
            holder=self.holder,
            actor="starter",
            session=None if mode == "runner" else "session-1",
        )
        self.run = setup.start(self.service, request).run

    def local(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """Put commands of this place into a workflow: they fail while `broken` exists, and write while `noisy` does."""
        document = msgspec.json.decode(files["workflow.json"])
        command = f"test ! -e '{self.place}/noisy' || echo x >>noise; test ! -e '{self.place}/broken'"
        for stage in document["stages"].values():
            if "run" in stage:
                stage["run"] = command
            for check in stage.get("checks", ()):
                check["run"] = command
        for file in document["run_files"].values():
            file["init"] = "echo begun"
        return {**files, "workflow.json": msgspec.json.encode(document)}

    def fresh(self) -> RunService:
        """Return another service on the same run, as another process would have it."""
        return RunService(
            store=self.store,
            root=self.root,
            workspace=lambda: self.trees,
            home=DataHome(self.place / "home"),
            project="p-1",
            clock=lambda: self.clock,
        )

    # -- what is there

    @property
    def now(self) -> State:
        """The state of the run."""
        return self.service.state(self.run)

    @property
    def stage(self) -> Any:
        """The stage the run stands in."""
        return self.workflow.stages[self.now.stage]

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return self.service.folder(self.now)

    @property
    def driver(self) -> cmd.Caller:
        """The one who holds the lease, or held it last."""
        state = self.now
        holder = state.lease.holder if state.lease else self.holder
        return cmd.Caller(actor="driver", kind=holder.kind, session=holder.session, pid=holder.pid, fence=state.fence)

    def events(self, after: int = 0) -> list[ev.Envelope]:
        """The log after a seq."""
        return [ev.unseal(record.body) for record in self.store.read(self.run, after)]

    # -- what is done

    def mark(self) -> int:
        """Return a number that was not used before."""
        self.marks += 1
        return self.marks

    def write(self, data: bytes) -> None:
        """Write the artifact of the current stage, whoever does it."""
        path = self.folder.artifact(self.now.stage)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def artifact(self, result: str, body: str) -> bytes:
        """The bytes of an artifact that fits the current epoch, with an object where the stage asks for one."""
        answer = "" if self.stage.output.schema is None else '\n```json\n{"a": 1}\n```\n'
        return f"---\nepoch: {self.now.epoch}\nresult: {result}\n---\n{body}\n{answer}".encode()

    def spool(self, event: str, agent: str | None, **more: object) -> None:
        """Append what a hook of the session would have seen."""
        path = DataHome(self.place / "home").spool(self.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = self.now.lease.holder if self.now.lease else self.holder
        line = {"v": 1, "k": f"{holder.session}:{self.mark()}:{event}", "t": self.clock, "e": event}
        line |= {"s": holder.session, "p": holder.pid, "a": agent, "d": more}
        with open(path, "ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def work(self, result: str, body: str) -> None:
        """Let the right one write an artifact that fits."""
        state, stage = self.now, self.stage
        number = self.mark()
        if state.lease is None or stage.kind in ("command", "human"):
            return
        kind = state.lease.holder.kind
        if kind == "runner":
            self.attempt(number, self.artifact(result, body))
        elif kind == "session" and stage.execution == "subagent":
            self.spool("SubagentStart", f"agent-{number}")
            self.write(self.artifact(result, body))
            seen = look(self.folder.artifact(state.stage))
            assert seen is not None
            self.spool("SubagentStop", f"agent-{number}", artifact=msgspec.to_builtins(seen[0].mark))
        else:
            if kind == "session" and stage.kind == "review":
                self.service.submit(self.run, self.driver, cmd.Rebind(session=f"session-{number + 10}"))
            self.write(self.artifact(result, body))

    def attempt(self, number: int, data: bytes) -> None:
        """Begin an attempt as the runner, write, and end it."""
        state = self.now
        fields = {"stage": state.stage, "epoch": state.epoch, "number": state.attempt + 1}
        self.service.submit(
            self.run, self.driver, cmd.BeginAttempt(event=ev.AttemptStarted(backend="scripted", **fields))
        )
        self.write(data)
        ended = ev.AttemptEnded(outcome="ok", session=f"conversation-{number}", **fields)
        self.service.submit(self.run, self.driver, cmd.EndAttempt(event=ended))

    def advance(self, caller: cmd.Caller | None = None) -> Advanced:
        """Advance as a caller, without one as the driver."""
        return self.service.advance(self.run, caller or self.driver, producer=f"worker-{self.mark()}")

    def decide(self, decision: Any, choice: str = "", caller: cmd.Caller = PERSON, **shown: Any) -> State | Refusal:
        """Decide the gate in a terminal."""
        command = cmd.DecideGate(decision=decision, channel="terminal", choice=choice, **shown)
        return self.service.submit(self.run, caller, command)

    # -- what holds

    def check_state(self) -> None:
        """The log, the checkpoint, the live state of this process and the folder say the same."""
        state = self.now
        live = state_bytes(state)
        checkpoint = self.store.checkpoint(self.run)
        assert state_bytes(self.service.journal.refold(self.run)) == checkpoint.state == live
        assert (checkpoint.seq, checkpoint.head) == (state.seq, state.head)
        if state.terminal != "cancelled":
            assert self.folder.state_file.read_bytes() == statefile.render(state, str(self.root))

    def check_audit(self) -> None:
        """The audit finds the log consistent and every blob there."""
        verdict = verify(self.service.journal, self.run, self.now.head)
        assert (verdict.consistent, verdict.anchored, verdict.missing) == (True, True, []), verdict.summary

    def projections(self) -> dict[Path, bytes]:
        """The generated files that show where the run stands."""
        places = [self.folder.state_file, *(self.place / "home" / "live").glob("*.json")]
        return {path: path.read_bytes() for path in places if path.exists()}

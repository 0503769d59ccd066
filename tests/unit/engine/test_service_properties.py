"""Random runs of random workflows through the run service: whatever is asked, in whatever order, its promises hold.

The same machine runs on the store in memory and on the durable one. After each step the log, the checkpoint, the live
state and the generated files are compared; at the end of all examples it is counted whether the runs came through
everything that matters.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from counts import count
from stagent import processes
from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.ports import Store
from stagent.core.refusals import Refusal
from stagent.engine.evidence import HOST
from stagent.engine.service import Advanced
from stagent.storage.memory import MemoryStore
from stagent.storage.sqlite import SqliteStore
from stagent.testing import strategies
from unit.engine.service_world import ENGINE, PERSON, Mode, ServiceWorld

SEEN: Counter[str] = Counter()
WANTED = (
    "loop",
    "cap",
    "stale approval",
    "decision about what has changed",
    "redo",
    "gate approved",
    "human choice",
    "take-over",
    "dead runner replaced",
    "interrupted",
    "resumed",
    "given up",
    "terminal complete",
    "terminal escalated",
    "terminal cancelled",
    "check pass",
    "check fail",
    "check wrote",
    "command",
    "review",
    "sub-agent",
    "stale epoch",
    "unknown result",
    "another's advance",
    "clock went back",
    "rebuilt",
)
GONE = ev.Holder(kind="runner", pid=4_194_304, started="never", host=HOST)
"""A runner whose process cannot be there: the number is beyond every process id."""
WORKFLOWS = strategies.folders() | strategies.folders(original=False)
MODES: st.SearchStrategy[Any] = st.sampled_from(["session", "runner", "caller"])
PEACE = 3
"""How many steps a run that ended is left alone before another begins."""


class Runs(RuleBasedStateMachine):
    """Random runs, one after another; `store` makes the store each lives in."""

    store: Callable[[Path], Store]
    world: ServiceWorld
    after = 0

    @initialize(files=WORKFLOWS, mode=MODES)
    def start(self, files: dict[str, bytes], mode: Mode) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="stagent-run-"))
        self.world = ServiceWorld(self.place, type(self).store(self.place), files, mode)
        self.looked, self.epoch, self.at, self.after = 0, 1, 0, 0
        self.ended = False

    @precondition(lambda self: self.after > PEACE)
    @rule(files=WORKFLOWS, mode=MODES)
    def start_again(self, files: dict[str, bytes], mode: Mode) -> None:
        """The run is over and nothing moved it any more; another one begins elsewhere."""
        self.teardown()
        self.start(files, mode)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.check_audit()
            self.rebuild()
            self.world.store.close()
            shutil.rmtree(self.place)

    # -- what is done

    def told(self, answer: Any, before: int) -> Any:
        """A refusal names a remedy, in its sentence as well; nothing moved then but the note of it."""
        refusal = answer.refusal if isinstance(answer, Advanced) else answer if isinstance(answer, Refusal) else None
        if refusal is not None:
            assert refusal.remedy
            assert refusal.remedy in refusal.message
            assert not any(isinstance(item.data, ev.Transitioned) for item in self.world.events(before))
            SEEN["stale approval"] += refusal.code == "gate.stale"
            SEEN["decision about what has changed"] += refusal.code == "gate.changed"
            SEEN["stale epoch"] += refusal.code == "artifact.epoch"
            SEEN["unknown result"] += refusal.code == "artifact.result"
            SEEN["another's advance"] += refusal.code.startswith("lease.")
        return refusal

    def advance(self, caller: cmd.Caller | None = None) -> Refusal | None:
        before = self.world.now
        done = self.world.advance(caller)
        refusal = self.told(done, before.seq)
        assert isinstance(refusal, Refusal | None)
        if refusal is None:
            assert done.moved
            assert done.state.epoch == before.epoch + 1
        return refusal

    def submit(self, command: cmd.Command, caller: cmd.Caller | None = None) -> Refusal | None:
        before = self.world.now
        answer = self.world.service.submit(self.world.run, caller or self.world.driver, command)
        refusal = self.told(answer, before.seq)
        if refusal is not None:
            assert self.world.now.seq == before.seq
        assert isinstance(refusal, Refusal | None)
        return refusal

    @property
    def live(self) -> bool:
        return hasattr(self, "world") and self.world.now.live

    @property
    def quiet(self) -> bool:
        """Whether it is time for a disturbance; without pauses between them no run would get far."""
        return hasattr(self, "world") and self.world.now.seq % 3 == 0

    @precondition(lambda self: self.live)
    @rule(data=st.data(), stages=st.integers(min_value=1, max_value=5))
    def proceed(self, data: st.DataObject, stages: int) -> None:
        """Honest work through some stages."""
        for _ in range(stages):
            if self.live:
                self.work(data)

    def work(self, data: st.DataObject) -> None:
        world, stage = self.world, self.world.stage
        results = sorted(stage.transitions)
        onward = [name for name in results if not world.workflow.is_terminal(stage.transitions[name])]
        result = data.draw(st.sampled_from(results + 3 * onward))
        if stage.kind == "human":
            self.advance()
            self.told(world.decide("answer", result), world.now.seq)
        self.commands(data.draw(st.sampled_from(["pass", "fail", "write"])))
        world.work(result, f"body {world.marks}")
        refusal = self.advance()
        if refusal is not None and refusal.code == "check.failed":
            self.commands("pass")
            refusal = self.advance()
        if refusal is not None and refusal.code in ("gate.waiting", "gate.stale"):
            seq = world.now.seq
            self.told(world.decide(data.draw(st.sampled_from(["approve", "approve", "reject", "redo"]))), seq)
            self.advance()

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """Somebody writes something where the artifact belongs, and the driver tries to pass with it."""
        world = self.world
        artifact = data.draw(strategies.artifacts(world.stage, world.now.epoch))
        if world.mode == "runner" and data.draw(st.booleans()):
            world.attempt(world.mark(), artifact)
        else:
            world.write(artifact)
        self.advance()

    @precondition(lambda self: self.live)
    @rule(caller=strategies.callers())
    def others_advance(self, caller: cmd.Caller) -> None:
        before = self.world.now
        refusal = self.advance(caller)
        if refusal is None:
            holder = before.lease.holder if before.lease else None
            assert holder is not None
            assert caller.kind == "engine" or (caller.kind, caller.session) == (holder.kind, holder.session)

    @rule(name=st.sampled_from(["src/a", "tests/t", "docs"]), text=st.sampled_from(["1", "2", None]))
    def change_the_project(self, name: str, text: str | None) -> None:
        if text is None:
            (self.world.root / name).unlink(missing_ok=True)
        else:
            (self.world.root / name).write_text(text)

    @rule(what=st.sampled_from(["pass", "fail", "write"]))
    def commands(self, what: str) -> None:
        """Settle what checks and commands do from now on; who writes passes."""
        for name, there in (("broken", what == "fail"), ("noisy", what == "write")):
            if there:
                (self.place / name).touch()
            else:
                (self.place / name).unlink(missing_ok=True)

    @precondition(lambda self: self.live and (self.world.stage.gate is not None or self.world.stage.kind == "human"))
    @rule(data=st.data(), what=st.sampled_from(["body", "tree", "result", "before"]))
    def decide_and_change(self, data: st.DataObject, what: str) -> None:
        """A decision, and then not quite what was decided about; or a change first, and a decision about the old."""
        world, stage = self.world, self.world.stage
        human = stage.kind == "human"
        result = data.draw(st.sampled_from(sorted(stage.transitions)))
        if human:
            self.advance()
        world.work(result, "shown")
        shown = world.service.gate_evidence(world.now).evidence
        if what == "before":
            world.write(world.artifact(result, "other"))
            body = shown.artifact.body if shown.artifact else ""
            self.told(world.decide("approve", body=body, tree=shown.tree), world.now.seq)
            return
        seq = world.now.seq
        self.told(world.decide("answer" if human else "approve", result if human else ""), seq)
        if what == "tree":
            (world.root / "src" / "a").write_text(str(world.mark()))
        elif not human:
            other = result if what == "body" else data.draw(st.sampled_from(sorted(stage.transitions)))
            world.work(other, "changed" if what == "body" else "shown")
        self.advance()

    @rule(decision=st.sampled_from(["approve", "reject", "redo"]), caller=st.sampled_from([PERSON, ENGINE, None]))
    def decide_the_gate(self, decision: Any, caller: cmd.Caller | None) -> None:
        refusal = self.submit(cmd.DecideGate(decision=decision, channel="terminal"), caller)
        assert caller is not None or refusal is not None

    @precondition(lambda self: self.quiet)
    @rule(caller=st.sampled_from([None, PERSON]))
    def interrupt(self, caller: cmd.Caller | None) -> None:
        self.submit(cmd.Interrupt(), caller)

    @rule(person=st.booleans(), gone=st.booleans())
    def resume(self, person: bool, gone: bool) -> None:
        """Somebody goes on with the run, or takes it over; only a person, or nobody at all, may take it away."""
        world, before = self.world, self.world.now
        holder = GONE if gone else replace(world.holder, session=f"session-{world.mark() + 100}")
        if holder.kind == "runner" and not gone:
            holder = replace(holder, session=None, pid=os.getpid(), started=processes.start_time(os.getpid()))
        refusal = self.submit(cmd.Resume(holder=holder, take_over=person), PERSON if person else None)
        if refusal is not None:
            return
        assert world.now.fence == before.fence + 1
        if before.lease is not None:
            SEEN["take-over"] += person
            assert person or before.lease.holder == GONE

    @precondition(lambda self: self.live and self.quiet)
    @rule()
    def replace_a_dead_runner(self) -> None:
        """The run is a runner's that died; anybody may go on with it, and nobody may act for the dead one."""
        world = self.world
        self.submit(cmd.Resume(holder=GONE, take_over=True), PERSON)
        old = world.driver
        assert self.submit(cmd.Resume(holder=world.holder)) is None
        SEEN["dead runner replaced"] += 1
        assert self.advance(old) is not None
        assert self.submit(cmd.Interrupt(), old) is not None
        assert self.submit(cmd.Refuse(code="artifact.missing"), old) is not None

    @precondition(lambda self: hasattr(self, "world") and self.world.now.status in ("interrupted", "blocked"))
    @rule()
    def go_on(self) -> None:
        self.submit(cmd.Resume(holder=self.world.holder, ordered=True))

    @precondition(lambda self: self.live and self.quiet)
    @rule(reason=st.sampled_from(["It cannot be done.", ""]))
    def give_up(self, reason: str) -> None:
        self.advance()
        world, before = self.world, self.world.now
        if not before.live:
            return
        refusal = self.told(world.service.give_up(world.run, world.driver, reason), before.seq)
        assert refusal is not None or (before.refused > 0 and reason)

    @precondition(lambda self: hasattr(self, "world") and self.world.now.seq > 25)
    @rule(caller=st.sampled_from([PERSON, None]))
    def cancel(self, caller: cmd.Caller | None) -> None:
        refusal = self.submit(cmd.Cancel(), caller)
        assert caller is not None or refusal is not None

    @rule(step=st.sampled_from([-100_000, -1, 1, 5_000]))
    def time_passes(self, step: int) -> None:
        self.world.clock += step
        SEEN["clock went back"] += step < 0

    @rule()
    def another_process_goes_on(self) -> None:
        self.world.service = self.world.fresh()

    @rule()
    def rebuild(self) -> None:
        """Delete the generated files; the next process that looks makes the same ones."""
        world = self.world
        before = world.projections()
        made = [self.made_anew(), self.made_anew()]
        assert made[0] == made[1]
        # Of a session that the run no longer belongs to, nothing is made again.
        assert made[0].keys() <= before.keys()
        for path, data in made[0].items():
            if path.suffix == ".json":
                assert _without_artifact(data) == _without_artifact(before[path])
            else:
                assert data == before[path]

    def made_anew(self) -> dict[Path, bytes]:
        """Delete the generated files and return those the next process that looks makes."""
        for path in self.world.projections():
            path.unlink()
        self.world.service = self.world.fresh()
        if self.world.now.terminal != "cancelled":
            assert self.world.folder.state_file.exists()
            SEEN["rebuilt"] += 1
        return self.world.projections()

    # -- what holds

    @invariant()
    def log_checkpoint_state_and_folder_agree(self) -> None:
        if hasattr(self, "world"):
            self.world.check_state()

    @invariant()
    def what_was_appended_is_in_order(self) -> None:
        if not hasattr(self, "world"):
            return
        for item in self.world.events(self.looked):
            assert not self.ended, "nothing follows a terminal"
            assert item.at >= self.at, "time in the log never goes back"
            self.at = item.at
            self.follow(item.data)
            self.note(item.data)
            self.looked = item.seq
        assert self.world.now.epoch == self.epoch
        self.after += self.ended

    def follow(self, event: Any) -> None:
        """The epoch rises by one at each transition, and by a cancellation, and never otherwise."""
        cancelled = isinstance(event, ev.Terminal) and event.terminal == "cancelled" and event.epoch > self.epoch
        if isinstance(event, ev.Transitioned) or cancelled:
            self.epoch += 1
        if hasattr(event, "epoch"):
            assert event.epoch == self.epoch
        self.ended = isinstance(event, ev.Terminal)

    def note(self, event: Any) -> None:
        match event:
            case ev.Transitioned():
                order = list(self.world.workflow.stages)
                back = event.target in order and order.index(event.target) <= order.index(event.source)
                SEEN["loop"] += back
                SEEN["cap"] += event.cause == "cap"
                kind = self.world.workflow.stages[event.source].kind
                SEEN["review"] += kind == "review"
                SEEN["command"] += kind == "command"
            case ev.GateDecided():
                SEEN["redo"] += event.decision == "redo"
                SEEN["gate approved"] += event.decision == "approve"
                SEEN["human choice"] += event.decision == "answer"
            case ev.CheckEnded():
                SEEN[f"check {event.outcome}"] += 1
                SEEN["check wrote"] += event.changed is not None
            case ev.ArtifactRecorded():
                SEEN["sub-agent"] += event.producer.kind == "subagent"
            case ev.Terminal():
                SEEN[f"terminal {event.terminal}"] += 1
            case ev.Interrupted():
                SEEN["interrupted"] += 1
            case ev.Resumed():
                SEEN["resumed"] += 1
            case ev.Escalated() | ev.Blocked():
                SEEN["given up"] += 1


def _without_artifact(live: bytes) -> dict[str, Any]:
    """A live file without what it says about the artifact: that may have changed since, without an event."""
    return {key: value for key, value in msgspec.json.decode(live).items() if key != "artifact"}


class InMemory(Runs):
    """Runs whose store forgets."""

    store = staticmethod(lambda place: MemoryStore())


class Durable(Runs):
    """Runs whose store is a database and files."""

    store = staticmethod(lambda place: SqliteStore(place / "stagent.db", place / "blobs"))


def test_the_promises_hold_in_random_runs() -> None:
    SEEN.clear()
    for machine in (InMemory, Durable):
        wanted = settings(max_examples=max(90, count("hypothesis_examples")), stateful_step_count=50)
        run_state_machine_as_test(machine, settings=wanted)
    missing = [name for name in WANTED if not SEEN[name]]
    assert missing == [], dict(SEEN)

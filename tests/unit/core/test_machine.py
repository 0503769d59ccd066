"""Random runs of random workflows: whatever is asked, in whatever order, what the engine promises holds.

Each run is driven by honest work, by careless and dishonest work, and by commands drawn at random. After every step
the promises are looked at; at the end of all examples it is counted whether the runs came through what matters.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, seed, settings
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
from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.budget import Spent, due
from stagent.core.canonical import encode
from stagent.core.evidence import Found
from stagent.core.frontmatter import Malformed, epoch_of, parse
from stagent.core.reducer import fold
from stagent.core.refusals import Refusal
from stagent.core.state import Recorded, State
from stagent.core.verify.folder import validate
from stagent.testing import strategies
from unit.core.world import ENGINE, PERSON, RUNNER, SESSION, World, text

_ROUNDS = 6
"""How many batches are drawn at most until everything wanted was seen; what is rare differs from batch to batch."""
SEEN: Counter[str] = Counter()
WANTED = (
    "loop",
    "cap",
    "stale approval",
    "stale body",
    "stale tree",
    "stale result",
    "redo",
    "take-over",
    "terminal complete",
    "terminal escalated",
    "terminal cancelled",
    "gate approved",
    "human choice",
    "check passed",
    "check failed",
    "check wrote",
    "review",
    "command",
    "given up",
    "blocked",
    "refused driver",
    "answer",
    "answer refused",
    "budget warn",
    "budget pause",
    "budget halt",
)
OUTCOMES = ("pass", "fail", "pass", "fail", "pass", "timeout", "error", "protected", "abandoned")


class Runs(RuleBasedStateMachine):
    """One random run."""

    world: World

    @initialize(files=strategies.folders(), holder=st.sampled_from([SESSION, RUNNER]))
    def start(self, files: dict[str, bytes], holder: ev.Holder) -> None:
        workflow, _ = validate(files)
        assert workflow is not None
        self.world = World(workflow, holder=holder)
        self.looked = 0
        self.epoch = 1
        self.ended: State | None = None
        self.approval: tuple[str, str | None] | None = None
        self.approved: tuple[str, str | None] | None = None

    # ------------------------------------------------------------------------------------------- what is done

    def put(self, command: cmd.Command, caller: cmd.Caller | None = None, **given: Any) -> Any:
        before, lying = self.world.now, self.world.artifact
        answer = self.world.do(command, caller, **given)
        if isinstance(answer, Refusal):
            assert self.world.now == before
            assert answer.remedy
            assert answer.remedy in answer.message
            if answer.code == "gate.stale":
                SEEN["stale approval"] += 1
            SEEN["answer refused"] += answer.code == "output.invalid"
            if answer.code.startswith("lease."):
                SEEN["refused driver"] += 1
        else:
            assert answer
            if isinstance(command, cmd.Advance):
                self.judge(before, lying, answer)
        return answer

    def advance(self, outcome: str = "pass", writes: dict[str, str] | None = None) -> Any:
        for _ in range(20):
            answer = self.put(cmd.Advance())
            if isinstance(answer, Refusal) or any(isinstance(event, ev.Transitioned) for event in answer):
                return answer
            if isinstance(answer[-1], ev.CheckStarted):
                SEEN["check wrote"] += bool(writes)
                self.world.end_check(outcome, writes)
                writes = None
                outcome = "pass" if outcome == "abandoned" else outcome
        raise AssertionError(f"advance never came to an end: {answer}")

    @property
    def live(self) -> bool:
        return hasattr(self, "world") and self.world.now.live

    @property
    def quiet(self) -> bool:
        """Whether it is time for a disturbance; without pauses between them no run would get far."""
        return hasattr(self, "world") and self.world.now.seq % 3 == 0

    @precondition(lambda self: self.live)
    @rule(data=st.data(), stages=st.integers(min_value=1, max_value=4))
    def proceed(self, data: st.DataObject, stages: int) -> None:
        """Honest work through some stages."""
        for _ in range(stages):
            if self.live:
                self.work(data, data.draw(st.sampled_from(sorted(self.world.stage.transitions))))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), stages=st.integers(min_value=2, max_value=6))
    def run_in_circles(self, data: st.DataObject, stages: int) -> None:
        """Honest work that comes back to where it has been, as long as that is possible."""
        for _ in range(stages):
            if not self.live:
                return
            world, table = self.world, self.world.stage.transitions
            back = sorted(r for r in table if table[r] in {world.now.stage, *world.now.accepted})
            self.work(data, back[0] if back else "done")

    def work(self, data: st.DataObject, result: str) -> None:
        """The right one writes, checks are run, a person decides, the holder advances."""
        world, stage = self.world, self.world.stage
        if world.now.attempt_open:
            self.finish()
        if stage.kind == "human":
            self.advance()
            world.person("answer", result)
            SEEN["human choice"] += 1
        world.work(result, body=f"body {world.marks}", agent=f"agent-{world.marks}")
        world.checker_alive = False
        wrote = data.draw(st.booleans())
        answer = self.advance(data.draw(st.sampled_from(OUTCOMES)), {"build/log": str(world.marks)} if wrote else None)
        if isinstance(answer, Refusal) and answer.code in ("gate.waiting", "gate.stale"):
            decision = data.draw(st.sampled_from(["approve", "redo", "approve", "reject"]))
            world.person(decision)
            SEEN["redo"] += decision == "redo"
            self.advance()

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """Somebody writes something where the artifact belongs."""
        world = self.world
        read = parse(data.draw(strategies.artifacts(world.stage, world.now.epoch)))
        if isinstance(read, Malformed):
            world.write("", epoch=None, problem=read.reason)
        else:
            body = f"body {data.draw(st.integers(0, 2))}"
            faults = data.draw(st.sampled_from([(), ("$: not what was asked for",)]))
            world.write(read.fields.get("result", ""), epoch=epoch_of(read.fields), body=body, faults=faults)

    @rule(name=st.sampled_from(["src/a", "src/b", "tests/t", "docs/d"]), value=st.sampled_from(["1", "2", None]))
    def change_the_project(self, name: str, value: str | None) -> None:
        if value is None:
            self.world.project.pop(name, None)
        else:
            self.world.project[name] = value

    @precondition(lambda self: self.live)
    @rule(outcome=st.sampled_from(OUTCOMES), wrote=st.booleans())
    def try_to_advance(self, outcome: str, wrote: bool) -> None:
        self.advance(outcome, {"build/log": str(self.world.marks)} if wrote else None)

    @precondition(lambda self: self.live)
    @rule()
    def leave_a_check_running(self) -> None:
        self.put(cmd.Advance())
        self.world.checker_alive = any(check.outcome == "running" for check in self.world.now.checks.values())

    @precondition(lambda self: self.live and self.world.checker_alive)
    @rule(outcome=st.sampled_from(["pass", "fail"]))
    def end_the_check(self, outcome: str) -> None:
        if any(check.outcome == "running" for check in self.world.now.checks.values()):
            self.world.end_check(outcome)

    @precondition(lambda self: self.live and self.world.stage.gate is not None)
    @rule(data=st.data(), what=st.sampled_from(["tree", "result", "body"]))
    def approve_and_change(self, data: st.DataObject, what: str) -> None:
        """An approval, and then not quite what was approved, until that is approved as well."""
        world, before = self.world, self.world.now
        if before.attempt_open:
            self.finish()
        results = sorted(world.stage.transitions)
        world.work(results[0], body="shown")
        self.advance()
        if world.now.epoch != before.epoch:
            return
        world.person("approve")
        if what == "tree":
            world.project["src/a"] = f"changed {world.marks}"
        elif what == "body":
            world.work(results[0], body="other")
        else:
            world.work(results[-1], body="shown")
        answer = self.advance()
        if isinstance(answer, Refusal) and answer.code == "gate.stale":
            SEEN[f"stale {what}"] += 1
            world.project["src/b"] = data.draw(st.sampled_from(["1", "2"]))
            world.person("approve")
            self.advance()

    @rule(decision=st.sampled_from(["approve", "reject", "redo"]), caller=st.sampled_from([PERSON, ENGINE, None]))
    def decide_the_gate(self, decision: str, caller: cmd.Caller | None) -> None:
        command = cmd.DecideGate(decision=decision, channel="terminal")
        answer = self.put(command, caller)
        SEEN["redo"] += decision == "redo" and not isinstance(answer, Refusal)
        if caller is None:
            assert isinstance(answer, Refusal)

    @precondition(lambda self: self.live and not self.world.now.attempt_open)
    @rule()
    def begin(self) -> None:
        state = self.world.now
        begun = ev.AttemptStarted(stage=state.stage, epoch=state.epoch, number=state.attempt + 1, backend="scripted")
        self.put(cmd.BeginAttempt(event=begun))

    @precondition(lambda self: self.live and self.world.now.attempt_open)
    @rule()
    def finish(self) -> None:
        state = self.world.now
        ended = ev.AttemptEnded(stage=state.stage, epoch=state.epoch, number=state.attempt, outcome="ok")
        self.put(cmd.EndAttempt(event=ended), ENGINE)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def answer_without_what_is_asked_for(self, data: st.DataObject) -> None:
        """The right one writes, but not the object the stage asks for; then it is mended."""
        world, stage, epoch = self.world, self.world.stage, self.world.now.epoch
        if stage.output.schema is None:
            return
        if world.now.attempt_open:
            self.finish()
        result = data.draw(st.sampled_from(sorted(stage.transitions)))
        world.work(result, body=f"body {world.marks}", agent=f"agent-{world.marks}")
        world.faults = ("$: not what was asked for",)
        self.advance()
        assert world.now.epoch == epoch
        world.faults = ()
        self.advance()

    @precondition(lambda self: self.live and not self.world.now.attempt_open)
    @rule(usd=st.floats(0, 2), tokens=st.integers(0, 2), millis=st.integers(0, 120_000), more=st.integers(0, 2))
    def spend(self, usd: float, tokens: int, millis: int, more: int) -> None:
        """An attempt costs something, and what follows from that is carried out while another one runs."""
        world, before = self.world, self.world.now
        self.begin()
        fields = {"stage": before.stage, "epoch": before.epoch, "number": world.now.attempt}
        spent = {"cost_usd": usd, "tokens": tokens, "millis": millis}
        self.put(cmd.EndAttempt(event=ev.AttemptEnded(outcome="ok", **fields, **spent)), ENGINE)
        assert world.now.spent_usd >= before.spent_usd
        assert world.now.spent_tokens == before.spent_tokens + tokens
        assert world.now.worked_millis == before.worked_millis + millis
        hit = due(world.workflow, world.now, Spent(usd=more, tokens=more, millis=more * 60_000))
        if hit is None:
            return
        assert hit.spent >= hit.limit
        answer = self.put(hit.command)
        assert not isinstance(answer, Refusal)
        SEEN[f"budget {hit.action}"] += 1
        assert world.now.live == (hit.action == "warn")
        if hit.action == "pause":
            refusal = world.now.refusal_before
            self.put(cmd.Resume(holder=SESSION, ordered=True))
            assert world.now.refusal == refusal
        if hit.action != "halt":
            again = due(world.workflow, world.now)
            assert again is None or (again.budget, again.action) != (hit.budget, hit.action)

    @precondition(lambda self: self.quiet)
    @rule(caller=st.sampled_from([None, PERSON]))
    def interrupt(self, caller: cmd.Caller | None) -> None:
        self.put(cmd.Interrupt(reason=text("why")), caller)

    @precondition(lambda self: self.quiet)
    @rule(holder=st.sampled_from([SESSION, RUNNER]), person=st.booleans(), alive=st.sampled_from([True, False, None]))
    def resume(self, holder: ev.Holder, person: bool, alive: bool | None) -> None:
        fence = self.world.now.fence
        command = cmd.Resume(holder=replace(holder, pid=100 + fence), take_over=person)
        answer = self.put(command, PERSON if person else None, holder_alive=alive)
        if not isinstance(answer, Refusal):
            assert self.world.now.fence == fence + 1

    @precondition(lambda self: hasattr(self, "world") and not self.world.now.live)
    @rule(holder=st.sampled_from([SESSION, RUNNER]), ordered=st.booleans())
    def go_on(self, holder: ev.Holder, ordered: bool) -> None:
        fence, waits = self.world.now.fence, self.world.now.given_up
        answer = self.put(cmd.Resume(holder=holder, ordered=ordered))
        assert not waits or ordered or (isinstance(answer, Refusal) and answer.code == "resume.person")
        lease = self.world.now.lease
        assert isinstance(answer, Refusal) or (lease is not None and lease.fence == self.world.now.fence == fence + 1)

    @precondition(lambda self: self.live and self.quiet)
    @rule(failed=st.sampled_from([True, True, False]))
    def give_up(self, failed: bool) -> None:
        if failed:
            self.put(cmd.Refuse(code="artifact.missing"))
        before = self.world.now
        answer = self.put(cmd.GiveUp(by="agent", text=text("why")))
        assert isinstance(answer, Refusal) or before.refused > 0

    @precondition(lambda self: hasattr(self, "world") and self.world.now.seq > 30)
    @rule()
    def cancel(self) -> None:
        self.put(cmd.Cancel(), PERSON)

    @precondition(lambda self: self.quiet)
    @rule(data=st.data())
    def anything(self, data: st.DataObject) -> None:
        """Anybody asks anything."""
        world = self.world
        caller = data.draw(strategies.callers())
        command = data.draw(strategies.commands(world.workflow))
        if isinstance(command, cmd.Cancel) and caller.kind == "person" and world.now.seq < 30:
            return
        alive = data.draw(st.sampled_from([True, False, None]))
        answer = self.put(command, caller, holder_alive=alive, foreign_writer=data.draw(st.sampled_from([None, "x"])))
        if isinstance(command, cmd.Cancel) and not isinstance(answer, Refusal):
            assert caller.kind == "person"
        if isinstance(command, cmd.DecideGate) and not isinstance(answer, Refusal):
            assert command.channel == "policy" or caller.kind in ("person", "engine")

    # -------------------------------------------------------------------------------------------- what holds

    def judge(self, before: State, lying: Found | None, answer: list[Any]) -> None:
        """An advance that was accepted had all it needs, for exactly what lay there."""
        moved = [event for event in answer if isinstance(event, ev.Transitioned)]
        assert len(moved) <= 1
        if not moved:
            return
        world, stage, found = self.world, self.world.workflow.stages[before.stage], before.artifact
        for event in answer:
            if isinstance(event, ev.ArtifactRecorded):
                found = Recorded(event.digest, event.body, event.result, event.epoch, event.producer)
        tree = world.tree
        self.look_at_new_events()
        assert found is not None
        assert lying is not None
        assert (lying.epoch, lying.result, lying.digest) == (before.epoch, found.result, found.digest)
        assert lying.problem == ""
        assert moved[0].epoch == before.epoch + 1
        assert moved[0].source == before.stage
        assert (found.epoch, found.result, found.digest) == (before.epoch, moved[0].result, moved[0].digest)
        if moved[0].cause == "cap":
            assert (moved[0].target, before.epoch + 1 >= world.workflow.max_epoch) == ("escalated", True)
        else:
            assert moved[0].target == stage.transitions[found.result]
        assert not before.attempt_open
        for check in stage.checks_for(found.result):
            passed = before.checks[check.name]
            assert (passed.outcome, passed.artifact, passed.tree) == ("pass", found.digest, tree)
            SEEN["check passed"] += 1
        if stage.gate is not None and stage.kind != "human" and stage.gate.explicit and stage.gate.guards(found.result):
            gate = before.gate
            assert gate is not None
            assert (gate.decision, gate.body, gate.choice) == ("approve", found.body, found.result)
            assert self.approved == (found.body, tree if stage.writes_project else None)
            SEEN["gate approved"] += 1
        if stage.kind == "human":
            assert before.gate is not None
            assert (before.gate.decision, before.gate.choice) == ("answer", found.result)
        if stage.output.schema is not None:
            assert world.faults == ()
            SEEN["answer"] += 1
        if stage.kind == "review":
            judged = [before.accepted.get(item.key) for item in stage.inputs if item.source == "stage"]
            assert all(item is None or item.producer != found.producer for item in judged)
            SEEN["review"] += 1
        if stage.kind == "command":
            assert found.producer.kind == "engine"
            SEEN["command"] += 1
        if stage.bound_tree:
            assert world.changed(before.tree_ref, outside=stage.writes) == ()
        target = world.workflow.stages.get(moved[0].target)
        for item in target.required if target is not None else ():
            if item.source == "stage":
                assert world.now.accepted[item.key].digest == world.files[item.key]
        SEEN["loop"] += moved[0].target in {before.stage, *before.accepted}
        SEEN["cap"] += moved[0].cause == "cap"

    @invariant()
    def replaying_the_log_gives_the_live_state(self) -> None:
        if hasattr(self, "world"):
            folded = fold(self.world.log)
            assert folded == self.world.now
            assert encode(folded) == encode(self.world.now)

    @invariant()
    def the_epoch_rises_by_one_at_each_transition_and_never_falls(self) -> None:
        if hasattr(self, "world"):
            self.look_at_new_events()
            assert self.world.now.epoch == self.epoch

    def look_at_new_events(self) -> None:
        """Check each event that was appended since the last look, and keep our own account of the approval."""
        events = self.world.events
        for index in range(self.looked, len(events)):
            event = events[index]
            ordered = isinstance(event, ev.Terminal) and not isinstance(events[index - 1], ev.Transitioned)
            if ordered or isinstance(event, ev.Transitioned):
                assert event.epoch == self.epoch + 1
                self.epoch = event.epoch
            elif hasattr(event, "epoch"):
                assert event.epoch == self.epoch
            self.note(event)
        self.looked = len(events)

    def note(self, event: Any) -> None:
        SEEN["check failed"] += isinstance(event, ev.CheckEnded) and event.outcome == "fail"
        match event:
            case ev.GateDecided():
                self.approval = (event.body, event.tree) if event.decision == "approve" else None
            case ev.Transitioned():
                self.approved, self.approval = self.approval, None
            case ev.Terminal():
                SEEN[f"terminal {event.terminal}"] += 1
                assert event.success == (event.terminal == "complete")
            case ev.TakenOver():
                SEEN["take-over"] += 1
            case ev.Escalated():
                SEEN["given up"] += 1
            case ev.Blocked():
                SEEN["blocked"] += 1

    @invariant()
    def the_end_is_the_end(self) -> None:
        if not hasattr(self, "world"):
            return
        if self.ended is not None:
            assert self.world.now == self.ended
        if self.world.now.ended:
            self.ended = self.world.now
            assert self.world.now.lease is None
            assert self.world.workflow.is_terminal(self.world.now.terminal or "")

    @invariant()
    def only_a_live_run_has_a_holder(self) -> None:
        if hasattr(self, "world"):
            assert (self.world.now.lease is not None) == self.world.now.live
            assert self.world.now.stage not in self.world.now.accepted or self.world.now.ended


@pytest.mark.rule("S2.14", "W2")
def test_what_the_engine_promises_holds_in_random_runs() -> None:
    SEEN.clear()
    wanted, missing = settings(max_examples=count("machine_runs"), stateful_step_count=40), list(WANTED)
    for number in range(_ROUNDS):
        machine = seed(number)(type("Seeded", (Runs,), {})) if number else Runs
        run_state_machine_as_test(machine, settings=wanted)
        missing = [name for name in WANTED if not SEEN[name]]
        if not missing:
            break
    assert missing == [], dict(SEEN)


@given(strategies.folders(), st.data())
def test_commands_in_sequence_are_answered(files: dict[str, bytes], data: st.DataObject) -> None:
    workflow, _ = validate(files)
    assert workflow is not None
    world = World(workflow)
    for caller, command in data.draw(strategies.command_sequences(workflow)):
        answer = world.do(command, caller)
        assert answer.remedy if isinstance(answer, Refusal) else answer
    assert fold(world.log) == world.now

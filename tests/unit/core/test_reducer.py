"""Folding a log: the same state by any road, and no state from a log that does not hang together."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from stagent.core import events as ev
from stagent.core.canonical import GENESIS, digest, encode
from stagent.core.reducer import CorruptLogError, apply, fold
from stagent.core.state import State
from unit.core.documents import OURS, PLAIN, workflow
from unit.core.world import ENGINE, PERSON, RUN, RUNNER, SESSION, World, text

DECODER = msgspec.json.Decoder(State)


def every_event() -> World:
    """A run that has seen every kind of event once and goes on."""
    world = World(workflow(OURS))
    stage, epoch = world.now.stage, world.now.epoch
    tree, later = world.tree, text("later tree")
    started = ev.AttemptStarted(stage=stage, epoch=epoch, number=1, backend="scripted", pid=5, started="9")
    ended = ev.AttemptEnded(
        stage=stage, epoch=epoch, number=1, outcome="failed", code="x", text=text("t"), session="s",
        tokens=10, cost_usd=0.25, millis=1500,
    )  # fmt: skip
    artifact = ev.ArtifactRecorded(
        stage=stage,
        epoch=epoch,
        digest=text("a"),
        body=text("b"),
        result="done",
        size=1,
        producer=ev.Producer(kind="session"),
    )
    begun = ev.CheckStarted(name="tests", epoch=epoch, artifact=text("a"), tree=tree, pid=6)
    checked = ev.CheckEnded(name="tests", epoch=epoch, artifact=text("a"), tree=tree, tree_after=later, outcome="pass")
    gate = ev.GateOpened(stage=stage, epoch=epoch, body=text("b"), tree=tree)
    decided = ev.GateDecided(stage=stage, epoch=epoch, decision="redo", channel="terminal", text=text("no"))
    agent = ev.AttemptStarted(stage=stage, epoch=epoch, number=2, backend="session", agent="a-1")
    other = ev.AttemptStarted(stage=stage, epoch=epoch, number=3, backend="session", agent="a-2")
    stopped = ev.AttemptEnded(
        stage=stage, epoch=epoch, number=2, outcome="ok", agent="a-1", mark=ev.FileMark(1, 2, 3), digest=text("a")
    )
    helped = ev.AgentStarted(stage=stage, epoch=epoch, agent="h-1", kind="Explore")
    rest: list[Any] = [
        helped,
        ev.AgentStarted(stage=stage, epoch=epoch, agent="h-2", kind="Explore"),
        ev.AgentEnded(stage=stage, epoch=epoch, agent="h-1", outcome="ended"),
        ev.SessionRebound(session="session-9", previous="session-1"),
        ev.Stalled(stage=stage, epoch=epoch, blocks=5),
        ev.BudgetReached(budget="attempts", limit=3, action="block"),
        ev.BudgetReached(budget="cost_usd", limit=0.5, action="warn"),
        ev.TakenOver(holder=RUNNER, fence=2, previous=SESSION),
        ev.Interrupted(head="h"),
        ev.Resumed(holder=SESSION, fence=3),
        ev.Blocked(code="x", text=text("why")),
        ev.Resumed(holder=SESSION, fence=4),
        ev.BudgetReached(budget="cost_usd", limit=2.5, action="pause"),
        ev.Blocked(code="budget.paused"),
        ev.Resumed(holder=SESSION, fence=5, acknowledged="cost_usd"),
        ev.Escalated(stage=stage, epoch=epoch, by="agent", report=text("r")),
        ev.Resumed(holder=SESSION, fence=6),
        ev.Transitioned(source=stage, target="build", result="done", epoch=2, digest=text("a"), protect=tree),
        ev.StageEntered(stage="build", epoch=2, tree=tree),
        ev.Transitioned(source="build", target="failed", result="x", epoch=3),
    ]
    world.append(ENGINE, [started, ended, artifact, begun, gate, checked, decided, agent, other, stopped, *rest])
    world.append(PERSON, [ev.Terminal(terminal="failed", epoch=3, success=False)])
    return world


def resealed(world: World, index: int, **changes: Any) -> list[tuple[bytes, str]]:
    """The log with one envelope changed and its hash computed again."""
    log = list(world.log)
    log[index] = ev.seal(replace(ev.unseal(log[index][0]), **changes))
    return log


def test_every_kind_of_event_is_folded() -> None:
    kinds = {type(event) for event in every_event().events}
    assert kinds == set(ev.Event.__args__)


def test_folding_at_once_or_step_by_step_gives_the_same() -> None:
    world = every_event()
    for length in range(1, len(world.log) + 1):
        assert fold(world.log[:length]) == world.states[length - 1]
        assert fold(world.log[length:], world.states[length - 1]) == world.now
    assert fold([]) is None
    assert fold([], world.now) == world.now


def test_a_state_survives_being_stored() -> None:
    for state in every_event().states:
        stored = encode(state)
        assert DECODER.decode(stored) == state
        assert encode(DECODER.decode(stored)) == stored


def test_a_state_in_the_middle_goes_on_after_being_stored() -> None:
    world = every_event()
    middle = DECODER.decode(encode(world.states[9]))
    assert fold(world.log[10:], middle) == world.now


def test_an_event_whose_bytes_changed_is_found() -> None:
    world = every_event()
    body, head = world.log[3]
    for broken in (body.replace(b'"epoch":1', b'"epoch":2'), body + b" ", b""):
        assert broken != body
        with pytest.raises(CorruptLogError, match="after 3 do not match their hash"):
            fold([*world.log[:3], (broken, head), *world.log[4:]])
    with pytest.raises(CorruptLogError, match="after 0 do not match"):
        fold([(world.log[0][0], GENESIS)])


def test_an_edit_with_a_new_hash_breaks_the_chain_behind_it() -> None:
    world = every_event()
    with pytest.raises(CorruptLogError, match="event 5 does not follow event 4"):
        fold(resealed(world, 3, actor="somebody else"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seq": 6}, "event 6 does not follow event 4"),
        ({"prev": GENESIS}, "event 5 does not follow event 4"),
        ({"run": "r-other"}, "event 5 does not follow event 4"),
        ({"v": 2}, "cannot be read: event 5 is of version 2"),
    ],
)
def test_an_event_out_of_place_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CorruptLogError, match=words):
        fold(resealed(every_event(), 4, **changes))


def test_a_gap_is_found() -> None:
    world = every_event()
    with pytest.raises(CorruptLogError, match="event 4 does not follow event 2"):
        fold([*world.log[:2], *world.log[3:]])


def test_bytes_that_are_no_event_are_refused() -> None:
    for body in (b"{}", b"nonsense", b'{"v":1}'):
        with pytest.raises(CorruptLogError, match="after 0 cannot be read"):
            fold([(body, digest(body))])


def test_a_log_begins_once() -> None:
    world = World(workflow(PLAIN))
    with pytest.raises(CorruptLogError, match="event 2 is not the beginning"):
        fold(world.log[1:])
    with pytest.raises(CorruptLogError, match="event 2 is not the beginning"):
        fold([ev.seal(replace(ev.unseal(world.log[0][0]), seq=2))])
    again = replace(ev.unseal(world.log[0][0]), seq=3, prev=world.now.head)
    with pytest.raises(CorruptLogError, match="event 3 begins the run a second time"):
        apply(world.now, again, "x")


def test_nothing_follows_the_end() -> None:
    world = every_event()
    after = ev.Envelope(
        v=1,
        run=RUN,
        seq=len(world.log) + 1,
        at=1,
        actor="a",
        data=ev.Stalled(stage="plan", epoch=1, blocks=1),
        prev=world.now.head,
    )
    with pytest.raises(CorruptLogError, match="follows the end of the run"):
        apply(world.now, after, "x")


def test_a_rebound_session_without_a_lease_changes_nothing() -> None:
    world = World(workflow(PLAIN))
    world.append(ENGINE, [ev.Interrupted(), ev.SessionRebound(session="s", previous="")])
    assert world.now.lease is None


def test_what_a_check_writes_moves_every_reference_to_the_tree_before() -> None:
    world = World(workflow(OURS))
    before, after = world.tree, text("after")
    epoch, stage = 1, "plan"
    other = {"epoch": epoch, "artifact": text("a")}
    world.append(
        ENGINE,
        [
            ev.CheckStarted(name="same", tree=before, pid=1, **other),
            ev.CheckStarted(name="old", tree=text("older"), pid=1, **other),
            ev.GateOpened(stage=stage, epoch=epoch, body=text("b"), tree=before),
            ev.CheckEnded(name="writer", tree=before, tree_after=after, outcome="fail", **other),
        ],
    )
    checks = world.now.checks
    assert (checks["same"].tree, checks["old"].tree, checks["writer"].tree) == (after, text("older"), after)
    assert (world.now.tree_ref, world.now.gate.tree) == (after, after)
    world.append(ENGINE, [ev.GateOpened(stage=stage, epoch=epoch, body=text("b"), tree=before)])
    world.append(ENGINE, [ev.CheckEnded(name="writer", tree=after, tree_after=text("z"), outcome="fail", **other)])
    assert world.now.gate.tree == before


@pytest.mark.parametrize(("decision", "follows"), [("approve", False), ("reject", True), ("redo", True)])
def test_what_a_check_writes_never_moves_an_approval(decision: Any, follows: bool) -> None:
    world = World(workflow(OURS))
    before, after, body = world.tree, text("after"), text("b")
    decided = ev.GateDecided(
        stage="plan", epoch=1, decision=decision, channel="terminal", body=body, tree=before, choice="PASS"
    )
    ended = ev.CheckEnded(name="writer", epoch=1, artifact=text("a"), tree=before, tree_after=after, outcome="pass")
    world.append(ENGINE, [ev.GateOpened(stage="plan", epoch=1, body=body, tree=before), decided, ended])
    assert world.now.gate.tree == (after if follows else before)


def test_a_stage_without_a_tree_rule_keeps_none() -> None:
    world = World(workflow(OURS))
    world.append(ENGINE, [ev.StageEntered(stage="plan", epoch=1, tree=None)])
    done = ev.CheckEnded(name="t", epoch=1, artifact="a", tree="1", tree_after="2", outcome="pass")
    world.append(ENGINE, [done])
    assert world.now.tree_ref is None


def test_agents_stand_in_the_order_they_stopped() -> None:
    world = World(workflow(OURS))
    for name in ("first", "second", "third"):
        world.launch(name)
    world.write()
    world.land("second")
    world.land("first")
    assert [agent.id for agent in world.now.agents if agent.ended] == ["second", "first"]
    world.land("second")
    assert [agent.id for agent in world.now.agents if agent.ended] == ["first", "second"]
    world.land("stranger")
    assert len(world.now.agents) == 3


def test_the_state_does_not_grow_with_the_number_of_agents() -> None:
    world = World(workflow(OURS))
    for number in range(40):
        world.launch(f"agent-{number}")
    assert [agent.id for agent in world.now.agents] == [f"agent-{number}" for number in range(8, 40)]


def test_entering_a_stage_again_takes_back_its_acceptance() -> None:
    world = World(workflow(PLAIN))
    world.work("approved")
    world.advance()
    world.work("done")
    world.advance()
    assert set(world.now.accepted) == {"planning", "executing"}
    world.work("FAIL")
    world.advance()
    assert set(world.now.accepted) == {"planning", "reviewing"}
    assert (world.now.stage, world.now.epoch) == ("executing", 4)

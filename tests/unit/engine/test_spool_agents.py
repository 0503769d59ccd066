"""Lines about sub-agents, folded: who runs, who was left behind, whose end came late or from nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.events import Holder
from stagent.core.reducer import apply
from stagent.core.state import Lease, State
from stagent.engine import spool
from stagent.engine.projections.live import _ledger
from stagent.storage.memory import MemoryStore
from unit.engine.service_world import ServiceWorld

DOCUMENT: dict[str, Any] = {
    "initial_stage": "look",
    "terminal_stages": ["complete", "escalated", "cancelled"],
    "modifies_worktree": False,
    "run_files": {},
    "stages": {
        "look": {"execution": {"type": "inline"}, "transitions": {"again": "look", "done": "work"}},
        "work": {"execution": {"type": "subagent"}, "transitions": {"done": "complete", "again": "look"}},
    },
}
FILES = {"workflow.json": msgspec.json.encode(DOCUMENT), "look.md": b"x", "work.md": b"x"}


@pytest.fixture
def world(tmp_path: Path) -> ServiceWorld:
    return ServiceWorld(tmp_path, MemoryStore(), FILES, "session")


def kinds(world: ServiceWorld) -> list[tuple[str, str]]:
    """The events about sub-agents: who, and what became of them."""
    found = [envelope.data for envelope in world.events()]
    told = [data for data in found if isinstance(data, ev.AgentStarted | ev.AgentEnded)]
    return [(data.agent, data.outcome if isinstance(data, ev.AgentEnded) else data.kind) for data in told]


def test_helpers_begin_and_end_in_any_order(world: ServiceWorld) -> None:
    for name in ("a1", "a2", "a3"):
        world.spool("HelperStart", name, type="Explore")
    assert [agent.id for agent in world.now.others] == ["a1", "a2", "a3"]
    world.spool("HelperStart", "a1", type="Explore")
    world.spool("HelperStop", "a2", type="Explore")
    world.spool("HelperStop", "a2", type="Explore")
    assert [agent.id for agent in world.now.others] == ["a1", "a3"]
    world.spool("SubagentGone", None, agents=["a1", "a3", "a9"])
    assert world.now.others == ()
    assert kinds(world) == [
        *(("a1", "Explore"), ("a2", "Explore"), ("a3", "Explore")),
        *(("a2", "ended"), ("a2", "unknown"), ("a1", "gone"), ("a3", "gone")),
    ]
    assert world.now.attempt == 0
    world.check_state()


def test_who_is_left_behind_ends_late(world: ServiceWorld) -> None:
    world.spool("HelperStart", "a1", type="Explore")
    world.work("done", "x")
    world.advance()
    assert (world.now.stage, [agent.id for agent in world.now.others]) == ("work", ["a1"])
    [row] = _ledger(world.now)
    assert (row["agent"], row["type"], row["left"]) == ("a1", "Explore", True)
    world.spool("SubagentStart", "w1")
    assert [(row["agent"], row["left"]) for row in _ledger(world.now)] == [("w1", False), ("a1", True)]
    world.spool("HelperStop", "a1", type="Explore")
    assert world.now.others == ()
    assert kinds(world)[-1] == ("a1", "late")
    last = [envelope.data for envelope in world.events()][-1]
    assert isinstance(last, ev.AgentEnded)
    assert (last.stage, last.epoch) == ("look", 1)
    world.check_state()


def test_an_end_counts_after_an_interruption_too(world: ServiceWorld) -> None:
    world.spool("HelperStart", "a1", type="Explore")
    world.spool("HelperStart", "a2", type="Explore")
    world.service.submit(world.run, world.driver, cmd.Interrupt())
    assert [agent.id for agent in world.now.others] == ["a1", "a2"]
    world.spool("HelperStop", "a1", type="Explore")
    world.spool("HelperStart", "a3", type="Explore")
    world.spool("HelperStop", "a4", type="Explore")
    assert [agent.id for agent in world.now.others] == ["a2"]
    assert kinds(world)[-1] == ("a1", "ended")
    world.check_state()


def test_the_end_of_a_sub_agents_attempt_names_what_it_did(world: ServiceWorld) -> None:
    world.work("done", "x")
    world.advance()
    place = world.service.home.activity(world.run)
    lines = [b'{"v":1,"t":1,"e":"start","id":"1","agent":"w1","x":1}\n', b'{"agent":"w2","t":1}\n']
    place.write_bytes(b"".join(lines))
    world.spool("SubagentStart", "w1")
    world.spool("SubagentStop", "w1", artifact={"size": 1, "mtime_ns": 1, "ino": 1})
    assert world.now.agents[0].ended
    [ended] = [envelope.data for envelope in world.events() if isinstance(envelope.data, ev.AttemptEnded)]
    assert (ended.stream_bytes, len(ended.stream or "")) == (len(lines[0]), 64)


def test_one_that_begins_beside_the_worker_is_another(world: ServiceWorld) -> None:
    """A script launched it: it takes no attempt, and what it leaves when it ends is not the stage's."""
    world.work("done", "x")
    world.advance()
    for name in ("w1", "w2", "w2"):
        world.spool("SubagentStart", name)
    assert ([agent.id for agent in world.now.agents], [agent.id for agent in world.now.others]) == (["w1"], ["w2"])
    assert [(row["agent"], row["type"]) for row in _ledger(world.now)][1:] == [("w2", spool.FOREIGN)]
    world.spool("SubagentStop", "w2", artifact={"size": 1, "mtime_ns": 1, "ino": 1})
    assert world.now.agents[0].mark is None
    assert kinds(world) == [("w2", spool.FOREIGN), ("w2", "ended")]
    world.spool("SubagentStop", "w1", artifact={"size": 1, "mtime_ns": 1, "ino": 1})
    world.spool("SubagentStart", "w3")
    assert ([agent.id for agent in world.now.agents], world.now.attempt) == (["w1", "w3"], 2)
    world.check_state()


# -- any order of lines


NAMES = ["a1", "a2", "a3", "w1", "w2"]
STEP = st.one_of(
    st.tuples(st.just("HelperStart"), st.sampled_from(NAMES[:3])),
    st.tuples(st.just("HelperStop"), st.sampled_from(NAMES)),
    st.tuples(st.just("SubagentStart"), st.sampled_from(NAMES[3:])),
    st.tuples(st.just("SubagentStop"), st.sampled_from(NAMES)),
    st.tuples(st.just("SubagentGone"), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(["next", "interrupt", "resume", "old"]), st.just("")),
)


class Model:
    """The state of a run whose lines are folded without a store."""

    def __init__(self) -> None:
        self.holder = Holder(kind="session", session="s", pid=1)
        texts = dict.fromkeys(("run", "head", "mode", "workflow", "model", "flow", "project", "folder", "task"), "x")
        lease = Lease(self.holder, 1)
        self.state = State(
            **texts,  # type: ignore[arg-type]
            seq=1,
            status="running",
            stage="work",
            epoch=1,
            lease=lease,
            started_at=0,
            updated_at=0,
            session="s",
        )

    def add(self, *events: ev.Event) -> None:
        for data in events:
            made = ev.Envelope(v=1, run="x", seq=self.state.seq + 1, at=1, actor="x", data=data, prev=self.state.head)
            self.state = apply(self.state, made, "x")

    def line(self, event: str, name: str, epoch: int) -> None:
        given: dict[str, object] = {"agents": [name]} if event == "SubagentGone" else {"type": "Explore"}
        agent = None if event == "SubagentGone" else name
        line = spool.Line(v=1, k="k", t=1, e=event, s="s", p=1, a=agent, d={**given, "epoch": epoch})
        beside = spool.others(line, self.state)
        command = spool.command(line, self.state, None) if self.state.live else None
        own = [command.event] if isinstance(command, cmd.BeginAttempt | cmd.EndAttempt) else []
        self.add(*own, *beside)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_who_runs_is_known_after_any_lines(steps: list[tuple[str, str]]) -> None:
    model = Model()
    shift = 0
    for event, name in steps:
        before = model.state
        if event == "old":
            shift = 1 - shift
        elif event == "next" and model.state.live:
            epoch = model.state.epoch + 1
            model.add(ev.Transitioned(source="work", target="work", result="again", epoch=epoch))
            model.add(ev.StageEntered(stage="work", epoch=epoch))
        elif event == "interrupt" and model.state.live:
            model.add(ev.Interrupted())
        elif event == "resume" and not model.state.live:
            model.add(ev.Resumed(holder=model.holder, fence=model.state.fence + 1))
        elif event[0].isupper():
            model.line(event, name, model.state.epoch - shift)
        running = [agent.id for agent in (*model.state.agents, *model.state.others) if not agent.ended]
        assert len(running) == len(set(running)), "nobody is named twice"
        known = {agent.id for agent in (*before.agents, *before.others) if not agent.ended}
        fresh = set(running) - known
        assert fresh <= ({name} if event.endswith("Start") else set()), "only a start makes somebody run"
        gone = known - set(running)
        assert gone <= ({name} if event in ("HelperStop", "SubagentStop", "SubagentGone") else set()), (
            "nor ends another"
        )
        # What excuses the end of a turn is a helper that began in this very stage and epoch, or the worker whose
        # artifact would count.
        rows = _ledger(model.state)
        assert {row["agent"] for row in rows if not row["ended"]} == set(running)
        for agent in model.state.others:
            left = next(row["left"] for row in rows if row["agent"] == agent.id and not row["ended"])
            elsewhere = (agent.stage, agent.epoch) != (model.state.stage, model.state.epoch)
            assert left is (elsewhere or not agent.kind)


def test_a_line_that_changed_nothing_is_not_news_to_the_hook(world: ServiceWorld) -> None:
    before = world.now
    world.spool("Decision", None, decision="approve", via="command", attended="1", parent=1, epoch=1)
    assert world.now.seq == before.seq
    session = before.lease.holder.session if before.lease else ""
    live = msgspec.json.decode(world.service.home.live(session or "").read_bytes())
    assert live["folded"] == world.service.home.spool(world.run).stat().st_size > 0

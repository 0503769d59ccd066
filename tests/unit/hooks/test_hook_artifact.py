"""The hook reads artifacts as the engine does: one table of cases, any bytes, and any state the engine writes."""

from __future__ import annotations

import json
import os
import posix
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from counts import count
from stagent import processes
from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.decide import decide
from stagent.core.frontmatter import FrontMatter, Malformed, epoch_of, parse
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine.evidence import HOST
from stagent.engine.projections.live import texts as render
from stagent.hooks import frontblock, hook
from stagent.storage.memory import MemoryStore
from stagent.testing import strategies
from unit.core.test_frontmatter import TABLE, content
from unit.engine.service_world import PERSON, ServiceWorld
from unit.hooks.hook_world import CLIENT

DEAD = 2**22 + 1
"""A process id no system gives."""
SEEN: Counter[str] = Counter()
WANTED = (
    *("artifact.missing", "artifact.front_matter", "artifact.no_epoch", "artifact.epoch", "artifact.pending"),
    *(
        "artifact.result",
        "gate.waiting",
        "finished",
        "human",
        "command",
        "interrupted",
        "block",
        "allow",
        "later epoch",
    ),
    *("busy", "running agent", "ended agent", "dead agent", "helper", "stalled", "taken over", "tasks"),
    *(f"check {pid}" for pid in (os.getpid(), DEAD)),
    *("unfolded approve", "unfolded reject", "unfolded feedback"),
)
STEPS = (
    *("work", "work", "work", "advance", "advance", "approve", "redo", "interrupt"),
    *("agent", "agent", "gone", "helper", "check", "stall", "take over", "take over"),
)
BLOCKS = st.lists(st.sampled_from([b"---", b"epoch: 1", b"result: done", b" a: b", b"a-b : 'c'", b"\r", b"", b"x"]))
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r\r\n"])


@pytest.mark.rule("S2.9")
@pytest.mark.parametrize("case", TABLE["cases"], ids=[case["name"] for case in TABLE["cases"]])
def test_the_table_of_front_matter(case: dict[str, Any]) -> None:
    fields, problem = frontblock.front(content(case))
    if "malformed" in case:
        assert fields is None
        assert problem.startswith(f"line {case['malformed']}: ")
    else:
        assert fields == {key: value.replace("@", "x" * case.get("repeat", 0)) for key, value in case["fields"].items()}
        assert problem == ""
        assert epoch_of(fields) == case.get("epoch")


@given(st.binary(max_size=200) | st.builds(lambda lines, end: end.join([b"---", *lines]), BLOCKS, ENDS))
def test_any_bytes_are_read_as_the_engine_reads_them(data: bytes) -> None:
    parsed = parse(data)
    expected = (None, f"line {parsed.line}: {parsed.reason}") if isinstance(parsed, Malformed) else (parsed.fields, "")
    assert frontblock.front(data) == expected
    assert isinstance(parsed, FrontMatter | Malformed)


def _lay(draw: st.DrawFn, world: ServiceWorld) -> None:
    """Put something in the place of the artifact."""
    path = world.folder.artifact(world.now.stage)
    kind = draw(st.sampled_from(["artifact"] * 8 + ["none", "link", "folder", "bytes", "nonsense", "pending"]))
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    if kind == "artifact":
        path.write_bytes(draw(strategies.artifacts(world.stage, world.now.epoch)))
    elif kind == "bytes":
        path.write_bytes(draw(st.binary(max_size=40)))
    elif kind in ("nonsense", "pending"):
        path.write_bytes(world.artifact(kind, "x"))
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        aside = path.with_name("aside.md")
        aside.write_bytes(world.artifact("done", "x"))
        path.symlink_to(aside)


def _compare(world: ServiceWorld, steps: list[str], data: st.DataObject) -> None:
    """The hook's judgement of the artifact and of a stop follow from the engine's own answer."""
    world.service.state(world.run)
    state, stage = world.now, world.stage
    gathered = world.service.gatherer.for_advance(world.workflow, state, world.folder)
    answer = decide(world.workflow, state, world.driver, cmd.Advance(producer="w"), gathered.evidence)
    while isinstance(answer, list) and all(isinstance(event, ev.ArtifactRecorded) for event in answer):
        # What was read is recorded first; asked again, the engine says whether it is enough.
        state = world.service.append(state, answer, "driver", gathered.blobs)
        answer = decide(world.workflow, state, world.driver, cmd.Advance(producer="w"), gathered.evidence)
    live = json.loads((world.place / "home" / "live" / "session-1.json").read_bytes())
    code = answer.code if isinstance(answer, Refusal) else ""
    result, hook_code, why = hook.judge(live)
    found = gathered.evidence.artifact
    if state.live and stage.kind in ("agent", "review"):
        if code.startswith("artifact."):
            assert (hook_code, why) == (code, answer.what), steps  # type: ignore[union-attr]
            assert result is None
        else:
            assert found is not None
            assert (result, hook_code, why) == (found.result, "", "")
    tasks = data.draw(_tasks(state))
    said = _stop(world, tasks)
    verdict, words = _expected(world, answer, result, tasks)
    assert ("block" if "decision" in said else "allow") == verdict, (steps, code, said)
    told = str(said.get("reason", said.get("systemMessage", "")))
    assert told.startswith("Stagent: " + words) if words else told == "", (steps, code, said, words)
    kinds = {"busy": words.startswith("waiting for"), "finished": bool(result), "later epoch": state.epoch > 1}
    kinds |= {"ended agent": any(a.ended and a.mark for a in state.agents), "taken over": state.fence > 1}
    kinds |= {"dead agent": any(a.ended and not a.mark for a in state.agents), "helper": bool(state.others)}
    kinds |= {"running agent": any(not a.ended for a in state.agents), "tasks": bool(tasks)}
    kinds |= {f"check {live['checker']}": live["checking"]} if live["checking"] else {}
    SEEN.update([code, stage.kind, state.status, verdict, *(kind for kind, seen in kinds.items() if seen)])
    if code == "gate.waiting":
        world.advance()
    _unfolded(world, data)


def _stop(world: ServiceWorld, tasks: list[dict[str, Any]] | None) -> dict[str, Any]:
    """What the hook says to a stop, from the live file as it lies there."""
    home = world.place / "home"
    live = json.loads((home / "live" / "session-1.json").read_bytes())
    live["python"] = "/nonexistent/python"
    event = {"session_id": "session-1", "hook_event_name": "Stop", "background_tasks": tasks}
    said = hook.Hook(str(home), event, live).stop() or {}
    (home / "live" / "session-1.stop").unlink(missing_ok=True)
    return said


@st.composite
def _tasks(draw: st.DrawFn, state: State) -> list[dict[str, Any]]:
    """Background tasks as the platform lists them: agents of the run, others, and shells, ours and another."""
    ids = [*(agent.id for agent in (*state.agents, *state.others)), "stranger"]
    kinds = {agent.id: agent.kind or hook.AGENT for agent in (*state.agents, *state.others)}
    rows = [
        {"id": name, "type": "subagent", "agent_type": kinds.get(name, "Explore"), "status": status}
        for name in ids
        for status in draw(st.sampled_from([[], ["running"], ["completed"]]))
    ]
    for command in draw(st.sampled_from([[], [], ["stagent wait"], ["sleep 9"], ["stagent wait; sleep 9"]])):
        rows.append({"id": "b1", "type": "shell", "status": "running", "command": command})
    return rows


def _expected(world: ServiceWorld, answer: Any, result: str | None, tasks: list[dict[str, Any]]) -> tuple[str, str]:
    """The verdict and the words that follow from the engine's answer, each in the engine's own sentence."""
    state, stage, path = world.now, world.stage, world.folder.artifact(world.now.stage)
    code = answer.code if isinstance(answer, Refusal) else ""
    texts = render(world.workflow, state, world.service.brief(state), world.service.home.launcher)
    checks = [check for check in state.checks.values() if check.outcome == "running"]
    if not state.live or (checks and (checks[0].pid is None or processes.look(checks[0].pid) is not None)):
        return "allow", ""
    begun = state.epoch > 1 or state.agents or state.others
    if not begun and (path.is_symlink() or not path.is_file()):
        return "block", texts["begin"]
    listed = {row["id"] for row in tasks if row["status"] == "running"}
    delegated = stage.execution == "subagent" and stage.kind in ("agent", "review")
    here = [a for a in state.others if a.kind and (a.stage, a.epoch) == (state.stage, state.epoch)]
    excused = [a for a in (state.agents if delegated else here) if not a.ended and a.id in listed]
    if excused or any(row.get("command") == "stagent wait" for row in tasks):
        return "allow", "waiting for "
    if stage.kind == "command":
        return "block", texts["command"]
    if stage.kind == "human":
        chosen = state.gate is not None and state.gate.decision == "answer"
        return ("block", texts["chosen"]) if chosen else ("allow", texts["gate"])
    if result is None:
        assert isinstance(answer, Refusal)
        problem = texts["problem"].replace("{why}", answer.what)
        return ("allow", texts["paused"]) if stage.interruptible else ("block", problem)
    gate = state.gate
    guarded = stage.gate is not None and stage.gate.explicit and stage.person_decides(result)
    # The engine looks at its checks before it looks at what a person decided.
    checks_first = isinstance(answer, list) and any(isinstance(event, ev.CheckStarted) for event in answer)
    sent_back = guarded and checks_first and gate is not None and gate.decision in hook.REJECTED
    if code == "gate.rejected" or sent_back:
        return ("allow" if stage.interruptible else "block"), texts["rejected"]
    if code in ("gate.waiting", "gate.stale") and gate is not None and not gate.decision:
        return "allow", texts["gate"]
    reopened = isinstance(answer, list) and any(isinstance(event, ev.GateOpened) for event in answer)
    if gate is not None and gate.decision == "approve" and code not in ("gate.waiting", "gate.stale") and not reopened:
        return "block", texts["decided"]
    onward = (
        texts["written" if guarded else "advance"]
        .replace("{result}", result)
        .replace("{target}", stage.transitions[result])
    )
    if isinstance(answer, list):
        moved = [event.target for event in answer if isinstance(event, ev.Transitioned) and event.cause == "table"]
        assert moved in ([], [stage.transitions[result]])
    return ("allow" if stage.interruptible else "block"), onward


def _unfolded(world: ServiceWorld, data: st.DataObject) -> None:
    """A decision whose line the engine has not read yet counts for a stop as it does once it was read."""
    state, gate = world.now, world.now.gate
    holder = state.lease.holder if state.lease else None
    if gate is None or gate.decision or holder is None or holder.pid is None or world.stage.kind == "human":
        return
    decision = data.draw(st.sampled_from(["approve", "reject", "feedback"]))
    claim = {"decision": decision, "via": "command", "source": "plugin", "prompt": f"p-{world.mark()}", "text": "x"}
    claim |= {"attended": "1", "parent": holder.pid, "client": CLIENT, "body": gate.body, "tree": gate.tree or ""}
    _stop(world, [])
    world.spool("Decision", None, **claim, lease=state.fence, epoch=state.epoch)
    before = _stop(world, [])
    after = world.now
    if after.gate is not None and after.gate.decision:
        said, words = _stop(world, []), before.get("reason", before.get("systemMessage"))
        # A stage that talks with the person is held to a rejection until it was told of it, then it may pause over it.
        told = words is not None and world.stage.interruptible and decision != "approve"
        assert said == ({"systemMessage": words} if told else before), (decision, before, said)
        SEEN.update([f"unfolded {decision}"])


@st.composite
def _gated(draw: st.DrawFn) -> dict[str, bytes]:
    """A workflow whose first stage, worked by the session itself, has a gate: few random ones come to an open one."""
    plan = {
        "execution": {"type": "inline"},
        "interruptible": draw(st.booleans()),
        "writes": draw(st.sampled_from(["artifact", "project"])),
        "gate": {"type": "require_approval"},
        "transitions": {"done": "complete", "again": "plan"},
    }
    document = {"initial_stage": "plan", "terminal_stages": ["complete", "escalated"], "stages": {"plan": plan}}
    document["run_files"] = {}
    return {"workflow.json": json.dumps(document).encode(), "plan.md": b"# Plan\n"}


@settings(
    max_examples=count("hook_states"),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(st.data())
def _any_state(data: st.DataObject) -> None:
    place = Path(tempfile.mkdtemp(prefix="hook-states-"))
    before = dict(posix.environ)
    try:
        posix.environ[b"CLAUDE_PID"] = str(os.getpid()).encode()
        opened = data.draw(st.sampled_from([False, False, False, True]))
        files = data.draw(_gated() if opened else strategies.folders())
        world = ServiceWorld(place, MemoryStore(), files, "session")
        steps: list[str] = []
        if opened or data.draw(st.booleans()):
            _step(world, "take over", data)
        if opened:
            steps += ["work", "advance", *data.draw(st.sampled_from([[], [], ["approve", "advance"]]))]
            for step in steps:
                _step(world, step, data)
        for _ in range(data.draw(st.integers(0, 4))):
            if world.now.ended:
                return
            step = data.draw(st.sampled_from(STEPS))
            steps.append(step)
            _step(world, step, data)
        for again in range(3 if not world.now.ended and world.now.session == "session-1" else 0):
            if again:
                data.draw(st.composite(lambda draw: _lay(draw, world))())
            _compare(world, steps, data)
    finally:
        posix.environ.clear()
        posix.environ.update(before)
        shutil.rmtree(place)


@pytest.mark.rule("S2.10", "S4.12")
def test_judgement_and_stop_follow_from_the_engine() -> None:
    for _ in range(6):
        _any_state()
        if all(SEEN[name] for name in WANTED):
            break
    assert [name for name in WANTED if not SEEN[name]] == []


def _step(world: ServiceWorld, step: str, data: st.DataObject) -> None:
    if step == "work":
        world.work(data.draw(st.sampled_from(sorted(world.stage.transitions))), "text")
    elif step == "advance":
        world.advance()
    elif step == "interrupt":
        world.service.submit(world.run, world.driver, cmd.Interrupt())
    elif step == "stall":
        world.service.submit(world.run, world.driver, cmd.Stall(blocks=5))
    elif step == "take over":
        pid = os.getpid()
        holder = ev.Holder(kind="session", session="session-1", pid=pid, started=processes.start_time(pid), host=HOST)
        world.service.submit(world.run, PERSON, cmd.Resume(holder=holder, take_over=True))
    elif step in ("agent", "gone"):
        name = f"agent-{world.mark()}"
        world.spool("SubagentStart", name)
        if step == "gone":
            world.spool("SubagentStop", name, artifact=None)
    elif step == "helper":
        world.spool("HelperStart", f"helper-{world.mark()}", type="Explore")
    elif step == "check":
        pid = data.draw(st.sampled_from([os.getpid(), DEAD]))
        started = ev.CheckStarted(name="c", epoch=world.now.epoch, artifact="a" * 64, tree="t", pid=pid)
        if world.now.live:
            world.service.append(world.now, [started], "driver", {})
    elif world.stage.kind == "human":
        world.decide("answer", sorted(world.stage.transitions)[0])
    else:
        world.decide(step)

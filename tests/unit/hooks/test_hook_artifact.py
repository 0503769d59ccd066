"""The hook reads artifacts as the engine does: one table of cases, any bytes, and any state the engine writes."""

from __future__ import annotations

import json
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
from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.decide import decide
from stagent.core.frontmatter import FrontMatter, Malformed, epoch_of, parse
from stagent.core.refusals import Refusal
from stagent.hooks import hook
from stagent.storage.memory import MemoryStore
from stagent.testing import strategies
from unit.core.test_frontmatter import TABLE, content
from unit.engine.service_world import ServiceWorld

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
)
BLOCKS = st.lists(st.sampled_from([b"---", b"epoch: 1", b"result: done", b" a: b", b"a-b : 'c'", b"\r", b"", b"x"]))
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r\r\n"])


@pytest.mark.rule("S2.9")
@pytest.mark.parametrize("case", TABLE["cases"], ids=[case["name"] for case in TABLE["cases"]])
def test_the_table_of_front_matter(case: dict[str, Any]) -> None:
    fields, problem = hook.front(content(case))
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
    assert hook.front(data) == expected
    assert isinstance(parsed, FrontMatter | Malformed)


def _lay(draw: st.DrawFn, world: ServiceWorld) -> None:
    """Put something in the place of the artifact."""
    path = world.folder.artifact(world.now.stage)
    kind = draw(st.sampled_from(["artifact"] * 8 + ["none", "link", "folder", "bytes"]))
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    if kind == "artifact":
        path.write_bytes(draw(strategies.artifacts(world.stage, world.now.epoch)))
    elif kind == "bytes":
        path.write_bytes(draw(st.binary(max_size=40)))
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        aside = path.with_name("aside.md")
        aside.write_bytes(world.artifact("done", "x"))
        path.symlink_to(aside)


def _compare(world: ServiceWorld, steps: list[str]) -> None:
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
    live["python"] = "/nonexistent/python"
    event = {"session_id": "session-1", "hook_event_name": "Stop", "background_tasks": []}
    said = hook.Hook(str(world.place / "home"), event, live).stop() or {}
    (world.place / "home" / "live" / "session-1.stop").unlink(missing_ok=True)
    words = (code, stage.kind, state.status, "finished" if result else "", "later epoch" if state.epoch > 1 else "")
    SEEN.update([*words, "block" if "decision" in said else "allow"])
    assert ("decision" in said) == _blocks(world, code, result), (steps, code, said)


def _blocks(world: ServiceWorld, code: str, result: str | None) -> bool:
    """What the table says about a stop, from the engine's answer."""
    state, stage = world.now, world.stage
    path = world.folder.artifact(stage.name)
    if not state.live:
        return False
    if state.epoch == 1 and not state.agents and (path.is_symlink() or not path.is_file()):
        return True
    if stage.kind == "command":
        return True
    if stage.kind == "human":
        return bool(state.gate and state.gate.decision == "answer")
    if result is not None and code in ("gate.waiting", "gate.stale"):
        return False
    return not stage.interruptible


@settings(
    max_examples=count("hook_states"),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(st.data())
def _any_state(data: st.DataObject) -> None:
    place = Path(tempfile.mkdtemp(prefix="hook-states-"))
    before = dict(posix.environ)
    try:
        world = ServiceWorld(place, MemoryStore(), data.draw(strategies.folders()), "session")
        steps: list[str] = []
        for _ in range(data.draw(st.integers(0, 4))):
            if world.now.ended:
                return
            step = data.draw(st.sampled_from(["work", "work", "advance", "advance", "approve", "redo", "interrupt"]))
            steps.append(step)
            _step(world, step, data)
        for again in range(3 if not world.now.ended and world.now.session == "session-1" else 0):
            if again:
                data.draw(st.composite(lambda draw: _lay(draw, world))())
            _compare(world, steps)
    finally:
        posix.environ.clear()
        posix.environ.update(before)
        shutil.rmtree(place)


@pytest.mark.rule("S2.10", "S4.12")
def test_judgement_and_stop_follow_from_the_engine() -> None:
    _any_state()
    assert [name for name in WANTED if not SEEN[name]] == []


def _step(world: ServiceWorld, step: str, data: st.DataObject) -> None:
    if step == "work":
        world.work(data.draw(st.sampled_from(sorted(world.stage.transitions))), "text")
    elif step == "advance":
        world.advance()
    elif step == "interrupt":
        world.service.submit(world.run, world.driver, cmd.Interrupt())
    elif world.stage.kind == "human":
        world.decide("answer", sorted(world.stage.transitions)[0])
    else:
        world.decide(step)

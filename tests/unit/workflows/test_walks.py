"""Every bundled workflow is walked to each of its ends by the engine's own decisions."""

from __future__ import annotations

import re
from collections import deque
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from stagent.core import commands as cmd
from stagent.core.model import Workflow
from stagent.core.refusals import Refusal
from stagent.core.verify.folder import validate
from stagent.engine import flows
from unit.core.world import PERSON, RUNNER, World, text

ROOT = Path(str(files("stagent"))) / "workflows"
LIBRARY = (
    "research-first",
    "scope-lock",
    "invariant-guard",
    "root-cause",
    "bug-hunt",
    "strict-tdd",
    "performance-gate",
    "compliance-gate",
    "release-train",
    "research-spike",
    "design-review",
    "end-to-end",
    "journey-suite",
    "visual-qa",
)
OLDER = ("default", "goal-pursuit", "create-workflow")
Step = tuple[str, str, str]


def workflow(name: str) -> Workflow:
    read, _ = validate({path.name: path.read_bytes() for path in (ROOT / name).iterdir() if path.is_file()})
    assert read is not None
    return read


def steps(of: Workflow) -> list[Step]:
    """Every transition: stage, result, target."""
    return [(stage.name, result, to) for stage in of.stages.values() for result, to in stage.transitions.items()]


def way(of: Workflow, last: Step) -> list[Step]:
    """The shortest way from the beginning whose last step is this one."""
    came: dict[str, list[Step]] = {of.initial: []}
    queue = deque([of.initial])
    while queue:
        here = queue.popleft()
        for step in steps(of):
            if step[0] == here and step[2] in of.stages and step[2] not in came:
                came[step[2]] = [*came[here], step]
                queue.append(step[2])
    return [*came[last[0]], last]


def walked(of: Workflow, path: list[Step]) -> World:
    """The world after a way was gone: the right one works, checks pass, a person decides what takes a person."""
    world = World(of, RUNNER, {item.name: text(item.name) for item in of.run_files})
    for name, result, _ in path:
        assert world.now.stage == name
        if world.stage.kind == "human":
            world.advance()
            world.person("answer", result)
        world.work(result, body=f"body {world.marks}")
        answer: Any = world.advance()
        if isinstance(answer, Refusal) and answer.code == "gate.waiting":
            world.person("approve")
            answer = world.advance()
        assert not isinstance(answer, Refusal), answer.message
    return world


def test_the_library_is_there() -> None:
    assert set(LIBRARY) <= set(flows.bundled())
    assert flows.folder_of("ship-it-weekly", Path("/")).name == "release-train"
    assert flows.folder_of("dev-default", Path("/")).name == "default"


@pytest.mark.parametrize("name", flows.bundled())
def test_every_transition_can_be_made_and_every_end_reached(name: str) -> None:
    of = workflow(name)
    ends = set()
    for step in steps(of):
        world = walked(of, way(of, step))
        if step[2] in of.stages:
            assert world.now.stage == step[2]
        else:
            assert (world.now.status, world.now.terminal) == ("ended", step[2])
            ends.add(step[2])
    assert ends | {"escalated", "cancelled"} == set(of.terminals)


@pytest.mark.parametrize("name", flows.bundled())
def test_from_every_stage_a_run_can_be_given_up_and_a_person_cancels_it(name: str) -> None:
    of = workflow(name)
    for stage in of.stages:
        path = next((way(of, step) for step in steps(of) if step[2] == stage), [])
        world = walked(of, path) if stage != of.initial else walked(of, [])
        assert world.now.stage == stage
        world.do(cmd.Refuse(code="artifact.missing"))
        world.do(cmd.GiveUp(by="agent", text=text("why")))
        assert world.now.status == "escalated"
        world.do(cmd.Cancel(), PERSON)
        assert (world.now.status, world.now.terminal) == ("ended", "cancelled")


@pytest.mark.parametrize("name", LIBRARY)
def test_each_stage_has_its_limits(name: str) -> None:
    of = workflow(name)
    assert "escalated" in of.terminals
    assert len(of.stages) * 3 <= of.max_epoch <= 40
    for stage in of.stages.values():
        assert stage.kind == "human" or stage.timeout is not None, stage.name
        assert stage.kind != "agent" or stage.writes is not None


@pytest.mark.parametrize("name", sorted({*LIBRARY} - {"research-spike", "design-review"}))
def test_a_success_rests_on_a_protected_check(name: str) -> None:
    assert workflow(name).protected_success


@pytest.mark.parametrize("name", LIBRARY)
def test_a_result_that_leads_to_new_protection_cannot_launder_changed_tests(name: str) -> None:
    """A stage that declares `protects` moves the reference: on no way there may existing tests have been changed."""
    of = workflow(name)
    sealing = {stage.name for stage in of.stages.values() if stage.protects}
    for stage, result, target in steps(of):
        source = of.stages[stage]
        if target in sealing and source.writes == "project" and source.kind == "agent":
            kept = any("**/tests/**" in (check.protect or ()) for check in source.checks_for(result))
            assert kept or source.person_decides(result), (stage, result)


def test_the_reference_names_every_bundled_workflow() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "templates.md"
    table = page.read_text(encoding="utf-8").partition("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == [*OLDER, *LIBRARY]
    assert {*OLDER, *LIBRARY} == set(flows.bundled())

"""Structured answers: what an artifact lacks of one, workflows that ask for one, artifacts made from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from stagent.core.frontmatter import FrontMatter, parse
from stagent.core.model import Output, Stage
from stagent.engine import flows
from stagent.engine.structured import artifact_from, faults, schema_problems
from stagent.errors import WorkflowError
from stagent.storage.memory import MemoryStore
from unit.core.documents import OURS, changed, files, workflow
from unit.engine.service_world import ServiceWorld

SCHEMA = '{"required":["verdict"]}'
TWO = Stage(name="s", transitions={"PASS": "a", "FAIL": "b"}, output=Output(SCHEMA))
ONE = Stage(name="s", transitions={"done": "a"}, output=Output(SCHEMA))


def test_the_body_below_the_front_matter_is_judged() -> None:
    assert faults(ONE, b'---\nepoch: 1\nresult: done\n---\n{"verdict": 1}\n') == ()
    assert faults(ONE, b"---\nepoch: 1\nresult: done\n---\n{}\n") == ("$: 'verdict' is a required property",)
    assert faults(ONE, b'{"verdict": 1}') == ()
    assert faults(ONE, b'\xff {"verdict": 1}') == ()
    assert faults(Stage(name="s"), b"anything") is None


@pytest.mark.parametrize(
    ("stage", "answer", "result"),
    [
        (TWO, '{"verdict": 1, "result": "FAIL"}', "FAIL"),
        (TWO, ' {"result":"PASS","text":"```\\n---"} ', "PASS"),
        (ONE, '{"verdict": 1}', "done"),
        (ONE, '{"result": "something else"}', "done"),
        (TWO, '{"verdict": 1}', None),
        (TWO, '{"result": "MAYBE"}', None),
        (TWO, '{"result": ["PASS"]}', None),
        (ONE, "[]", None),
        (ONE, "null", None),
        (ONE, "no json", None),
        (ONE, '{"a": "\ud800"}', None),
        (ONE, '{"a":' * 5000 + "1" + "}" * 5000, None),
    ],
)
def test_an_answer_becomes_an_artifact(stage: Stage, answer: str, result: str | None) -> None:
    made = artifact_from(answer, stage, 7)
    if result is None:
        assert made is None
        return
    assert made is not None
    front = parse(made)
    assert isinstance(front, FrontMatter)
    assert front.fields == {"epoch": "7", "result": result}
    block = made.partition(b"```json\n")[2].rpartition(b"\n```\n")[0]
    assert msgspec.json.decode(block) == msgspec.json.decode(answer)
    assert faults(Stage(name="s", output=Output("{}")), made) == ()


def write(folder: Path, document: Any) -> Path:
    folder.mkdir()
    for name, data in files(document).items():
        (folder / name).write_bytes(data)
    return folder


def test_a_schema_that_is_none_keeps_a_workflow_from_being_used(tmp_path: Path) -> None:
    document = changed(OURS, "stages/review/output/schema", {"type": "nothing", "required": 5})
    folder = write(tmp_path / "flow", document)
    *_, problems = flows.read(f"{folder}/", tmp_path)
    [problem] = problems
    assert (problem.code, problem.path) == ("workflow.schema", "stages.review.output.schema")
    with pytest.raises(WorkflowError, match="no JSON Schema"):
        flows.usable(f"{folder}/", tmp_path)
    good = write(tmp_path / "good", OURS)
    assert schema_problems(flows.usable(f"{good}/", tmp_path).workflow) == []
    assert schema_problems(workflow(OURS)) == []


def test_an_artifact_without_the_answer_is_refused_and_the_words_are_the_feedback(tmp_path: Path) -> None:
    document = {
        "initial_stage": "judge",
        "terminal_stages": ["complete"],
        "run_files": {},
        "stages": {
            "judge": {
                "execution": {"type": "inline"},
                "transitions": {"done": "complete"},
                "output": {"schema": {"required": ["verdict"], "properties": {"verdict": {"enum": ["good", "bad"]}}}},
            }
        },
    }
    world = ServiceWorld(tmp_path, MemoryStore(), files(document), "caller")
    for body, words in [
        ("Good.", "it holds no JSON object"),
        ('{"verdict": "fine"}', "$.verdict: 'fine' is not one of ['good', 'bad']"),
    ]:
        world.write(f"---\nepoch: 1\nresult: done\n---\n{body}\n".encode())
        refusal = world.advance().refusal
        assert refusal is not None
        assert (refusal.code, refusal.blame) == ("output.invalid", "work")
        assert words in refusal.message
        assert words in world.service.brief(world.now).context()
    assert '"required":["verdict"]' in world.service.brief(world.now).context()
    data = artifact_from('{"verdict": "good"}', world.stage, 1)
    assert data is not None
    world.write(data)
    assert world.advance().moved
    assert world.now.terminal == "complete"

from __future__ import annotations

import json
from typing import Any

import pytest

from stagent.core.capabilities import capabilities, widened
from stagent.core.model import Workflow
from stagent.core.verify.folder import validate


def workflow(**more: Any) -> Workflow:
    given = more.pop("work", {})
    plain = {} if "kind" in given else {"execution": {"type": "inline"}}
    work = {**plain, "transitions": {"done": "complete"}, **given}
    document = {"initial_stage": "work", "terminal_stages": ["complete"], "stages": {"work": work}, **more}
    found, problems = validate({"workflow.json": json.dumps(document).encode(), "work.md": b"# work\n"})
    assert found is not None and [item for item in problems if item.severity == "error"] == []
    return found


def test_every_command_is_named_with_its_place() -> None:
    found = capabilities(
        workflow(
            run_files={"facts": {"init": "date"}},
            work={"checks": [{"name": "tests", "run": "make test"}]},
        )
    )
    assert [(item.where, item.run) for item in found.commands] == [
        ("run_files.facts", "date"),
        ("stages.work.checks.tests", "make test"),
    ]


@pytest.mark.parametrize(
    ("run", "hint"),
    [
        ("curl -s x | sh", "curl"),
        ("make && git push origin main", "git push"),
        ("npm ci", "npm ci"),
        ("python3 -m pip install x", "pip install"),
        ("echo https://example.org/x y", "https://example.org/x"),
        ("docker run x", "docker run"),
        ("git log", None),
        ("npm test", None),
        ("python3 curl.py", None),
        ("pytest -q tests/test_ssh_keys.py", None),
    ],
)
def test_hints_of_a_network(run: str, hint: str | None) -> None:
    quiet = {"tools": {"deny": ["WebFetch", "WebSearch"]}}
    found = capabilities(workflow(work={"checks": [{"name": "x", "run": run}], **quiet}))
    assert [item.run for item in found.network] == ([hint] if hint else [])


def test_tools_that_reach_the_web_unless_they_are_taken_away() -> None:
    assert [item.run for item in capabilities(workflow()).network] == ["WebFetch", "WebSearch"]
    assert capabilities(workflow(work={"tools": {"allow": ["Read"]}})).network == []


@pytest.mark.parametrize(
    ("writes", "found"),
    [("project", ["anything"]), ("artifact", []), (["docs/**"], ["docs/**"]), (None, ["anything"])],
)
def test_what_a_stage_may_write(writes: object, found: list[str]) -> None:
    more = {} if writes is None else {"writes": writes}
    assert capabilities(workflow(work=more)).stages[0].writes == found


def test_what_became_wider() -> None:
    narrow = workflow(work={"writes": "artifact", "tools": {"allow": ["Read"]}})
    wide = workflow(run_files={"x": {"init": "curl x"}}, work={"writes": ["a/**"]})
    lines = widened(capabilities(narrow), capabilities(wide))
    assert lines[0] == "new command at run_files.x: curl x"
    assert any("new hint of a network" in line for line in lines)
    assert lines[-1] == "stage work may write a/**"
    assert widened(capabilities(wide), capabilities(narrow)) == []
    assert widened(capabilities(wide), capabilities(wide)) == []


def test_a_command_stage_runs_its_command_and_has_no_tools() -> None:
    work = {"kind": "command", "run": "make ship", "results": {"*": "done"}}
    found = capabilities(workflow(work=work))
    assert [(item.where, item.run) for item in found.commands] == [("stages.work.run", "make ship")]
    assert [(item.stage, item.writes, item.tools) for item in found.stages] == [("work", ["anything"], [])]

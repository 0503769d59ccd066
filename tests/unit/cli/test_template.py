from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stagent.engine import flows


@pytest.fixture
def here(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a repository; the data home beside it does not exist yet."""
    monkeypatch.delenv(flows.PLACE, raising=False)
    return Path.cwd()


def test_a_new_workflow_validates_strictly_and_is_found_by_its_name(here: Path, empty: Path, say: Any) -> None:
    said = say("template", "new", "notes")
    assert said.status == 0, said.err
    assert said.out.splitlines()[0] == f"Made {here}/workflows/notes"
    assert not empty.exists()
    assert say("validate", "--flow", "notes", "--strict").status == 0
    found = say("template", "list", "--json").json
    [mine] = [item for item in found if item["source"] == "project"]
    assert (mine["name"], mine["title"], mine["stages"]) == ("notes", "notes", ["plan", "work", "review"])
    assert {item["name"] for item in found if item["source"] == "bundled"} == set(flows.bundled())
    assert all(item["digest"] and not item["problem"] for item in found)


@pytest.mark.rule("S2.35")
def test_a_copy_for_every_project(here: Path, empty: Path, say: Any) -> None:
    said = say("template", "new", "mine", "--from", "goal-pursuit", "--user", "--json")
    assert said.json["folder"] == f"{empty}/templates/mine"
    assert said.json["digest"] == say("template", "show", "goal-pursuit", "--json").json["digest"]
    assert "mine" in say("template", "list").out
    elsewhere = say("template", "new", "here", "--from", f"{empty}/templates/mine", "--dir", "some/place", "--json")
    assert elsewhere.json["folder"] == f"{here}/some/place/here"
    assert say("validate", "some/place/here", "--strict").status == 0


def test_everything_that_is_wrong_is_said_at_once(here: Path, say: Any) -> None:
    said = say("template", "new", "con.", "--from", "nowhere", "--json")
    assert (said.status, said.json["error"]) == (64, "template.new")
    assert len(said.json["fields"]["problems"]) == 3
    (here / "workflows" / "taken").mkdir(parents=True)
    said = say("template", "new", "taken", "--from", str(here), "--json")
    assert ["exists already" in line or "there is no workflow" in line for line in said.json["fields"]["problems"]] == [
        True,
        True,
    ]
    assert say("template", "new", "x", "--user", "--dir", ".").status == 64
    assert sorted(path.name for path in (here / "workflows").iterdir()) == ["taken"]


@pytest.mark.parametrize("name", ["..", "a/b", "", "cancelled", "x" * 300, "naïve", "/tmp/x", "default"])
def test_names_that_cannot_be(here: Path, say: Any, name: str) -> None:
    said = say("template", "new", name)
    assert said.status == 64
    assert "Choose another name or place." in said.err
    assert list(here.iterdir()) == []


def test_a_workflow_that_cannot_be_used_is_listed_with_why(here: Path, empty: Path, say: Any) -> None:
    for name in ("broken", "unreadable", "default"):
        say("template", "new", "x", "--dir", str(here / "made"))
        (here / "workflows").mkdir(exist_ok=True)
        (here / "made" / "x").rename(here / "workflows" / name)
    (here / "workflows" / "broken" / "workflow.json").write_text("{")
    (here / "workflows" / "unreadable" / "plan.md").write_bytes(b"x" * (1 << 20) + b"x")
    said = say("template", "list", "--json")
    problems = {item["name"]: item["problem"] for item in said.json if item["source"] == "project"}
    assert "stagent validate" in problems["broken"]
    assert "larger than 1 MiB" in problems["unreadable"]
    assert "bundled" in problems["default"]
    assert "broken" in say("template", "list").err


def test_what_a_workflow_could_do(here: Path, say: Any) -> None:
    document = {
        "title": "T\x1b[2J",
        "initial_stage": "work",
        "terminal_stages": ["complete", "escalated"],
        "run_files": {"facts": {"init": "touch made; curl https://example.org"}},
        "stages": {
            "work": {
                "execution": {"type": "subagent"},
                "writes": ["docs/**"],
                "tools": {"allow": ["Read"], "deny": ["Bash"]},
                "gate": {"type": "require_approval", "for": ["done"]},
                "checks": [{"name": "tests", "run": "make test", "for": ["done"]}],
                "transitions": {"done": "complete", "no": "work"},
            }
        },
    }
    flow = here / "flow"
    flow.mkdir()
    (flow / "workflow.json").write_text(json.dumps(document))
    (flow / "work.md").write_text("# work\n")
    (flow / "readme.md").write_text("# T\n\nSays what it is for.\n" + "more\n" * 50)
    shown = say("template", "show", "flow", "--json").json
    assert shown["readme"].startswith("# T\n\nSays what it is for.") and len(shown["readme"].splitlines()) == 12
    [stage] = shown["stages"]
    assert stage["gate"] == {"type": "require_approval", "for": ["done"]}
    assert stage["checks"] == [{"name": "tests", "for": ["done"], "run": "make test"}]
    able = shown["capabilities"]
    assert [item["where"] for item in able["commands"]] == ["run_files.facts", "stages.work.checks.tests"]
    assert [item["run"] for item in able["network"]] == ["curl", "https://example.org"]
    assert able["stages"] == [{"stage": "work", "writes": ["docs/**"], "tools": ["Read"], "denied": ["Bash"]}]
    text = say("template", "show", "./flow").out
    assert "\x1b" not in text
    assert "work: writes docs/**; tools: Read, not Bash" in text
    assert not (here / "made").exists()
    (flow / "work.md").unlink()
    assert say("template", "show", "flow", "--json").json["error"] == "workflow.invalid"


def test_outside_of_its_workflow_a_step_says_so(here: Path, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STAGENT_INPUTS", raising=False)
    for step in ("plan", "prepare", "validate", "publish"):
        said = say("template", "check", step)
        assert said.status == 64
        assert "Only a stage of create-workflow asks this" in said.err
    (here / "plan.md").write_text("no plan")
    digest = "0" * 64
    monkeypatch.setenv("STAGENT_INPUTS", json.dumps({"planning": [str(here / "plan.md"), digest]}))
    assert "not the one that was accepted" in say("template", "check", "plan").err
    assert say("template", "check", "reference").out.startswith("# Writing a workflow")


def test_without_a_sub_command_there_is_help(here: Path, say: Any) -> None:
    assert "reference" not in os.environ
    assert "list" in say("template").out

"""A workflow that came with the project runs no command before a person agreed to it, once for each version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acceptance.support import Json, Machine, claim, stage

RAN = "ran.txt"


def project(machine: Machine, **more: Json) -> Path:
    """Put a workflow into the project, as somebody who pushed it there would; returns its folder."""
    made = {"plan": stage({"done": "complete"}, **more)}
    folder = machine.project / "workflows" / "theirs"
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "initial_stage": "plan",
        "terminal_stages": ["complete", "escalated", "cancelled"],
        "run_files": {"facts": {"init": f"touch {RAN}; echo facts"}},
        "stages": made,
    }
    (folder / "workflow.json").write_text(json.dumps(document))
    (folder / "plan.md").write_text("# Plan\n")
    return folder


@pytest.mark.rule("W32")
@pytest.mark.parametrize("reference", ["theirs", "workflows/theirs", "./workflows/theirs/"])
@pytest.mark.parametrize("command", ["start", "run"])
def test_nothing_of_it_runs_before_a_person_agreed(machine: Machine, reference: str, command: str) -> None:
    folder = project(machine)
    script = machine.script({"plan": [claim("done")]})
    more = ["--agent", "scripted", "--script", script] if command == "run" else []
    arguments = [command, "a task", "--flow", reference, *more, "--json"]
    refused = machine.cli(*arguments)
    assert (refused.status, refused.code) == (2, "flow.untrusted")
    assert refused.json["fields"]["commands"] == [f"run_files.facts: touch {RAN}; echo facts"]
    assert "stagent template trust" in refused.json["remedy"]
    assert not (machine.project / RAN).exists()
    assert not (machine.project / ".stagent").exists()
    agreed = machine.person("template", "trust", reference)
    assert agreed.status == 0, agreed.out
    assert f"run_files.facts: touch {RAN}" in agreed.out
    assert not (machine.project / RAN).exists()
    assert machine.cli(*arguments).status == 0
    assert (machine.project / RAN).exists()
    # Another version is another workflow.
    (folder / "plan.md").write_text("# Plan\n\nOtherwise.\n")
    assert machine.cli("run", "x", "--flow", reference, "--script", script, "--json").code == "flow.untrusted"


@pytest.mark.rule("W32")
def test_an_agent_cannot_agree(machine: Machine) -> None:
    project(machine)
    refused = machine.cli("template", "trust", "theirs", env={"CLAUDECODE": "1"})
    assert refused.status == 2
    assert "an agent cannot trust a workflow" in refused.err
    assert machine.cli("start", "x", "--flow", "theirs", "--json").code == "flow.untrusted"


def test_a_link_in_the_projects_folder_is_no_way_around(machine: Machine) -> None:
    folder = project(machine)
    folder.rename(machine.project / "hidden")
    folder.symlink_to("../hidden")
    assert machine.cli("start", "x", "--flow", "theirs", "--json").code == "flow.untrusted"


def test_who_runs_no_command_of_its_own_is_not_asked_about(machine: Machine) -> None:
    folder = project(machine)
    document = json.loads((folder / "workflow.json").read_text())
    del document["run_files"]
    (folder / "workflow.json").write_text(json.dumps(document))
    assert machine.cli("start", "x", "--flow", "theirs", "--json").status == 0


def test_a_copy_among_the_users_own_is_his_choice(machine: Machine) -> None:
    project(machine)
    assert machine.cli("template", "new", "mine", "--from", "theirs", "--user").status == 0
    assert machine.cli("start", "x", "--flow", "mine", "--json").status == 0

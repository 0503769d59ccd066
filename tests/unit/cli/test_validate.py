from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures_runs import WORKFLOW, project


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    project(tmp_path)
    return tmp_path / "flow"


def change(flow: Path, **fields: Any) -> None:
    (flow / "workflow.json").write_text(json.dumps({**WORKFLOW, **fields}))


@pytest.mark.rule("S1.37")
def test_a_valid_folder(empty: Path, say: Any, flow: Path) -> None:
    said = say("validate", str(flow))
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines() == [
        "✅ workflow validated: 3 stages, 3 terminals",
        f"Folder:    {flow}",
        "Initial:   plan",
        "Stages:    build, plan, ship",
        "Terminals: complete, escalated, cancelled",
    ]
    assert not empty.exists()


@pytest.mark.rule("S1.38")
def test_the_bundled_default_without_an_argument(empty: Path, say: Any) -> None:
    said = say("validate", "--strict")
    assert said.status == 0
    assert said.out.startswith("✅ workflow validated: 6 stages")
    assert say("validate", "--flow", "goal-pursuit").status == 0


@pytest.mark.rule("S1.17")
def test_every_problem_is_a_line_of_its_own(empty: Path, say: Any, flow: Path) -> None:
    change(flow, initial_stage="nothing", max_epoch=0)
    (flow / "ship.md").unlink()
    said = say("validate", str(flow))
    assert (said.status, said.out) == (1, "")
    bad = [line for line in said.err.splitlines() if line.startswith("❌ ")]
    assert len(bad) >= 3
    assert any("initial_stage" in line for line in bad)
    assert any("max_epoch" in line for line in bad)
    assert any("ship.md" in line for line in bad)


def test_errors_and_warnings_are_counted_apart(empty: Path, say: Any, flow: Path) -> None:
    change(flow, max_epoch=0, whatever=1)
    assert say("validate", str(flow)).err.splitlines()[-1] == f"1 error, 1 warning in {flow}"
    assert say("validate", str(flow), "--strict").err.splitlines()[-1] == f"2 errors in {flow}"


def test_the_file_in_the_folder_may_be_named_as_well(empty: Path, say: Any, flow: Path) -> None:
    assert say("validate", str(flow / "workflow.json")) == say("validate", str(flow))


@pytest.mark.rule("S1.36")
def test_a_warning_is_an_error_when_strict(empty: Path, say: Any, flow: Path) -> None:
    change(flow, whatever=1)
    said = say("validate", str(flow))
    assert said.status == 0
    assert said.err.startswith("⚠ ")
    strict = say("validate", str(flow), "--strict")
    assert strict.status == 1
    assert strict.err.startswith("❌ ")


def test_json(empty: Path, say: Any, flow: Path) -> None:
    assert say("validate", str(flow), "--json").json["valid"] is True
    change(flow, initial_stage="nothing")
    said = say("validate", str(flow), "--json")
    assert said.status == 1
    assert said.json["valid"] is False
    [problem] = [item for item in said.json["problems"] if item["path"] == "initial_stage"]
    assert problem["code"].startswith("workflow.")
    assert problem["remedy"]


def test_a_folder_that_is_not_there(empty: Path, say: Any) -> None:
    said = say("validate", "nowhere")
    assert said.status == 1
    assert said.err.startswith("❌ ")
    assert "nowhere" in said.err


def test_a_folder_or_a_flow(empty: Path, say: Any, flow: Path) -> None:
    assert say("validate", str(flow), "--flow", "default").status == 64
    assert say("validate", "--flow", "unheard-of").status == 64


@pytest.mark.rule("S1.38")
def test_from_a_process_of_its_own(empty: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "stagent", "validate"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not empty.exists()

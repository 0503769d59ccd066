"""A stage no agent works, refused again and again: the runner tries it as often as declared, then gives up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STAGE: dict[str, Any] = {
    "kind": "command",
    "run": "echo x >>runs",
    "results": {"0": "ok", "*": "bad"},
    "transitions": {"ok": "complete", "bad": "build"},
    "checks": [{"name": "proof", "run": "test $(wc -l <runs) -ge 3", "for": ["ok"]}],
}


def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempts: int) -> tuple[int, list[str], int]:
    """Run the workflow headless; return the exit status, the kinds of events, and how often the command ran."""
    flow, project = tmp_path / "flow", tmp_path / "project"
    flow.mkdir()
    project.mkdir()
    stage = {**STAGE, "retry": {"attempts": attempts}}
    document = {"initial_stage": "build", "terminal_stages": ["complete", "escalated"], "stages": {"build": stage}}
    (flow / "workflow.json").write_text(json.dumps(document))
    (tmp_path / "script.json").write_text('{"stages": {}}')
    monkeypatch.setenv("STAGENT_HOME", str(tmp_path / "home"))
    command = [sys.executable, "-m", "stagent", "run", "Build it.", "--flow", f"{flow}/", "--agent", "scripted"]
    command += ["--script", str(tmp_path / "script.json"), "--project", str(project), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [line["data"]["type"] for line in lines if "data" in line]
    return done.returncode, kinds, len((project / "runs").read_text().splitlines())


def test_a_command_is_run_again_until_its_check_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, kinds, runs = drive(tmp_path, monkeypatch, 5)
    assert (status, runs) == (0, 3)
    assert kinds[-1] == "terminal"


def test_a_command_that_is_never_accepted_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, kinds, runs = drive(tmp_path, monkeypatch, 2)
    assert (status, runs) == (3, 2)
    assert kinds[-1] == "escalated"
    assert len(kinds) < 20

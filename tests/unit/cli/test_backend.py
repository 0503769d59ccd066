"""Which agent `stagent run` takes, with which options, and from where each of them comes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from stagent.cli import backend
from stagent.cli.reporter import is_paused
from stagent.cli.run import _status
from stagent.config import DataHome, change
from stagent.core.state import State
from stagent.errors import UsageError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataHome:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return DataHome(tmp_path / "data")


def program(tmp_path: Path, name: str = "claude") -> Path:
    """Put a program on the PATH."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_without_an_agent_there_is_none(home: DataHome) -> None:
    with pytest.raises(UsageError) as caught:
        backend.choose(home, None, None, ())
    assert caught.value.code == "agent.none"
    assert "--example" in caught.value.remedy


def test_claude_code_is_taken_where_it_is_installed(home: DataHome, tmp_path: Path) -> None:
    program(tmp_path)
    chosen, _ = backend.choose(home, None, None, ())
    assert chosen.name == "claude"


def test_claude_code_is_taken_where_the_setting_names_it(home: DataHome, tmp_path: Path) -> None:
    named = program(tmp_path, "another")
    change(home, "claude.program", str(named))
    chosen, options = backend.choose(home, None, None, ())
    assert (chosen.name, options["program"]) == ("claude", str(named))


def test_what_is_named_counts_more_than_what_is_set_or_found(home: DataHome, tmp_path: Path) -> None:
    program(tmp_path)
    change(home, "agent", "claude")
    chosen, options = backend.choose(home, "scripted", Path("x.json"), ())
    assert (chosen.name, options) == ("scripted", {"script": str(Path("x.json").absolute())})


def test_a_script_alone_means_the_scripted_agent(home: DataHome, tmp_path: Path) -> None:
    program(tmp_path)
    chosen, _ = backend.choose(home, None, Path("x.json"), ())
    assert chosen.name == "scripted"


def test_options_of_the_command_line_count_more_than_settings(home: DataHome, tmp_path: Path) -> None:
    change(home, "claude.permissions", "edits")
    _, options = backend.choose(home, "claude", None, ("permissions=all", "max_turns=3", "program=a=b"))
    assert options == {"permissions": "all", "max_turns": "3", "program": "a=b"}


@pytest.mark.parametrize("words", ["permissions", "=all", "=", ""])
def test_an_option_of_another_form_is_refused(home: DataHome, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        backend.choose(home, "claude", None, (words,))
    assert caught.value.code == "agent.option_form"


def test_narrow_permissions_are_said_and_wide_ones_are_not(home: DataHome, capsys: pytest.CaptureFixture[str]) -> None:
    backend.choose(home, "claude", None, ())
    assert "permissions=edits" in capsys.readouterr().err
    backend.choose(home, "claude", None, ("permissions=edits",))
    assert capsys.readouterr().err == ""


def state(**fields: object) -> State:
    """A state of which only what is named matters."""
    plain = dict.fromkeys(
        ("run", "head", "mode", "workflow", "model", "flow", "project", "folder", "task", "stage"), ""
    )
    made = {"seq": 1, "status": "running", "epoch": 1, "lease": None, "started_at": 0, "updated_at": 0}
    return State(**{**plain, **made, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ending", "fields", "stopping", "status"),
    [
        ("ended", {"status": "ended", "terminal": "complete", "success": True}, "", 0),
        ("ended", {"status": "ended", "terminal": "cancelled"}, "", 3),
        ("escalated", {"status": "escalated"}, "", 3),
        ("blocked", {"status": "blocked", "refusal": "check.failed"}, "", 3),
        ("blocked", {"status": "blocked", "refusal": "budget.halted"}, "", 3),
        ("blocked", {"status": "blocked", "refusal": "budget.paused"}, "", 4),
        ("waiting", {}, "", 4),
        ("stalled", {"status": "stalled"}, "", 4),
        ("interrupted", {"status": "interrupted"}, "SIGTERM", 143),
        ("interrupted", {"status": "interrupted"}, "SIGINT", 130),
        ("interrupted", {"status": "interrupted"}, "SIGHUP", 129),
        ("interrupted", {"status": "interrupted"}, "", 3),
    ],
)
def test_every_ending_has_its_exit_status(ending: str, fields: dict[str, object], stopping: str, status: int) -> None:
    assert _status(state(**fields), ending, stopping) == status  # type: ignore[arg-type]


def test_only_a_block_is_a_pause() -> None:
    assert is_paused(state(status="blocked", refusal="budget.paused"))
    assert not is_paused(state(status="running", refusal="budget.paused"))


def test_claude_code_is_looked_for_where_the_setting_says(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = DataHome(empty)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not backend.installed(home)
    monkeypatch.setenv("STAGENT_CLAUDE", sys.executable)
    assert backend.installed(home)


def test_without_a_task_it_is_said_what_is_missing_and_the_example_is_driven(
    empty: Path, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The example sets these for what it starts; named here, they are put back.
    monkeypatch.setenv("STAGENT_TEST_COMMAND", "")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("STAGENT_CLAUDE", "/nonexistent")
    said = say("run", "--json")
    assert said.status == 0
    assert said.err.startswith("There is no task, and Claude Code is not on the PATH: driving the bundled example,")
    monkeypatch.setenv("STAGENT_CLAUDE", sys.executable)
    assert say("run", "--json").err.startswith("There is no task: driving the bundled example,")

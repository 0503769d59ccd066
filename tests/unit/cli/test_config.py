from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def test_lists_value_and_source(empty: Path, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGENT_AGENT", "scripted")
    assert say("config", "flow", "goal-pursuit").out == "goal-pursuit\n"
    lines = [line.split()[:3] for line in say("config").out.splitlines()]
    assert ["mode", "local", "default"] in lines
    assert ["agent", "scripted", "environment"] in lines
    assert ["flow", "goal-pursuit", "file"] in lines
    document = say("config", "--json").json
    assert {item["name"]: item["source"] for item in document["settings"]}["agent"] == "environment"


def test_listing_makes_no_data_home(empty: Path, say: Any) -> None:
    assert say("config").status == 0
    assert not empty.exists()


def test_get_set_unset(empty: Path, say: Any) -> None:
    assert say("config", "flow").out == "default\n"
    say("config", "flow", "mine/flow")
    assert say("config", "flow").out == "mine/flow\n"
    assert say("config", "flow", "--json").json["source"] == "file"
    assert say("config", "flow", "--unset").out == "default\n"


def test_says_when_the_environment_counts_more(empty: Path, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGENT_FLOW", "goal-pursuit")
    said = say("config", "flow", "default")
    assert said.out == "goal-pursuit\n"
    assert "STAGENT_FLOW is set" in said.err


@pytest.mark.parametrize(
    "words", [["nothing"], ["mode", "elsewhere"], ["flow", "x", "--unset"], ["--unset"]], ids=lambda words: words[-1]
)
def test_wrong_usage(empty: Path, say: Any, words: list[str]) -> None:
    assert say("config", *words).status == 64


def test_one_bad_value_does_not_hide_the_others(empty: Path, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGENT_DEFAULT_MODE", "elsewhere")
    said = say("config")
    assert said.status == 1
    assert "flow " in said.out
    assert "STAGENT_DEFAULT_MODE" in said.err


def test_from_a_process_of_its_own(empty: Path) -> None:
    command = [sys.executable, "-m", "stagent", "config", "flow"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "default\n", "")


def test_settings_that_cannot_be_written_leave_the_old_ones_and_nothing_else(empty: Path, say: Any) -> None:
    assert say("config", "agent", "scripted").status == 0
    program = """
import resource, sys
from stagent.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
sys.exit(main(["config", "flow", "goal-pursuit"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the settings cannot be written: File too large." in done.stderr
    assert [path.name for path in empty.iterdir()] == ["config.json"]
    assert say("config", "agent").out == "scripted\n"

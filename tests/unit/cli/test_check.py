from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fixtures_projects as projects

OWN = f'"{sys.executable}" -m unittest discover -s tests -t .'


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the made project's tests with this interpreter, whatever is installed."""
    monkeypatch.setenv("STAGENT_TEST_COMMAND", OWN)


def test_green(empty: Path, say: Any, tmp_path: Path, declared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(projects.make(tmp_path / "p", "green"))
    said = say("check", "tests")
    assert said.status == 0
    assert said.out.splitlines()[-1].startswith("tests: passed. ")
    assert "1 test ran" in said.out
    assert not empty.exists()


def test_red(empty: Path, say: Any, tmp_path: Path, declared: None) -> None:
    said = say("check", "tests", "--project", str(projects.make(tmp_path / "p", "red")))
    assert said.status == 1
    assert "AssertionError" in said.out
    assert said.out.splitlines()[-1].startswith("tests: failed. ")


def test_none(empty: Path, say: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(projects.none(tmp_path / "p"))
    said = say("check", "tests")
    assert said.status == 1
    assert "no test command was found" in said.out
    well = say("check", "tests", "--if-any")
    assert well.status == 0
    assert well.out.startswith("tests: passed, there is none. ")


def test_red_is_red_with_if_any_too(empty: Path, say: Any, tmp_path: Path, declared: None) -> None:
    assert say("check", "tests", "--if-any", "--project", str(projects.make(tmp_path / "p", "red"))).status == 1


def test_alone_it_shows_help(empty: Path, say: Any) -> None:
    said = say("check")
    assert said.status == 0
    assert "tests" in said.out


def test_from_an_isolated_process_as_workflows_call_it(empty: Path, tmp_path: Path, declared: None) -> None:
    root = projects.make(tmp_path / "p", "green")
    command = [sys.executable, "-I", "-m", "stagent", "check", "tests"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("tests: passed.")
    assert not empty.exists()

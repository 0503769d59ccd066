from __future__ import annotations

import os
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


@pytest.mark.parametrize(("state", "status"), [("green", 1), ("red", 0), ("empty", 1)])
def test_a_test_for_what_is_missing_must_fail(
    empty: Path, say: Any, tmp_path: Path, declared: None, state: Any, status: int
) -> None:
    said = say("check", "tests", "--expect-fail", "--project", str(projects.make(tmp_path / "p", state)))
    assert said.status == status
    assert said.out.splitlines()[-1].startswith("tests: passed, they fail" if status == 0 else "tests: failed, no test")


@pytest.mark.parametrize("kind", ["go", "cargo"])
def test_a_build_that_breaks_on_a_test_for_what_is_missing_is_red(
    empty: Path, say: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The compiler is a stand-in: what counts is that it fails before any test is counted."""
    monkeypatch.delenv("STAGENT_TEST_COMMAND", raising=False)
    tool = tmp_path / "bin" / kind
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'undefined: Mean'\nexit ${BROKEN:-1}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    root = projects.KINDS[kind](tmp_path / "p", "green")
    assert say("check", "tests", "--expect-fail", "--project", str(root)).status == 0
    monkeypatch.setenv("BROKEN", "0")
    assert say("check", "tests", "--expect-fail", "--project", str(root)).status == 1


def test_a_suite_that_could_not_run_does_not_count_as_red(
    empty: Path, say: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGENT_TEST_COMMAND", "exit 1")
    said = say("check", "tests", "--expect-fail", "--project", str(projects.make(tmp_path / "p", "green")))
    assert said.status == 1


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["scope"], "scope"),
        (["scope", "--declared"], "scope"),
        (["scope", "--lock"], "scope"),
        (["invariants", "--seal"], "invariants"),
        (["compliance"], "compliance"),
        (["benchmark", "--record"], "benchmark"),
        (["findings"], "findings"),
        (["findings", "--fixed"], "findings"),
        (["journeys", "--declared"], "journeys"),
        (["visual", "--seal"], "visual"),
        (["release"], "release"),
        (["release", "--production"], "release"),
        (["app"], "app"),
    ],
)
def test_without_a_declaration_a_check_fails_and_names_the_file(
    empty: Path, say: Any, tmp_path: Path, words: list[str], kind: str
) -> None:
    said = say("check", *words, "--project", str(projects.none(tmp_path / "p")))
    assert said.status == 1
    assert said.out.startswith(f"{' '.join(words)}: failed. there is no file .agents/{kind}.json.")


@pytest.mark.parametrize("kind", ["journeys", "visual", "release"])
def test_that_nothing_is_declared_can_be_proved(empty: Path, say: Any, tmp_path: Path, kind: str) -> None:
    said = say("check", kind, "--none", "--project", str(projects.none(tmp_path / "p")))
    assert (said.status, said.out.startswith(f"{kind} --none: passed. ")) == (0, True)


def test_a_target_that_is_not_declared_is_skipped_and_says_so(empty: Path, say: Any, tmp_path: Path) -> None:
    root = projects.none(tmp_path / "p")
    (root / ".agents").mkdir()
    (root / ".agents" / "release.json").write_text('{"version": "echo 1.0.0"}')
    said = say("check", "release", "--staging", "--project", str(root))
    assert said.status == 3
    assert said.out.startswith("release --staging: skipped. ")


def test_a_check_that_passes_says_why(empty: Path, say: Any, tmp_path: Path) -> None:
    root = projects.none(tmp_path / "p")
    (root / ".agents").mkdir()
    (root / ".agents" / "app.json").write_text('{"probe": "true"}')
    said = say("check", "app", "--project", str(root))
    assert (said.status, said.out.splitlines()[-1]) == (0, "app: passed. `true` ended with exit code 0.")

"""How scripts/test turns its words into pytest's, and what the counts say."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import counts


@pytest.fixture
def runner(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/_testing.py as a module."""
    monkeypatch.syspath_prepend(str(checkout / "scripts"))
    spec = importlib.util.spec_from_file_location("_testing", checkout / "scripts" / "_testing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("words", [[], ["-x"], ["-n", "4"], ["-p", "no:randomly"], ["--durations=5", "-vv"]])
def test_a_whole_run_measures_core(runner: ModuleType, words: list[str]) -> None:
    arguments = runner.pytest_arguments(words)
    assert "--cov-fail-under=100" in arguments
    assert arguments[len(arguments) - len(words) :] == words


@pytest.mark.parametrize(
    "words", [["tests/house"], ["tests/house/test_testing.py::test_x"], ["-k", "x"], ["-kx"], ["--lf"], ["-m", "x"]]
)
def test_a_narrowed_run_is_left_as_it_is(runner: ModuleType, words: list[str]) -> None:
    assert runner.pytest_arguments(words) == words


@pytest.mark.rule("W54")
def test_no_test_collected_is_a_failure(checkout: Path) -> None:
    command = [
        sys.executable,
        str(checkout / "scripts" / "_testing.py"),
        "tests/house/test_testing.py",
        "-k",
        "no_such",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "deselected" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("full", [False, True])
def test_the_counts_are_those_of_the_run_and_are_shown(checkout: Path, full: bool) -> None:
    flags = ["--full"] if full else []
    place = "tests/house/test_testing.py"
    command = [sys.executable, str(checkout / "scripts" / "_testing.py"), *flags, place, "--collect-only"]
    environment = {name: value for name, value in os.environ.items() if name != "STAGENT_TEST_FULL"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    number = counts.COUNTS["hypothesis_examples"][full]
    assert f"counts ({'full' if full else 'quick'}): " in done.stdout
    assert f"hypothesis_examples={number}" in done.stdout


def test_a_full_run_does_more() -> None:
    assert all(0 < quick < full for quick, full in counts.COUNTS.values())

"""The linters find nothing. The layering contracts have a file of their own: test_layering.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("step", ["style", "format", "types"])
def test_linter_finds_nothing(checkout: Path, step: str) -> None:
    command = [sys.executable, str(checkout / "scripts" / "_lint.py"), step]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_unknown_step_is_refused_with_the_known_ones(checkout: Path) -> None:
    command = [sys.executable, str(checkout / "scripts" / "_lint.py"), "beauty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Known: style, format, types, layering." in done.stderr


def test_a_finding_fails_the_step_and_the_later_steps_still_run(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "_lint.py").write_bytes((checkout / "scripts" / "_lint.py").read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((checkout / "pyproject.toml").read_bytes())
    (tmp_path / "bad.py").write_text("import os\n")
    command = [sys.executable, str(tmp_path / "scripts" / "_lint.py"), "style", "format"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "F401" in done.stdout
    assert "--- format" in done.stdout
    assert done.stdout.endswith("lint failed: style\n")

"""Imports point downward. The contracts stand in pyproject.toml; here they are run, and shown to bite."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

VIOLATIONS = {
    "imports point downward": ("core/added.py", "import stagent.engine\n"),
    "core does no I/O": ("core/added.py", "import subprocess\n"),
    "adapters are reached through the registry only": ("engine/added.py", "import stagent.storage\n"),
    "stores do not know each other": ("storage/memory.py", "import stagent.storage.sqlite\n"),
    "stagent.kitchen": ("kitchen/__init__.py", ""),
}


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the layering step of scripts/lint over the sources in `root`."""
    return subprocess.run(
        [sys.executable, str(root / "scripts" / "_lint.py"), "layering"],
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_contracts_are_kept(checkout: Path) -> None:
    done = lint_imports(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken." in done.stdout


@pytest.mark.parametrize("expected", VIOLATIONS)
def test_a_violation_is_reported(checkout: Path, tmp_path: Path, expected: str) -> None:
    place, line = VIOLATIONS[expected]
    shutil.copytree(checkout / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(checkout / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(checkout / "pyproject.toml", tmp_path)
    module = tmp_path / "src" / "stagent" / place
    module.parent.mkdir(exist_ok=True)
    with module.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}")
    done = lint_imports(tmp_path)
    assert done.returncode != 0
    assert expected in done.stdout.partition("Broken contracts")[2] or expected in done.stderr, done.stdout

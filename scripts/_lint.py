"""Runs the linters over the checkout, each one even when an earlier one failed; started by scripts/lint."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STEPS = {
    "style": ["-m", "ruff", "check", "."],
    "format": ["-m", "ruff", "format", "--check", "."],
    "types": ["-m", "mypy"],
    "layering": ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
}


def run_step(name: str) -> bool:
    """Run one linter with its output shown; true when it found nothing."""
    sys.stdout.write(f"--- {name}\n")
    sys.stdout.flush()
    return subprocess.run([sys.executable, *STEPS[name]], cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """Run the named steps, all of them when none is named; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/lint", description="Run the linters.")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"one of: {', '.join(STEPS)} (default: all)")
    steps = parser.parse_args().steps or list(STEPS)
    unknown = [name for name in steps if name not in STEPS]
    if unknown:
        parser.error(f"no step {unknown[0]!r}. Known: {', '.join(STEPS)}.")
    failed = [name for name in steps if not run_step(name)]
    sys.stdout.write(f"lint failed: {', '.join(failed)}\n" if failed else "lint passed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the tests; started by scripts/test inside the environment that scripts/bootstrap made.

A run that names no tests is the whole one: it needs the toolchains below, measures `stagent.core` and contains the
linters (tests/house/test_lint.py).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from _bootstrap import ROOT, SetUpError, install_packages, locked, say

TOOLCHAINS = {
    "cargo": "cargo",
    "go": "golang-go",
    "make": "make",
    "node": "nodejs",
    "npm": "npm",
    "tmux": "tmux",
}
NARROWING = ("-k", "-m", "--lf", "--last-failed", "--deselect", "--ignore", "--collect-only", "--co", "--sw")
WHOLE_RUN = ["--cov=stagent.core", "--cov-branch", "--cov-fail-under=100", "--cov-report=term-missing:skip-covered"]
MOST_WORKERS = 8


def is_narrowed(arguments: Sequence[str]) -> bool:
    """True when the arguments pick some of the tests: a path, a test's id, or a selecting option."""
    for word in arguments:
        if word.startswith("-"):
            option = word.partition("=")[0]
            if option in NARROWING or (word[:2] in ("-k", "-m") and not word.startswith("--")):
                return True
        elif (ROOT / word.partition("::")[0]).exists():
            return True
    return False


def worker_count() -> int:
    """How many test processes run side by side: one per core this process may use, from 2 to 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    return max(2, min(MOST_WORKERS, cores))


def pytest_arguments(arguments: Sequence[str]) -> list[str]:
    """pytest's arguments for what was asked; a caller's own come last and so win."""
    if is_narrowed(arguments):
        return list(arguments)
    spread = [f"--numprocesses={worker_count()}", "--dist=loadgroup"]
    return [*spread, *WHOLE_RUN, *arguments]


def need_toolchains() -> None:
    """Install the toolchains that tests use and this machine lacks; raises SetUpError with the remedy."""
    missing = [name for name in TOOLCHAINS if shutil.which(name) is None]
    if missing:
        with locked() as steps:
            why = f"some tests need {', '.join(missing)}."
            install_packages(steps, [TOOLCHAINS[name] for name in missing], why)


def main() -> None:
    """Run the tests that were asked for: becomes pytest, or exits 1 when a toolchain cannot be had."""
    arguments = [word for word in sys.argv[1:] if word != "--full"]
    if "--full" in sys.argv[1:]:
        os.environ["STAGENT_TEST_FULL"] = "1"
    if not is_narrowed(arguments):
        try:
            need_toolchains()
        except SetUpError as error:
            say(str(error))
            sys.stdout.write("0 passed, 1 failed (the set-up)\n")
            sys.exit(1)
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *pytest_arguments(arguments)])


if __name__ == "__main__":
    main()

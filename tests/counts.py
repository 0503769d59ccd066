"""How much the randomised and repeated tests do: the one place that says so.

Each name has two numbers: for an ordinary run, and for a full one (`scripts/test --full`, or STAGENT_TEST_FULL=1).
A test asks `count("name")`; a new kind of count is a new line in `COUNTS`.
"""

from __future__ import annotations

import os

COUNTS: dict[str, tuple[int, int]] = {
    "crash_kills": (40, 500),
    "hook_states": (300, 10000),
    "hypothesis_examples": (60, 1000),
    "machine_runs": (360, 6000),
    "race_processes": (4, 8),
    "runner_kills": (8, 200),
    "runs_at_once": (10, 20),
}


def is_full() -> bool:
    """True in a full run."""
    return os.environ.get("STAGENT_TEST_FULL") == "1"


def count(name: str) -> int:
    """The number that holds for this run; KeyError names a count that is not in `COUNTS`."""
    return COUNTS[name][is_full()]


def describe() -> str:
    """One line for the head of the test output."""
    numbers = ", ".join(f"{name}={count(name)}" for name in sorted(COUNTS))
    return f"counts ({'full' if is_full() else 'quick'}): {numbers}"

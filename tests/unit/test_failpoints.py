"""Fail points do nothing unless asked for, end the process where asked, and all of them are in the code."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

from stagent.failpoints import NAMES

SCRIPT = """
from stagent.failpoints import hit
for number in range(3):
    print(number, flush=True)
    hit("sql.after_begin")
    hit("sql.after_commit")
"""


def run(setting: str) -> subprocess.CompletedProcess[str]:
    """Pass each of two fail points three times."""
    env = {**os.environ, "STAGENT_FAILPOINT": setting}
    return subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=False)


def test_without_a_setting_nothing_happens() -> None:
    done = run("")
    assert (done.returncode, done.stdout) == (0, "0\n1\n2\n")


def test_a_process_ends_at_the_pass_that_was_asked_for() -> None:
    for setting, shown in (
        ("sql.after_begin", "0\n"),
        ("sql.after_commit:1", "0\n"),
        ("sql.after_begin:3", "0\n1\n2\n"),
    ):
        done = run(setting)
        assert (done.returncode, done.stdout) == (-signal.SIGKILL, shown)
    assert run("sql.after_begin:4").returncode == 0
    assert run("disk.write.before").returncode == 0


def test_a_setting_that_names_nothing_is_refused() -> None:
    for setting in ("nowhere", "sql.after_begin:often", "sql.after_begin:-1"):
        done = run(setting)
        assert done.returncode == 1
        assert setting.partition(":")[2 if ":" in setting else 0] in done.stderr.splitlines()[-1]


def test_every_name_is_in_the_code_and_every_place_has_a_name(checkout: Path) -> None:
    used: set[str] = set()
    for path in (checkout / "src" / "stagent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hit":
                used.add(ast.literal_eval(node.args[0]))
    assert used == NAMES

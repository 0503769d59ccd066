"""Peak memory of the hook, of the commands an agent calls often, and of a headless run, beside the bare interpreter.

The figure is the largest resident set that the system recorded for the process or, where it started others, for the
largest of them. A process counts what it was before it became another program, so each is started by a bare
interpreter, which is as small as the smallest of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import BARE, Bench, row
from hooks import PID, events, world

ROUNDS, LONG = 7, 3_000
# Built-in modules only: whatever this imports would be counted for what it starts.
STARTER = """
import posix, sys
nothing = posix.open("/dev/null", posix.O_WRONLY)
pid = posix.posix_spawn(sys.argv[1], sys.argv[1:], posix.environ, file_actions=[(posix.POSIX_SPAWN_DUP2, nothing, 1)])
_, status, used = posix.wait4(pid, 0)
sys.stdout.write(f"{status} {used.ru_maxrss}")
"""
UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in what the system counts in."""


def peak(argv: list[str], given: bytes = b"", env: dict[str, str] | None = None) -> float:
    """Return the peak of one process in MiB."""
    command = [sys.executable, "-I", "-S", "-c", STARTER, *argv]
    done = subprocess.run(command, input=given, capture_output=True, check=True, env={**os.environ, **(env or {})})
    status, size = map(int, done.stdout.split())
    assert status == 0, done.stderr
    return size * UNIT / (1 << 20)


def of_hooks(folder: Path) -> dict[str, tuple[list[str], bytes, dict[str, str]]]:
    """Return the calls of the hook that are measured."""
    argv, artifact = world(folder)
    artifact.write_text("---\nepoch: 1\nresult: pending\n---\n")
    chosen = ("bystander, PreToolUse Bash", "active, PreToolUse Bash", "active, Stop that blocks")
    cases = events(artifact)
    return {f"hook, {name}": (argv, json.dumps(cases[name][0]).encode(), {"CLAUDE_PID": str(PID)}) for name in chosen}


def of_commands(bench: Bench) -> dict[str, tuple[list[str], bytes, dict[str, str]]]:
    """Return the commands that are measured, in a run with a long history."""
    bench.transitions(LONG)
    env = {"STAGENT_HOME": str(bench.home.data.root)}
    words = {
        "tick": ["tick", bench.state.run],
        "next": ["next", bench.state.run, "--result", "done"],
        "status": ["status", bench.state.run],
        "log": ["log", bench.state.run],
    }
    label = f"{bench.state.seq:,} events"
    return {f"{name}, {label}": ([sys.executable, "-m", "stagent", *call], b"", env) for name, call in words.items()}


def main() -> None:
    bench = Bench()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        (folder / "hooks").mkdir()
        run = [sys.executable, "-m", "stagent", "run", "--example"]
        env = {"STAGENT_HOME": str(folder / "home"), "TMPDIR": str(folder)}
        cases = {**of_hooks(folder / "hooks"), **of_commands(bench), "run, the bundled example": (run, b"", env)}
        sizes: dict[str, list[float]] = {key: [] for key in ("bare", *cases)}
        for _ in range(ROUNDS):
            sizes["bare"].append(peak(BARE))
            for key, (argv, given, more) in cases.items():
                sizes[key].append(peak(argv, given, more))
        for key in cases:
            row(key, sizes[key], sizes["bare"], "MiB", "none")
    bench.close()


if __name__ == "__main__":
    main()

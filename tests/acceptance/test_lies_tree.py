"""An agent that changes what its stage may not change, or goes on changing things when its attempt is over."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from acceptance.support import Machine, claim, shell, stage


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.repository({"src.py": "x = 1\n", "docs/a.md": "a\n", "tests/a.py": "a\n", "tests/b.py": "b\n"})
    return made


READ_ONLY_LIES = {
    "an edit": ("echo 'x = 2' > src.py", ["src.py"]),
    "an edit of the same size and time": (
        "touch -r src.py t.tmp; echo 'x = 9' > src.py; touch -r t.tmp src.py; rm t.tmp",
        ["src.py"],
    ),
    "a new file": ("mkdir -p new/deep; touch new/deep/file", ["new/deep/file"]),
    "a removal": ("rm docs/a.md", ["docs/a.md"]),
    "a mode": ("chmod +x src.py", ["src.py"]),
    "a link": ("ln -sf docs/a.md src.py", ["src.py"]),
    "an edit that is committed": ("echo 'x = 2' > src.py; git commit -qam done", ["src.py"]),
    "an edit git is told to overlook": ("git update-index --skip-worktree src.py; echo 'x = 2' > src.py", ["src.py"]),
    "an edit from a script": ("printf \"open('src.py', 'w').write('x = 2')\" | python3", ["src.py"]),
    "a rename": ("mv src.py lib.py", ["lib.py", "src.py"]),
    "a file that is ignored from now on": (
        "echo '*.tmp' > .git/info/exclude; echo '*.out' > .gitignore",
        [".gitignore"],
    ),
}


@pytest.mark.rule("W40")
@pytest.mark.parametrize("lie", READ_ONLY_LIES)
def test_a_stage_that_only_reads_edits_the_project(machine: Machine, lie: str) -> None:
    command, paths = READ_ONLY_LIES[lie]
    flow = machine.flow({"look": stage({"PASS": "complete"}, writes="artifact", retry={"attempts": 1})})
    run = machine.drive(flow, {"look": [shell(command), claim("PASS")]})
    assert (run.status, run.state.status, run.place) == (3, "escalated", ("look", 1))
    assert run.codes() == ["tree.changed"]
    for path in paths:
        assert path in run.refusals()
    assert run.log("transitioned") == []


def test_a_stage_that_undoes_its_edits_goes_on(machine: Machine) -> None:
    flow = machine.flow({"look": stage({"PASS": "complete"}, writes="artifact", retry={"attempts": 2})})
    run = machine.drive(
        flow,
        {
            "look": [
                [shell("echo 'x = 2' > src.py"), claim("PASS")],
                [shell("git checkout -q src.py"), claim("PASS")],
            ]
        },
    )
    assert (run.status, run.state.terminal) == (0, "complete")
    assert run.codes() == ["tree.changed"]


def test_a_stage_with_globs_edits_outside_of_them(machine: Machine) -> None:
    flow = machine.flow({"write": stage({"PASS": "complete"}, writes=["docs/**"], retry={"attempts": 2})})
    run = machine.drive(
        flow,
        {
            "write": [
                [shell("echo b > docs/b.md; echo 'x = 2' > src.py"), claim("PASS")],
                [shell("git checkout -q src.py"), claim("PASS")],
            ]
        },
    )
    assert (run.status, run.state.terminal) == (0, "complete")
    assert run.codes() == ["tree.changed"]
    assert "changed: src.py." in run.refusals()
    assert machine.read("docs/b.md") == "b\n"


def test_a_stage_that_writes_some_tests_launders_others(machine: Machine) -> None:
    check = {"name": "tests", "run": "true", "protect": ["tests/**"]}
    flow = machine.flow(
        {
            "specify": stage({"PASS": "build"}, protects=["tests/a.py"], retry={"attempts": 2}),
            "build": stage({"PASS": "complete"}, checks=[check]),
        }
    )
    run = machine.drive(
        flow,
        {
            "specify": [
                [shell("echo new > tests/a.py; rm tests/b.py"), claim("PASS")],
                [shell("git checkout -q tests/b.py"), claim("PASS")],
            ],
            "build": [claim("PASS")],
        },
    )
    assert run.codes() == ["protect.outside"]
    assert "tests/b.py" in run.refusals()
    assert (run.status, run.state.terminal) == (0, "complete")
    # What it declared as its own to write is the reference now.
    assert [event["outcome"] for event in run.log("check.ended")] == ["pass"]


def test_tests_the_specifying_stage_wrote_are_protected_from_the_next(machine: Machine) -> None:
    check = {"name": "tests", "run": "true", "protect": ["tests/**"]}
    flow = machine.flow(
        {
            "specify": stage({"PASS": "build"}, protects=["tests/**"]),
            "build": stage({"PASS": "complete"}, checks=[check], retry={"attempts": 1}),
        }
    )
    script = {
        "specify": [shell("echo strict > tests/a.py"), claim("PASS")],
        "build": [shell("git checkout -q tests/a.py"), claim("PASS")],
    }
    run = machine.drive(flow, script)
    assert (run.status, run.place) == (3, ("build", 2))
    assert run.codes() == ["check.protected"]
    assert "M tests/a.py" in run.refusals()


# -- after the attempt -------------------------------------------------------------------------------------------

LOOP = "i=0; while [ $i -lt 300 ]; do echo more >> late.txt; sleep 0.05; i=$((i + 1)); done"
GETAWAYS = {
    "in the background": f"({LOOP}) &",
    "without a hang-up": f"nohup sh -c '{LOOP}' >/dev/null 2>&1 &",
    "in a session of its own": f"setsid sh -c '{LOOP}' &",
    "without its environment": f"env -i setsid sh -c '{LOOP}' &",
    "after two forks": "python3 forks.py",
}
FORKS = f"""
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve("/bin/sh", ["sh", "-c", {LOOP!r}], {{}})
    os._exit(0)
"""


@pytest.mark.parametrize("how", GETAWAYS)
def test_a_process_left_behind_changes_nothing_any_more(machine: Machine, how: str) -> None:
    flow = machine.flow(
        {
            "build": stage({"PASS": "look"}),
            "look": stage({"PASS": "complete"}, writes="artifact", retry={"attempts": 1}),
        }
    )
    machine.write("forks.py", FORKS)
    began = "for i in $(seq 500); do test -e late.txt && break; sleep 0.01; done"
    run = machine.drive(
        flow,
        {"build": [shell(GETAWAYS[how]), shell(began), claim("PASS")], "look": [{"sleep": 0.3}, claim("PASS")]},
    )
    assert (run.status, run.state.terminal) == (0, "complete")
    late = machine.project / "late.txt"
    size = late.stat().st_size
    time.sleep(0.2)
    assert late.stat().st_size == size


def test_an_attempt_beyond_its_time_is_ended(machine: Machine) -> None:
    flow = machine.flow({"build": stage({"PASS": "complete"}, timeout=0.5, retry={"attempts": 1})})
    run = machine.drive(flow, {"build": [claim("PASS"), {"sleep": 300}]})
    assert (run.status, run.state.status) == (3, "escalated")
    assert [event["outcome"] for event in run.log("attempt.ended")] == ["timeout"]
    assert run.log("artifact.recorded") == []

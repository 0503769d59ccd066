"""Commands the engine runs itself, checks and the makers of run files, that hang, flood, leave daemons or fail."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from acceptance.bad_input.kit import DOES, PLAIN, Bench, refused
from acceptance.support import stage, wait_for
from stagent import processes

KEPT = 256 * 1024
_MEMORY = 120 * 1024 * (1 if sys.platform == "linux" else 1024)
"""What the program may take at most, in the unit of `ru_maxrss`."""
# A process takes over what the one that forked it took: a small one stands between the tests and the program.
_MEASURED = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
sys.stderr.write(f"{usage.ru_maxrss}\\n")
sys.exit(os.waitstatus_to_exitcode(status))
"""


def _check(machine: Bench, command: str, **more: object) -> tuple[int, str, dict[str, Any], bytes]:
    """Drive a run whose check is this command; return its status, its id, the check's event, and what was kept."""
    check = {"name": "look", "run": command, "for": ["done"], **more}
    flow = machine.flow({"work": stage({"done": "complete"}, checks=[check], retry={"attempts": 1})})
    done = machine.call(*machine.driving(flow))
    run = done.lines[-1]["run"]
    [ended] = [event for event in machine.log(run) if event["type"] == "check.ended"]
    return done.status, run, ended, _output(machine, run, ended["output"])


def _output(machine: Bench, run: str, name: str) -> bytes:
    shown = machine.call("show", run, "--check", "look")
    assert shown.status == 0, shown.err
    return shown.out.encode() if name else b""


def _refusals(machine: Bench, run: str) -> str:
    texts = [event["text"] for event in machine.log(run) if event.get("outcome") == "refused"]
    return "\n".join(machine.blob(run, text) for text in texts)


@pytest.mark.rule("W25")
def test_a_check_that_hangs_is_ended(machine: Bench) -> None:
    began = time.monotonic()
    status, run, ended, _ = _check(machine, "echo begun; sleep 600 & sleep 600", timeout=1)
    assert time.monotonic() - began < 20
    assert (status, ended["outcome"]) == (3, "timeout")
    said = _refusals(machine, run)
    assert "check look" in said and "begun" in said
    assert 900 < ended["millis"] < 15_000
    assert _marked(run) == []


def test_a_check_that_prints_without_end_is_kept_in_part(machine: Bench) -> None:
    flood = "echo first; head -c 100000000 /dev/zero | tr '\\0' x; echo last; exit 1"
    check = {"name": "look", "run": flood, "for": ["done"]}
    flow = machine.flow({"work": stage({"done": "complete"}, checks=[check], retry={"attempts": 1})})
    argv = [sys.executable, "-c", _MEASURED, sys.executable, "-m", "stagent", *machine.driving(flow)]
    done = subprocess.run(argv, cwd=machine.project, env=machine.env, capture_output=True, timeout=25)
    assert done.returncode == 3
    assert int(done.stderr.split()[-1]) < _MEMORY
    [row] = machine.runs()
    [ended] = [event for event in machine.log(row["run"]) if event["type"] == "check.ended"]
    kept = machine.blob(row["run"], ended["output"])
    assert kept.startswith("first\nxxx") and kept.endswith("xxxlast\n")
    assert "bytes left out" in kept
    assert 2 * KEPT < len(kept) < 2 * KEPT + 100


@pytest.mark.parametrize("command", ["yes & exit 0", "setsid yes & exit 0", "yes >&2 & true"])
def test_a_check_that_leaves_something_printing_for_ever(machine: Bench, command: str) -> None:
    began = time.monotonic()
    status, run, ended, _ = _check(machine, command)
    assert time.monotonic() - began < 20
    assert (status, ended["outcome"]) == (0, "pass")
    wait_for(lambda: not _marked(run), "what the check left to end")


def test_a_check_that_leaves_daemons(machine: Bench) -> None:
    daemon = "(setsid sh -c 'sleep 300' >/dev/null 2>&1 &) ; nohup sleep 300 >/dev/null 2>&1 & exit 0"
    status, run, ended, _ = _check(machine, daemon)
    assert (status, ended["outcome"]) == (0, "pass")
    wait_for(lambda: not _marked(run), "the daemons to end")


def _marked(run: str) -> list[int]:
    """The living processes that carry the mark of this run's check."""
    mark = f"{processes.COMMAND_MARKER}={run}.1.look".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*/environ") if sys.platform == "linux" else ():
        try:
            if mark in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


def test_a_check_that_prints_bytes_that_are_no_text(machine: Bench) -> None:
    status, run, ended, kept = _check(machine, "printf 'a\\000b\\377c\\033[2J\\n'; exit 1")
    assert (status, ended["outcome"], ended["exit"]) == (3, "fail", 1)
    assert b"b\\xffc" in kept
    assert "check look failed" in _refusals(machine, run)
    assert machine.call("show", run).status == 0
    assert machine.call("export", run, "--format", "md").status == 0


def test_a_check_that_reads_finds_nothing_to_read(machine: Bench) -> None:
    status, _, ended, kept = _check(machine, "cat; read line; echo status $?; cat /dev/tty; true")
    assert (status, ended["outcome"]) == (0, "pass")
    assert b"status 1" in kept


def test_a_check_whose_program_is_not_there(machine: Bench) -> None:
    status, run, ended, _ = _check(machine, "no-such-program-anywhere --check")
    assert (status, ended["outcome"], ended["exit"]) == (3, "fail", 127)
    assert "no-such-program-anywhere" in _refusals(machine, run)


def test_a_project_without_a_test_command(machine: Bench) -> None:
    done = machine.call("check", "tests")
    assert done.status == 1
    assert "STAGENT_TEST_COMMAND" in done.out + done.err
    status, run, ended, _ = _check(machine, '"$STAGENT_PYTHON" -m stagent check tests')
    assert (status, ended["outcome"]) == (3, "fail")
    assert "STAGENT_TEST_COMMAND" in _refusals(machine, run)


MAKERS = {
    "fails": ("echo broken >&2; exit 3", "ended with exit code 3: broken", "Mend the command"),
    "is not there": ("no-such-program-anywhere", "ended with exit code 127", "Mend the command"),
    "prints too much": ("head -c 1048577 /dev/zero", "printed more than 1048576 bytes", "Let it print less"),
    "floods": ("head -c 100000000 /dev/zero", "printed more than 1048576 bytes", "Let it print less"),
    "hangs": ("sleep 600", "did not finish in time", "Mend the command"),
}


@pytest.mark.rule("S3.17", "W19")
@pytest.mark.parametrize("how", MAKERS)
def test_a_run_file_whose_command(machine: Bench, how: str) -> None:
    command, what, remedy = MAKERS[how]
    flow = machine.flow(PLAIN, run_files={"facts.txt": {"init": command}})
    with machine.nothing_made():
        done = machine.call(*machine.driving(flow), changed=("stagent.engine.setup", "INIT_TIMEOUT", "1.0"))
    error = refused(done, 2, "start.run_file", place="run_files.facts.txt.init", remedy=remedy)
    assert what in error["message"]
    assert "nothing was started" in error["remedy"]


@pytest.mark.rule("S1.9")
@pytest.mark.parametrize("size", [0, 600_000, 1_048_576])
def test_a_run_file_is_kept_whole(machine: Bench, size: int) -> None:
    maker = f"head -c {size} /dev/zero | tr '\\0' x; echo noise >&2"
    done = machine.works(*machine.driving(machine.flow(PLAIN, run_files={"facts.txt": {"init": maker}}), DOES))
    made = machine.project / ".stagent" / done.lines[-1]["run"] / "facts.txt"
    assert made.read_bytes() == b"x" * size

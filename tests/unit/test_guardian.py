"""A guardian ends the way its child does, and kills everything below itself when who started it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from acceptance.support import wait_for
from stagent import processes
from stagent.guardian import guard


def start(program: str) -> subprocess.Popen[bytes]:
    """Start a program below a guardian of this process."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=guard(),
    )


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("pass", 0),
        ("raise SystemExit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os; os.kill(os.getpid(), 15)", -15),
        ("import os; os.kill(os.getpid(), 6)", -6),
    ],
)
def test_it_ends_like_its_child(program: str, code: int) -> None:
    process = start(program)
    process.communicate(timeout=30)
    assert process.returncode == code


def test_a_program_that_cannot_be_started_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        subprocess.Popen(["/nowhere/at/all"], start_new_session=True, preexec_fn=guard())


def test_a_request_to_the_group_reaches_the_child_alone() -> None:
    program = "import os, signal, time; signal.signal(15, lambda *_: os._exit(5)); print(flush=True); time.sleep(60)"
    process = start(program)
    assert process.stdout is not None and process.stdout.readline() == b"\n"
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 5


def test_handlers_and_ignored_signals_of_ours_do_not_reach_the_child() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        process = start("import signal; print(signal.getsignal(15) is signal.SIG_DFL, signal.pthread_sigmask(0, []))")
        out, _ = process.communicate(timeout=30)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert out == b"True set()\n"


def test_the_pipes_of_a_child_end_when_it_closes_them() -> None:
    process = start("import os, sys; os.close(1); sys.stdin.read()")
    assert process.stdout is not None and process.stdout.read() == b"", "the guardian keeps no copy"
    assert process.poll() is None
    process.communicate(timeout=30)


def test_it_buries_what_dies_below_it() -> None:
    program = """
import os, sys, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()
print(flush=True)
sys.stdin.read()
"""
    process = start(program)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        adopted = [row for row in processes.below(process.pid) if row.session not in (process.pid, row.pid)]
        assert [row.ppid for row in adopted] == [process.pid] * 3, "what lost its parent is the guardian's child"
        for row in adopted:
            processes.send(row, signal.SIGKILL)
        wait_for(lambda: not any(processes.look(row.pid) for row in adopted), "the dead to be buried")
        assert process.poll() is None
    finally:
        process.communicate(timeout=30)


HIDDEN = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)"
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code], {})
time.sleep(600)
"""
STARTER = """
import subprocess, sys, threading, time
from stagent.guardian import guard
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
words = [sys.executable, "-I", "-S", "-c", sys.argv[1]]
child = subprocess.Popen(words, start_new_session=True, preexec_fn=guard())
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def killed() -> Iterator[tuple[int, int]]:
    """The guardian and a hidden process of a program that was killed."""
    process = subprocess.Popen([sys.executable, "-c", STARTER, HIDDEN], stdout=subprocess.PIPE)
    assert process.stdout is not None
    pids = sorted(int(process.stdout.readline()) for _ in range(2))
    guardian = min(pids, key=lambda pid: processes.look(pid).name != processes.GUARDIAN)  # type: ignore[union-attr]
    [hidden] = [pid for pid in pids if pid != guardian]
    info = processes.look(hidden)
    assert info is not None and info.ppid == guardian, "what hides is below the guardian"
    assert info.session not in (guardian, process.pid) and not processes.markers(hidden)
    process.kill()
    process.communicate()
    yield guardian, hidden
    for pid in pids:
        if running(pid):
            os.kill(pid, signal.SIGKILL)


def running(pid: int) -> bool:
    info = processes.look(pid)
    return info is not None and not info.dead


def test_nothing_outlives_who_started_it(killed: tuple[int, int]) -> None:
    wait_for(lambda: not any(running(pid) for pid in killed), "the guardian and what hid below it to be gone")


def test_what_a_program_leaves_is_ended_before_its_end_is_told() -> None:
    with start(HIDDEN.removesuffix("time.sleep(600)\n") + "sys.stdin.read(); sys.exit(3)") as process:
        assert process.stdin is not None and process.stdout is not None
        hidden = int(process.stdout.readline())
        process.stdin.close()
        assert process.wait(30) == 3
    assert not running(hidden)


def test_many_are_started_beside_threads() -> None:
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        children = [start("print(1)") for _ in range(20)]
        assert [child.communicate(timeout=60)[0] for child in children] == [b"1\n"] * 20
        assert {child.returncode for child in children} == {0}
    finally:
        over.set()
        for thread in threads:
            thread.join()

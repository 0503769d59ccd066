"""Whatever a child starts and however it hides, nothing of it is left; and nothing else is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from stagent import processes
from stagent.core.ports import AgentEvent, AttemptSpec, Launch, Outcome, Verdict
from stagent.runner.supervisor import Supervisor


class Silent:
    """A backend that listens to nothing and believes the exit code."""

    name = "silent"

    def launch(self, spec: AttemptSpec, env: dict[str, str]) -> Launch:
        return Launch(argv=[sys.executable, "-I", "-c", spec.prompt], env=env)

    def parse(self, line: bytes) -> list[AgentEvent]:
        return []

    def judge(self, exit_code: int, events: Sequence[AgentEvent]) -> Verdict:
        return Verdict(status="ok") if exit_code == 0 else Verdict(status="failed", reason=str(exit_code))


def supervise(folder: Path, program: str, attempt: str = "", timeout: float | None = 20.0) -> Outcome:
    attempt = attempt or f"r-{folder.name}.{os.getpid()}.1"
    spec = AttemptSpec(
        id=attempt,
        run="r",
        stage="s",
        epoch=1,
        number=1,
        stage_attempt=1,
        workdir=str(folder),
        run_dir=str(folder),
        artifact=str(folder / "a.md"),
        prompt=textwrap.dedent(program),
        stream=str(folder / f"{attempt}.stream"),
        timeout=timeout,
    )
    backend = Silent()
    return Supervisor(backend, grace=0.3).run(spec, backend.launch(spec, dict(os.environ)))


def running(pid: int) -> bool:
    info = processes.look(pid)
    return info is not None and not info.dead


def pids(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "pids").read_text().split()]


# Every program below calls note() in each process that must not survive, and waits until `count` of them did.
HEAD = """
import os, signal, subprocess, sys, time
def note():
    fd = os.open("pids", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{os.getpid()} ".encode())
    os.close(fd)
def wait(count):
    for _ in range(1000):
        try: found = len(open("pids").read().split())
        except OSError: found = 0
        if found >= count: return
        time.sleep(0.01)
    sys.exit(99)
def fork_away(steps):
    if os.fork(): return
    for step in steps: step()
    note()
    time.sleep(60)
    os._exit(0)
def again():
    if os.fork(): os._exit(0)
def close_all():
    os.closerange(0, 64)
def deaf():
    for name in ("SIGTERM", "SIGHUP", "SIGINT"): signal.signal(getattr(signal, name), signal.SIG_IGN)
def naked():
    code = 'import os, time; open("pids", "a").write(f"{os.getpid()} "); time.sleep(60)'
    os.execve(sys.executable, [sys.executable, "-I", "-c", code], {})
"""

HOSTILE = {
    "a child in the background": "fork_away([]); wait(1)",
    "one that ignores signals": "fork_away([deaf]); wait(1)",
    "its own group": "fork_away([os.setpgrp]); wait(1)",
    "its own session": "fork_away([os.setsid]); wait(1)",
    "a daemon": "fork_away([again, os.setsid, again, close_all]); wait(1)",
    "a deaf daemon": "fork_away([deaf, os.setsid, again, close_all]); wait(1)",
    "no environment": "fork_away([naked]); wait(1)",
    "a daemon without environment": "fork_away([os.setsid, again, naked]); wait(1)",
    "a deaf daemon without environment": "fork_away([deaf, os.setsid, again, close_all, naked]); wait(1)",
    "a family": "fork_away([os.setsid, lambda: fork_away([os.setsid, again]), again, note]); wait(3)",
    "stopped": "fork_away([os.setsid, note, lambda: os.kill(os.getpid(), signal.SIGSTOP)]); wait(1)",
    "many": "[fork_away([os.setsid, again]) for _ in range(30)]; wait(30)",
}


@pytest.mark.parametrize("program", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_is_left_after_a_normal_exit(tmp_path: Path, program: str) -> None:
    outcome = supervise(tmp_path, f"{HEAD}\n{program}")
    assert (outcome.status, outcome.exit) == ("ok", 0)
    assert pids(tmp_path)
    assert [pid for pid in pids(tmp_path) if running(pid)] == []


@pytest.mark.parametrize("name", ["a deaf daemon", "a deaf daemon without environment", "many"])
def test_nothing_is_left_after_a_timeout(tmp_path: Path, name: str) -> None:
    outcome = supervise(tmp_path, f"{HEAD}\n{HOSTILE[name]}\ndeaf(); time.sleep(60)", timeout=2.0)
    assert (outcome.status, outcome.exit) == ("timeout", -signal.SIGKILL)
    assert [pid for pid in pids(tmp_path) if running(pid)] == []


def test_a_process_that_forks_for_ever_is_caught(tmp_path: Path) -> None:
    program = """
        fork_away([os.setsid, again, note, deaf, runaway])
        wait(1)
    """
    runaway = """
def runaway():
    while True:
        if os.fork(): os._exit(0)
        time.sleep(0.002)
"""
    attempt = f"r-runaway.{os.getpid()}.1"
    supervise(tmp_path, HEAD + runaway + textwrap.dedent(program), attempt)
    carrying = [pid for pid in processes.table() if (processes.markers(pid) or {}).get(processes.MARKER) == attempt]
    assert [pid for pid in carrying if running(pid)] == []


def test_a_polite_child_in_the_background_may_say_goodbye(tmp_path: Path) -> None:
    program = """
        def goodbye(*_):
            open("goodbye", "w").close()
            os._exit(0)
        fork_away([lambda: signal.signal(signal.SIGTERM, goodbye)])
        wait(1)
    """
    supervise(tmp_path, HEAD + textwrap.dedent(program))
    assert (tmp_path / "goodbye").exists()


def test_the_last_words_of_a_background_child_are_in_the_stream(tmp_path: Path) -> None:
    program = """
        def goodbye(*_):
            os.write(1, b"goodbye\\n")
            os._exit(0)
        fork_away([lambda: signal.signal(signal.SIGTERM, goodbye)])
        wait(1)
    """
    supervise(tmp_path, HEAD + textwrap.dedent(program), "words")
    assert (tmp_path / "words.stream").read_bytes() == b"goodbye\n"


def test_no_zombie_is_left(tmp_path: Path) -> None:
    before = set(processes.table())
    supervise(tmp_path, f"{HEAD}\n{HOSTILE['many']}")
    mine = [row for row in processes.table().values() if row.ppid == os.getpid() and row.pid not in before]
    assert [row for row in mine if row.dead] == []


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_children_of_ours_from_before_are_not_touched(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    supervise(tmp_path, f"{HEAD}\n{HOSTILE['a daemon']}")
    assert bystander.poll() is None


def test_what_other_threads_run_meanwhile_is_not_touched(tmp_path: Path) -> None:
    codes: list[int] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            command = ["sh", "-c", "sleep 0.05; exit 7"]
            codes.append(subprocess.run(command, start_new_session=True, check=False).returncode)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        supervise(tmp_path, f"{HEAD}\n{HOSTILE['a deaf daemon without environment']}\ntime.sleep(0.3)")
    finally:
        over.set()
        thread.join()
    assert set(codes) == {7}
    assert [pid for pid in pids(tmp_path) if running(pid)] == []


def test_two_attempts_at_once_do_not_touch_one_another(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    outcomes: dict[str, Outcome] = {}

    def work(folder: Path, program: str) -> None:
        folder.mkdir()
        outcomes[folder.name] = supervise(folder, f"{HEAD}\n{program}", f"r-{folder.name}.{os.getpid()}.1")

    slow = "fork_away([os.setsid, again]); wait(1); time.sleep(1); os.kill(int(open('pids').read()), 0)"
    thread = threading.Thread(target=work, args=(folders[0], slow))
    thread.start()
    time.sleep(0.3)
    work(folders[1], HOSTILE["a deaf daemon"])
    thread.join()
    assert [outcomes[name].status for name in ("one", "two")] == ["ok", "ok"]
    assert [pid for folder in folders for pid in pids(folder) if running(pid)] == []

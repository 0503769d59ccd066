from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from stagent import processes
from stagent.processes import MARKER, ProcessInfo

Spawn = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    started: list[subprocess.Popen[bytes]] = []

    def start(
        program: str = "import time; time.sleep(60)", attempt: str | None = None, own_session: bool = True
    ) -> subprocess.Popen[bytes]:
        environment = dict(os.environ) if attempt is None else {**os.environ, MARKER: attempt}
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", "print('up', flush=True)\n" + program],
            env=environment,
            stdout=subprocess.PIPE,
            start_new_session=own_session,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def started(process: subprocess.Popen[bytes]) -> str:
    found = processes.start_time(process.pid)
    assert found is not None
    return found


def test_this_process_is_alive_and_another_start_is_not() -> None:
    now = processes.start_time(os.getpid())
    assert now is not None
    assert processes.alive(os.getpid(), now)
    assert not processes.alive(os.getpid(), now + "0")
    assert processes.start_time(2**22 + 5) is None
    assert not processes.alive(2**22 + 5, now)


def test_a_zombie_is_not_alive(spawn: Spawn) -> None:
    process = spawn()
    start = started(process)
    os.kill(process.pid, signal.SIGKILL)
    while processes.alive(process.pid, start):
        time.sleep(0.005)
    assert processes.start_time(process.pid) == start
    process.wait()
    assert processes.start_time(process.pid) is None


def test_ancestors_lead_from_the_parent_to_the_first_process(spawn: Spawn) -> None:
    process = spawn(attempt="r-a.1.1")
    chain = processes.ancestors(process.pid)
    assert chain[0].pid == os.getpid()
    assert chain[0].ppid == chain[1].pid == os.getppid()
    assert chain[-1].ppid == 0
    assert all(child.ppid == parent.pid for child, parent in itertools.pairwise(chain))
    assert processes.ancestors(2**22 + 5) == []


def test_an_attempt_is_visible_from_below(spawn: Spawn) -> None:
    program = """
import os, sys, time
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""
    process = spawn(program, attempt="r-below.1.1")
    assert process.stdout is not None
    below = int(process.stdout.readline())
    nearest = processes.ancestors(below)[0]
    assert nearest.pid == process.pid
    assert nearest.markers is not None
    assert nearest.markers[MARKER] == "r-below.1.1"
    assert processes.kill_attempt("r-below.1.1", process.pid, started(process)) == 2


def test_markers_show_nothing_else_of_the_environment(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hidden")
    found = processes.markers(spawn(attempt="r-m.1.1").pid)
    assert found is not None
    assert found[MARKER] == "r-m.1.1"
    assert set(found) <= set(processes.MARKERS)


def test_a_name_with_blanks_and_parentheses_is_read_whole(spawn: Spawn) -> None:
    process = spawn(
        "import time; open('/proc/self/comm', 'w').write('a) b (c'); print('ok', flush=True); time.sleep(60)"
    )
    assert process.stdout is not None
    process.stdout.readline()
    info = processes.look(process.pid)
    assert info is not None
    assert info.name == "a) b (c"
    assert (info.ppid, info.group, info.session) == (os.getpid(), process.pid, process.pid)


def test_ps_tells_the_same_as_proc(spawn: Spawn) -> None:
    process = spawn()
    rows, other = processes.table(), processes.table_from_ps()
    here, there = rows[process.pid], other[process.pid]
    assert (here.pid, here.ppid, here.group, here.dead) == (there.pid, there.ppid, there.group, there.dead)
    assert there.started == processes.table_from_ps()[process.pid].started
    assert there.name.startswith("python")


# --- kill_attempt ----------------------------------------------------------------------------------------------------


def test_the_marker_alone_finds_an_attempt(spawn: Spawn) -> None:
    one, other = spawn(attempt="r-x.1.1"), spawn(attempt="r-x.1.11")
    assert processes.kill_attempt("r-x.1.1", None, None) == 1
    assert one.wait() == -signal.SIGKILL
    assert other.poll() is None


def test_the_recorded_process_is_killed_without_a_marker(spawn: Spawn) -> None:
    process = spawn()
    assert processes.kill_attempt("r-y.1.1", process.pid, started(process)) == 1
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("claimed", ["00000000-0000-0000-0000-000000000000:5", "", None])
def test_another_process_of_the_same_id_is_never_touched(spawn: Spawn, claimed: str | None) -> None:
    process = spawn()
    assert processes.kill_attempt("r-z.1.1", process.pid, claimed) == 0
    assert process.poll() is None


def test_an_older_boot_or_start_is_another_process(spawn: Spawn) -> None:
    process = spawn()
    boot, ticks = started(process).rsplit(":", 1)
    assert processes.kill_attempt("r-z.1.2", process.pid, f"{boot}:{int(ticks) - 1}") == 0
    assert process.poll() is None


ORPHANS = """
import os, subprocess, sys
code = "import time; print('up', flush=True); time.sleep(60)"
for environment in ({}, dict(os.environ)):
    child = subprocess.Popen([sys.executable, "-I", "-c", code], env=environment, stdout=subprocess.PIPE)
    child.stdout.readline()
    print(child.pid, flush=True)
os._exit(0)
"""


def _orphans(spawn: Spawn, attempt: str | None) -> tuple[int, list[ProcessInfo]]:
    """Start a leader that leaves two members of its group behind, one without environment, and bury it."""
    leader = spawn(ORPHANS, attempt=attempt)
    assert leader.stdout is not None
    found = [processes.look(int(leader.stdout.readline())) for _ in range(2)]
    leader.wait()
    assert all(info is not None for info in found)
    return leader.pid, [info for info in found if info is not None]


def test_a_group_without_its_leader_goes_when_a_member_proves_it(spawn: Spawn) -> None:
    leader, members = _orphans(spawn, "r-g.1.1")
    assert processes.kill_attempt("r-g.1.1", leader, None) == 2
    assert not any(processes.alive(info.pid, info.started) for info in members)


def test_a_group_without_leader_and_proof_is_left_alone(spawn: Spawn) -> None:
    leader, members = _orphans(spawn, None)
    try:
        assert processes.kill_attempt("r-h.1.1", leader, None) == 0
        assert all(processes.alive(info.pid, info.started) for info in members)
    finally:
        for info in members:
            assert processes.send(info, signal.SIGKILL)


def test_the_caller_is_never_part_of_what_it_kills(spawn: Spawn) -> None:
    program = """
import os, sys
sys.path[:0] = [P for P in os.environ["WHERE"].split(os.pathsep)]
from stagent.processes import MARKER, kill_attempt
print(kill_attempt(os.environ[MARKER], None, None), flush=True)
"""
    os.environ["WHERE"] = os.pathsep.join(path for path in sys.path if path)
    try:
        process = spawn(program, attempt="r-self.1.1")
    finally:
        del os.environ["WHERE"]
    assert process.stdout is not None
    assert process.stdout.readline() == b"0\n"
    assert process.wait() == 0


def test_a_signal_goes_to_exactly_one_process(spawn: Spawn) -> None:
    process = spawn()
    info = processes.look(process.pid)
    assert info is not None
    other = ProcessInfo(info.pid, info.ppid, info.group, info.session, info.name, info.started + "1", False)
    assert not processes.send(other, signal.SIGKILL)
    assert process.poll() is None
    assert processes.send(info, signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    assert not processes.send(info, signal.SIGTERM)

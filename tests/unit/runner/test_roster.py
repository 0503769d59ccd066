"""Processes of attempts are found by what they carry, counted, and ended; others are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from stagent import processes
from stagent.core.events import Holder
from stagent.core.state import Lease, State
from stagent.engine.evidence import HOST
from stagent.runner.roster import (
    Attempt,
    Marks,
    await_end,
    elsewhere,
    end_orphan,
    is_open,
    members,
    runner_of,
    unlogged,
    usage,
)

RUN = "r-" + "0" * 20 + "ATTEMP"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
POLITE = "import time; print(flush=True); time.sleep(60)"

STATE = State(
    run=RUN,
    seq=1,
    head="h",
    status="running",
    mode="headless",
    workflow="w",
    model="m",
    flow="f",
    project="p",
    folder="d",
    task="t",
    stage="work",
    epoch=2,
    lease=None,
    started_at=0,
    updated_at=7,
    attempt=3,
    attempt_open=True,
)


@pytest.fixture
def orphan(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    name = f"{RUN}.2.{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", request.param],
        env={**os.environ, processes.MARKER: name},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def held(pid: int | None, started: str | None, host: str = HOST, kind: str = "runner") -> State:
    holder = Holder(kind=kind, pid=pid, started=started, host=host)  # type: ignore[arg-type]
    return msgspec.structs.replace(STATE, lease=Lease(holder, 1))


@pytest.mark.parametrize(
    ("orphan", "number"), [(POLITE, signal.SIGTERM), (STUBBORN, signal.SIGKILL)], indirect=["orphan"]
)
def test_an_orphan_is_found_by_its_mark_asked_and_forced(orphan: subprocess.Popen[bytes], number: int) -> None:
    name = f"{RUN}.2.{os.getpid()}"
    marks = Marks()
    assert name in marks.of(RUN)  # beside those of other tests that run at the same time
    assert [row.pid for row in marks.carriers[name]] == [orphan.pid]
    item = unlogged(name, STATE)
    assert (item.stage, item.epoch, item.number, item.began_at) == ("work", 2, os.getpid(), 7)
    assert [row.pid for row in members(item, marks.table)] == [orphan.pid]
    assert end_orphan(item, 0.2) == 1
    assert orphan.wait(5) == -number
    assert end_orphan(item, 0.2) == 0
    assert name not in Marks().of(RUN)


@pytest.mark.parametrize("orphan", [POLITE], indirect=True)
def test_a_process_that_only_has_a_used_id_is_no_member(orphan: subprocess.Popen[bytes]) -> None:
    item = Attempt(
        id=f"{RUN}.9.9",
        run=RUN,
        stage="work",
        epoch=9,
        number=9,
        backend="x",
        pid=orphan.pid,
        started="another boot:1",
        began_at=0,
    )
    assert members(item, processes.table()) == []
    assert end_orphan(item, 0.1) == 0
    assert orphan.poll() is None
    exact = msgspec.structs.replace(item, started=processes.start_time(orphan.pid))
    assert [row.pid for row in members(exact, processes.table())] == [orphan.pid]
    command = msgspec.structs.replace(exact, backend="command")
    assert members(command, processes.table()) == [], "the engine that runs a command is none of its processes"


def test_the_runner_is_who_the_lease_names_and_nobody_else() -> None:
    me, started = os.getpid(), processes.start_time(os.getpid())
    found = runner_of(held(me, started))
    assert found is not None and found.pid == me
    for state in (
        STATE,
        held(me, "another boot:1"),
        held(None, None),
        held(me, started, "elsewhere"),
        held(me, started, kind="session"),
    ):
        assert runner_of(state) is None
    assert elsewhere(held(me, started, "elsewhere")) == "elsewhere"
    assert elsewhere(held(me, started)) == elsewhere(STATE) == ""


def test_an_attempt_is_open_by_epoch_and_number() -> None:
    item = unlogged(f"{RUN}.2.3", STATE)
    assert is_open(STATE, item)
    assert not is_open(msgspec.structs.replace(STATE, epoch=3), item)
    assert not is_open(msgspec.structs.replace(STATE, attempt_open=False), item)


def test_what_is_used_is_added_up() -> None:
    cpu, memory = usage([os.getpid()])
    twice = usage([os.getpid(), os.getpid(), 2**22 + 1])
    if processes.LINUX:
        assert cpu is not None and cpu > 0 and memory is not None and memory > 1_000_000
        assert twice[1] is not None and twice[1] > 1.5 * memory
    assert usage([]) == usage([2**22 + 1]) == (None, None)


def test_waiting_ends_when_it_is_over_or_takes_too_long() -> None:
    seen: list[int] = []
    assert await_end(lambda: len(seen) > 2 or seen.append(1) is not None, 5)
    assert not await_end(lambda: False, 0.05)

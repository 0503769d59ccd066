"""So many attempts run at once and no more; who dies lets go; who waits gets his turn."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stagent.config import DataHome
from stagent.errors import UsageError
from stagent.runner import slots

HOLD = """
import sys
from pathlib import Path
from stagent.config import DataHome
from stagent.runner import slots
with slots.take(DataHome(Path(sys.argv[1]))) as taken:
    print(taken, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataHome:
    monkeypatch.setenv("STAGENT_MAX_ATTEMPTS", "2")
    return DataHome(tmp_path / "home")


def hold(home: DataHome) -> subprocess.Popen[bytes]:
    """Start a process that takes a place until it is told to end."""
    command = [sys.executable, "-c", HOLD, str(home.root)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def holds(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == b"True\n"


def free(home: DataHome) -> int:
    """How many places are free at this moment."""
    taken = [slots._lock(home.slots / str(number)) for number in range(1, slots.limit(home) + 1)]
    for place in taken:
        if place is not None:
            os.close(place)
    return len([place for place in taken if place is not None])


def test_a_place_is_held_for_the_block_and_no_longer(home: DataHome) -> None:
    with slots.take(home) as one, slots.take(home) as two:
        assert (one, two) == (True, True)
        assert free(home) == 0
    assert free(home) == 2


def test_an_error_in_the_block_lets_go(home: DataHome) -> None:
    with pytest.raises(KeyError), slots.take(home):
        raise KeyError
    assert free(home) == 2


def test_who_is_killed_lets_go_and_the_next_one_goes_on(home: DataHome) -> None:
    first, second = hold(home), hold(home)
    assert holds(first) and holds(second)
    third = hold(home)
    assert free(home) == 0
    first.kill()
    assert holds(third)
    assert free(home) == 0
    for process in (first, second, third):
        process.kill()
        process.communicate()
    assert free(home) == 2


def test_a_child_of_the_holder_holds_nothing(home: DataHome) -> None:
    with slots.take(home):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert free(home) == 2
    child.communicate(b"\n")


def test_waiting_is_told_and_can_be_stopped(home: DataHome) -> None:
    told: list[float] = []
    with slots.take(home), slots.take(home):
        with slots.take(home, told.append, lambda: len(told) >= 2) as taken:
            assert not taken
        with pytest.raises(KeyError), slots.take(home, lambda seconds: {}[seconds]):
            pass
    assert 0.5 <= told[0] < told[1]
    assert free(home) == 2


def test_who_has_let_go_queues_behind_who_waits(home: DataHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGENT_MAX_ATTEMPTS", "1")
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with slots.take(home, stopping=lambda: waits.set()):
            order.append("second")

    with slots.take(home):
        thread = threading.Thread(target=second)
        thread.start()
        waits.wait()
        until = time.monotonic() + 5
        while (queue := slots._lock(home.slots / "queue")) is not None:
            os.close(queue)
            assert time.monotonic() < until
    with slots.take(home):
        order.append("first again")
    thread.join()
    assert order == ["second", "first again"]


def test_inside_an_attempt_no_place_is_needed(home: DataHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGENT_MAX_ATTEMPTS", "1")
    with slots.take(home):
        monkeypatch.setenv("STAGENT_ATTEMPT", "r-x.1.1")
        with slots.take(home) as taken:
            assert taken


def test_a_home_that_cannot_be_written_limits_nothing(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    with slots.take(DataHome(tmp_path / "home")) as taken:
        assert taken


@pytest.mark.parametrize("text", ["0", "-1", "many", "1001", "2.5", "²"])
def test_the_limit_is_a_number(home: DataHome, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("STAGENT_MAX_ATTEMPTS", text)
    with pytest.raises(UsageError) as caught:
        slots.limit(home)
    assert caught.value.code == "config.value"
    monkeypatch.delenv("STAGENT_MAX_ATTEMPTS")
    assert slots.limit(home) == 4

"""A runner that is killed, at any instant and on either side of everything it writes, loses nothing and can go on.

Chains of kills: a process drives a run, is killed, another goes on with it and is killed, and so on; after each kill
the log is compared with what the killed process said was committed, and at the end of a chain the run is driven to
its end. Half of the chains are ended by the runner, half by `stagent run --resume`.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from counts import count, is_full
from crash import crash_scene
from crash.crash_verdict import Acknowledged, acknowledged, check_end, check_log
from stagent.failpoints import NAMES

CHAIN = 5
LONGEST = 0.9
"""Seconds after which a kill at a random instant comes at the latest: most of what a whole run takes."""

# Fail points that driving a run headless does not pass; `test_other_writes` ends a process at each of them.
ELSEWHERE = {
    name
    for name in NAMES
    if name.startswith(("archive.", "cancel.", "config.", "shadow.reset.", "spool.", "blob.before_remove"))
} | {"blob.after_remove"}

Passed = dict[str, int]


def trace(scene: Path) -> Passed:
    """Drive a scene to its end and return how often each fail point was passed on the way."""
    place = scene / "trace.json"
    driver = crash_scene.start(scene, CRASH_TRACE=str(place))
    output, errors = driver.communicate(timeout=120)
    assert (driver.returncode, errors) == (0, b"")
    check_end(scene, acknowledged(output))
    return dict(json.loads(place.read_text()))


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Passed, Passed]:
    """The fail points of a whole run, and those of a process that goes on with a run that was killed early."""
    whole = trace(crash_scene.make(tmp_path_factory.mktemp("trace") / "whole"))
    scene = crash_scene.make(tmp_path_factory.mktemp("trace") / "rest")
    killed = crash_scene.start(scene, STAGENT_FAILPOINT="runner.attempt_logged:2")
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    return whole, trace(scene)


class Chain:
    """One scene and what the processes that drove it said."""

    def __init__(self, scene: Path) -> None:
        self.scene = crash_scene.make(scene)
        self.said: Acknowledged = {}
        self.history: list[str] = []

    def kill(self, point: str | None, dice: random.Random) -> bool:
        """Drive on until the fail point, or a random instant, and look at what is left; False if the end came first."""
        more = {} if point is None else {"STAGENT_FAILPOINT": point}
        driver = crash_scene.start(self.scene, **more)
        assert driver.stdout is not None
        first = driver.stdout.readline()
        if point is None:
            time.sleep(dice.uniform(0, LONGEST))
            driver.kill()
        output, errors = driver.communicate(timeout=120)
        self.history.append(f"{point or 'any instant'}: {driver.returncode}")
        assert errors == b"", (self.history, errors.decode())
        assert driver.returncode in (0, -signal.SIGKILL), self.history
        self.said |= acknowledged(first + output)
        self.log = check_log(self.scene, self.said)
        return driver.returncode != 0

    def finish(self, by_command: bool) -> None:
        """Drive the run to its end."""
        state = self.log.state
        if state is None or state.ended or not by_command:
            assert not self.kill("config.write.before", random.Random()), self.history
        else:
            resumed = crash_scene.resume(self.scene, state.run)
            output, errors = resumed.communicate(timeout=120)
            assert resumed.returncode == 0, (self.history, output.decode(), errors.decode())
        check_end(self.scene, self.said)


def chains(whole: Passed, rest: Passed, dice: random.Random) -> Iterator[list[str | None]]:
    """Where to kill: what only a first process passes comes first in a chain; then points and instants by turns."""
    early = sorted(whole.keys() - rest.keys()) or sorted(whole)
    late = sorted(rest)
    dice.shuffle(early)
    dice.shuffle(late)
    firsts, others = itertools.cycle(early), itertools.cycle(late)
    while True:
        first = next(firsts)
        chain: list[str | None] = [f"{first}:{dice.randint(1, whole[first])}"]
        for number in range(1, CHAIN):
            name = next(others)
            chain.append(None if number == 2 else f"{name}:{dice.randint(1, max(1, rest[name] // 3))}")
        yield chain


def test_a_whole_run_passes_every_fail_point_but_those_tested_elsewhere(passed: tuple[Passed, Passed]) -> None:
    assert passed[0].keys() | ELSEWHERE == NAMES
    assert passed[0].keys() & ELSEWHERE == set()


def test_no_kill_loses_or_halves_or_repeats_anything(passed: tuple[Passed, Passed], tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "big") if is_full() else 7
    print(f"seed {seed}")
    dice = random.Random(seed)
    wanted, kills, started = count("crash_kills"), 0, 0
    places: Counter[str] = Counter()
    for number, points in enumerate(chains(*passed, dice)):
        chain = Chain(tmp_path / str(number))
        for point in points:
            started += 1
            if kills == wanted or not chain.kill(point, dice):
                break
            kills += 1
            places[(point or "any instant").partition(":")[0]] += 1
        chain.finish(by_command=number % 2 == 0)
        if kills == wanted:
            break
        assert started < 3 * wanted, f"too few of the processes were killed: {kills} of {started}"
    assert places["any instant"] > 0
    assert len(places) >= min(wanted // 2, len(passed[0]))
    if is_full():
        assert places.keys() - {"any instant"} == passed[0].keys()

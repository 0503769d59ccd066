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
from pathlib import Path

import pytest

from counts import count, is_full
from crash import crash_driver, crash_scene
from crash.crash_verdict import Acknowledged, acknowledged, check_end, check_log, home_of, running
from stagent import processes
from stagent.core import events as ev
from stagent.core.canonical import digest
from stagent.failpoints import NAMES

CHAIN = 5
ANY = "any instant"
SHARED = 8
"""How many times as often as another a fail point is killed at, at most."""
LONGEST = 0.9
"""Seconds after which a kill at a random instant comes at the latest: most of what a whole run takes."""

# Fail points that driving a run headless does not pass; `test_the_rest` ends a process at each of them.
REST = {name for name in NAMES if name.startswith(("archive.", "shadow.reset.", "spool."))}
# Those where another program is asked, which changes nothing of ours.
ASKED = {name for name in NAMES if name.startswith("install.ask.")}

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
        self.history.append(f"{point or ANY}: {driver.returncode}")
        assert errors == b"", (self.history, errors.decode())
        assert driver.returncode in (0, -signal.SIGKILL), self.history
        self.said |= acknowledged(first + output)
        self.log = check_log(self.scene, self.said)
        return driver.returncode != 0

    def finish(self, by_command: bool) -> None:
        """Drive the run to its end."""
        state = self.log.state
        if state is None or state.ended or not by_command:
            assert not self.kill("archive.move.before", random.Random()), self.history
        else:
            resumed = crash_scene.resume(self.scene, state.run)
            output, errors = resumed.communicate(timeout=120)
            assert resumed.returncode == 0, (self.history, output.decode(), errors.decode())
        check_end(self.scene, self.said)


class Plan:
    """Says where to kill next: at the fail point that had the fewest kills, or now and then at any instant."""

    def __init__(self, whole: Passed, rest: Passed, dice: random.Random) -> None:
        self.whole = whole
        self.rest = rest
        self.dice = dice
        self.tried: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()

    def place(self, number: int) -> str | None:
        """The place for the kill of this number in its chain; the first one surely comes, a later one may not."""
        if number == 2:
            return None
        had, passed = (self.killed, self.whole) if number == 0 else (self.tried, self.rest)
        # What only a process that begins a run passes comes first.
        # One that many places share is passed often, and is worth as many more kills.
        shared = {name: min(times, SHARED) for name, times in passed.items()}
        name = min(passed, key=lambda name: (had[name] / shared[name], name in self.rest, self.dice.random()))
        self.tried[name] += 1
        return f"{name}:{self.dice.randint(1, passed[name] if number == 0 else max(1, passed[name] // 3))}"


def test_a_whole_run_passes_every_fail_point_but_those_tested_elsewhere(passed: tuple[Passed, Passed]) -> None:
    assert NAMES - passed[0].keys() == REST | ASKED


@pytest.mark.rule("W38")
def test_no_kill_loses_or_halves_or_repeats_anything(passed: tuple[Passed, Passed], tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "big") if is_full() else 7
    print(f"seed {seed}")
    dice = random.Random(seed)
    plan = Plan(*passed, dice)
    wanted, kills, started = count("crash_kills"), 0, 0
    for number in itertools.count():
        chain = Chain(tmp_path / str(number))
        for place in range(CHAIN):
            point = plan.place(place)
            started += 1
            if kills == wanted or not chain.kill(point, dice):
                break
            kills += 1
            plan.killed[(point or ANY).partition(":")[0]] += 1
        chain.finish(by_command=number % 2 == 0)
        if kills == wanted:
            break
        assert started < 3 * wanted, f"too few of the processes were killed: {kills} of {started}"
    assert plan.killed[ANY] > 0
    assert len(plan.killed) > wanted // 2 or plan.killed.keys() >= passed[0].keys()
    if is_full():
        assert passed[0].keys() - plan.killed.keys() == set()


@pytest.mark.parametrize(
    ("what", "point"), [("check.sh", "command.spawn.after:2"), ("measure.sh", "command.spawn.after:4")]
)
def test_a_command_whose_engine_was_killed_does_not_run_beside_its_successor(
    what: str, point: str, tmp_path: Path
) -> None:
    scene = crash_scene.make(tmp_path / "scene")
    killed = crash_scene.start(scene, STAGENT_FAILPOINT=point, CRASH_SLOW=what)
    output, _ = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    state = check_log(scene, acknowledged(output)).state
    assert state is not None
    until = time.monotonic() + 10
    # The command is at work, or its guardian has ended it before it could say so.
    while processes.LINUX and not (scene / "pids.STAGENT_COMMAND").exists() and running(state.run):
        assert time.monotonic() < until
        time.sleep(0.01)
    done = crash_scene.start(scene)
    more, errors = done.communicate(timeout=60)
    assert (done.returncode, errors) == (0, b"")
    check_end(scene, acknowledged(output) | acknowledged(more))


@pytest.mark.parametrize("point", sorted(REST))
def test_the_rest(point: str, tmp_path: Path) -> None:
    """Settings, archives, spools, git settings, blobs, reports: killed in between, each is the old or the new one."""
    scene = crash_scene.make(tmp_path / "scene")
    old = scene / "project" / ".stagent" / "the-race"
    old.mkdir(parents=True)
    (old / "kept.md").write_text("of an earlier run")
    killed = crash_scene.start(scene, "rest", STAGENT_FAILPOINT=point)
    assert killed.communicate(timeout=60)[1] == b""
    assert killed.returncode == -signal.SIGKILL
    check_log(scene, {})
    assert _kept(scene)
    assert _report(scene)
    settings = scene / "home" / "config.json"
    before = json.loads(settings.read_bytes())["flow"] if settings.exists() else None
    again = crash_scene.start(scene, "rest")
    assert again.communicate(timeout=60) == (b"ready\nover ended\n", b"")
    assert json.loads(settings.read_bytes())["flow"] == ("goal-pursuit" if before == "default" else "default")
    log = check_log(scene, {})
    assert [type(item.data) for item in log.events[2:]] == [ev.AttemptStarted, ev.Stalled]
    assert _kept(scene)
    [torn] = (scene / "home" / "spool").glob("*.torn")
    assert set(torn.read_bytes().splitlines()) == {crash_driver.SPOOL.splitlines()[1]}
    assert _report(scene)
    assert not list((home_of(scene) / "blobs").rglob(f"{digest(crash_driver.SECRET)}*"))


def _report(scene: Path) -> bool:
    """Whether the exported report is whole, if it is there."""
    report = scene / "report.html"
    return not report.exists() or report.read_bytes().rstrip().endswith(b"</html>")


def _kept(scene: Path) -> bool:
    """Whether the folder of an earlier run is somewhere, whole."""
    folder = scene / "project" / ".stagent"
    found = [*folder.glob("the-race/kept.md"), *folder.glob(".archive/*/kept.md")]
    return [path.read_text() for path in found] == ["of an earlier run"]

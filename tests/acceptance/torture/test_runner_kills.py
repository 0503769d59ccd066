"""The runner is killed again and again at any instant: what was kept stays, nothing runs twice, nothing is left."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from acceptance.support import wait_for
from acceptance.torture.hostile_child import RESULT, expected
from acceptance.torture.scene import Ended, Scene
from counts import count, is_full
from stagent.bootstrap import Home
from stagent.config import DataHome
from stagent.engine.audit import verify
from stagent.runner.replay import complete, plain_parse

LINES, STAGES = 250, 2
CHAIN = 6
"""Kills of one run; then it is driven to its end."""
LONGEST = 1.6
"""Seconds after which a kill comes at the latest: most of what a whole run takes."""


class Chain:
    """One run, and what its streams held when they were last looked at."""

    def __init__(self, root: Path) -> None:
        self.scene = Scene(root, HOSTILE="counted", HOSTILE_LINES=str(LINES))
        self.flow = self.scene.flow(STAGES)
        self.held: dict[str, bytes] = {}

    def words(self) -> list[str]:
        """Start the run, or go on with it."""
        runs = self.scene.runs()
        assert len(runs) <= 1
        first = ["run", "--resume", runs[0]] if runs else ["run", "a task", "--flow", self.flow]
        return [*first, "--agent", "hostile", "--json"]

    def over(self) -> bool:
        """Whether the run came to its end."""
        return any(self.scene.machine.state(run).ended for run in self.scene.runs())

    def kill(self, dice: random.Random) -> bool:
        """Drive on until a random instant; False when it ended before."""
        process = self.scene.start(*self.words())
        time.sleep(dice.uniform(0, LONGEST))
        process.kill()
        _, errors = process.communicate(timeout=60)
        assert errors == b"", errors.decode()
        self.look()
        return process.returncode != 0

    def look(self) -> None:
        """Compare the log with itself, and every stream with what was written and with what it held before."""
        for run in self.scene.runs():
            home = Home(DataHome(self.scene.home))
            assert verify(home.of(run).journal, run).consistent
            home.close()
            self.scene.check_streams(run)
            for path in (self.scene.home / "projects").glob(f"*/streams/{run}/*[0-9].ndjson"):
                self.stream(run, path)

    def stream(self, run: str, path: Path) -> None:
        """One stream: the beginning of what the attempt wrote, no byte lost, doubled or made up."""
        name = f"{run}.{path.stem}"
        held, whole = path.read_bytes(), expected(name, LINES)
        assert (whole + RESULT + b"\n").startswith(held)
        assert held.startswith(self.held.get(path.stem, b"")), "what was kept stays"
        self.held[path.stem] = held
        written = [int(note.read_text().split()[-1]) for note in self.scene.notes.glob(f"{name}.*.written")]
        # The program notes what it wrote after it wrote it: one piece may be missing in its notes.
        assert min(len(held), len(whole)) <= max(written, default=0) + 777
        typed = list(complete(str(path), plain_parse))
        assert [item.line for item in typed] == list(range(1, len(typed) + 1))
        assert len(typed) == len(held.splitlines())

    def finish(self) -> None:
        """Drive the run to its end and look at all of it."""
        if not self.over():
            done = Ended(self.scene, self.scene.start(*self.words()))
            assert (done.status, done.errors) == (0, ""), done.out.decode()
        self.look()
        [run] = self.scene.runs()
        self.scene.check_end(run)
        assert not (self.scene.notes / "beside").exists(), "two attempts ran at once"
        assert {event["outcome"] for event in self.scene.ended(run)} <= {"ok", "orphaned"}
        whole = [event for event in self.scene.ended(run) if event["outcome"] == "ok"]
        assert [event["epoch"] for event in whole] == list(range(1, STAGES + 1))
        for event in whole:
            stem = f"{event['epoch']}.{event['number']}"
            assert self.held[stem] == expected(f"{run}.{stem}", LINES) + RESULT + b"\n"
        assert self.scene.cli("ps", "--json") == []


def test_a_runner_that_is_killed_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "big") if is_full() else 11
    print(f"seed {seed}")
    dice = random.Random(seed)
    kills = number = 0
    while kills < count("runner_kills"):
        chain = Chain(tmp_path / str(number))
        for _ in range(CHAIN):
            if kills == count("runner_kills") or chain.over():
                break
            kills += chain.kill(dice)
        chain.finish()
        number += 1


def test_nothing_that_hides_outlives_a_killed_runner(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    process = chain.scene.start(*chain.words())
    # The agent, one that carries its mark, and one that nothing tells from a stranger's.
    wait_for(lambda: len(chain.scene.pids()) == 3 and len(chain.scene.left()) == 3, "the agent and what it hid")
    process.kill()
    process.communicate()
    wait_for(lambda: chain.scene.left() == [], "all of it to be gone")
    chain.finish()

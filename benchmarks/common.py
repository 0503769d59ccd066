"""What the benchmarks share: interleaved rounds, medians, and a run to measure on."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stagent.bootstrap import Home
from stagent.config import DataHome
from stagent.core.commands import Caller
from stagent.core.events import Holder
from stagent.core.state import State
from stagent.core.verify.folder import validate
from stagent.engine.flows import Flow
from stagent.engine.service import RunService
from stagent.engine.setup import Request, start

STAGES = ("a", "b", "c", "d", "e")


def loop_flow() -> Flow:
    """Return a workflow of five stages in a circle, with no rule that looks at the project."""
    stages = {
        name: {"execution": {"type": "inline"}, "transitions": {"done": STAGES[(index + 1) % 5]}}
        for index, name in enumerate(STAGES)
    }
    stages["e"]["transitions"]["end"] = "complete"
    document = {
        "initial_stage": "a",
        "terminal_stages": ["complete", "escalated"],
        "max_epoch": 1_000_000_000,
        "modifies_worktree": False,
        "stages": stages,
    }
    files = {"workflow.json": json.dumps(document).encode(), **{f"{name}.md": b"x" for name in STAGES}}
    workflow, problems = validate(files)
    assert workflow is not None, problems
    return Flow(name="loop", folder=Path("loop"), files=files, workflow=workflow, problems=())


class Bench:
    """A run in a fresh data home on the disk of the working folder (not on a memory file system)."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd())
        root = Path(self.folder.name) / "project"
        root.mkdir()
        self.home = Home(DataHome(Path(self.folder.name) / "home"))
        self.service: RunService = self.home.at(root, exact=True, register=True)
        holder = Holder(kind="caller", session="bench")
        request = Request(task="x", flow=loop_flow(), mode="session", holder=holder, actor="bench", session="bench")
        self.state: State = start(self.service, request)
        self.home.note(self.service, self.state, "bench", "x")
        self.caller = Caller(actor="bench", kind="caller", session="bench")

    def transitions(self, count: int) -> float:
        """Make transitions and return how many the service made a second; the agent's own writing is not counted."""
        spent = 0.0
        for _ in range(count):
            self.work()
            began = time.perf_counter()
            self.move()
            spent += time.perf_counter() - began
        return count / spent

    def work(self) -> None:
        """Write the artifact of the current stage, as its agent would."""
        state = self.state
        path = self.service.folder(state).artifact(state.stage)
        path.write_bytes(b"---\nepoch: %d\nresult: done\n---\nwork of %d\n" % (state.epoch, state.epoch))

    def move(self) -> None:
        """Advance."""
        done = self.service.advance(self.state.run, self.caller)
        assert done.moved, done.refusal
        self.state = done.state

    def close(self) -> None:
        """Remove everything."""
        self.home.close()
        self.folder.cleanup()


def per_second(work: Callable[[], None], count: int) -> float:
    """Return how often a second the work was done."""
    began = time.perf_counter()
    for _ in range(count):
        work()
    return count / (time.perf_counter() - began)


def process(argv: list[str], env: dict[str, str] | None = None) -> float:
    """Return the wall time of one process in milliseconds."""
    began = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    return (time.perf_counter() - began) * 1000


BARE = [sys.executable, "-I", "-S", "-c", "pass"]


def row(name: str, ours: list[float], reference: list[float], unit: str, goal: str) -> None:
    """Print one line: our median, the reference's, the median of the ratios of each round, and the budget.

    Round by round, because a disk or a neighbour that slows down meanwhile slows down both sides of one round.
    """
    mine, other = statistics.median(ours), statistics.median(reference)
    ratio = statistics.median(one / beside for one, beside in zip(ours, reference, strict=True))
    print(f"{name:<46} {mine:>12,.1f} {other:>12,.1f} {unit:<5} ratio {ratio:>7.2f}   budget {goal}")

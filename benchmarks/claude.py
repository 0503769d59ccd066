"""Tool calls inside the real Claude Code: without the plugin, with it but without a run, and with an active run.

A scripted model on loopback asks for the same call 40 times, one after another. Measured is the time from the first
such request to the last, so the program's start and end do not count; the rounds of the three sessions alternate.
`Read` is looked at by no hook, `Bash` by one, `Write` by one before and one after it. What is left as difference is
mostly the start of an interpreter for each hook, which the program waits for. Whole sessions are timed as well: there
the run is also started, ended by one `advance`, and its stop looked at.

Needs the development dependencies: PYTHONPATH=benchmarks:tests python benchmarks/claude.py [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from acceptance.claude.kit import Desk
from acceptance.support import stage
from stagent.testing.scripted_model import Request, ScriptedModel, Thread, Turn, text, tool

CALLS, ROUNDS = 40, 7
STAGES = {"work": stage({"done": "complete"})}
PLAIN, BYSTANDER, ACTIVE = "no plugin", "plugin, no run", "plugin, active run"


def calls(desk: Desk) -> dict[str, Callable[[], Turn]]:
    """Return what the model calls, by name."""
    # A file of its own each time: one that exists must be read before it is written.
    return {
        "Read": lambda: tool("Read", file_path=str(desk.project / "src.py")),
        "Bash": lambda: desk.shell("true"),
        "Write": lambda: tool(
            "Write", file_path=str(desk.project / f"made-{time.monotonic_ns()}.txt"), content="x\n" * 100
        ),
    }


def session(desk: Desk, kind: str, prompt: str, call: Callable[[], Turn]) -> tuple[float, float]:
    """Hold one session; return the milliseconds per call, and the seconds from its start to its end."""
    model = desk.model
    before = len(model.main)
    ending = (desk.artifact("work", "done"), desk.call("advance")) if kind == ACTIVE else ()
    model.say(Thread([*(call() for _ in range(CALLS)), *ending, text("Done.")]))
    began = time.perf_counter()
    done = desk.headless(prompt, mode="acceptEdits", allow=["Bash(true)"], plugin=kind != PLAIN, seconds=120)
    whole = time.perf_counter() - began
    assert done.result["result"] == "Done.", done.result
    asked: list[Request] = model.main[before:]
    assert len(asked) == CALLS + len(ending) + 1, len(asked)
    assert not any(result.get("is_error") for request in asked for result in request.results())
    return (asked[CALLS].at - asked[0].at) * 1000 / CALLS, whole


def measure(desk: Desk, rounds: int) -> None:
    prompts = {PLAIN: "go", BYSTANDER: "go", ACTIVE: f"/stagent:start --flow {desk.flow(STAGES)} a task"}
    for name, call in calls(desk).items():
        each: dict[str, list[float]] = {kind: [] for kind in prompts}
        whole: dict[str, list[float]] = {kind: [] for kind in prompts}
        for _ in range(rounds):
            for kind, prompt in prompts.items():
                spent, total = session(desk, kind, prompt, call)
                each[kind].append(spent)
                whole[kind].append(total)
        for kind in prompts:
            report(f"{name}, {kind}", each[kind], each[PLAIN], "ms")
        for kind in prompts:
            report(f"{name}, {kind}, whole session", whole[kind], whole[PLAIN], "s")


def report(name: str, ours: list[float], reference: list[float], unit: str) -> None:
    """Print the median, the range, and the median of the ratios of the same rounds."""
    ratio = statistics.median(mine / other for mine, other in zip(ours, reference, strict=True))
    middle, least, most = statistics.median(ours), min(ours), max(ours)
    print(f"{name:<42} {middle:>8.2f} {unit:<2} ({least:.2f} to {most:.2f})   ratio {ratio:>5.2f}", flush=True)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="stagent-bench-") as folder, ScriptedModel(limit=1 << 30) as model:
        desk = Desk(Path(folder), model)
        desk.repository({"src.py": "x = 1\n" * 100})
        try:
            measure(desk, rounds)
        finally:
            desk.close()


if __name__ == "__main__":
    main()

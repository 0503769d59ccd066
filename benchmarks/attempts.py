"""What an attempt costs beside starting the agent alone: the real Claude Code, answered at once by a scripted model.

Alone: the same program with the same arguments, environment and prompt, started and waited for. Ours adds a place among
the attempts of the machine, the hook's file, the durable events at both ends, the stream and its typed events, and the
search for processes it left. The rounds alternate; the pair is measured in one run. Once a run, not once an attempt,
`stagent run` also asks the program its version: that start is counted by itself.

Needs the development dependencies: PYTHONPATH=benchmarks:tests python benchmarks/attempts.py [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from acceptance.claude.kit import KEY, claude_binary
from stagent.agents.claude import ClaudeBackend
from stagent.core.model import Stage
from stagent.runner.attempt import AttemptMaker
from stagent.testing.scripted_model import ScriptedModel, text
from unit.runner.runner_world import RunnerWorld

ROUNDS = 15


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    folder = tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd())
    with folder as place, ScriptedModel(lambda request: text("Done.")) as model:
        os.environ |= surroundings(place, model.url)
        world = RunnerWorld(Path(place))
        try:
            # As many attempts as it takes: none of them leaves an artifact, and none may be the last.
            world.begin({"work": {"transitions": {"done": "complete"}, "retry": {"attempts": 10_000}}})
            report(world, rounds)
        finally:
            world.close()


def surroundings(folder: str, url: str) -> dict[str, str]:
    """Return a private home and a model on loopback."""
    return {
        "HOME": folder,
        "STAGENT_HOME": f"{folder}/data",
        **{f"GIT_{role}_{what}": "bench@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": url,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
    }


def report(world: RunnerWorld, rounds: int) -> None:
    """Print the medians, and the median of the ratios and differences of each round."""
    options = {"program": claude_binary()}
    alone, ours, asked = [], [], []
    for _ in range(rounds + 1):
        backend = ClaudeBackend()
        maker = AttemptMaker(world.service, backend, options, lambda event: None, lambda what, seconds: None)
        stage = stage_of(world)
        launch = ClaudeBackend().launch(maker.spec(world.now, stage), dict(os.environ))
        began = time.perf_counter()
        subprocess.run(
            list(launch.argv),
            env=dict(launch.env),
            input=launch.stdin,
            cwd=world.project,
            capture_output=True,
            check=True,
        )
        alone.append(time.perf_counter() - began)
        began = time.perf_counter()
        maker.make(world.now, stage, world.caller)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        subprocess.run([options["program"], "--version"], env=dict(launch.env), capture_output=True, check=True)
        asked.append(time.perf_counter() - began)
    # The first round fills caches that both use, and asks for the version within an attempt.
    pairs = list(zip(ours[1:], alone[1:], strict=True))
    ratio = statistics.median(mine / other for mine, other in pairs)
    added = statistics.median(mine - other for mine, other in pairs)
    middle, other = statistics.median(ours[1:]), statistics.median(alone[1:])
    print(f"an attempt {middle * 1000:.0f} ms, the program alone {other * 1000:.0f} ms, ratio {ratio:.2f}", end="")
    print(f", added {added * 1000:.0f} ms (median of {rounds} rounds)")
    version = statistics.median(asked[1:])
    print(f"once a run, to ask the version: {version * 1000:.0f} ms; ", end="")
    print(f"a run of one attempt: {(middle + version) / other:.2f} x the program alone")


def stage_of(world: RunnerWorld) -> Stage:
    """Return the stage the run stands in."""
    return world.service.workflow(world.now).stages[world.now.stage]


if __name__ == "__main__":
    main()

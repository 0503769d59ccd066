"""The commands an agent calls often, beside the bare interpreter, with a short and with a long history.

Budget: at most 10 x bare, independent of the length of the history.
"""

from __future__ import annotations

import sys

from common import BARE, Bench, process, row

ROUNDS, LONG = 15, 3_000


def measure(bench: Bench, label: str) -> None:
    env = {"STAGENT_HOME": str(bench.home.data.root)}
    commands = {
        "tick": ["tick", bench.state.run],
        "next": ["next", bench.state.run, "--result", "done"],
        "context": ["context", bench.state.run],
    }
    times: dict[str, list[float]] = {name: [] for name in (*commands, "bare")}
    for _ in range(ROUNDS):
        times["bare"].append(process(BARE))
        for name, arguments in commands.items():
            times[name].append(process([sys.executable, "-m", "stagent", *arguments], env))
    for name in commands:
        row(f"{name}, {label}", times[name], times["bare"], "ms", "<= 10")


def main() -> None:
    bench = Bench()
    measure(bench, f"{bench.state.seq} events")
    bench.transitions(LONG)
    measure(bench, f"{bench.state.seq:,} events")
    bench.close()


if __name__ == "__main__":
    main()

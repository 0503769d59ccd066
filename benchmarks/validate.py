"""Validating a workflow of 200 stages, beside parsing its file alone. Processor time.

Budget: less than 1 s. Reachability and readable inputs are looked at; counter-examples are not made yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from common import row

from stagent.core.verify.folder import validate

STAGES, ROUNDS = 200, 15


def folder() -> dict[str, bytes]:
    """Return the files of a workflow: a chain with ways back, inputs from earlier stages, and a jump past many."""
    stages: dict[str, Any] = {}
    for number in range(STAGES):
        ahead = f"s{number + 1}" if number < STAGES - 1 else "complete"
        stages[f"s{number}"] = {
            "execution": {"type": "inline"},
            "interruptible": False,
            "inputs": {"required": [{"from_stage": f"s{number - 2}"}] if number > 3 else []},
            "transitions": {"done": ahead, "back": f"s{max(0, number - 3)}"},
        }
    stages["s0"]["transitions"]["skip"] = f"s{STAGES * 3 // 4}"
    document = {
        "initial_stage": "s0",
        "terminal_stages": ["complete", "escalated", "cancelled"],
        "max_epoch": 50,
        "stages": stages,
    }
    files = {f"s{number}.md": b"# A stage\n\nDo it.\n" for number in range(STAGES)}
    return {"workflow.json": json.dumps(document).encode(), **files}


def millis(work: Callable[[], object]) -> float:
    """Return the processor time of one call in milliseconds."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def main() -> None:
    files = folder()
    _, problems = validate(files)
    print(f"{STAGES} stages, {len(problems)} problems found")
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(millis(lambda: validate(files)))
        bare.append(millis(lambda: json.loads(files["workflow.json"])))
    row(f"validate {STAGES} stages, beside json.loads", ours, bare, "ms", "< 1,000 ms")


if __name__ == "__main__":
    main()

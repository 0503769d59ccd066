"""Commands that help a person on, as printed in more than one place."""

from __future__ import annotations

from stagent.core.model import Stage
from stagent.core.state import State


def deciding(stage: Stage, run: str, call: str = "stagent") -> str:
    """Return the command by which a person decides at a stage, and what else he can."""
    if stage.kind == "human":
        return f"{call} answer {run} --choice CHOICE   ({', '.join(sorted(stage.transitions))})"
    return f"{call} approve {run}   (or reject, redo)"


def going_on(state: State, call: str = "stagent") -> str:
    """Return the command that goes on with a run nobody drives: by a runner again, or in a session."""
    return f"{call} run --resume {state.run}" if state.mode == "headless" else f"{call} continue {state.run}"

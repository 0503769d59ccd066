"""What a run waits for and what helps: for `status` and `wait` alike. Parsed without click, like `wait`."""

from __future__ import annotations

from stagent.cli.hints import deciding, going_on
from stagent.cli.words import moment
from stagent.core.state import State
from stagent.engine.service import RunService
from stagent.engine.standing import Driver


def awaited(service: RunService, state: State, driver: Driver) -> tuple[str, str]:
    """Return what a run waits for, and the command that helps."""
    go_on = going_on(state)
    if state.ended:
        return "", f"stagent show {state.run}"
    if state.status != "running":
        return f"somebody to go on: the run is {state.status}", go_on
    gate = _gate(service, state)
    if gate is not None:
        return gate
    if driver == "ready":
        return "somebody to go on: a person has decided", go_on
    if driver == "stale":
        return "a new driver: the process that drove it is gone", go_on
    for name, check in state.checks.items():
        if check.outcome == "running":
            return f"the check {name}", f"stagent wait {state.run}"
    if provider := provider_wait(service, state):
        return provider, f"stagent wait {state.run}"
    if state.attempt_open:
        return f"attempt {state.attempt} at {state.stage}", f"stagent wait {state.run}"
    stage = service.workflow(state).stages[state.stage]
    results = ", ".join(sorted(stage.transitions))
    return f"the artifact of {state.stage} with a result ({results})", f"stagent context {state.run}"


def provider_wait(service: RunService, state: State) -> str:
    """Return until when a runner waits for its agent's provider, in words; empty when it does not."""
    driven = state.live and service.gatherer.holder_alive(state) is not False
    if not driven or state.retry_at is None or state.retry_at <= service.clock():
        return ""
    return f"the provider until {moment(state.retry_at)}"


def _gate(service: RunService, state: State) -> tuple[str, str] | None:
    stage = service.workflow(state).stages[state.stage]
    decided = state.gate.decision if state.gate is not None else ""
    if stage.kind == "human" and not decided:
        choices = ", ".join(sorted(stage.transitions))
        return f"a person's choice: {choices}", deciding(stage, state.run)
    if decided == "redo" and state.refusal == "gate.rejected" and state.mode == "headless":
        return "a person's decision again: what was sent back came back unchanged", deciding(stage, state.run)
    if state.gate is None or (decided and decided != "reject"):
        return None
    if decided == "reject":
        return "a new artifact: a person rejected this one", f"stagent redo {state.run}"
    again = " again: what was approved has changed" if state.gate.stale else ""
    return f"a person's decision{again}", deciding(stage, state.run)

"""Whether the stage a run would enter finds its required inputs as they were accepted, or made at the start."""

from __future__ import annotations

from stagent.core import refusals as no
from stagent.core.evidence import Evidence, target_of
from stagent.core.model import Stage, Workflow
from stagent.core.refusals import Refusal
from stagent.core.state import Recorded, State


def supplied(workflow: Workflow, state: State, stage: Stage, recorded: Recorded, evidence: Evidence) -> Refusal | None:
    """Refuse unless every required input of the target is there as it was accepted or made."""
    target = workflow.stages.get(target_of(workflow, state, recorded.result) or "")
    for item in target.required if target else ():
        refusal = None
        if item.source == "run_file":
            refusal = _run_file(state, item.key, evidence)
        elif item.key != stage.name:
            refusal = _input(state, item.key, evidence)
        if refusal is not None:
            return refusal
    return None


def _input(state: State, key: str, evidence: Evidence) -> Refusal | None:
    accepted = state.accepted.get(key)
    if accepted is None:
        return no.work(
            state, "input.missing", f"no accepted artifact of {key}", f"The run must pass {key} first.", input=key
        )
    if evidence.inputs.get(key) != accepted.digest:
        return no.work(
            state,
            "input.changed",
            f"the artifact of {key} is not the one that was accepted",
            "Restore it: stagent show prints the accepted digest, and the log keeps its text.",
            input=key,
            accepted=accepted.digest,
            found=evidence.inputs.get(key),
        )
    return None


def _run_file(state: State, key: str, evidence: Evidence) -> Refusal | None:
    made = state.run_files.get(key)
    if made is None:
        return no.work(
            state,
            "input.missing",
            f"the run file {key} was not made at the start",
            "Mend its init command and start a new run.",
            input=key,
        )
    if evidence.run_files.get(key) == made:
        return None
    return no.work(
        state,
        "input.changed",
        f"the run file {key} is not the one that was made at the start",
        "Restore it; the log keeps its text.",
        input=key,
        accepted=made,
        found=evidence.run_files.get(key),
    )

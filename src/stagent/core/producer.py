"""Who made an artifact, and whether that was the one who should have.

In a session a sub-agent stage must have been worked by a sub-agent whose start and stop the log holds, and nothing
may have touched the artifact since it stopped; an inline stage by the session itself. What the log holds from one
driver of an epoch counts for the next, as long as the artifact is the same. A review must not come from the author of
anything it judges.
"""

from __future__ import annotations

from stagent.core import refusals as no
from stagent.core.commands import Advance, Caller
from stagent.core.events import Producer
from stagent.core.evidence import Evidence, Found
from stagent.core.ids import attempt_id
from stagent.core.model import Stage, Workflow
from stagent.core.refusals import Refusal
from stagent.core.state import State


def producer_of(
    workflow: Workflow,
    state: State,
    stage: Stage,
    caller: Caller,
    command: Advance,
    evidence: Evidence,
    found: Found,
) -> Producer | Refusal:
    """Return who made the current artifact, or the refusal when it was the wrong one."""
    producer = _made_by(state, stage, caller, command, evidence, found)
    if isinstance(producer, Refusal) or stage.kind != "review":
        return producer
    for item in stage.inputs:
        judged = state.accepted.get(item.key) if item.source == "stage" else None
        if judged is not None and judged.producer == producer:
            return no.work(
                state,
                "producer.same_as_author",
                f"this review comes from the author of {item.key}",
                "Let another agent or session review it.",
                input=item.key,
                producer=f"{producer.kind} {producer.id}",
            )
    return producer


def _made_by(
    state: State, stage: Stage, caller: Caller, command: Advance, evidence: Evidence, found: Found
) -> Producer | Refusal:
    if stage.kind == "human":
        policy = state.gate is not None and state.gate.channel == "policy"
        return Producer(kind="policy" if policy else "person", id=state.gate.actor if state.gate else "")
    if stage.kind == "command":
        return Producer(kind="engine")
    known = _known(state, found)
    if caller.kind == "runner":
        return known or _attempt(state)
    if caller.kind == "caller":
        # A maker that is named now is this caller's word, whatever stood there before.
        named = command.producer or caller.session or caller.actor
        return known if known and not command.producer else Producer(kind="caller", id=named)
    if stage.execution == "subagent":
        return _subagent(state, found, known)
    if evidence.foreign_writer is not None:
        return no.work(
            state,
            "producer.subagent_wrote",
            f"sub-agent {evidence.foreign_writer} wrote the artifact of an inline stage",
            "Write it in the main conversation.",
            agent=evidence.foreign_writer,
        )
    return known or Producer(kind="session", id=caller.session or "")


def _known(state: State, found: Found) -> Producer | None:
    """Return who made this very artifact, as the log holds it since it was first read in this epoch."""
    read = state.artifact
    return read.producer if read is not None and read.digest == found.digest else None


def _attempt(state: State) -> Producer | Refusal:
    if state.attempt == 0:
        return no.work(
            state,
            "producer.none",
            "an artifact lies there, but no attempt was made in this epoch",
            "Let the runner start an attempt.",
        )
    return Producer(kind="attempt", id=state.agent_session or attempt_id(state.run, state.epoch, state.attempt))


def _subagent(state: State, found: Found, known: Producer | None) -> Producer | Refusal:
    ended = [agent for agent in state.agents if agent.ended and agent.mark is not None]
    if not ended:
        return known or no.work(
            state,
            "producer.no_subagent",
            "this stage is worked by a sub-agent, but the log holds none that started and stopped with an artifact",
            "Launch the sub-agent stagent:workflow-subagent for this stage.",
        )
    last = ended[-1]
    if last.digest != found.digest or last.mark != found.mark:
        return no.work(
            state,
            "producer.changed_after",
            f"the artifact changed after sub-agent {last.id} stopped: it left {(last.digest or 'another')[:12]}, and "
            f"{found.digest[:12]} lies there now",
            "Launch the sub-agent again and leave its artifact as it is.",
            agent=last.id,
            stopped_with=last.digest,
            found=found.digest,
        )
    return Producer(kind="subagent", id=last.id)

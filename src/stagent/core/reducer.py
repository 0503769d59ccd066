"""`apply(state, event) -> state`: the one meaning of every event. Folding a whole log gives the run's state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from stagent.core import events as ev
from stagent.core.canonical import digest
from stagent.core.state import Agent, CheckState, GateState, Lease, Recorded, State

_RECENT_AGENTS = 32
"""How many agents of one epoch the state remembers; the log holds them all."""


_RECENT_PROMPTS = 64
"""How many prompts that decided something the state remembers."""


class CorruptLogError(ValueError):
    """The bytes of a log do not fold: a broken chain, a gap, or an event where it cannot stand."""


def apply(state: State | None, envelope: ev.Envelope, head: str) -> State:
    """Return the state after one event; `head` is the event's hash.

    Raises CorruptLogError when the event cannot follow: wrong seq, wrong `prev`, or a second beginning.
    """
    data = envelope.data
    if state is None:
        if not isinstance(data, ev.RunStarted) or envelope.seq != 1:
            raise CorruptLogError(f"event {envelope.seq} is not the beginning of a run")
        return _begin(envelope, data, head)
    if envelope.seq != state.seq + 1 or envelope.prev != state.head or envelope.run != state.run:
        raise CorruptLogError(f"event {envelope.seq} does not follow event {state.seq}")
    if state.status == "ended":
        raise CorruptLogError(f"event {envelope.seq} follows the end of the run")
    handler = _HANDLERS.get(type(data))
    if handler is None:
        raise CorruptLogError(f"event {envelope.seq} begins the run a second time")
    changes = handler(state, data, envelope)
    return replace(state, seq=envelope.seq, head=head, updated_at=envelope.at, **changes)


def fold(bodies: Iterable[tuple[bytes, str]], state: State | None = None) -> State | None:
    """Fold stored events, verifying every hash.

    Raises CorruptLogError where the chain breaks or an event cannot be read, for example one of a later version.
    """
    for body, expected in bodies:
        found = digest(body)
        if found != expected:
            raise CorruptLogError(f"the bytes of the event after {state.seq if state else 0} do not match their hash")
        try:
            envelope = ev.unseal(body)
        except msgspec.DecodeError as error:
            raise CorruptLogError(f"the event after {state.seq if state else 0} cannot be read: {error}") from error
        state = apply(state, envelope, found)
    return state


Changes = dict[str, Any]
_NO_FAULT = frozenset({"ok", "orphaned", "stopped", "void"})
_SENT_BACK = frozenset({"gate.rejected", "gate.redo"})


def _begin(envelope: ev.Envelope, data: ev.RunStarted, head: str) -> State:
    return State(
        run=envelope.run,
        seq=envelope.seq,
        head=head,
        status="running",
        mode=data.mode,
        workflow=data.workflow,
        model=data.model,
        flow=data.flow,
        project=data.project,
        folder=data.folder,
        task=data.task,
        stage=data.stage,
        epoch=1,
        lease=Lease(data.holder, 1),
        started_at=envelope.at,
        updated_at=envelope.at,
        fingerprint=data.fingerprint,
        baseline=data.baseline,
        last_head=data.head,
        run_files=data.run_files,
        environment=data.environment,
        protect_ref=data.baseline,
        session=_session(data.holder, ""),
    )


def _entered(state: State, data: ev.StageEntered, envelope: ev.Envelope) -> Changes:
    accepted = {name: item for name, item in state.accepted.items() if name != data.stage}
    return {
        "stage": data.stage,
        "epoch": data.epoch,
        "tree_ref": data.tree,
        "accepted": accepted,
        "artifact": None,
        "checks": {},
        "gate": None,
        "agents": (),
        "attempt": 0,
        "attempt_open": False,
        "attempt_pid": None,
        "attempt_started": None,
        "refused": 0,
        "feedback": None,
        "refusal": "",
        "agent_session": None,
        "entered_at": envelope.at,
    }


def _attempt_started(state: State, data: ev.AttemptStarted, envelope: ev.Envelope) -> Changes:
    attempts = {**state.attempts, data.stage: state.attempts.get(data.stage, 0) + 1}
    changes: Changes = {"attempt": data.number, "attempts": attempts, "refusal": ""}
    if data.agent is not None:
        agents = (*state.agents, Agent(id=data.agent, started_at=envelope.at))
        # One that an earlier stage left behind may be given more to do.
        return {**changes, "agents": agents[-_RECENT_AGENTS:], "others": _without(state, data.agent)}
    return {
        **changes,
        "attempt_open": True,
        "retry_at": None,
        "attempt_pid": data.pid,
        "attempt_started": data.started,
    }


def _attempt_ended(state: State, data: ev.AttemptEnded, envelope: ev.Envelope) -> Changes:
    # An attempt that was stopped from outside, or could not begin, says nothing about the work.
    changes: Changes = {
        "refused": state.refused + (data.outcome not in _NO_FAULT),
        "spent_usd": state.spent_usd + (data.cost_usd or 0.0),
        "spent_tokens": state.spent_tokens + (data.tokens or 0),
        "worked_millis": state.worked_millis + data.millis,
    }
    if data.outcome != "ok":
        changes["refusal"] = data.code or f"attempt.{data.outcome}"
    if data.outcome not in ("ok", "void"):
        changes["feedback"] = data.text or state.feedback
    if data.agent is not None:
        # In the order they stopped: the artifact is compared with what the last one left.
        others = tuple(agent for agent in state.agents if agent.id != data.agent)
        stopped = (agent for agent in state.agents if agent.id == data.agent)
        ended = tuple(replace(agent, ended=True, mark=data.mark, digest=data.digest) for agent in stopped)
        return {**changes, "agents": others + ended}
    changes.update(attempt_open=False, attempt_pid=None, attempt_started=None, retry_at=data.retry_at)
    if data.session is not None:
        changes["agent_session"] = data.session
    return changes


def _agent_started(state: State, data: ev.AgentStarted, envelope: ev.Envelope) -> Changes:
    fresh = Agent(id=data.agent, started_at=envelope.at, kind=data.kind, stage=data.stage, epoch=data.epoch)
    return {"others": (*_without(state, data.agent), fresh)[-_RECENT_AGENTS:]}


def _agent_ended(state: State, data: ev.AgentEnded, envelope: ev.Envelope) -> Changes:
    return {"others": _without(state, data.agent)}


def _without(state: State, agent: str) -> tuple[Agent, ...]:
    return tuple(other for other in state.others if other.id != agent)


def _left(state: State) -> tuple[Agent, ...]:
    """Return the sub-agents that still run when the stage, or its driver, leaves them behind."""
    running = [replace(agent, stage=state.stage, epoch=state.epoch) for agent in state.agents if not agent.ended]
    known = {agent.id for agent in running}
    return (*(other for other in state.others if other.id not in known), *running)[-_RECENT_AGENTS:]


def _artifact(state: State, data: ev.ArtifactRecorded, envelope: ev.Envelope) -> Changes:
    recorded = Recorded(data.digest, data.body, data.result, data.epoch, data.producer)
    return {"artifact": recorded}


def _check_started(state: State, data: ev.CheckStarted, envelope: ev.Envelope) -> Changes:
    check = CheckState(artifact=data.artifact, tree=data.tree, pid=data.pid, started=data.started, at=envelope.at)
    return {"checks": {**state.checks, data.name: check}}


def _check_ended(state: State, data: ev.CheckEnded, envelope: ev.Envelope) -> Changes:
    before, after = data.tree, data.tree_after
    checks = {name: replace(item, tree=after) if item.tree == before else item for name, item in state.checks.items()}
    checks[data.name] = CheckState(
        artifact=data.artifact,
        tree=after,
        outcome=data.outcome,
        exit=data.exit,
        output=data.output,
        protected=data.protected,
        at=envelope.at,
    )
    changes: Changes = {"checks": checks}
    if before != after:
        # What the engine's own check wrote is nobody's change: every reference to the tree before follows it.
        if state.tree_ref is not None:
            changes["tree_ref"] = after
        # An approval is the exception: it holds for exactly what was shown, whoever changed it afterwards.
        gate = state.gate
        if gate is not None and gate.tree == before and gate.decision != "approve":
            changes["gate"] = replace(gate, tree=after)
    return changes


def _gate_opened(state: State, data: ev.GateOpened, envelope: ev.Envelope) -> Changes:
    return {"gate": GateState(body=data.body, tree=data.tree, stale=data.stale)}


def _gate_decided(state: State, data: ev.GateDecided, envelope: ev.Envelope) -> Changes:
    gate = GateState(
        body=data.body,
        tree=data.tree,
        decision=data.decision,
        choice=data.choice,
        actor=envelope.actor,
        channel=data.channel,
        text=data.text,
        anchor=data.anchor,
    )
    changes: Changes = {"gate": gate}
    if data.decision in ("reject", "redo"):
        changes["feedback"] = data.text
    if data.prompt:
        changes["prompts"] = (*state.prompts, data.prompt)[-_RECENT_PROMPTS:]
    if data.decision == "redo":
        changes.update(refusal="gate.redo", refused=0)
    if data.decision in ("approve", "answer"):
        changes.update(_settled(state))
    return changes


def _settled(state: State) -> Changes:
    """Take back what a person's earlier word held against the work: he has accepted it, so nobody is to do it again."""
    if state.refusal in _SENT_BACK:
        return {"refusal": "", "refused": 0, "feedback": None}
    if state.refusal_before in _SENT_BACK:
        return {"refusal_before": "", "refused": 0, "feedback": None}
    return {}


def _transitioned(state: State, data: ev.Transitioned, envelope: ev.Envelope) -> Changes:
    changes: Changes = {"epoch": data.epoch, **_seen(state, data.head), **_parted(state)}
    if state.artifact is not None and data.digest is not None:
        changes["accepted"] = {**state.accepted, data.source: state.artifact}
    if data.protect is not None:
        changes["protect_ref"] = data.protect
    return changes


def _interrupted(state: State, data: ev.Interrupted, envelope: ev.Envelope) -> Changes:
    return {
        "status": "interrupted",
        "lease": None,
        "reason": data.reason,
        **_seen(state, data.head),
        **_parted(state),
    }


def _seen(state: State, head: str | None) -> Changes:
    """Remember the project's commit; one that is not known leaves the one before, which a continuation is held to."""
    return {"last_head": head or state.last_head}


def _parted(state: State) -> Changes:
    return {"agents": _ended(state), "others": _left(state)} if state.agents else {}


def _ended(state: State) -> tuple[Agent, ...]:
    """Return the stage's sub-agents that ended: what the last of them left counts for whoever drives the epoch on."""
    return tuple(agent for agent in state.agents if agent.ended)


def _resumed(state: State, data: ev.Resumed, envelope: ev.Envelope) -> Changes:
    changes: Changes = {
        "status": "running",
        "lease": Lease(data.holder, data.fence),
        "session": _session(data.holder, state.session),
        "fence": data.fence,
        **_seen(state, data.head),
        "reason": None,
        "agents": _ended(state),
        # Those of another session are not this one's to stop.
        "others": _left(state) if _session(data.holder, "") == state.session else (),
    }
    if state.status in ("blocked", "escalated"):
        changes["refused"] = 0
    if state.refusal_before is not None:
        # A person may have sent the work back meanwhile.
        kept = state.refusal if state.refusal == "gate.redo" else state.refusal_before
        changes.update(refusal=kept, refusal_before=None, obstacle=None)
    if data.acknowledged:
        changes["reached"] = {**state.reached, data.acknowledged: "acknowledged"}
    return changes


def _taken_over(state: State, data: ev.TakenOver, envelope: ev.Envelope) -> Changes:
    return {
        "status": "running",
        "lease": Lease(data.holder, data.fence),
        "session": _session(data.holder, state.session),
        "fence": data.fence,
        **_seen(state, data.head),
        "agents": _ended(state),
        "others": (),
    }


def _rebound(state: State, data: ev.SessionRebound, envelope: ev.Envelope) -> Changes:
    lease = state.lease
    if lease is None:
        return {}
    holder = replace(lease.holder, session=data.session)
    return {"lease": Lease(holder, lease.fence), "session": _session(holder, state.session)}


def _session(holder: ev.Holder, before: str) -> str:
    return holder.session if holder.kind == "session" and holder.session else before


def _budget(state: State, data: ev.BudgetReached, envelope: ev.Envelope) -> Changes:
    return {"reached": {**state.reached, data.budget: data.action}} if data.action in ("warn", "pause") else {}


def _stalled(state: State, data: ev.Stalled, envelope: ev.Envelope) -> Changes:
    return {"status": "stalled", "lease": None, "reason": data.text, **_seen(state, data.head), **_parted(state)}


def _blocked(state: State, data: ev.Blocked, envelope: ev.Envelope) -> Changes:
    changes: Changes = {"status": "blocked", "lease": None, "refusal": data.code, **_seen(state, data.head)}
    # Neither a budget nor an error around the work says anything about it: whoever goes on finds it as it was.
    if data.code.startswith("budget."):
        return {**changes, "refusal_before": state.refusal}
    if data.outside:
        return {**changes, "refusal_before": state.refusal, "obstacle": data.text}
    return {**changes, "feedback": data.text or state.feedback}


def _escalated(state: State, data: ev.Escalated, envelope: ev.Envelope) -> Changes:
    changes: Changes = {"status": "escalated", "lease": None, "report": data.report, **_seen(state, data.head)}
    return {**changes, "feedback": data.text or state.feedback}


def _terminal(state: State, data: ev.Terminal, envelope: ev.Envelope) -> Changes:
    return {
        "status": "ended",
        "lease": None,
        "terminal": data.terminal,
        "success": data.success,
        "epoch": data.epoch,
        "report": data.report,
        "attempt_open": False,
        **_parted(state),
    }


Handler = Callable[[State, Any, ev.Envelope], Changes]
_HANDLERS: dict[type[ev.Data], Handler] = {
    ev.StageEntered: _entered,
    ev.AttemptStarted: _attempt_started,
    ev.AttemptEnded: _attempt_ended,
    ev.AgentStarted: _agent_started,
    ev.AgentEnded: _agent_ended,
    ev.ArtifactRecorded: _artifact,
    ev.CheckStarted: _check_started,
    ev.CheckEnded: _check_ended,
    ev.GateOpened: _gate_opened,
    ev.GateDecided: _gate_decided,
    ev.Transitioned: _transitioned,
    ev.Interrupted: _interrupted,
    ev.Resumed: _resumed,
    ev.TakenOver: _taken_over,
    ev.SessionRebound: _rebound,
    ev.Stalled: _stalled,
    ev.Blocked: _blocked,
    ev.BudgetReached: _budget,
    ev.Escalated: _escalated,
    ev.Terminal: _terminal,
}

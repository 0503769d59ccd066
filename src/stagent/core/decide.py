"""`decide(workflow, state, command, evidence) -> events | Refusal`: the only place where anything is allowed.

Pure: the same arguments give the same answer. The time of an event is put on its envelope by whoever appends it.
"""

from __future__ import annotations

from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core import refusals as no
from stagent.core.advance import Answer, advance, fenced, holds
from stagent.core.budget import acknowledged, reach
from stagent.core.evidence import Evidence
from stagent.core.model import Stage, Workflow
from stagent.core.refusals import Refusal
from stagent.core.state import State


def decide(workflow: Workflow, state: State, caller: cmd.Caller, command: cmd.Command, evidence: Evidence) -> Answer:
    """Answer one command: the events it leads to, or why it is refused. Never both, never neither."""
    if isinstance(command, cmd.Resume):
        return _resume(state, caller, command, evidence)
    lost = fenced(state, caller)
    if lost is not None:
        return lost
    match command:
        case cmd.Advance():
            return advance(workflow, state, caller, command, evidence)
        case cmd.DecideGate():
            return _gate(workflow, state, caller, command, evidence)
        case cmd.Refuse():
            return no.not_live(state) or _refuse(state, command)
        case cmd.BeginAttempt():
            return no.not_live(state) or holds(state, caller) or _begin(state, command)
        case cmd.EndAttempt():
            return no.not_live(state) or _end(state, command)
        case cmd.EndCheck():
            return no.not_live(state) or _end_check(state, command)
        case cmd.Cancel():
            return _cancel(state, caller, evidence)
        case _:
            return _drive(workflow, state, caller, command, evidence)


def _drive(
    workflow: Workflow,
    state: State,
    caller: cmd.Caller,
    command: cmd.Interrupt | cmd.Rebind | cmd.Stall | cmd.GiveUp | cmd.Block | cmd.ReachBudget,
    evidence: Evidence,
) -> Answer:
    refusal = no.not_live(state)
    if refusal is not None:
        return refusal
    if caller.kind != "person":
        refusal = holds(state, caller)
        if refusal is not None:
            return refusal
    match command:
        case cmd.Interrupt():
            return [ev.Interrupted(reason=command.reason, head=evidence.head)]
        case cmd.Rebind():
            previous = state.lease.holder.session if state.lease else None
            return [ev.SessionRebound(session=command.session, previous=previous or "")]
        case cmd.Stall():
            stage, epoch, blocks = state.stage, state.epoch, command.blocks
            return [ev.Stalled(stage=stage, epoch=epoch, blocks=blocks, text=command.text, head=evidence.head)]
        case cmd.Block():
            return [ev.Blocked(code=command.code, text=command.text, head=evidence.head, outside=True)]
        case cmd.ReachBudget():
            return reach(workflow, state, command, evidence)
        case _:
            return _give_up(workflow, state, command, evidence)


def _refuse(state: State, command: cmd.Refuse) -> Answer:
    number = state.attempt if state.lease and state.lease.holder.kind == "runner" else state.refused + 1
    return [
        ev.AttemptEnded(
            stage=state.stage,
            epoch=state.epoch,
            number=max(number, 1),
            outcome="refused",
            code=command.code,
            text=command.text,
        )
    ]


def _begin(state: State, command: cmd.BeginAttempt) -> Answer:
    event = command.event
    if event.epoch != state.epoch or event.stage != state.stage:
        return no.stand(state, "attempt.late", "the run has moved on", "Begin an attempt at the stage it stands in.")
    if state.attempt_open and event.agent is None:
        return no.wait(state, "attempt.running", "an attempt is running already", "Wait until it ends.")
    return [event]


def _end(state: State, command: cmd.EndAttempt) -> Answer:
    event = command.event
    late = event.epoch != state.epoch or event.stage != state.stage
    if late or (event.agent is None and not (state.attempt_open and event.number == state.attempt)):
        return no.stand(state, "attempt.late", "this attempt is not running", "Nothing is to be done.")
    return [event]


def _end_check(state: State, command: cmd.EndCheck) -> Answer:
    event = command.event
    running = state.checks.get(event.name)
    late = running is None or running.outcome != "running" or event.epoch != state.epoch
    if running is None or late or (event.artifact, event.tree) != (running.artifact, running.tree):
        return no.stand(state, "check.late", f"check {event.name} is not running", "Nothing is to be done.")
    return [event]


def _gate(workflow: Workflow, state: State, caller: cmd.Caller, command: cmd.DecideGate, evidence: Evidence) -> Answer:
    stage = workflow.stages[state.stage]
    refusal = _may_decide(state, stage, caller, command)
    if refusal is not None:
        return refusal
    human = stage.kind == "human"
    tree = evidence.tree if stage.writes_project else None
    found = None if human else evidence.artifact
    if not human:
        if found is None or found.problem or found.epoch != state.epoch or found.result not in stage.transitions:
            return no.wait(
                state, "gate.nothing", "there is no finished artifact to decide about", "Wait until it is written."
            )
        if command.body is not None and (command.body != found.body or command.tree != tree):
            return no.stand(
                state, "gate.changed", "what was shown has changed meanwhile", "Look at it again, then decide."
            )
    choice = command.choice if found is None else found.result
    moves = command.decision in ("approve", "answer")
    if moves and command.channel == "policy" and stage.transitions[choice] == "cancelled":
        return no.wait(state, "gate.attended", "only a person cancels a run, no policy does", "A person must decide.")
    return [
        ev.GateDecided(
            stage=stage.name,
            epoch=state.epoch,
            decision=command.decision,
            channel=command.channel,
            body=found.body if found is not None else "",
            tree=tree,
            choice=choice,
            text=command.text,
            anchor=command.anchor or state.head,
            prompt=command.prompt,
        )
    ]


def _may_decide(state: State, stage: Stage, caller: cmd.Caller, command: cmd.DecideGate) -> Refusal | None:
    if state.status in ("ended", "escalated"):
        return no.not_live(state)
    human = stage.kind == "human"
    if stage.gate is None and not human:
        return no.call(state, "gate.none", "this stage has no gate", "Nothing is to be decided here.")
    if command.channel != "policy" and caller.kind not in ("person", "engine"):
        return no.call(state, "gate.person", "only a person decides a gate", "In a terminal: stagent approve.")
    if command.channel == "policy" and stage.gate is not None and not stage.gate.unattended:
        return no.wait(state, "gate.attended", "this gate takes no unattended policy", "A person must decide it.")
    if human != (command.decision == "answer"):
        use = "answer --choice" if human else "approve, reject or redo"
        return no.call(state, "gate.decision", f"{command.decision} does not fit this gate", f"Use {use}.")
    if human and command.choice not in stage.transitions:
        return no.call(
            state, "gate.choice", f'no choice "{command.choice}"', "Choose a known one.", sorted(stage.transitions)
        )
    return None


def _resume(state: State, caller: cmd.Caller, command: cmd.Resume, evidence: Evidence) -> Answer:
    if state.status == "ended":
        return no.not_live(state) or []
    fence = state.fence + 1
    lease = state.lease
    if lease is not None and lease.holder == command.holder:
        return no.stand(state, "lease.own", "this caller drives the run already", "Go on with it.")
    if state.given_up and caller.kind != "person" and not command.ordered:
        return no.stand(
            state,
            "resume.person",
            f"a person decides whether it goes on: the run is {state.status}",
            f"In a terminal of your own: stagent run --resume {state.run}, or /stagent:continue typed in a session.",
        )
    if command.holder.kind == "caller" and state.session and caller.kind != "person":
        # An agent that leaves its session would leave behind what its hooks saw, and with it who worked the stage.
        return no.stand(
            state,
            "lease.person",
            "a session with hooks drove this run, so only a person goes on with it outside of one",
            "Go on in a session with /stagent:continue, or call stagent continue in a terminal of your own.",
        )
    if lease is None:
        accepted = acknowledged(state)
        return [ev.Resumed(holder=command.holder, fence=fence, head=evidence.head, acknowledged=accepted)]
    if command.take_over and caller.kind != "person":
        return no.call(
            state, "lease.person", "only a person takes a run over", "In a terminal: stagent continue --take-over."
        )
    if command.take_over or _gone(lease.holder, caller, command.holder, evidence):
        return [ev.TakenOver(holder=command.holder, fence=fence, previous=lease.holder, head=evidence.head)]
    state_word = "is gone" if evidence.holder_alive is False else "holds it"
    return no.stand(
        state,
        "lease.held",
        f"another {lease.holder.kind} owns the run and {state_word}",
        "Interrupt it there, or take it over: stagent continue --take-over.",
        holder=lease.holder.session or lease.holder.pid,
        alive=None if evidence.holder_alive is None else str(evidence.holder_alive).lower(),
    )


def _gone(holder: ev.Holder, caller: cmd.Caller, new: ev.Holder, evidence: Evidence) -> bool:
    """Say whether a holder whose process is gone makes room: a runner always, a session for its own next process."""
    if evidence.holder_alive is not False:
        return False
    same = holder.kind == new.kind == "session" and holder.session == new.session
    return holder.kind == "runner" or (same and caller.kind == "engine")


def _give_up(workflow: Workflow, state: State, command: cmd.GiveUp, evidence: Evidence) -> Answer:
    if command.by == "agent" and state.refused == 0:
        return no.work(
            state,
            "escalate.early",
            "nothing was refused and nothing failed in this epoch",
            "Try the stage first; escalate when the engine refused it or a check failed.",
        )
    if command.by == "agent" and not command.text:
        return no.call(state, "escalate.reason", "giving up needs a reason", "Say why nobody but a person can go on.")
    if "escalated" not in workflow.terminals:
        return [ev.Blocked(code=command.code or "given_up", text=command.text, head=evidence.head)]
    return [
        ev.Escalated(
            stage=state.stage,
            epoch=state.epoch,
            by=command.by,
            text=command.text,
            report=evidence.report,
            head=evidence.head,
        )
    ]


def _cancel(state: State, caller: cmd.Caller, evidence: Evidence) -> Answer:
    if state.status == "ended":
        return no.not_live(state) or []
    if caller.kind != "person":
        return no.call(state, "cancel.person", "only a person cancels a run", "In a terminal: stagent cancel.")
    return [ev.Terminal(terminal="cancelled", epoch=state.epoch + 1, success=False, report=evidence.report)]

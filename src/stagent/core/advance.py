"""What a transition needs, in order: the first failure is the refusal and nothing moves.

Each rule is a function that returns None (satisfied), a refusal, or events that must be recorded before the next
look (an artifact read, a check to run, a gate to open). `RunService` appends such events and asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from stagent.core import events as ev
from stagent.core import refusals as no
from stagent.core.commands import Advance, Caller
from stagent.core.evidence import Evidence, Found, capped, target_of
from stagent.core.ids import attempt_id
from stagent.core.model import Stage, Workflow
from stagent.core.producer import producer_of
from stagent.core.refusals import Refusal
from stagent.core.state import Recorded, State
from stagent.core.structured import satisfied
from stagent.core.supply import supplied

Answer = list[ev.Event] | Refusal
_SHOWN = 20


def advance(workflow: Workflow, state: State, caller: Caller, command: Advance, evidence: Evidence) -> Answer:
    """Return the events of the one transition the evidence allows, events to record first, or the refusal."""
    refusal = no.not_live(state) or holds(state, caller)
    if refusal is not None:
        return refusal
    stage = workflow.stages[state.stage]
    if stage.kind == "human":
        waiting = _choice(state, stage, evidence)
        if waiting is not None:
            return waiting
    if stage.kind == "command" and (state.refusal or not _command_done(state, evidence)):
        return no.wait(state, "command.pending", "the engine has not run the command yet", "It runs it at advance.")
    found = _artifact(state, stage, command, evidence)
    if isinstance(found, Refusal):
        return found
    producer = producer_of(workflow, state, stage, caller, command, evidence, found)
    if isinstance(producer, Refusal):
        return producer
    recorded = Recorded(found.digest, found.body, found.result, state.epoch, producer)
    first = _record(state, stage, recorded, found)
    for rule in _RULES:
        answer = rule(workflow, state, stage, recorded, evidence)
        if isinstance(answer, Refusal):
            # What was read is recorded even when it is not enough; asked again, the answer is the refusal.
            return first or answer
        if answer is not None:
            return first + answer
    return first + _transition(workflow, state, stage, recorded, evidence)


def holds(state: State, caller: Caller) -> Refusal | None:
    """Refuse a caller who does not hold the run's lease."""
    lease = state.lease
    if caller.agent is not None:
        return no.stand(
            state,
            "lease.subagent",
            "a sub-agent does not move the run",
            "Finish the artifact and end; the session that launched it goes on.",
        )
    if lease is None or caller.kind in ("engine", "person"):
        return None if lease is not None and caller.kind == "engine" else _not_holder(state)
    holder = lease.holder
    if holder.kind != caller.kind:
        return _not_holder(state)
    if holder.kind == "runner":
        return None if caller.fence == lease.fence else _not_holder(state)
    if holder.session != caller.session:
        return _not_holder(state)
    if holder.pid is not None and holder.pid != caller.pid:
        return _not_holder(state)
    return None


def fenced(state: State, caller: Caller) -> Refusal | None:
    """Refuse what a runner brings whose lease is over, and what the engine or a policy brings on behalf of one."""
    if caller.kind not in ("runner", "engine") or caller.fence is None or not state.live:
        return None
    return None if state.lease is not None and state.lease.fence == caller.fence else _not_holder(state)


def _not_holder(state: State) -> Refusal:
    holder = state.lease.holder if state.lease else None
    who = f"{holder.kind} {holder.session or holder.pid or ''}".strip() if holder else "nobody"
    return no.stand(
        state,
        "lease.held",
        f"this caller does not drive the run; {who} does",
        "Drive it from there, interrupt it there, or take it over: stagent continue --take-over.",
        holder=who,
        fence=state.fence,
    )


def _artifact(state: State, stage: Stage, command: Advance, evidence: Evidence) -> Found | Refusal:
    found = evidence.artifact
    if state.attempt_open:
        return no.wait(
            state,
            "attempt.running",
            f"attempt {attempt_id(state.run, state.epoch, state.attempt)} is still running",
            "Wait until it ends.",
        )
    if found is None:
        return no.work(
            state,
            "artifact.missing",
            f"there is no artifact at {evidence.artifact_path}",
            f"Write it there with epoch: {state.epoch} and a result in its front matter.",
            sorted(stage.transitions),
            path=evidence.artifact_path,
        )
    refusal = _front(state, stage, found) or _chosen(state, stage, found)
    if refusal is not None:
        return refusal
    target = stage.transitions[found.result]
    if command.to is not None and command.to != target:
        return no.call(
            state,
            "transition.target",
            f"result {found.result} leads to {target}, not to {command.to}",
            "The target follows from the artifact's result: call advance without --to.",
            sorted(stage.transitions),
            target=target,
        )
    return found


def _choice(state: State, stage: Stage, evidence: Evidence) -> Answer | None:
    tree = evidence.tree if stage.writes_project else None
    gate = state.gate
    if gate is None or gate.tree != tree:
        stale = gate is not None and gate.decision == "answer"
        return [ev.GateOpened(stage=stage.name, epoch=state.epoch, body="", tree=tree, stale=stale)]
    if gate.decision == "answer":
        return None
    return no.wait(
        state,
        "gate.stale" if gate.stale else "gate.waiting",
        "the choice is stale, the project has changed" if gate.stale else "a person must choose",
        f"In a terminal: stagent answer {state.run} --choice {'|'.join(sorted(stage.transitions))}.",
        choices=sorted(stage.transitions),
        head=state.head,
        tree=tree,
    )


def _chosen(state: State, stage: Stage, found: Found) -> Refusal | None:
    choice = state.gate.choice if state.gate is not None else ""
    if stage.kind != "human" or found.result == choice:
        return None
    return no.work(
        state,
        "artifact.choice",
        f'{found.path} says "{found.result}", but "{choice}" was chosen',
        "Leave the artifact of this stage to the engine; it writes the choice.",
        path=found.path,
        choice=choice,
    )


def _command_done(state: State, evidence: Evidence) -> bool:
    made = state.artifact
    found = evidence.artifact
    return made is not None and made.producer.kind == "engine" and found is not None and found.digest == made.digest


def _front(state: State, stage: Stage, found: Found) -> Refusal | None:
    known = sorted(stage.transitions)
    remedy = f"Write epoch: {state.epoch} and one of the known results."
    if found.problem:
        return no.work(state, "artifact.front_matter", f"{found.path}: {found.problem}", remedy, known, path=found.path)
    if found.epoch is None:
        return no.work(state, "artifact.no_epoch", f"{found.path} states no epoch", remedy, known, path=found.path)
    if found.epoch != state.epoch:
        return no.work(
            state,
            "artifact.epoch",
            f"epoch mismatch: {found.path} states {found.epoch}",
            f"Do this epoch's work and write epoch: {state.epoch}.",
            path=found.path,
            found=found.epoch,
        )
    if found.result in ("", "pending"):
        return no.work(state, "artifact.pending", f"{found.path} has no result yet", remedy, known, path=found.path)
    if found.result not in stage.transitions:
        return no.work(
            state,
            "artifact.result",
            f'{found.path} has the unknown result "{found.result}"',
            remedy,
            known,
            path=found.path,
            result=found.result,
        )
    return None


def _record(state: State, stage: Stage, recorded: Recorded, found: Found) -> list[ev.Event]:
    if recorded == state.artifact:
        return []
    return [
        ev.ArtifactRecorded(
            stage=stage.name,
            epoch=state.epoch,
            digest=recorded.digest,
            body=recorded.body,
            result=recorded.result,
            size=found.size,
            producer=recorded.producer,
        )
    ]


def _tree(workflow: Workflow, state: State, stage: Stage, recorded: Recorded, evidence: Evidence) -> Answer | None:
    if stage.bound_tree and evidence.tree_changes:
        shown = ", ".join(evidence.tree_changes[:_SHOWN])
        more = len(evidence.tree_changes) - _SHOWN
        may = "only its artifact" if stage.writes == "artifact" else "only " + ", ".join(stage.writes or ())
        return no.work(
            state,
            "tree.changed",
            f"this stage may write {may}, but the project changed: {shown}" + (f" and {more} more" if more > 0 else ""),
            "Undo these changes; if they are needed, say so in the artifact for the stage that may make them.",
            paths=evidence.tree_changes,
        )
    if stage.protects and evidence.laundered:
        return no.work(
            state,
            "protect.outside",
            "protected files outside this stage's globs changed: " + ", ".join(evidence.laundered[:_SHOWN]),
            "Restore them; this stage may change " + ", ".join(stage.protects) + ".",
            paths=evidence.laundered,
        )
    return None


def _checks(workflow: Workflow, state: State, stage: Stage, recorded: Recorded, evidence: Evidence) -> Answer | None:
    for check in stage.checks_for(recorded.result):
        known = state.checks.get(check.name)
        if known is not None and known.outcome == "running" and evidence.checker_alive:
            return no.wait(state, "check.running", f"check {check.name} is running", "Wait for it.", check=check.name)
        valid = known is not None and known.artifact == recorded.digest and known.tree == (evidence.tree or "")
        if known is None or not valid or known.outcome in ("running", "abandoned"):
            return [
                ev.CheckStarted(
                    name=check.name,
                    epoch=state.epoch,
                    artifact=recorded.digest,
                    tree=evidence.tree or "",
                    pid=evidence.pid,
                    started=evidence.started,
                )
            ]
        if known.outcome != "pass":
            return _failed(state, check.name, known.outcome, known.exit, known.output, known.protected)
    return None


def _failed(
    state: State, name: str, outcome: str, code: int | None, output: str | None, protected: str | None
) -> Refusal:
    fields: dict[str, str | int | None] = {
        "check": name,
        "outcome": outcome,
        "exit": code,
        "output": output,
        "protected": protected,
    }
    if outcome == "protected":
        ran = "was not run: files it depends on were changed, removed or added"
        if code is not None:
            ran = "does not count: files it depends on were changed, removed or added while it ran"
        return no.work(
            state,
            "check.protected",
            f"check {name} {ran}",
            "Restore what was changed, take out what is listed with an A; other new files are welcome.",
            **fields,
        )
    how = {"timeout": "did not finish in time", "error": "could not be run"}.get(
        outcome, f"failed with exit code {code}"
    )
    return no.work(state, "check.failed", f"check {name} {how}", "Mend what it reports, then advance again.", **fields)


def _gate(workflow: Workflow, state: State, stage: Stage, recorded: Recorded, evidence: Evidence) -> Answer | None:
    if stage.kind == "human" or not stage.person_decides(recorded.result):
        return None
    tree = evidence.tree if stage.writes_project else None
    gate = state.gate
    approved = gate is not None and gate.decision == "approve"
    other = approved and gate is not None and gate.choice != recorded.result
    if gate is None or gate.body != recorded.body or gate.tree != tree or other:
        stale = approved
        return [ev.GateOpened(stage=stage.name, epoch=state.epoch, body=recorded.body, tree=tree, stale=stale)]
    if gate.decision == "approve":
        return None
    if gate.decision in ("reject", "redo"):
        return no.work(
            state,
            "gate.rejected",
            "a person rejected this artifact",
            "Read the feedback (stagent context shows it) and change the artifact.",
            feedback=gate.text,
        )
    what = "the approval is stale, what was approved has changed" if gate.stale else "a person must approve"
    return no.wait(
        state,
        "gate.stale" if gate.stale else "gate.waiting",
        what,
        f"In a terminal: stagent approve {state.run} (or reject, redo).",
        head=state.head,
        body=recorded.body,
        tree=tree,
    )


def _cancel(workflow: Workflow, state: State, stage: Stage, recorded: Recorded, evidence: Evidence) -> Refusal | None:
    by_person = stage.person_decides(recorded.result)
    if by_person or target_of(workflow, state, recorded.result) != "cancelled":
        return None
    return no.work(
        state,
        "cancel.person",
        f"result {recorded.result} would cancel the run, and only a person cancels one",
        "Write another result; a person cancels with: stagent cancel.",
        sorted(result for result, target in stage.transitions.items() if target != "cancelled"),
        result=recorded.result,
    )


Rule = Callable[[Workflow, State, Stage, Recorded, Evidence], Answer | None]
_RULES: tuple[Rule, ...] = (_tree, satisfied, _cancel, _checks, _gate, supplied)


def _transition(
    workflow: Workflow, state: State, stage: Stage, recorded: Recorded, evidence: Evidence
) -> list[ev.Event]:
    declared = stage.transitions[recorded.result]
    target = target_of(workflow, state, recorded.result) or declared
    cause: Literal["table", "cap"] = "table" if target == declared else "cap"
    epoch = state.epoch + 1
    events: list[ev.Event] = []
    if capped(workflow, state, declared):
        action: Literal["escalate", "continue"] = "escalate" if cause == "cap" else "continue"
        events.append(ev.BudgetReached(budget="max_epoch", limit=workflow.max_epoch, action=action))
    events.append(
        ev.Transitioned(
            source=stage.name,
            target=target,
            result=recorded.result,
            epoch=epoch,
            digest=recorded.digest,
            protect=_protect(state, stage, recorded, evidence),
            cause=cause,
            head=evidence.head,
        )
    )
    if workflow.is_terminal(target):
        events.append(
            ev.Terminal(terminal=target, epoch=epoch, success=workflow.is_success(target), report=evidence.report)
        )
        return events
    entered = workflow.stages[target]
    events.append(ev.StageEntered(stage=target, epoch=epoch, tree=evidence.entry_tree if entered.bound_tree else None))
    return events


def _protect(state: State, stage: Stage, recorded: Recorded, evidence: Evidence) -> str | None:
    gate = state.gate
    # Only a person's approval moves the reference, and one of a view narrowed by `watch` says nothing about the rest.
    approved = (
        gate is not None
        and gate.decision == "approve"
        and gate.channel != "policy"
        and gate.tree == evidence.full_tree
        and stage.person_decides(recorded.result)
    )
    return evidence.full_tree if stage.protects or approved else None

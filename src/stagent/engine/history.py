"""Reads a run's log as a story: stages with their attempts, artifacts, checks and decisions, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from stagent.core import events as ev
from stagent.core.masking import mask
from stagent.core.model import Workflow
from stagent.core.ports import BlobGone
from stagent.core.state import State
from stagent.core.story import Artifact, Attempt, CheckRun, Decision, DiffPart, Note, Story, Visit
from stagent.engine.audit import verify
from stagent.engine.describe import describe
from stagent.engine.differences import since_start
from stagent.engine.report import UNPROTECTED
from stagent.engine.service import RunService
from stagent.engine.standing import word_of
from stagent.errors import StagentError, StoreError

TEXT_LIMIT = 256 * 1024
"""The longest text of a story (bytes of the blob); what is beyond is left out and said so."""
DIFF_LINES = 3_000
"""The most lines of a diff in a story."""
DIFF_BYTES = 512 * 1024
"""The most bytes of a diff in a story."""
_OPEN = ("running", "ok")


def tell(service: RunService, run: str, *, whole: bool = False) -> Story:
    """Return the story of a run; `whole` adds the texts of artifacts and checks, the report and the diff.

    Raises NotFoundError for an unknown run, StoreError for a log that cannot be read.
    """
    state = service.state(run)
    workflow = service.workflow(state)
    teller = _Teller(service, workflow, whole=whole)
    with suppress(StoreError):  # the audit says what is wrong with the log; what can be read is told
        for envelope in events(service, run):
            teller.take(envelope)
    verdict, word = verify(service.journal, run), word_of(service, state)
    attempts = [attempt for visit in teller.visits for attempt in visit.attempts]
    tokens = [item.tokens for item in attempts if item.tokens is not None]
    costs = [item.cost_usd for item in attempts if item.cost_usd is not None]
    return Story(
        run=run,
        flow=state.flow,
        workflow=state.workflow,
        title=workflow.title,
        mode=state.mode,
        project=str(service.root),
        task=teller.text(state.task),
        status=word,
        ended=state.ended,
        success=state.success,
        stage=state.stage,
        epoch=state.epoch,
        started=state.started_at,
        updated=state.updated_at,
        events=verdict.events,
        head=state.head,
        baseline=state.baseline,
        commit=teller.commit,
        visits=_abandoned(teller.visits) if word == "stale" else teller.visits,
        warnings=list(_warnings(workflow, state, teller.visits)),
        consistent=verdict.consistent,
        audit=verdict.summary.removeprefix(f"{run}: "),
        report=teller.text(state.report) if whole else "",
        tokens=sum(tokens) if tokens else None,
        cost_usd=sum(costs) if costs else None,
        diff=_diff(service, state) if whole else None,
    )


def _abandoned(visits: list[Visit]) -> list[Visit]:
    """Call nothing running that nobody is left to end."""
    for visit in visits:
        for attempt in visit.attempts:
            attempt.outcome = "stale" if attempt.outcome == "running" else attempt.outcome
        for check in visit.checks:
            check.outcome = "stale" if check.outcome == "running" else check.outcome
    return visits


def events(service: RunService, run: str) -> Iterator[ev.Envelope]:
    """Yield the events of a run. Raises StoreError `log.unreadable` at one that is damaged or of a later version."""
    for record in service.store.read(run):
        try:
            yield ev.unseal(record.body)
        except msgspec.DecodeError as error:
            raise StoreError(
                "log.unreadable",
                f"event {record.seq} cannot be read: {error}",
                where=run,
                remedy="`stagent audit verify` says more; restore the project's database from a copy.",
            ) from error


def _warnings(workflow: Workflow, state: State, visits: list[Visit]) -> Iterator[str]:
    if state.success and not workflow.protected_success:
        yield UNPROTECTED.removeprefix("> ")
    for visit in visits:
        if visit.kind == "review" and any(item.accepted and item.by_own_word for item in visit.artifacts):
            yield (
                f"Unproven review: who reviewed in stage {visit.stage}, epoch {visit.epoch}, is the word of whoever "
                "drove the run by hand."
            )
        if visit.unproven:
            yield (
                f"Unproven approval: stage {visit.stage}, epoch {visit.epoch}, was left through a gate that declares "
                "explicit: false; no person's decision stands behind it."
            )
        for item in visit.decisions:
            if item.by_policy and item.decision:
                yield (
                    f"Decided by a declared policy, not by a person: the gate of {visit.stage}, epoch {visit.epoch}."
                )


def _diff(service: RunService, state: State) -> DiffPart:
    try:
        found = since_start(service, state)
    except StagentError as error:
        return DiffPart(problem=mask(str(error)))
    if found is None:
        return DiffPart(problem="The workflow does not record the project.")
    lines = found.diff[:DIFF_BYTES].decode("utf-8", "replace").removesuffix("\n").split("\n")
    total = found.diff.count(b"\n")
    kept = lines[:DIFF_LINES]
    return DiffPart(
        baseline=found.baseline,
        tree=found.tree,
        files=found.files,
        text=mask("\n".join(kept)),
        left_out=max(total - len(kept), 0),
    )


class _Teller:
    """Takes the events of one run in order."""

    def __init__(self, service: RunService, workflow: Workflow, *, whole: bool) -> None:
        self._service = service
        self._workflow = workflow
        self._whole = whole
        self._takes: dict[type, Callable[[Visit, Any, ev.Envelope], None]] = {
            ev.AttemptStarted: self._attempt_started,
            ev.AttemptEnded: self._attempt_ended,
            ev.ArtifactRecorded: self._artifact,
            ev.CheckStarted: self._check_started,
            ev.CheckEnded: self._check_ended,
            ev.GateOpened: self._gate_opened,
            ev.GateDecided: self._gate_decided,
            ev.Transitioned: self._transitioned,
        }
        self.visits: list[Visit] = []
        self.commit: str | None = None

    def take(self, envelope: ev.Envelope) -> None:
        """Add one event to the story."""
        data = envelope.data
        if isinstance(data, ev.RunStarted):
            self.commit = data.head
        elif isinstance(data, ev.StageEntered):
            self._entered(data, envelope)
        elif self.visits:
            self._takes.get(type(data), self._note)(self.visits[-1], data, envelope)

    def text(self, name: str | None) -> str:
        """Return a blob as masked text; one that is deleted, missing or damaged says so instead."""
        if not name:
            return ""
        try:
            found = self._service.store.blob(name)
        except StagentError as error:
            return f"[not there: {error.what}]"
        if isinstance(found, BlobGone):
            return f"[deleted: {mask(found.reason)}]"
        text = mask(found[:TEXT_LIMIT].decode("utf-8", "replace"))
        beyond = len(found) - TEXT_LIMIT
        return f"{text}\n[… {beyond:,} more bytes are left out]\n" if beyond > 0 else text

    def _full(self, name: str | None) -> str:
        return self.text(name) if self._whole else ""

    def _entered(self, data: ev.StageEntered, envelope: ev.Envelope) -> None:
        stage = self._workflow.stages[data.stage]
        self.visits.append(
            Visit(stage=data.stage, title=stage.title, kind=stage.kind, epoch=data.epoch, entered=envelope.at)
        )

    def _attempt_started(self, visit: Visit, data: ev.AttemptStarted, envelope: ev.Envelope) -> None:
        by = f"sub-agent {data.agent}" if data.agent else data.backend
        visit.attempts.append(Attempt(number=data.number, by=by, started=envelope.at))

    def _attempt_ended(self, visit: Visit, data: ev.AttemptEnded, envelope: ev.Envelope) -> None:
        attempt = _same_attempt(visit, data)
        if attempt is None:
            attempt = Attempt(number=data.number, by=self._driver(envelope))
            visit.attempts.append(attempt)
        attempt.outcome, attempt.code, attempt.text = data.outcome, data.code, self.text(data.text)
        attempt.ended = attempt.ended or envelope.at
        for name in ("exit", "session", "tokens", "cost_usd", "retry_at"):
            value = getattr(data, name)
            if value is not None:
                setattr(attempt, name, value)
        attempt.stream_bytes = data.stream_bytes or attempt.stream_bytes

    def _driver(self, envelope: ev.Envelope) -> str:
        return envelope.actor.partition(":")[0]

    def _artifact(self, visit: Visit, data: ev.ArtifactRecorded, envelope: ev.Envelope) -> None:
        visit.artifacts.append(
            Artifact(
                stage=data.stage,
                epoch=data.epoch,
                result=data.result,
                digest=data.digest,
                body=data.body,
                size=data.size,
                producer=f"{data.producer.kind} {data.producer.id}".strip(),
                at=envelope.at,
            )
        )

    def _check_started(self, visit: Visit, data: ev.CheckStarted, envelope: ev.Envelope) -> None:
        visit.checks.append(CheckRun(name=data.name, artifact=data.artifact, tree=data.tree, started=envelope.at))

    def _check_ended(self, visit: Visit, data: ev.CheckEnded, envelope: ev.Envelope) -> None:
        check = next((item for item in reversed(visit.checks) if item.name == data.name and item.ended is None), None)
        if check is None:
            check = CheckRun(name=data.name, artifact=data.artifact, tree=data.tree, started=envelope.at - data.millis)
            visit.checks.append(check)
        check.ended, check.outcome, check.exit = envelope.at, data.outcome, data.exit
        check.millis, check.output = data.millis, data.output
        check.text = self._full(data.output)
        check.protected, check.added = self.text(data.protected), self.text(data.added)
        check.changed = self.text(data.changed)

    def _gate_opened(self, visit: Visit, data: ev.GateOpened, envelope: ev.Envelope) -> None:
        visit.decisions.append(Decision(opened=envelope.at, body=data.body, tree=data.tree, stale=data.stale))

    def _gate_decided(self, visit: Visit, data: ev.GateDecided, envelope: ev.Envelope) -> None:
        decision = visit.decisions[-1] if visit.decisions else None
        if decision is None or decision.decision:
            decision = Decision()
            visit.decisions.append(decision)
        decision.decided, decision.actor = envelope.at, envelope.actor
        decision.decision, decision.channel, decision.choice = data.decision, data.channel, data.choice
        decision.body, decision.tree, decision.anchor = data.body, data.tree, data.anchor
        decision.text = self.text(data.text)

    def _transitioned(self, visit: Visit, data: ev.Transitioned, envelope: ev.Envelope) -> None:
        visit.left, visit.result, visit.target, visit.cause = envelope.at, data.result, data.target, data.cause
        gate = self._workflow.stages[visit.stage].gate
        visit.unproven = gate is not None and not gate.explicit and gate.guards(data.result)
        for artifact in reversed(visit.artifacts):
            if artifact.digest == data.digest:
                artifact.accepted, artifact.text = True, self._full(artifact.digest)
                break

    def _note(self, visit: Visit, data: ev.Event, envelope: ev.Envelope) -> None:
        if isinstance(data, ev.Terminal) and visit.left is None:
            visit.left, visit.target = envelope.at, data.terminal
        words = self.text(getattr(data, "text", None) or getattr(data, "reason", None))
        visit.notes.append(
            Note(seq=envelope.seq, at=envelope.at, actor=envelope.actor, words=describe(data), text=words)
        )


def _same_attempt(visit: Visit, data: ev.AttemptEnded) -> Attempt | None:
    """Return the attempt an ending belongs to; a refusal comes after the ending of the process it judges."""
    for attempt in reversed(visit.attempts):
        if data.agent is not None:
            if attempt.by == f"sub-agent {data.agent}":
                return attempt
        elif attempt.number == data.number and attempt.outcome in _OPEN:
            return attempt
    return None

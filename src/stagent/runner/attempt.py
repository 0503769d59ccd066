"""Makes attempts at a run's agent stages: what the agent is told, its process, and what the log keeps of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from stagent import disk, processes
from stagent.config import value
from stagent.core import commands as cmd
from stagent.core.budget import Hit, Spent, due, left
from stagent.core.canonical import digest
from stagent.core.events import AttemptEnded, AttemptStarted
from stagent.core.ids import attempt_id
from stagent.core.masking import mask
from stagent.core.model import Stage
from stagent.core.ports import AgentBackend, AgentEvent, AttemptSpec, Outcome
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine.folder import file_digest, write
from stagent.engine.projections import attempt as attempt_file
from stagent.engine.prompt import attempt_prompt
from stagent.engine.service import RunService
from stagent.engine.structured import artifact_from
from stagent.failpoints import hit
from stagent.runner.ledger import Ledger
from stagent.runner.roster import Marks
from stagent.runner.slots import take
from stagent.runner.streams import LineSplitter, seen
from stagent.runner.supervisor import Supervisor
from stagent.runner.typed import typed_path

_TURNED_AWAY = frozenset({"rate_limited", "overloaded"})
_TURNS_AWAY = 8
_LONGEST_PAUSE = 900.0
_BLOCK = 256 * 1024
FAILURES = frozenset(
    {
        *("unresumable", "rate_limited", "overloaded", "api_error", "max_turns", "max_budget", "schema"),
        *("permission_denied", "hook_missing", "hook_failed", "hook_stopped", "tool_deferred", "plugin", "version"),
        *("signal", "exit", "no_result", "aborted_streaming", "error", "error_during_execution"),
    }
)
"""The words of backends that become a code of the log; what any other word means is told by the reason alone."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from an attempt beyond what the log says: when to try again (unix ms), or a limit that was met."""

    retry_at: int | None = None
    limit: Hit | None = None


class AttemptMaker:
    """Makes one run's attempts, one after the other."""

    def __init__(
        self,
        service: RunService,
        backend: AgentBackend,
        options: dict[str, str],
        on_event: Callable[[AgentEvent], None],
        on_wait: Callable[[str, float], None],
    ) -> None:
        self.service = service
        self.backend = backend
        self.options = options
        self._on_event = on_event
        self._on_wait = on_wait
        self._stopped = False
        self._supervisor = Supervisor(backend)
        self._gone: set[str] = set()
        self._written = ""
        self._turned_away = 0
        self._pause = float(value(service.home, "provider_pause")[0])
        self._longest = float(value(service.home, "provider_longest")[0] or "inf") * 60

    def stop(self) -> None:
        """End the attempt that runs, and any later one before it starts; safe in a signal handler."""
        self._stopped = True
        self._supervisor.stop()

    def make(self, state: State, stage: Stage, caller: cmd.Caller) -> Made:
        """Make the next attempt at the stage the run stands in, and record how it went.

        Raises RefusedError when the lease is lost, StagentError when the agent cannot be described.
        """
        with take(self.service.home, self._queued, lambda: self._stopped) as placed:
            return self._make(state, stage, caller) if placed else Made()

    def _queued(self, seconds: float) -> None:
        self._on_wait("a place among the attempts of this machine", seconds)

    def _make(self, state: State, stage: Stage, caller: cmd.Caller) -> Made:
        self._supervisor = Supervisor(self.backend)
        if self._stopped:
            return Made()
        spec = self.spec(state, stage)
        launch = self.backend.launch(spec, dict(os.environ))
        self._tell_hook(state, spec)
        before = file_digest(Path(spec.artifact))
        meter = _Meter(self.service, state, caller, self._supervisor, self._on_event)

        def begun(pid: int, started: str) -> None:
            hit("runner.spawned")
            self._record_start(state, spec, caller, pid, started)
            hit("runner.attempt_logged")

        began = time.monotonic()
        self._written = spec.stream
        outcome = self._supervisor.run(spec, launch, on_event=meter.take, on_started=begun)
        millis = int((time.monotonic() - began) * 1000)
        hit("runner.attempt_over")
        if _unresumed(outcome, spec) and spec.resume:
            self._gone.add(spec.resume)
        outcome = self._patience(outcome)
        if outcome.status == "ok" and file_digest(Path(spec.artifact)) == before:
            outcome = _delivered(outcome, spec, stage)
        self._record_end(spec, outcome, caller, millis)
        attempt_file.forget(self.service.home, spec.run)
        return Made(retry_at=outcome.retry_at, limit=meter.limit)

    def _patience(self, outcome: Outcome) -> Outcome:
        """Say when to try again after the provider turned an attempt away; no time means that this is enough."""
        if outcome.status != "failed" or outcome.code not in _TURNED_AWAY:
            self._turned_away = 0
            return msgspec.structs.replace(outcome, retry_at=None)
        self._turned_away += 1
        if self._turned_away > _TURNS_AWAY:
            return msgspec.structs.replace(outcome, retry_at=None)
        seconds = min(self._pause * 2 ** (self._turned_away - 1), _LONGEST_PAUSE)
        # A time that the provider names may be over already, by its clock or by ours; then it says nothing.
        now = self.service.clock()
        at = max(outcome.retry_at or 0, now + int(seconds * 1000))
        return msgspec.structs.replace(outcome, retry_at=at if at - now <= self._longest * 1000 else None)

    def _tell_hook(self, state: State, spec: AttemptSpec) -> None:
        service = self.service
        attempt_file.publish(
            service.workflow(state), state, service.folder(state), service.brief(state), service.home, spec
        )

    def recover(self, state: State, caller: cmd.Caller) -> None:
        """End what a runner that was killed left behind: processes of the run, and the open attempt in the log."""
        for mark in Marks().of(state.run):
            processes.kill_attempt(mark, None, None)
        attempt_file.forget(self.service.home, state.run)
        if not state.attempt_open:
            return
        name = attempt_id(state.run, state.epoch, state.attempt)
        # The process of a command's attempt is an engine that ran it, perhaps one that still serves other runs.
        by_mark = self.service.workflow(state).stages[state.stage].kind == "command"
        processes.kill_attempt(name, None if by_mark else state.attempt_pid, None if by_mark else state.attempt_started)
        left_behind = self._left_behind(self._stream(state, state.attempt))
        event = AttemptEnded(
            stage=state.stage,
            epoch=state.epoch,
            number=state.attempt,
            outcome="orphaned",
            code="attempt.orphaned",
            session=left_behind.session,
            stream=left_behind.stream_digest,
            stream_bytes=left_behind.stream_bytes,
            tokens=left_behind.tokens,
            cost_usd=left_behind.cost_usd,
        )
        self.service.submit(state.run, caller, cmd.EndAttempt(event=event))

    def make_room(self) -> None:
        """Remove what the last attempt's stream can be read without: its typed events are made again from it."""
        if self._written:
            disk.remove(Path(typed_path(self._written)))

    def _left_behind(self, stream: Path) -> Outcome:
        """Return what a stream nobody writes to any more says: the session that can go on, and what was used."""
        ledger = Ledger(self.backend, lambda event: None)
        lines = LineSplitter(ledger.take, ledger.take_long)
        digest, size = seen(str(stream))
        if digest is not None:
            with open(stream, "rb") as file:
                while block := file.read(_BLOCK):
                    lines.feed(block)
            lines.finish()
        return ledger.outcome("stopped", None, digest, size)

    def spec(self, state: State, stage: Stage) -> AttemptSpec:
        """Return everything the backend needs for the next attempt."""
        number = state.attempt + 1
        folder = self.service.folder(state)
        stream = self._stream(state, number)
        disk.make_folder(stream.parent, private=True)
        resume = state.agent_session if state.agent_session not in self._gone else None
        workflow = self.service.workflow(state)
        minutes = left(workflow, state, "minutes")
        limits = [stage.timeout, None if minutes is None else minutes * 60]
        return AttemptSpec(
            id=attempt_id(state.run, state.epoch, number),
            run=state.run,
            stage=stage.name,
            epoch=state.epoch,
            number=number,
            stage_attempt=state.attempts.get(stage.name, 0) + 1,
            workdir=str(self.service.root),
            run_dir=str(folder.path),
            artifact=str(folder.artifact(stage.name)),
            prompt=attempt_prompt(self.service, state, continued=resume is not None),
            stream=str(stream),
            model=(stage.persona.model if stage.persona else None) or stage.model,
            system_prompt=stage.persona.system_prompt if stage.persona else "",
            tools=stage.tools.allow if stage.tools else None,
            deny_tools=stage.tools.deny if stage.tools else (),
            schema=stage.output.schema if stage.output else None,
            results=tuple(stage.transitions),
            timeout=min((limit for limit in limits if limit is not None), default=None),
            resume=resume,
            cost_limit=left(workflow, state, "cost_usd"),
            options=self.options,
        )

    def _stream(self, state: State, number: int) -> Path:
        streams = self.service.home.project(self.service.project) / "streams" / state.run
        return streams / f"{state.epoch}.{number}.ndjson"

    def _record_start(self, state: State, spec: AttemptSpec, caller: cmd.Caller, pid: int | None, started: str) -> None:
        event = AttemptStarted(
            stage=spec.stage,
            epoch=state.epoch,
            number=spec.number,
            backend=self.backend.name,
            pid=pid,
            started=started or None,
        )
        answer = self.service.submit(spec.run, caller, cmd.BeginAttempt(event=event))
        if isinstance(answer, Refusal):
            raise answer.error()

    def _record_end(self, spec: AttemptSpec, outcome: Outcome, caller: cmd.Caller, millis: int) -> None:
        status = outcome.status
        if self._stopped and status != "ok":
            status = "stopped"
        elif status == "failed" and (_unresumed(outcome, spec) or outcome.retry_at is not None):
            status = "void"
        reason = mask(outcome.reason).encode("utf-8", "replace")
        # Who ended it from outside says nothing about the work: what was said before stands.
        text = digest(reason) if status not in ("ok", "stopped") and reason else None
        current = self.service.state(spec.run)
        if status == "unstartable" and not current.attempt_open:
            self._record_start(current, spec, caller, None, "")
        event = AttemptEnded(
            stage=spec.stage,
            epoch=spec.epoch,
            number=spec.number,
            outcome=status,  # type: ignore[arg-type]  # the outcomes of a process are among those of an attempt
            code=_code(outcome, status),
            text=text,
            exit=outcome.exit,
            session=outcome.session,
            stream=outcome.stream_digest,
            stream_bytes=outcome.stream_bytes,
            tokens=outcome.tokens,
            cost_usd=outcome.cost_usd,
            millis=millis,
            retry_at=outcome.retry_at if status == "void" else None,
        )
        self.service.submit(spec.run, caller, cmd.EndAttempt(event=event), {text: reason} if text else None)


class _Meter:
    """Watches what an attempt uses while it runs, and ends it when a limit of the workflow is met."""

    def __init__(
        self,
        service: RunService,
        state: State,
        caller: cmd.Caller,
        supervisor: Supervisor,
        on_event: Callable[[AgentEvent], None],
    ) -> None:
        self._service = service
        self._state = state
        self._caller = caller
        self._supervisor = supervisor
        self._on_event = on_event
        self._began = time.monotonic()
        self._usd = 0.0
        self._tokens = 0
        self.limit: Hit | None = None

    def take(self, event: AgentEvent) -> None:
        """Pass an event on and count what it says was used."""
        self._on_event(event)
        if event.kind != "usage" or self.limit is not None:
            return
        self._usd += event.cost_usd or 0.0
        self._tokens += event.tokens or 0
        running = Spent(usd=self._usd, tokens=self._tokens, millis=int((time.monotonic() - self._began) * 1000))
        met = due(self._service.workflow(self._state), self._state, running)
        if met is None:
            return
        if met.action == "warn":
            answer = self._service.submit(self._state.run, self._caller, met.command)
            self._state = answer if isinstance(answer, State) else self._state
            return
        self.limit = met
        self._supervisor.stop()


def _unresumed(outcome: Outcome, spec: AttemptSpec) -> bool:
    """Say whether an attempt only found that its session is gone; one that began afresh cannot have."""
    return outcome.code == "unresumable" and spec.resume is not None


def _code(outcome: Outcome, status: str) -> str:
    """Return the code the log names an attempt's end by; empty for a good one."""
    if status == "ok":
        return ""
    return f"attempt.{outcome.code if outcome.code in FAILURES else status}"


def _delivered(outcome: Outcome, spec: AttemptSpec, stage: Stage) -> Outcome:
    """Put an agent's answer in the place of the artifact it did not write; an agent without a way to write gives it so.

    An attempt that left neither, and says why, failed for that reason.
    """
    data = artifact_from(outcome.structured, stage, spec.epoch) if outcome.structured else None
    if data is None and outcome.result.startswith("---\n"):
        data = outcome.result.encode("utf-8", "replace")
    if data is not None:
        write(Path(spec.artifact), data)
        return outcome
    if outcome.reason:
        return msgspec.structs.replace(outcome, status="failed")
    return outcome

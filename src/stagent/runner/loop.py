"""Drives one run headless: attempts at agent stages, the engine's commands, people or a policy at gates.

The log is the queue: what is to be done next follows from the run's state alone, so a runner that is killed is
replaced by any other that takes the lease and looks at the state.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from stagent import processes
from stagent.core import commands as cmd
from stagent.core.advance import holds
from stagent.core.canonical import digest
from stagent.core.events import AttemptEnded, AttemptStarted, Holder
from stagent.core.ids import attempt_id
from stagent.core.masking import mask
from stagent.core.model import Stage
from stagent.core.ports import AgentBackend, AgentEvent, AttemptSpec, Outcome
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine.evidence import HOST
from stagent.engine.service import Advanced, RunService
from stagent.errors import RefusedError, WorkspaceError
from stagent.failpoints import hit
from stagent.runner.heartbeat import Heartbeat
from stagent.runner.policy import Policy
from stagent.runner.reaper import Reaper
from stagent.runner.supervisor import Supervisor

Ending = Literal["ended", "waiting", "blocked", "escalated", "interrupted", "stalled"]
_SLICE = 0.2


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """What the interface wants to hear, and how it asks a person; `ask` returns False when nobody decides now."""

    on_agent: Callable[[AgentEvent], None] = lambda event: None
    on_check: Callable[[str, float], None] = lambda name, seconds: None
    ask: Callable[[State, Refusal], bool] = lambda state, refusal: False


class _Stopped(Exception):
    """The runner was asked to stop while a check ran; the check is ended and run again another time."""


class Runner:
    """Holds the lease of one run and moves it until it ends, waits for a person, or cannot go on."""

    def __init__(
        self,
        service: RunService,
        backend: AgentBackend,
        run: str,
        *,
        policy: Policy | None = None,
        options: dict[str, str] | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self.service = service
        self.backend = backend
        self.run = run
        self.policy = policy
        self.options = options or {}
        self.hooks = hooks or Hooks()
        self.stopping = ""
        self._redone: set[int] = set()
        self.supervisor = Supervisor(backend)
        self._caller = cmd.Caller(actor=f"runner:{os.getpid()}", kind="runner", fence=0)

    def stop(self, reason: str) -> None:
        """Ask the runner to end its attempt and pause the run; safe in a signal handler."""
        self.stopping = self.stopping or reason
        self.supervisor.stop()

    def drive(self, state: State) -> Ending:
        """Move the run as far as it goes. The caller has started it with this process as the holder, or resumed it."""
        fence = state.lease.fence if state.lease else 0
        self._caller = cmd.Caller(actor=f"runner:{os.getpid()}", kind="runner", fence=fence)
        with Heartbeat(self.service.store, self.run, fence, self.service.clock):
            self._recover(state)
            while True:
                if self.stopping:
                    return self._pause()
                ending = self._step()
                if ending is not None:
                    return ending

    def _step(self) -> Ending | None:
        state = self.service.state(self.run)
        over = _over(state)
        if over is not None:
            return over
        lost = holds(state, self._caller)
        if lost is not None:
            raise _error(lost)
        stage = self.service.workflow(state).stages[state.stage]
        if stage.kind in ("agent", "review") and (state.attempt == 0 or state.refusal):
            if state.refused >= stage.retry.attempts:
                return self._give_up(state)
            self._wait(stage.retry.backoff if state.refused else 0.0)
            if self.stopping:
                return None
            self._attempt(state, stage)
            return None
        return self._advance()

    def _advance(self) -> Ending | None:
        done = self._asked()
        if done is None:
            return None
        refusal = done.refusal
        if refusal is None or refusal.blame == "work":
            if refusal is not None and refusal.code == "gate.rejected":
                return "waiting"
            return None
        if refusal.code in ("gate.waiting", "gate.stale"):
            return self._gate(done.state, refusal)
        over = _over(done.state)
        if over is not None:
            return over
        raise _error(refusal)

    def _asked(self) -> Advanced | None:
        """Ask for the transition; None when the project cannot even be looked at and an attempt must mend that."""
        # A check runs what the agent wrote. What escapes from it without mark and group is adopted here, and ended.
        reaper = Reaper(f"{self.run}.advance")
        self.service.tidy = reaper.sweep
        try:
            return self.service.advance(self.run, self._caller, progress=self._progress)
        except _Stopped:
            return None
        except WorkspaceError as error:
            state = self.service.state(self.run)
            if self.service.workflow(state).stages[state.stage].kind not in ("agent", "review"):
                raise
            text = str(error).encode("utf-8", "replace")
            self.service.submit(
                self.run, self._caller, cmd.Refuse(code=error.code, text=digest(text)), {digest(text): text}
            )
            return None
        finally:
            reaper.close()

    def _progress(self, name: str, seconds: float) -> None:
        if self.stopping:
            raise _Stopped
        self.hooks.on_check(name, seconds)

    # -- attempts --------------------------------------------------------------------------------------------

    def _attempt(self, state: State, stage: Stage) -> None:
        spec = self._spec(state, stage)
        launch = self.backend.launch(spec, dict(os.environ))

        def begun(pid: int, started: str) -> None:
            hit("runner.spawned")
            event = AttemptStarted(
                stage=stage.name,
                epoch=state.epoch,
                number=spec.number,
                backend=self.backend.name,
                pid=pid,
                started=started,
            )
            answer = self.service.submit(self.run, self._caller, cmd.BeginAttempt(event=event))
            if isinstance(answer, Refusal):
                raise _error(answer)
            hit("runner.attempt_logged")

        outcome = self.supervisor.run(spec, launch, on_event=self.hooks.on_agent, on_started=begun)
        hit("runner.attempt_over")
        self._ended(state, spec, outcome)

    def _spec(self, state: State, stage: Stage) -> AttemptSpec:
        number = state.attempt + 1
        name = attempt_id(state.run, state.epoch, number)
        folder = self.service.folder(state)
        streams = self.service.home.project(self.service.project) / "streams" / state.run
        streams.mkdir(mode=0o700, parents=True, exist_ok=True)
        instructions = self.service.pinned.file(state.workflow, f"{stage.name}.md").decode("utf-8", "replace")
        return AttemptSpec(
            id=name,
            run=state.run,
            stage=stage.name,
            epoch=state.epoch,
            number=number,
            stage_attempt=state.attempts.get(stage.name, 0) + 1,
            workdir=str(self.service.root),
            run_dir=str(folder.path),
            artifact=str(folder.artifact(stage.name)),
            prompt=f"{self.service.brief(state).context()}\n{instructions}",
            stream=str(streams / f"{state.epoch}.{number}.ndjson"),
            model=stage.model,
            timeout=stage.timeout,
            resume=state.agent_session,
            options=self.options,
        )

    def _ended(self, state: State, spec: AttemptSpec, outcome: Outcome) -> None:
        status = "stopped" if self.stopping and outcome.status != "ok" else outcome.status
        reason = mask(outcome.reason).encode("utf-8", "replace")
        text = digest(reason) if status != "ok" and reason else None
        current = self.service.state(self.run)
        if status == "unstartable" and not current.attempt_open:
            self._begin_unstarted(state, spec)
        event = AttemptEnded(
            stage=spec.stage,
            epoch=spec.epoch,
            number=spec.number,
            outcome=status,  # type: ignore[arg-type]  # the outcomes of a process are among those of an attempt
            code="" if status == "ok" else f"attempt.{status}",
            text=text,
            exit=outcome.exit,
            session=outcome.session,
            stream=outcome.stream_digest,
            stream_bytes=outcome.stream_bytes,
            tokens=outcome.tokens,
            cost_usd=outcome.cost_usd,
        )
        self.service.submit(self.run, self._caller, cmd.EndAttempt(event=event), {text: reason} if text else None)

    def _begin_unstarted(self, state: State, spec: AttemptSpec) -> None:
        event = AttemptStarted(stage=spec.stage, epoch=state.epoch, number=spec.number, backend=self.backend.name)
        self.service.submit(self.run, self._caller, cmd.BeginAttempt(event=event))

    def _recover(self, state: State) -> None:
        """End what a runner that was killed left behind: its attempt's processes and the open attempt in the log."""
        unlogged = attempt_id(state.run, state.epoch, state.attempt + 1)
        processes.kill_attempt(unlogged, None, None)
        if not state.attempt_open:
            return
        name = attempt_id(state.run, state.epoch, state.attempt)
        # The process of a command's attempt is an engine that ran it, perhaps one that still serves other runs.
        by_mark = self.service.workflow(state).stages[state.stage].kind == "command"
        processes.kill_attempt(name, None if by_mark else state.attempt_pid, None if by_mark else state.attempt_started)
        event = AttemptEnded(
            stage=state.stage,
            epoch=state.epoch,
            number=state.attempt,
            outcome="orphaned",
            code="attempt.orphaned",
        )
        self.service.submit(self.run, self._caller, cmd.EndAttempt(event=event))

    # -- people ----------------------------------------------------------------------------------------------

    def _gate(self, state: State, refusal: Refusal) -> Ending | None:
        if self._by_policy(state):
            return None
        if self.hooks.ask(state, refusal):
            return None
        return "waiting"

    def _by_policy(self, state: State) -> bool:
        policy = self.policy
        decision = policy.gates.get(state.stage) if policy else None
        if policy is None or decision is None or (decision.decision == "redo" and state.epoch in self._redone):
            # Declared once, a redo is carried out once an epoch: nobody would ever stop it.
            return False
        self._redone.add(state.epoch)
        reason = decision.reason.encode()
        command = cmd.DecideGate(
            decision=decision.decision, channel="policy", choice=decision.choice, text=digest(reason)
        )
        caller = cmd.Caller(actor=policy.actor, kind="engine")
        blobs = {digest(reason): reason, policy.digest: policy.text}
        return not isinstance(self.service.submit(self.run, caller, command, blobs, driver=self._caller), Refusal)

    # -- endings ---------------------------------------------------------------------------------------------

    def _give_up(self, state: State) -> Ending:
        command = cmd.GiveUp(by="engine", text=state.feedback, code=state.refusal)
        answer = self.service.submit(self.run, self._caller, command)
        return _over(answer) or "blocked" if isinstance(answer, State) else "blocked"

    def _pause(self) -> Ending:
        reason = self.stopping.encode()
        command = cmd.Interrupt(reason=digest(reason), head=self.service.workspace.head())
        self.service.submit(self.run, self._caller, command, {digest(reason): reason})
        return "interrupted"

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < until:
            time.sleep(min(_SLICE, seconds))


def holder() -> Holder:
    """Return this process as the holder of a lease."""
    pid = os.getpid()
    return Holder(kind="runner", pid=pid, started=processes.start_time(pid), host=HOST)


def _error(refusal: Refusal) -> RefusedError:
    return RefusedError(refusal.code, refusal.what, where=refusal.where, known=refusal.known, remedy=refusal.remedy)


def _over(state: State) -> Ending | None:
    if state.status == "running":
        return None
    return state.status

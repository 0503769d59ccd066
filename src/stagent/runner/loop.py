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
from stagent.core.budget import Hit, due
from stagent.core.canonical import digest
from stagent.core.events import Holder
from stagent.core.masking import mask
from stagent.core.model import Stage
from stagent.core.ports import AgentBackend, AgentEvent
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine.evidence import HOST
from stagent.engine.service import Advanced, RunService
from stagent.errors import StagentError, WorkspaceError
from stagent.runner.attempt import AttemptMaker
from stagent.runner.heartbeat import Heartbeat
from stagent.runner.policy import Policy
from stagent.runner.reaper import Reaper

Ending = Literal["ended", "waiting", "blocked", "escalated", "interrupted", "stalled"]
_SLICE = 0.2


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """What the interface wants to hear, and how it asks a person; `ask` returns False when nobody decides now."""

    on_agent: Callable[[AgentEvent], None] = lambda event: None
    on_check: Callable[[str, float], None] = lambda name, seconds: None
    on_wait: Callable[[str, float], None] = lambda what, seconds: None
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
        self.error: Exception | None = None
        self._redone: set[int] = set()
        self._attempts = AttemptMaker(service, backend, self.options, self.hooks.on_agent, self.hooks.on_wait)
        self._caller = cmd.Caller(actor=f"runner:{os.getpid()}", kind="runner", fence=0)

    def stop(self, reason: str) -> None:
        """Ask the runner to end its attempt and pause the run; safe in a signal handler."""
        self.stopping = self.stopping or reason
        self._attempts.stop()

    def drive(self, state: State) -> Ending:
        """Move the run as far as it goes. The caller has started it with this process as the holder, or resumed it.

        An error of ours or of the system ends it as `blocked`, with the error in the log and as `error`. Raises that
        error where the log cannot take it, or where the run is another's by now.
        """
        fence = state.lease.fence if state.lease else 0
        self._caller = cmd.Caller(actor=f"runner:{os.getpid()}", kind="runner", fence=fence)
        try:
            return self._drive(state, fence)
        except (StagentError, OSError) as error:
            # The outermost frame of a run: whatever stopped it, nobody may believe that it still goes on.
            return self._break_off(error)

    def _drive(self, state: State, fence: int) -> Ending:
        with Heartbeat(self.service.store, self.run, fence, self.service.clock):
            self._attempts.recover(state, self._caller)
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
            raise lost.error()
        stage = self.service.workflow(state).stages[state.stage]
        if self._limited(state):
            return None
        # What a person rejected is his to decide about again: an attempt that he did not ask for would overwrite it.
        failed = state.refusal if state.refusal != "gate.rejected" else ""
        if failed and state.refused:
            if state.refused >= stage.retry.attempts:
                return self._give_up(state)
            self._wait(stage.retry.backoff, "the next attempt")
            if self.stopping:
                return None
        # Also by a session before: what it recorded is asked about first, and an attempt mends what is refused.
        begun = state.attempt > 0 or state.artifact is not None
        if stage.kind in ("agent", "review") and (failed or not begun):
            self._attempt(state, stage)
            return None
        return self._advance()

    def _advance(self) -> Ending | None:
        done = self._asked()
        if done is None:
            return None
        refusal = done.refusal
        if refusal is None or refusal.blame == "work":
            return self._ask(done.state, refusal) if refusal and refusal.code == "gate.rejected" else None
        if refusal.code in ("gate.waiting", "gate.stale"):
            return self._gate(done.state, refusal)
        over = _over(done.state)
        if over is not None:
            return over
        raise refusal.error()

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
        made = self._attempts.make(state, stage, self._caller)
        if made.limit is not None:
            self._reach(made.limit)
        elif made.retry_at is not None:
            self._wait((made.retry_at - self.service.clock()) / 1000, "the provider's rate limit")

    def _limited(self, state: State) -> bool:
        """Record a limit of the workflow that was met; what it asks for shows in the run's status."""
        met = due(self.service.workflow(state), state)
        if met is not None:
            self._reach(met)
        return met is not None

    def _reach(self, met: Hit) -> None:
        answer = self.service.submit(self.run, self._caller, met.command)
        if isinstance(answer, Refusal):
            raise answer.error()

    # -- people ----------------------------------------------------------------------------------------------

    def _gate(self, state: State, refusal: Refusal) -> Ending | None:
        return None if self._by_policy(state) else self._ask(state, refusal)

    def _ask(self, state: State, refusal: Refusal) -> Ending | None:
        return None if self.hooks.ask(state, refusal) or self.stopping else "waiting"

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
        caller = cmd.Caller(actor=policy.actor, kind="engine", fence=self._caller.fence)
        blobs = {digest(reason): reason, policy.digest: policy.text}
        return not isinstance(self.service.submit(self.run, caller, command, blobs), Refusal)

    # -- endings ---------------------------------------------------------------------------------------------

    def _give_up(self, state: State) -> Ending:
        command = cmd.GiveUp(by="engine", text=state.feedback, code=state.refusal)
        answer = self.service.submit(self.run, self._caller, command)
        return _over(answer) or "blocked" if isinstance(answer, State) else "blocked"

    def _break_off(self, error: StagentError | OSError) -> Ending:
        self.error = error
        try:
            answer = self._block(error)
        except (StagentError, OSError):
            # Where the disk is full, what can be made again gives way to the log.
            self._attempts.make_room()
            try:
                answer = self._block(error)
            except (StagentError, OSError):
                raise error from None
        if isinstance(answer, Refusal):
            raise error
        return "blocked"

    def _block(self, error: StagentError | OSError) -> State | Refusal:
        text = mask(str(error)).encode("utf-8", "backslashreplace")
        code = error.code if isinstance(error, StagentError) else "system.failed"
        command = cmd.Block(code=code, text=digest(text))
        state = self.service.state(self.run)
        lost = holds(state, self._caller)
        if lost is not None:
            # Whoever holds the run now drives it: its processes are not ours to end.
            return lost
        self._attempts.recover(state, self._caller)
        return self.service.submit(self.run, self._caller, command, {digest(text): text})

    def _pause(self) -> Ending:
        reason = self.stopping.encode()
        command = cmd.Interrupt(reason=digest(reason))
        self.service.submit(self.run, self._caller, command, {digest(reason): reason})
        return "interrupted"

    def _wait(self, seconds: float, what: str) -> None:
        """Wait until the time is over or the runner is asked to stop; the wall clock is not asked again."""
        until = time.monotonic() + seconds
        while not self.stopping and (left := until - time.monotonic()) > 0:
            self.hooks.on_wait(what, left)
            time.sleep(min(_SLICE, left))


def holder() -> Holder:
    """Return this process as the holder of a lease."""
    pid = os.getpid()
    return Holder(kind="runner", pid=pid, started=processes.start_time(pid), host=HOST)


def _over(state: State) -> Ending | None:
    if state.status == "running":
        return None
    return state.status

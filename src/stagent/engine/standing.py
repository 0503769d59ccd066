"""Where a run stands in one word: the same for `status`, `runs`, `show`, every export and `doctor`."""

from __future__ import annotations

from typing import Literal

from stagent.core.state import State
from stagent.engine.evidence import HOST
from stagent.engine.service import RunService

Driver = Literal["running", "stale", "waiting", "ready", "idle", "none"]

_UNHEARD = 15 * 60 * 1000
"""Milliseconds after which a driver on another machine counts as gone."""
_TELLING: tuple[Driver, ...] = ("stale", "waiting", "ready")


def driver_of(service: RunService, state: State) -> Driver:
    """Say how the process that holds a run does.

    `running`: it lives. `stale`: it is gone. `waiting`: a runner ended because a person must decide, and left nothing
    undone. `ready`: since then a person has decided, and the run can go on. `idle`: there is no process to look at.
    `none`: nobody holds the run.
    """
    if state.lease is None:
        return "none"
    alive = service.gatherer.holder_alive(state)
    if alive is False and state.mode == "headless" and state.gate and not state.attempt_open:
        # What is rejected, or came back as it was sent back, waits for another decision.
        open_still = state.gate.decision in ("", "reject") or state.refusal == "gate.rejected"
        return "waiting" if open_still else "ready"
    if alive is not None:
        return "running" if alive else "stale"
    holder = state.lease.holder
    if holder.host and holder.host != HOST:
        heard = service.store.last_heartbeat(state.run, state.lease.fence) or 0
        return "running" if service.clock() - max(heard, state.updated_at) < _UNHEARD else "stale"
    return "idle"


def word_of(state: State, driver: Driver) -> str:
    """Return the one word for a run: its terminal, what its driver lets no longer be called running, or its status."""
    return state.terminal or (driver if driver in _TELLING else state.status)

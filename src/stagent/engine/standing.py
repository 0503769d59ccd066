"""Where a run stands in one word: the same for `status`, `runs`, `show`, every export and `doctor`."""

from __future__ import annotations

from typing import Literal

import msgspec

from stagent.core.masking import mask
from stagent.core.state import State
from stagent.engine.evidence import HOST
from stagent.engine.folder import read
from stagent.engine.service import RunService
from stagent.engine.spool import ERROR

Driver = Literal["running", "stale", "waiting", "ready", "idle", "none"]

_UNHEARD = 15 * 60 * 1000
"""Milliseconds after which a driver on another machine counts as gone."""
_TELLING: tuple[Driver, ...] = ("stale", "waiting", "ready")


_SESSION_WAITS = {
    "picker": "your answer in the session's picker",
    "permission": "a permission in the session",
    "idle": "somebody to say something in the session, which is idle",
    "question": "your answer in the session",
    "gate": "a person's decision: /stagent:approve or /stagent:reject",
    "notification": "somebody to look at the session",
}
"""What a hook notes about a waiting session -> how people say it."""


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


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What the session that drives a run waits for, and since when (unix milliseconds), or the error it ended with.

    `person` says that somebody must act.
    """

    what: str = ""
    since: int = 0
    error: str = ""
    person: bool = False


def waiting(service: RunService, state: State) -> Waiting:
    """Return what hooks noted beside the live file of a run's session.

    Of one that no living process drives any more: nothing but the error that its last turn ended with.
    """
    if not state.session or state.ended:
        return Waiting()
    if not state.live:
        text = service.text(state.reason)
        return Waiting(error=mask(text.removeprefix(ERROR))) if text.startswith(ERROR) else Waiting()
    kept = service.home.live(state.session).with_suffix(".waiting")
    word = (read(kept, 4096) or b"").decode("utf-8", "replace")
    if not word:
        return Waiting()
    try:
        since = kept.stat().st_mtime_ns // 10**6
    except FileNotFoundError:
        return Waiting()
    if word.startswith(ERROR):
        return Waiting(since=since, error=mask(word.removeprefix(ERROR)))
    if service.gatherer.holder_alive(state) is False:
        return Waiting()
    reason, _, agent = word.partition("@")
    what = _SESSION_WAITS.get(reason, word) + (f", for its sub-agent {agent[:12]}" if agent else "")
    return Waiting(what=mask(what), since=since, person=reason in _SESSION_WAITS)


def word_of(service: RunService, state: State) -> str:
    """Return the one word for a run: its terminal, what lets it no longer be called running, or its status."""
    driver = driver_of(service, state)
    if state.terminal:
        return state.terminal
    if driver in _TELLING:
        return driver
    return "waiting" if state.live and waiting(service, state).person else state.status

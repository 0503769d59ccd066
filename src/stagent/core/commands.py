"""What a driver, a person or the engine itself may ask of a run; `core.decide` answers each."""

from __future__ import annotations

from typing import Literal

import msgspec

from stagent.core.events import AttemptEnded, AttemptStarted, CheckEnded, Holder


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: the actor as logged, and what proves that he drives the run.

    `fence` is set by a runner, and by whoever acts for one; `session` and `pid` by a session; `agent` is the id of a
    sub-agent, which drives nothing.
    """

    actor: str
    kind: Literal["session", "runner", "caller", "person", "engine"]
    session: str | None = None
    pid: int | None = None
    fence: int | None = None
    agent: str | None = None


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """Leave the current stage by its artifact's result.

    `to` only asserts the target; `producer` names who did the work when a caller without hooks drives the run.
    """

    to: str | None = None
    producer: str | None = None


class DecideGate(msgspec.Struct, frozen=True, kw_only=True):
    """A person (or a declared policy) decides the gate; `body` and `tree` are what he was shown."""

    decision: Literal["approve", "reject", "redo", "answer"]
    channel: Literal["terminal", "hook", "app", "policy"]
    choice: str = ""
    text: str | None = None
    body: str | None = None
    tree: str | None = None
    anchor: str = ""
    prompt: str = ""


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """Record that what the current attempt left was not accepted."""

    code: str
    text: str | None = None


class BeginAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """Record that an attempt begins."""

    event: AttemptStarted


class EndAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """Record that an attempt ended."""

    event: AttemptEnded


class EndCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Record what a check gave."""

    event: CheckEnded


class Interrupt(msgspec.Struct, frozen=True, kw_only=True):
    """Pause the run and end its lease."""

    reason: str | None = None


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """Go on with a run as this holder; `take_over` takes a living lease by a person's order.

    `ordered` says that the caller acts on a person's order, which a run that waits for a person's decision needs.
    """

    holder: Holder
    take_over: bool = False
    ordered: bool = False


class Rebind(msgspec.Struct, frozen=True, kw_only=True):
    """The holder's process has a new session id."""

    session: str


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """Record that the agent's turn was let go without progress."""

    blocks: int
    text: str | None = None


class GiveUp(msgspec.Struct, frozen=True, kw_only=True):
    """Escalate from the current stage: by the agent with a reason, or by the engine when attempts are exhausted."""

    by: Literal["agent", "engine"]
    text: str | None = None
    code: str = ""


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Record that an error around the work keeps the runner from going on; `text` tells people what it was."""

    code: str
    text: str | None = None


class ReachBudget(msgspec.Struct, frozen=True, kw_only=True):
    """Record that a limit of the workflow's budget is passed, and carry out what follows; `text` tells people why."""

    budget: Literal["cost_usd", "tokens", "minutes"]
    limit: int | float
    action: Literal["warn", "pause", "halt"]
    text: str | None = None


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """End the run as cancelled; only a person may."""

    text: str | None = None


Command = (
    Advance
    | DecideGate
    | Refuse
    | BeginAttempt
    | EndAttempt
    | EndCheck
    | Interrupt
    | Resume
    | Rebind
    | Stall
    | GiveUp
    | Block
    | ReachBudget
    | Cancel
)

"""What a run has spent against what its workflow allows: which limit is passed now, and what follows."""

from __future__ import annotations

from typing import Literal, cast, get_args

import msgspec

from stagent.core import events as ev
from stagent.core import refusals as no
from stagent.core.commands import ReachBudget
from stagent.core.evidence import Evidence
from stagent.core.model import Limit, Workflow
from stagent.core.refusals import Refusal
from stagent.core.state import State

Name = Literal["cost_usd", "tokens", "minutes"]
Action = Literal["warn", "pause", "halt"]
_MINUTE = 60_000


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a running attempt has spent so far and the log does not hold yet; `millis` is how long it works."""

    usd: float = 0.0
    tokens: int = 0
    millis: int = 0


class Hit(msgspec.Struct, frozen=True):
    """A limit that is passed and what follows from it; `spent` is the amount by which it is."""

    budget: Name
    limit: int | float
    action: Action
    spent: float

    @property
    def command(self) -> ReachBudget:
        """The command that records it."""
        return ReachBudget(budget=self.budget, limit=self.limit, action=self.action)


def due(workflow: Workflow, state: State, running: Spent | None = None) -> Hit | None:
    """Return the first limit that is newly passed, the gravest first; None while nothing follows.

    A warning is due once. A pause is due until somebody went on with the run all the same, a halt always.
    """
    amounts = _amounts(state, running or Spent())
    for action in cast("tuple[Action, ...]", ("halt", "pause", "warn")):
        for name in cast("tuple[Name, ...]", get_args(Name)):
            limit = declared(workflow, name, action)
            if limit is not None and amounts[name] >= limit and not _settled(state, name, action):
                return Hit(name, limit, action, amounts[name])
    return None


def left(workflow: Workflow, state: State, budget: Name) -> float | None:
    """Return how much of a budget is left until a limit that ends an attempt; None where none is to come."""
    actions = cast("tuple[Action, ...]", ("pause", "halt"))
    ends = [declared(workflow, budget, action) for action in actions if not _settled(state, budget, action)]
    amounts = [end - _amounts(state, Spent())[budget] for end in ends if end is not None]
    return max(min(amounts), 0.0) if amounts else None


def declared(workflow: Workflow, budget: Name, action: Action) -> int | float | None:
    """Return the amount at which an action follows, or None where the workflow declares none."""
    limit = cast("Limit | None", getattr(workflow.budget, budget))
    return cast("int | float | None", getattr(limit, action)) if limit is not None else None


def reach(workflow: Workflow, state: State, command: ReachBudget, evidence: Evidence) -> list[ev.Event] | Refusal:
    """Return what follows from a limit that was met, or the refusal when nothing does."""
    if declared(workflow, command.budget, command.action) != command.limit:
        return no.call(
            state,
            "budget.unknown",
            f"the workflow declares no {command.action} at {command.limit} {command.budget}",
            "Name a limit that it declares.",
        )
    if _settled(state, command.budget, command.action):
        return no.stand(state, "budget.late", f"the {command.action} was recorded already", "Nothing is to be done.")
    met = ev.BudgetReached(budget=command.budget, limit=command.limit, action=command.action)
    if command.action == "warn":
        return [met]
    if command.action == "pause":
        return [met, ev.Blocked(code="budget.paused", text=command.text, head=evidence.head)]
    if "escalated" not in workflow.terminals:
        return [met, ev.Blocked(code="budget.halted", text=command.text, head=evidence.head)]
    given_up = ev.Escalated(
        stage=state.stage,
        epoch=state.epoch,
        by="engine",
        text=command.text,
        report=evidence.report,
        head=evidence.head,
    )
    return [met, given_up]


def acknowledged(state: State) -> str:
    """Return the budget whose pause is accepted by going on with the run now; empty when there is none."""
    return next((name for name, action in state.reached.items() if action == "pause"), "")


def _settled(state: State, budget: str, action: Action) -> bool:
    """Say whether an action was carried out and need not be again."""
    met = state.reached.get(budget, "")
    return met != "" if action == "warn" else action == "pause" and met == "acknowledged"


def _amounts(state: State, running: Spent) -> dict[Name, float]:
    return {
        "cost_usd": state.spent_usd + running.usd,
        "tokens": state.spent_tokens + running.tokens,
        "minutes": (state.worked_millis + running.millis) / _MINUTE,
    }

"""Every way `decide` says no: a stable code, the fields, and one sentence with place, cause, known values, remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from stagent.core.state import State
from stagent.errors import RefusedError, sentence

Blame = Literal["work", "wait", "state", "call"]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing happened, and what to do.

    `blame` says whose move it is: `work` the agent's work is not acceptable, `wait` a person or a check must finish
    first, `state` the run does not stand where the caller thinks, `call` the call itself is wrong.
    """

    code: str
    where: str
    what: str
    remedy: str
    blame: Blame
    known: tuple[str, ...] = ()
    fields: dict[str, str | int | list[str] | None] = {}

    @property
    def message(self) -> str:
        """The sentence people read."""
        return sentence(self.where, self.what, self.known, self.remedy)

    def error(self) -> RefusedError:
        """Return the refusal as the error of an interface that cannot go on with it."""
        return RefusedError(
            self.code, self.what, where=self.where, known=self.known, remedy=self.remedy, fields={**self.fields}
        )


def place(state: State) -> str:
    """Name where the run stands, as every refusal begins."""
    return f"stage {state.stage}, epoch {state.epoch}"


def work(state: State, code: str, what: str, remedy: str, known: Sequence[str] = (), /, **fields: object) -> Refusal:
    """Refuse what the agent left."""
    return _make(state, "work", code, what, remedy, known, fields)


def wait(state: State, code: str, what: str, remedy: str, **fields: object) -> Refusal:
    """Refuse because somebody else must finish first."""
    return _make(state, "wait", code, what, remedy, (), fields)


def stand(state: State, code: str, what: str, remedy: str, **fields: object) -> Refusal:
    """Refuse because of where the run stands or who holds it."""
    return _make(state, "state", code, what, remedy, (), fields)


def call(state: State, code: str, what: str, remedy: str, known: Sequence[str] = (), **fields: object) -> Refusal:
    """Refuse a call that asks for something that does not exist."""
    return _make(state, "call", code, what, remedy, known, fields)


def _make(
    state: State, blame: Blame, code: str, what: str, remedy: str, known: Sequence[str], fields: dict[str, object]
) -> Refusal:
    clean: dict[str, str | int | list[str] | None] = {"stage": state.stage, "epoch": state.epoch}
    for key, value in fields.items():
        clean[key] = value if isinstance(value, str | int | None) else [str(item) for item in value]  # type: ignore[attr-defined]
    return Refusal(
        code=code, where=place(state), what=what, remedy=remedy, blame=blame, known=tuple(known), fields=clean
    )


def not_live(state: State) -> Refusal | None:
    """Refuse when nobody may move the run now."""
    if state.status == "running":
        return None
    if state.status == "ended":
        return stand(
            state, "run.ended", f"the run ended as {state.terminal}", "Start a new run.", terminal=state.terminal
        )
    remedies = {
        "interrupted": "Continue it with: stagent continue (or stagent run --resume RUN).",
        "stalled": "Continue it with: stagent continue (in a session) or stagent run --resume RUN.",
        "blocked": "Look at its last refusal with: stagent show; then stagent run --resume RUN.",
        "escalated": "A person decides: stagent continue, stagent run --resume RUN, or stagent cancel.",
    }
    remedy = _BUDGETS.get(state.refusal, "") or remedies[state.status]
    return stand(state, f"run.{state.status}", f"the run is {state.status}", remedy)


_BUDGETS = {
    "budget.paused": "To accept what it costs and go on: stagent run --resume RUN; to end it: stagent cancel.",
    "budget.halted": "Its budget is used up: start a new run with a larger one, or end this one: stagent cancel.",
}

"""What a run has spent, which limit that passes, and what follows from each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core import commands as cmd
from stagent.core import events as ev
from stagent.core.budget import Hit, Spent, due, left
from unit.core.documents import PLAIN, changed, workflow
from unit.core.world import ENGINE, PERSON, RUNNER, SESSION, World, text

LIMITS = {
    "cost_usd": {"warn": 1, "pause": 2.5, "halt": 5},
    "tokens": {"warn": 1000, "halt": 2000},
    "minutes": {"pause": 30},
}


def made(budget: Any = LIMITS, **fields: Any) -> World:
    document = changed(PLAIN, "budget", budget)
    for key, value in fields.items():
        document = changed(document, key, value)
    return World(workflow(document), holder=RUNNER)


def attempt(world: World, outcome: str = "ok", **spent: Any) -> None:
    state = world.now
    fields = {"stage": state.stage, "epoch": state.epoch, "number": state.attempt + 1}
    world.do(cmd.BeginAttempt(event=ev.AttemptStarted(backend="scripted", **fields)))
    world.do(cmd.EndAttempt(event=ev.AttemptEnded(outcome=outcome, **fields, **spent)), ENGINE)


def hit(world: World, **running: Any) -> Hit | None:
    return due(world.workflow, world.now, Spent(**running))


def test_what_attempts_took_is_summed_up() -> None:
    world = made()
    attempt(world, cost_usd=0.5, tokens=100, millis=60_000)
    attempt(world, outcome="failed", cost_usd=0.25, millis=500)
    attempt(world, tokens=7)
    world.do(cmd.Refuse(code="artifact.missing"))
    state = world.now
    assert (state.spent_usd, state.spent_tokens, state.worked_millis) == (0.75, 107, 60_500)


def test_without_a_budget_nothing_is_due() -> None:
    world = World(workflow(PLAIN), holder=RUNNER)
    attempt(world, cost_usd=1e6, tokens=10**9, millis=10**9)
    assert due(world.workflow, world.now) is None


@pytest.mark.parametrize(
    ("spent", "expected"),
    [
        ({}, None),
        ({"usd": 0.99, "tokens": 999, "millis": 30 * 60_000 - 1}, None),
        ({"usd": 1.0}, Hit("cost_usd", 1, "warn", 1.0)),
        ({"usd": 2.5}, Hit("cost_usd", 2.5, "pause", 2.5)),
        ({"usd": 7.0}, Hit("cost_usd", 5, "halt", 7.0)),
        ({"tokens": 1000}, Hit("tokens", 1000, "warn", 1000)),
        ({"millis": 30 * 60_000}, Hit("minutes", 30, "pause", 30.0)),
        ({"usd": 1.5, "tokens": 2000}, Hit("tokens", 2000, "halt", 2000)),
        ({"usd": 1.5, "millis": 31 * 60_000}, Hit("minutes", 30, "pause", 31.0)),
    ],
)
def test_the_gravest_limit_that_is_passed_is_due(spent: dict[str, Any], expected: Hit | None) -> None:
    assert hit(made(), **spent) == expected


def test_what_was_spent_before_and_what_runs_now_count_together() -> None:
    world = made()
    attempt(world, cost_usd=0.75, tokens=400)
    assert due(world.workflow, world.now) is None
    assert hit(world, usd=0.25) == Hit("cost_usd", 1, "warn", 1.0)
    assert hit(world, tokens=600) == Hit("tokens", 1000, "warn", 1000)


def test_what_is_left_until_an_attempt_must_end() -> None:
    world = made()
    attempt(world, cost_usd=0.5, tokens=100, millis=60_000)

    def amounts() -> list[float | None]:
        return [left(world.workflow, world.now, name) for name in ("cost_usd", "tokens", "minutes")]

    assert amounts() == [2.0, 1900, 29.0]
    attempt(world, cost_usd=3.0)
    assert amounts()[0] == 0.0
    world.do(cmd.ReachBudget(budget="cost_usd", limit=2.5, action="pause"))
    world.do(cmd.Resume(holder=RUNNER, ordered=True))
    assert amounts()[0] == 1.5
    world.do(cmd.ReachBudget(budget="minutes", limit=30, action="pause"))
    world.do(cmd.Resume(holder=RUNNER, ordered=True))
    assert amounts() == [1.5, 1900, None]
    assert left(workflow(PLAIN), world.now, "tokens") is None


def test_a_warning_comes_once() -> None:
    world = made()
    attempt(world, cost_usd=1.5)
    found = hit(world)
    assert found is not None
    assert world.do(found.command) == [ev.BudgetReached(budget="cost_usd", limit=1, action="warn")]
    assert world.now.live
    assert hit(world) is None
    assert hit(world, tokens=1500) == Hit("tokens", 1000, "warn", 1500)


def test_a_pause_holds_the_run_until_somebody_goes_on_and_then_no_more() -> None:
    world = made()
    attempt(world, cost_usd=3.0)
    found = hit(world)
    assert found is not None
    answer = world.do(cmd.ReachBudget(budget=found.budget, limit=found.limit, action=found.action, text=text("why")))
    assert answer == [
        ev.BudgetReached(budget="cost_usd", limit=2.5, action="pause"),
        ev.Blocked(code="budget.paused", text=text("why")),
    ]
    assert (world.now.status, world.now.refusal, world.now.feedback) == ("blocked", "budget.paused", None)
    [event] = world.do(cmd.Resume(holder=SESSION, ordered=True))
    assert event.acknowledged == "cost_usd"
    assert (world.now.live, world.now.refusal, world.now.refusal_before) == (True, "", None)
    assert hit(world) is None
    assert hit(world, usd=2.0) == Hit("cost_usd", 5, "halt", 5.0)
    assert hit(world, millis=31 * 60_000) == Hit("minutes", 30, "pause", 31.0)


def test_a_pause_leaves_what_was_refused_as_it_was() -> None:
    world = made()
    world.do(cmd.Refuse(code="check.failed", text=text("words")))
    world.do(cmd.ReachBudget(budget="cost_usd", limit=2.5, action="pause", text=text("why")))
    world.do(cmd.Resume(holder=RUNNER, ordered=True))
    assert (world.now.refusal, world.now.feedback) == ("check.failed", text("words"))


def test_an_error_around_the_work_leaves_what_was_refused_as_it_was() -> None:
    world = made()
    world.do(cmd.Refuse(code="check.failed", text=text("words")))
    [event] = world.do(cmd.Block(code="store.full", text=text("why")))
    assert event == ev.Blocked(code="store.full", text=text("why"), outside=True)
    assert (world.now.status, world.now.lease, world.now.refusal) == ("blocked", None, "store.full")
    assert (world.now.feedback, world.now.obstacle) == (text("words"), text("why"))
    world.do(cmd.Resume(holder=RUNNER))
    assert (world.now.refusal, world.now.feedback, world.now.obstacle) == ("check.failed", text("words"), None)


def test_what_a_person_sends_back_during_a_pause_is_kept() -> None:
    world = made(**{"stages/planning/gate": {"type": "require_approval"}})
    world.work("approved")
    world.do(cmd.Advance())
    world.do(cmd.ReachBudget(budget="minutes", limit=30, action="pause"))
    world.person("redo")
    [event] = world.do(cmd.Resume(holder=RUNNER, ordered=True))
    assert event.acknowledged == "minutes"
    assert (world.now.refusal, world.now.feedback) == ("gate.redo", text("words"))


def test_a_halt_gives_the_run_up_and_comes_again() -> None:
    world = made()
    attempt(world, cost_usd=6.0)
    found = hit(world)
    assert found is not None
    met, given_up = world.do(found.command)
    assert met == ev.BudgetReached(budget="cost_usd", limit=5, action="halt")
    assert given_up == ev.Escalated(stage="planning", epoch=1, by="engine", report=text("report"))
    assert world.now.status == "escalated"
    [event] = world.do(cmd.Resume(holder=RUNNER, ordered=True))
    assert event.acknowledged == ""
    assert hit(world) == found


def test_a_halt_blocks_where_escalated_is_not_declared() -> None:
    world = made(terminal_stages=["complete"])
    world.do(cmd.ReachBudget(budget="tokens", limit=2000, action="halt"))
    assert (world.now.status, world.now.refusal) == ("blocked", "budget.halted")
    assert "larger" in world.ask(cmd.Advance()).remedy
    world.do(cmd.Cancel(), PERSON)
    assert world.now.ended


@given(
    st.lists(
        st.tuples(
            st.floats(min_value=0, max_value=3),
            st.integers(min_value=0, max_value=900),
            st.integers(min_value=0, max_value=20 * 60_000),
        ),
        max_size=6,
    )
)
def test_each_warning_and_pause_comes_once_and_nothing_passes_unseen(spending: list[tuple[float, int, int]]) -> None:
    world = made()
    seen: list[tuple[str, str]] = []
    for usd, tokens, millis in spending:
        attempt(world, cost_usd=usd, tokens=tokens, millis=millis)
        while (found := hit(world)) is not None:
            assert found.spent >= found.limit
            if found.action == "halt":
                return
            seen.append((found.budget, found.action))
            world.do(found.command)
            if found.action == "pause":
                world.do(cmd.Resume(holder=RUNNER, ordered=True))
    assert len(seen) == len(set(seen))
    total = {"cost_usd": world.now.spent_usd, "tokens": world.now.spent_tokens}
    for budget, amount in total.items():
        gravest = [action for name, action in seen if name == budget][-1:]
        assert (amount < LIMITS[budget]["warn"]) == (gravest == [])

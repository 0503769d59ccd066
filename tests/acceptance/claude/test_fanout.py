"""Sub-agents that help the main agent, several at once: who runs, who ended, who is left behind."""

from __future__ import annotations

import re

from acceptance.claude.kit import Desk, Play, squeeze
from acceptance.claude.steps import Latch, begun, helpers, told
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import Rule, ScriptedModel, text

STAGES = {"work": stage({"PASS": "check"}), "check": stage({"PASS": "complete"}, interruptible=True)}


def test_a_stage_may_fan_out_and_its_turn_ends_until_they_report(desk: Desk, model: ScriptedModel) -> None:
    with Latch() as latch:
        for words in ("Look left.", "Look right."):
            model.say(Rule(told(words), latch.before(text(f"Seen: {words}"))))
        play = Play(
            model,
            (desk.call("tick"), '"execution_type": "inline"'),
            (helpers("Look left.", "Look right."), "launched|Async"),
            (begun(model, 2, text("Both look.")), "Seen: Look"),
            (desk.artifact("work", "PASS"), "created"),
            (desk.call("advance"), "Stage check, epoch 2"),
        )
        screen = desk.terminal()
        screen.say(f"/stagent:start --flow {desk.flow(STAGES)} a task")
        screen.see("waiting for general-purpose", 60)
        run = desk.run()
        wait_for(lambda: run.status() == "running" and len(run.state.others) == 2, "both to be known")
        assert [(agent.kind, agent.stage, agent.epoch) for agent in run.state.others] == [
            ("general-purpose", "work", 1)
        ] * 2
        latch.open()
        play.over(quiet=0)
    assert "Stophookfeedback" not in squeeze(screen.screen())
    wait_for(lambda: run.status() == "running" and not run.state.others, "both to have ended", 20)
    assert [event["agent"] for event in run.log("attempt.started")] == []
    assert len(run.log("agent.started")) == 2
    assert sorted(event["agent"] for event in run.log("agent.ended")) == sorted(
        event["agent"] for event in run.log("agent.started")
    )


def test_an_interruption_names_who_was_left_behind(desk: Desk, model: ScriptedModel) -> None:
    with Latch() as latch:
        model.say(Rule(told("Look left."), latch.before(text("Seen."))))
        play = Play(
            model,
            (desk.call("tick"), '"execution_type": "inline"'),
            (helpers("Look left."), "launched|Async"),
            (begun(model, 1, desk.artifact("work", "PASS")), "created"),
            (desk.call("advance"), "Stage check, epoch 2"),
            (text("What now?"), None),
        )
        screen = desk.terminal()
        screen.say(f"/stagent:start --flow {desk.flow(STAGES)} a task")
        play.over()
        run = desk.run()
        [started] = run.log("agent.started")
        assert run.place == ("check", 2)
        play = Play(model, (text("Told."), None))
        screen.say("/stagent:interrupt")
        (said,) = play.over()
        assert re.search(rf"STAGENT_STOP_AGENT_IDS: {started['agent']}\b", said.fresh)
        assert "is interrupted in stage check" in said.fresh
        play = Play(model, (text("I see."), None))
        latch.open()
        play.over()
    wait_for(lambda: run.status() == "interrupted" and not run.state.others, "its end to be known", 20)
    [ended] = run.log("agent.ended")
    assert (ended["agent"], ended["outcome"], ended["stage"], ended["epoch"]) == (started["agent"], "late", "work", 1)

"""What a session does before its hooks' word has come round: a launch not seen to start, an answer not read yet."""

from __future__ import annotations

import json

from acceptance.claude.kit import Desk, Play, squeeze
from acceptance.claude.steps import asks, delegated, launch, worked
from acceptance.support import stage
from stagent.testing.scripted_model import ScriptedModel, Thread, of_agents, text


def slow(desk: Desk, event: str, seconds: float) -> None:
    """Have one of the plugin's hooks begin late."""
    table = desk.plugin / "hooks" / "hooks.json"
    document = json.loads(table.read_text())
    [entry] = document["hooks"][event][0]["hooks"]
    words = ["-c", f'sleep {seconds}; exec "$0" "$@"', entry["command"], *entry["args"]]
    document["hooks"][event][0]["hooks"] = [{**entry, "command": "/bin/sh", "args": words}]
    table.write_text(json.dumps(document))


def test_a_turn_may_end_before_the_agent_it_launched_was_seen_to_start(desk: Desk, model: ScriptedModel) -> None:
    slow(desk, "SubagentStart", 2.5)
    model.say(Thread(worked(desk, "work", "PASS"), of_agents))
    play = Play(
        model,
        (desk.call("tick"), '"execution_type": "subagent"'),
        (launch(), "launched|Async"),
        (text("It is launched."), "task-notification.*The stage work is over"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow({'work': delegated({'PASS': 'complete'})})} a task")
    play.over()
    assert "beinglaunched" in squeeze(screen.screen(whole=True))
    run = desk.run()
    assert len(run.log("attempt.started")) == 1
    assert run.state.terminal == "complete"


def test_a_turn_does_not_end_on_an_answer_that_was_just_given(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "approved"), "created successfully"),
        (desk.call("advance"), "a person must approve"),
        (desk.call("tick"), "picker"),
        (asks(), "Approve"),
        (text("Thank you."), "Stop hook feedback.*a person approved this artifact.*advance"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    stages = {"plan": stage({"approved": "complete"}, gate={"type": "require_approval"}, writes="artifact")}
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow(stages)} a task")
    screen.see("Enter to select", 60)
    screen.settle(1)
    screen.press("enter")
    play.over()
    assert "waitsforyourdecision" not in squeeze(screen.screen())
    assert desk.run().state.terminal == "complete"

"""Stages that nobody's model works: one that a person answers, one that the engine runs, one that waits for words."""

from __future__ import annotations

from acceptance.claude.kit import Desk, Play
from acceptance.claude.steps import Stream, asks
from acceptance.support import stage
from stagent.testing.scripted_model import ScriptedModel, text

HUMAN = {
    "pick": {"kind": "human", "transitions": {"left": "build", "right": "complete"}},
    "build": stage({"PASS": "complete"}),
}
COMMAND = {
    "test": {
        "kind": "command",
        "run": "test -f made",
        "results": {"0": "PASS", "*": "FAIL"},
        "transitions": {"PASS": "complete", "FAIL": "mend"},
    },
    "mend": stage({"PASS": "test"}),
}
TALK = {"talk": stage({"PASS": "complete"}, interruptible=True)}


def test_a_person_answers_and_the_session_is_held_until_it_goes_on(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.call("tick"), '"kind": "human"'),
        (desk.call("advance"), r"\[error\].*a person must choose"),
        (text("You must choose."), None),
    )
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow(HUMAN)} a task")
    play.over()
    run = desk.run()
    screen.see("waits for your decision")
    play = Play(
        model,
        (desk.artifact("pick", "right"), r"\[error\].*the engine writes this artifact itself"),
        (desk.call("tick"), "picker"),
        (asks(), "left"),
        (desk.call("tick"), '"status": "pick"'),
        (text("You chose."), "Stop hook feedback.*the choice is made. Go on with: .* advance"),
        (desk.call("advance"), "Stage build, epoch 2"),
        (desk.artifact("build", "PASS", 2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen.say("what can I choose?")
    screen.see("Enter to select")
    screen.settle(1)
    screen.press("enter")
    play.over()
    (decided,) = run.log("gate.decided")
    assert (decided["decision"], decided["choice"], decided["channel"]) == ("answer", "left", "hook")
    assert run.state.terminal == "complete"


def test_a_command_is_the_engines_to_run(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.call("tick"), '"kind": "command"'),
        (text("It passed, I am sure."), "Stop hook feedback.*a command that the engine runs itself"),
        (desk.artifact("test", "PASS"), r"\[error\].*the engine writes this artifact itself"),
        (desk.call("advance"), "Stage mend, epoch 2"),
        (desk.shell("touch made"), r"\[result\]"),
        (desk.artifact("mend", "PASS", 2), "created"),
        (desk.call("advance"), "Stage test, epoch 3"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    done = desk.headless(f"/stagent:start --flow {desk.flow(COMMAND)} a task", allow=["Bash(touch made)"])
    play.over(quiet=0)
    assert done.result["result"] == "Done."
    run = desk.run()
    assert [event["result"] for event in run.log("transitioned")] == ["FAIL", "PASS", "PASS"]
    assert run.state.terminal == "complete"


def test_a_stage_that_talks_with_the_person_may_stop_and_says_so(desk: Desk, model: ScriptedModel) -> None:
    with Stream(desk) as stream:
        play = Play(
            model,
            (desk.call("tick"), '"interruptible": true'),
            (desk.artifact("talk", "pending"), "created"),
            (text("What shall it be?"), None),
        )
        stream.turn(f"/stagent:start --flow {desk.flow(TALK)} a task")
        play.over(quiet=0)
        told = [str(event.get("content")) for event in stream.events if event.get("subtype") == "informational"]
        assert any("stage talk, epoch 1 waits for you" in words for words in told)
        # Also when it is finished the person may look first; the model is not pushed on.
        play = Play(model, (desk.artifact("talk", "PASS"), "updated"), (text("Like this?"), None))
        stream.turn("blue")
        play.over()
        told = [str(event.get("content")) for event in stream.events if event.get("subtype") == "informational"]
        assert any("finished with the result PASS, which leads to complete" in words for words in told)
        assert desk.run().state.terminal is None
        play = Play(model, (desk.call("advance"), "ended as complete"), (text("Done."), None))
        stream.turn("yes")
        play.over(quiet=0)
    assert desk.run().state.terminal == "complete"

"""A compaction in every kind of stage: what the model forgot, it is told again, and what was proved stays proved."""

from __future__ import annotations

import pytest

from acceptance.claude.kit import Desk, Play, answer
from acceptance.claude.steps import Latch, Stream, begun, compact, delegated, helpers, launch, summary, told, worked
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import Rule, ScriptedModel, Thread, of_agents, text

GATED = {"plan": stage({"approved": "complete"}, gate={"type": "require_approval"}, writes="artifact")}
INLINE = {"build": stage({"PASS": "complete"}, interruptible=True)}
WORK = {"work": delegated({"PASS": "complete"})}
REVIEW = {
    "build": stage({"PASS": "review"}),
    "review": {
        **delegated({"PASS": "complete", "FAIL": "build"}, kind="review"),
        "inputs": {"required": [{"from_stage": "build", "description": "What is judged."}]},
    },
}
COMMAND = {
    "test": {
        "kind": "command",
        "run": "test -f src.py",
        "results": {"0": "PASS", "*": "FAIL"},
        "transitions": {"PASS": "complete", "FAIL": "escalated"},
    },
}
HUMAN = {"pick": {"kind": "human", "transitions": {"left": "complete", "right": "escalated"}}}
FAN = {"work": stage({"PASS": "complete"})}
DRIVES = "This session drives the Stagent run"


def test_in_an_inline_stage_of_a_print_session(desk: Desk, model: ScriptedModel) -> None:
    with Stream(desk) as stream:
        play = Play(model, (desk.call("tick"), '"status": "build"'), (text("So far."), None))
        stream.turn(f"/stagent:start --flow {desk.flow(INLINE)} a task")
        play.over(quiet=0)
        summary(model)
        stream.turn("/compact")
        play = Play(
            model,
            (desk.call("tick"), '"status": "build"'),
            (desk.artifact("build", "PASS"), "created"),
            (desk.call("advance"), "ended as complete"),
            (text("Done."), None),
        )
        stream.turn("go on")
    after = play.over(quiet=0)[0]
    assert "Something was done." in after.whole
    assert '"status": "build"' not in after.whole
    assert f"{DRIVES} {desk.run().run}" in after.whole
    assert "stage build, epoch 1, running" in after.whole
    assert desk.run().state.terminal == "complete"


def test_in_a_stage_that_waits_at_its_gate_of_a_print_session(desk: Desk, model: ScriptedModel) -> None:
    with Stream(desk) as stream:
        play = Play(
            model,
            (desk.call("tick"), '"status": "plan"'),
            (desk.artifact("plan", "approved"), "created"),
            (desk.call("advance"), "a person must approve"),
            (text("It waits for you."), None),
        )
        stream.turn(f"/stagent:start --flow {desk.flow(GATED)} a task")
        play.over(quiet=0)
        summary(model)
        stream.turn("/compact")
        run = desk.run()
        # Nobody who forgets may pass where nobody decided, and what is decided meanwhile counts.
        play = Play(model, (desk.call("advance"), r"\[error\].*a person must approve"), (text("It waits."), None))
        stream.turn("go on")
        after = play.over(quiet=0)[0]
        assert desk.person("approve", run.run).status == 0
        play = Play(model, (desk.call("advance"), "ended as complete"), (text("Done."), None))
        stream.turn("it is approved")
        play.over(quiet=0)
    assert "a person must approve" not in after.whole
    assert f"{DRIVES} {run.run}" in after.whole
    assert "stage plan, epoch 1, running" in after.whole
    assert run.state.terminal == "complete"


@pytest.mark.rule("W17")
def test_while_a_sub_agent_works(desk: Desk, model: ScriptedModel) -> None:
    with Latch() as latch:
        bootstrap, artifact, over = worked(desk, "work", "PASS")
        model.say(Thread([bootstrap, latch.before(artifact), over], of_agents))
        screen = desk.terminal()
        play = Play(
            model,
            (desk.call("tick"), '"execution_type": "subagent"'),
            (launch(), "launched|Async"),
            (begun(model, 1, text("It works.")), None),
        )
        screen.say(f"/stagent:start --flow {desk.flow(WORK)} a task")
        play.over()
        wait_for(lambda: len(model.agents) == 2, "the sub-agent to be at work", 20)
        compact(screen, model)
        run = desk.run()
        # A second one is not let in by forgetting the first, and what belongs to no agent ends none.
        play = Play(
            model,
            (launch(), r"\[error\].*works on stage work already"),
            (text("It works still."), "task-notification.*The stage work is over"),
            (desk.call("advance"), "ended as complete"),
            (text("Done."), None),
        )
        screen.say("go on")
        after = model.wait(lambda request: request.main and "go on" in request.fresh)
        wait_for(lambda: "It works still." in screen.screen(), "the turn to end", 30)
        latch.open()
        play.over()
    assert "launched" not in after.whole
    assert f"{DRIVES} {run.run}" in after.whole
    assert "stage work, epoch 1, running" in after.whole
    assert [event["outcome"] for event in run.log("attempt.ended")] == ["ok"]
    assert run.state.terminal == "complete"


def test_between_a_review_and_its_acceptance(desk: Desk, model: ScriptedModel) -> None:
    model.say(Thread(worked(desk, "review", "PASS", 2), of_agents))
    screen = desk.terminal()
    with Latch() as latch:
        play = Play(
            model,
            (desk.call("tick"), '"status": "build"'),
            (desk.artifact("build", "PASS"), "created"),
            (desk.call("advance"), "Stage: review"),
            (launch(), "launched|Async"),
            (begun(model, 1, text("It reviews.")), "task-notification.*The stage review is over"),
            (latch.before(text("Never said.")), None),
        )
        screen.say(f"/stagent:start --flow {desk.flow(REVIEW)} a task")
        play.over()
        screen.press("escape")
        screen.settle()
    compact(screen, model)
    play = Play(
        model,
        (desk.artifact("review", "PASS", 2, body="Mine."), r"\[error\].*is written by its sub-agent"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen.say("go on")
    requests = play.over()
    run = desk.run()
    assert f"{DRIVES} {run.run}" in requests[0].whole
    assert "stage review, epoch 2, running" in requests[0].whole
    assert "ended as complete" in answer(requests[-1])
    (review,) = [event for event in run.log("artifact.recorded") if event["stage"] == "review"]
    assert review["producer"]["kind"] == "subagent"


def test_before_the_engine_runs_a_command(desk: Desk, model: ScriptedModel) -> None:
    screen = desk.terminal()
    with Latch() as latch:
        play = Play(model, (desk.call("tick"), '"kind": "command"'), (latch.before(text("Never said.")), None))
        screen.say(f"/stagent:start --flow {desk.flow(COMMAND)} a task")
        play.over()
        screen.press("escape")
        screen.settle()
    compact(screen, model)
    play = Play(
        model,
        (text("It passed, I am sure."), "Stop hook feedback.*a command that the engine runs itself"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen.say("go on")
    after = play.over()[0]
    run = desk.run()
    assert '"kind": "command"' not in after.whole
    assert f"{DRIVES} {run.run}" in after.whole
    assert "stage test, epoch 1, running" in after.whole
    (moved,) = run.log("transitioned")
    assert (moved["source"], moved["result"]) == ("test", "PASS")
    assert run.state.terminal == "complete"


def test_while_a_person_is_to_choose_in_a_print_session(desk: Desk, model: ScriptedModel) -> None:
    with Stream(desk) as stream:
        play = Play(
            model,
            (desk.call("tick"), '"kind": "human"'),
            (desk.call("advance"), r"\[error\].*a person must choose"),
            (text("You must choose."), None),
        )
        stream.turn(f"/stagent:start --flow {desk.flow(HUMAN)} a task")
        play.over(quiet=0)
        summary(model)
        stream.turn("/compact")
        run = desk.run()
        play = Play(
            model,
            (desk.artifact("pick", "right"), r"\[error\].*the engine writes this artifact itself"),
            (desk.call("advance"), r"\[error\].*a person must choose"),
            (text("You must choose still."), None),
        )
        stream.turn("go on")
        after = play.over(quiet=0)[0]
        assert desk.person("answer", run.run, "--choice", "left").status == 0
        play = Play(model, (desk.call("advance"), "ended as complete"), (text("Done."), None))
        stream.turn("I chose")
        play.over(quiet=0)
    assert "a person must choose" not in after.whole
    assert f"{DRIVES} {run.run}" in after.whole
    assert "stage pick, epoch 1, running" in after.whole
    (decided,) = run.log("gate.decided")
    assert (decided["choice"], decided["channel"]) == ("left", "terminal")
    assert run.state.terminal == "complete"


def test_while_several_sub_agents_help(desk: Desk, model: ScriptedModel) -> None:
    with Latch() as latch:
        for words in ("Look left.", "Look right."):
            model.say(Rule(told(words), latch.before(text(f"Seen: {words}"))))
        play = Play(
            model,
            (desk.call("tick"), '"execution_type": "inline"'),
            (helpers("Look left.", "Look right."), "launched|Async"),
            (begun(model, 2, text("Both look.")), None),
        )
        screen = desk.terminal()
        screen.say(f"/stagent:start --flow {desk.flow(FAN)} a task")
        screen.see("waiting for general-purpose", 60)
        play.over()
        run = desk.run()
        wait_for(lambda: run.status() == "running" and len(run.state.others) == 2, "both to be known")
        compact(screen, model)
        # Nobody's end is made up by the compaction: both still excuse the end of a turn.
        play = Play(model, (text("They look still."), None))
        screen.say("go on")
        (after,) = play.over()
        screen.see("waiting for general-purpose", 30)
        assert run.status() == "running"
        assert (len(run.state.others), run.log("agent.ended")) == (2, [])
        assert f"{DRIVES} {run.run}" in after.whole
        assert "stage work, epoch 1, running" in after.whole
        play = Play(
            model,
            (desk.artifact("work", "PASS"), "created"),
            (desk.call("advance"), "ended as complete"),
        )
        latch.open()
        play.over(quiet=0)
    assert run.state.terminal == "complete"

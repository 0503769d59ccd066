"""A compaction in every kind of stage: what the model forgot, it is told again, and what was proved stays proved."""

from __future__ import annotations

import pytest

from acceptance.claude.kit import Desk, Play, answer
from acceptance.claude.steps import Latch, Stream, begun, compact, delegated, launch, summary, worked
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import ScriptedModel, Thread, of_agents, text

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

"""How a sub-agent may end, and who else may end beside it."""

from __future__ import annotations

import pytest

from acceptance.claude.kit import Desk, Play
from acceptance.claude.steps import Latch, begun, delegated, launch, worked
from acceptance.support import wait_for
from stagent.testing.scripted_model import Request, ScriptedModel, Thread, failure, of_agents, text, tool

STAGES = {"work": delegated({"PASS": "complete"})}


def test_an_agent_that_dies_may_be_replaced_and_counts(desk: Desk, model: ScriptedModel) -> None:
    model.say(
        Thread([desk.call("bootstrap"), *[failure(400)] * 2], lambda request: bool(request.agent) and first(request))
    )
    seen: list[str] = []

    def first(request: Request) -> bool:
        if request.agent not in seen:
            seen.append(request.agent)
        return request.agent == seen[0]

    model.say(Thread(worked(desk, "work", "PASS"), lambda request: bool(request.agent) and not first(request)))
    play = Play(
        model,
        (desk.call("tick"), '"execution_type": "subagent"'),
        (launch(), "launched|Async"),
        (begun(model, 1, text("It works.")), "task-notification"),
        (text("It died."), "Stop hook feedback.*there is no artifact"),
        (desk.call("advance"), r"\[error\].*no artifact"),
        (launch(), "launched|Async"),
        (begun(model, 2, text("Another works.")), "task-notification.*The stage work is over"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow(STAGES)} a task")
    play.over()
    run = desk.run()
    assert len(seen) == 2
    assert [event["number"] for event in run.log("attempt.started")] == [1, 2]
    assert [event["agent"] for event in run.log("attempt.started")] == seen
    assert run.state.terminal == "complete"


@pytest.mark.rule("W18")
def test_another_agent_that_ends_beside_it_ends_nothing(desk: Desk, model: ScriptedModel) -> None:
    other = {"subagent_type": "general-purpose", "description": "look", "prompt": "Look around."}
    with Latch() as latch:
        bootstrap, artifact, over = worked(desk, "work", "PASS")
        model.say(
            Thread([text("I looked.")], lambda request: bool(request.agent) and "Look around." in request.whole),
            Thread([bootstrap, latch.before(artifact), over], of_agents),
        )
        play = Play(
            model,
            (desk.call("tick"), '"execution_type": "subagent"'),
            (launch(), "launched|Async"),
            (tool("Agent", **other), "launched|Async|looked"),
            (begun(model, 2, text("Both work.")), "I looked"),
            (desk.call("advance"), r"\[error\].*no artifact"),
            (launch(), r"\[error\].*works on stage work already"),
            (text("The other one ended."), None),
        )
        screen = desk.terminal()
        screen.say(f"/stagent:start --flow {desk.flow(STAGES)} a task")
        play.over()
        wait_for(lambda: len(model.agents) >= 3, "the worker to be at work")
        play = Play(model, (desk.call("advance"), "ended as complete"), (text("Done."), None))
        latch.open()
        assert "The stage work is over" in play.over()[0].fresh
    run = desk.run()
    assert len(run.log("attempt.started")) == 1
    assert run.state.terminal == "complete"


def test_its_artifact_is_its_own_also_when_the_session_puts_it_back_by_hand(desk: Desk, model: ScriptedModel) -> None:
    """A copy with the same words is another file: the sub-agent did not leave it."""
    model.say(Thread([*worked(desk, "work", "PASS"), *worked(desk, "work", "PASS")], of_agents))

    def again(request: Request) -> object:
        report = desk.report(request.session, "work")
        return desk.shell(f"cp {report} copy && mv copy {report}")

    play = Play(
        model,
        (desk.call("tick"), '"execution_type": "subagent"'),
        (launch(run_in_background=False), "is over"),
        (again, r"\[result\]"),
        (desk.call("advance"), r"\[error\].*the artifact changed after sub-agent"),
        (launch(run_in_background=False), "is over"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    desk.headless(f"/stagent:start --flow {desk.flow(STAGES)} a task", allow=["Bash"])
    play.over(quiet=0)
    run = desk.run()
    assert run.codes() == ["producer.changed_after"]
    assert [event["number"] for event in run.log("attempt.started")] == [1, 2]

"""A stage that a sub-agent works: launched once, believed only for what it left itself."""

from __future__ import annotations

from typing import Any

from acceptance.claude.kit import Desk, Play, answer
from acceptance.support import stage
from stagent.core.canonical import digest
from stagent.testing.scripted_model import Answer, Request, ScriptedModel, Thread, Turn, of_agents, text, tool

STAGES: dict[str, Any] = {"work": {**stage({"PASS": "complete"}), "execution": {"type": "subagent"}}}
LAUNCH = {"subagent_type": "stagent:workflow-subagent", "description": "work", "prompt": "Run your stage."}


def launch(**more: object) -> Turn:
    return tool("Agent", **{**LAUNCH, **more})


def worker(desk: Desk, *more: Answer) -> Thread:
    """A sub-agent that does its stage."""
    return Thread([desk.call("bootstrap"), desk.artifact("work", "PASS"), text("It passed."), *more], of_agents)


def test_in_print_mode_the_stage_is_worked_and_accepted(desk: Desk, model: ScriptedModel) -> None:
    model.say(worker(desk))
    play = Play(
        model,
        (desk.call("tick"), '"execution_type": "subagent"'),
        (launch(run_in_background=False), "It passed"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    desk.headless(f"/stagent:start --flow {desk.flow(STAGES)} a task")
    play.over(quiet=0)
    run = desk.run()
    assert run.state.terminal == "complete"
    assert "Your first act" in model.agents[0].whole
    assert "Stage: work" in model.agents[1].fresh
    assert [event["outcome"] for event in run.log("attempt.ended")] == ["ok"]


def test_interactively_the_session_waits_for_its_agent_and_a_second_is_denied(desk: Desk, model: ScriptedModel) -> None:
    model.say(
        Thread(
            [desk.call("bootstrap"), desk.shell("sleep 3"), desk.artifact("work", "PASS"), text("It passed.")],
            of_agents,
        )
    )
    play = Play(
        model,
        (desk.call("tick"), '"execution_type": "subagent"'),
        (launch(), "launched|Async"),
        (launch(), r"\[error\].*(works on stage work already|being launched already)"),
        (text("It works."), "task-notification.*It passed"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen = desk.terminal(allow=["Bash(sleep 3)"])
    screen.say(f"/stagent:start --flow {desk.flow(STAGES)} a task")
    play.over()
    assert len({request.agent for request in model.agents}) == 1
    assert desk.run().state.terminal == "complete"


def test_the_main_agent_cannot_improve_what_the_sub_agent_left(desk: Desk, model: ScriptedModel) -> None:
    model.say(worker(desk))

    def better(request: Request) -> Turn:
        return desk.shell(f"echo 'and better' >> {desk.report(request.session, 'work')}")

    play = Play(
        model,
        (desk.call("tick"), '"execution_type": "subagent"'),
        (launch(run_in_background=False), "It passed"),
        (desk.artifact("work", "PASS", body="Better."), r"\[error\].*is written by its sub-agent"),
        (better, r"\[result\]"),
        (
            desk.call("advance"),
            r"\[error\].*changed after sub-agent \w+ stopped: it left [0-9a-f]{12}, and [0-9a-f]{12} lies",
        ),
        (desk.call("advance --json"), '"code": "producer.changed_after"'),
        (text("Caught."), "Stop hook feedback"),
    )
    desk.headless(f"/stagent:start --flow {desk.flow(STAGES)} a task", allow=["Bash"])
    requests = play.over(quiet=0)
    run = desk.run()
    left = (run.log("attempt.ended")[0]["digest"], digest((run.folder / "work-report.md").read_bytes()))
    assert left[0] != left[1]
    assert f"it left {left[0][:12]}, and {left[1][:12]} lies there now" in answer(requests[5])
    assert all(f'"{name}"' in answer(requests[6]) for name in left)
    assert run.state.terminal is None


def test_an_agent_that_left_nothing_is_asked_once_and_may_be_replaced(desk: Desk, model: ScriptedModel) -> None:
    first: list[Answer] = [desk.call("bootstrap"), text("I could not."), text("Really not.")]
    model.say(Thread(first, of_agents), worker(desk))
    play = Play(
        model,
        (desk.call("tick"), '"execution_type": "subagent"'),
        (launch(run_in_background=False), "Really not"),
        (desk.call("advance"), r"\[error\].*no artifact"),
        (launch(run_in_background=False), "It passed"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    desk.headless(f"/stagent:start --flow {desk.flow(STAGES)} a task")
    play.over(quiet=0)
    run = desk.run()
    assert run.state.terminal == "complete"
    assert [event["number"] for event in run.log("attempt.started")] == [1, 2]


def test_an_agent_of_another_type_is_not_the_stages_worker(desk: Desk, model: ScriptedModel) -> None:
    model.say(Thread([desk.artifact("work", "PASS"), text("I wrote it.")], of_agents))
    play = Play(
        model,
        (desk.call("tick"), '"execution_type": "subagent"'),
        (launch(subagent_type="general-purpose", run_in_background=False), "I wrote it"),
        (desk.call("advance"), r"\[error\]"),
        (text("Caught."), "Stop hook feedback"),
    )
    desk.headless(f"/stagent:start --flow {desk.flow(STAGES)} a task")
    play.over(quiet=0)
    run = desk.run()
    assert "is written by its sub-agent" in model.agents[1].fresh
    assert run.log("attempt.started") == []
    assert run.place == ("work", 1)

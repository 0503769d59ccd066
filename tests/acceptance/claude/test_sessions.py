"""Sessions: those without a run, two at once, one that changes its id, one that dies, one that gets nowhere."""

from __future__ import annotations

import pytest

from acceptance.claude.kit import Desk, Play
from acceptance.support import claim, stage
from stagent.testing.scripted_model import Request, Rule, ScriptedModel, Thread, says, text, tool

BUILD = {"build": stage({"PASS": "complete"}, stop={"blocks": 3})}


@pytest.mark.rule("S4.1")
def test_a_bystander_is_left_alone(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.shell("echo hello"), "hello"),
        (tool("Write", file_path=str(desk.project / "new.txt"), content="x"), "created"),
        (text("Done."), None),
    )
    done = desk.headless("do something", allow=["Bash", "Write"])
    play.over(quiet=0)
    assert done.result["result"] == "Done."
    assert "Stagent" not in done.told()
    assert all("This session drives" not in request.whole for request in model.requests)
    assert desk.runs() == []


@pytest.mark.rule("W43")
def test_two_sessions_in_one_project_have_a_run_each(desk: Desk, model: ScriptedModel) -> None:
    flow = desk.flow(BUILD)
    first = desk.terminal()
    busy = Rule(says("Stop hook feedback"), text("Going on later.", delay=30))
    model.say(busy, Thread([text("First stops."), text("Second stops.")]))
    first.say(f"/stagent:start --flow {flow} the first task")
    first.see("First stops.")
    second = desk.terminal()
    second.say(f"/stagent:start --flow {flow} the second task")
    second.see("Second stops.")
    held: list[Request] = []
    for number in (1, 2):
        held.append(model.wait(lambda request: "Stop hook feedback" in request.fresh and request not in held))
        assert len(held) == number
    runs = desk.runs()
    assert len(runs) == 2
    for request in held:
        mine = desk.live(request.session)["run"]
        assert mine in request.fresh
        assert all(other not in request.whole for other in runs if other != mine)


@pytest.mark.rule("W17")
def test_clear_takes_the_run_along_to_the_new_session_id(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (text("Stopping."), "Stop hook feedback"),
        (text("Interrupted by nobody.", delay=30), None),
    )
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow(BUILD)} a task")
    before = play.over(quiet=0)[0].session
    screen.press("escape")
    screen.settle(1)
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (desk.artifact("build", "PASS", of=before), "created|updated"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen.say("/clear")
    screen.settle(1.5)
    screen.say("go on")
    requests = play.over()
    assert requests[0].session != before
    assert "This session drives the Stagent run" in requests[0].whole
    run = desk.run()
    assert run.state.terminal == "complete"
    assert [event["previous"] for event in run.log("session.rebound")] == [before]


def test_after_a_compaction_the_session_is_told_where_it_stands(desk: Desk, model: ScriptedModel) -> None:
    model.say(Rule(says("summary"), text("<summary>Something was done.</summary>"), times=1))
    screen = desk.terminal()
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (text("Stopping."), "Stop hook feedback"),
        (text("Interrupted by nobody.", delay=30), None),
    )
    screen.say(f"/stagent:start --flow {desk.flow(BUILD)} a task")
    play.over(quiet=0)
    screen.press("escape")
    screen.settle(1)
    screen.say("/compact")
    screen.see("Compacted", 30)
    screen.settle(1)
    play = Play(model, (text("Listening.", delay=10), None))
    screen.say("go on")
    (after,) = play.over()
    assert "This session drives the Stagent run" in after.whole


def test_a_killed_session_is_taken_over_by_another(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (text("Working.", delay=30), None),
    )
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow(BUILD)} a task")
    first = play.over(quiet=0)[0].session
    run = desk.run()
    screen.kill()
    assert run.state.status == "running"

    other = desk.terminal()
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (desk.artifact("build", "PASS", of=first), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    other.say(f"/stagent:continue {run.run} --take-over")
    play.over()
    assert run.state.terminal == "complete"
    assert run.state.fence == 2


@pytest.mark.rule("W7")
def test_a_session_that_gets_nowhere_is_let_go_and_goes_on_headless(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (text("Done."), "Stop hook feedback"),
        (text("Done!"), "Stop hook feedback"),
        (text("Really done."), None),
    )
    done = desk.headless(f"/stagent:start --flow {desk.flow(BUILD)} a task")
    play.over()
    run = desk.run()
    assert f"stagent run --resume {run.run}" in done.told()
    assert run.status() == "stalled"
    (stalled,) = run.log("stalled")
    assert stalled["blocks"] == 3
    desk.script({"build": [claim("PASS")]})
    resumed = desk.resume(run.run)
    assert resumed.status == 0
    assert run.state.terminal == "complete"


def test_progress_between_the_blocks_is_no_stall(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (text("Done."), "Stop hook feedback"),
        (text("Done."), "Stop hook feedback"),
        # The snapshot of the first block is taken in the background: progress that comes before it is none.
        (desk.shell("sleep 4; touch another"), "no output|completed"),
        (text("Done."), "Stop hook feedback"),
        (text("Done."), "Stop hook feedback"),
        (desk.artifact("build", "PASS"), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    desk.headless(f"/stagent:start --flow {desk.flow(BUILD)} a task", allow=["Bash"])
    play.over(quiet=0)
    assert desk.run().log("stalled") == []


def test_the_agent_gives_up_with_a_reason_after_a_refusal(desk: Desk, model: ScriptedModel) -> None:
    give_up = f"{desk.launcher} advance --escalate - <<'END'\nThe specification contradicts itself.\nEND"
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (desk.shell(give_up), r"\[error\]"),
        (desk.call("advance"), r"\[error\].*no artifact"),
        (desk.shell(give_up), "given up by the agent"),
        (text("I gave up."), None),
    )
    desk.headless(f"/stagent:start --flow {desk.flow(BUILD)} a task", allow=["Bash"])
    play.over()
    run = desk.run()
    (given_up,) = run.log("escalated")
    assert given_up["by"] == "agent"
    assert run.text(given_up["text"]).strip() == "The specification contradicts itself."
    assert run.state.status == "escalated"

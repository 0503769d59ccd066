"""`claude -p`: the same run without a person in front of it."""

from __future__ import annotations

import json

from acceptance.claude.kit import Desk, Play, answer
from acceptance.support import stage
from stagent.testing.scripted_model import ScriptedModel, text

BUILD = {
    "build": stage(
        {"PASS": "complete", "FAIL": "escalated"}, checks=[{"name": "made", "run": "test -f made", "for": ["PASS"]}]
    )
}


def test_an_early_stop_is_held_until_the_stage_is_proven(desk: Desk, model: ScriptedModel) -> None:
    flow = desk.flow(BUILD)
    play = Play(
        model,
        (text("I am done."), "Stop hook feedback.*nothing was done yet"),
        (desk.call("tick"), '"status": "build"'),
        (text("I am done."), "Stop hook feedback.*there is no artifact"),
        (desk.call("advance"), r"\[error\].*no artifact"),
        (desk.artifact("build", "PASS", epoch=7), "created"),
        (desk.call("advance"), r"\[error\].*epoch"),
        (text("I am done."), "Stop hook feedback.*epoch mismatch"),
        (desk.artifact("build", "GREAT"), "updated"),
        (desk.call("advance"), r"\[error\].*GREAT"),
        (text("I am done."), 'Stop hook feedback.*unknown result "GREAT"'),
        (desk.artifact("build", "PASS"), "updated"),
        (text("I am done."), "Stop hook feedback.*finished with the result PASS"),
        (desk.call("advance"), r"\[error\].*check made"),
        (desk.shell("touch made"), "no output|completed"),
        (desk.call("advance"), "ended as complete"),
        (text("Now I am."), None),
    )
    done = desk.headless(f"/stagent:start --flow {flow} a task", allow=["Bash(touch made)"])
    play.over()
    assert done.status == 0
    assert done.result["result"] == "Now I am."
    assert done.result["permission_denials"] == []
    run = desk.run()
    assert run.state.terminal == "complete"
    assert len(run.codes()) == 4


def test_at_a_gate_it_ends_and_says_how_to_approve_and_goes_on_when_resumed(desk: Desk, model: ScriptedModel) -> None:
    flow = desk.flow(
        {
            "plan": stage({"approved": "build"}, gate={"type": "require_approval"}, writes="artifact"),
            "build": stage({"PASS": "complete"}),
        }
    )
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "approved"), "created"),
        (desk.call("advance"), "a person must approve"),
        (desk.call("tick"), rf'"wait": "{desk.launcher} wait --timeout \d+"'),
        (lambda request: desk.shell(json.loads(answer(request))["wait"]), r"\[error\].*stagent approve r-"),
        (lambda request: text(f"It waits for you: {answer(request)}"), None),
    )
    first = desk.headless(f"/stagent:start --flow {flow} a task")
    session = play.over(quiet=0)[0].session
    run = desk.run()
    # What the model was told, the person reads; and the hook says it where the model does not.
    assert f"stagent approve {run.run}" in first.result["result"]
    assert f"stagent approve {run.run}" in first.told()
    assert first.status == 0
    assert first.result["permission_denials"] == []
    assert run.status() == "interrupted"

    assert desk.person("approve", run.run).status == 0
    play = Play(
        model,
        (desk.call("advance"), "Stage build, epoch 2"),
        (desk.artifact("build", "PASS", epoch=2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    second = desk.headless(f"/stagent:continue {run.run}", "--resume", session)
    play.over(quiet=0)
    assert second.result["result"] == "Done."
    assert run.state.terminal == "complete"


def test_a_typed_approval_in_print_mode_is_nobodys(desk: Desk, model: ScriptedModel) -> None:
    flow = desk.flow({"plan": stage({"approved": "complete"}, gate={"type": "require_approval"})})
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "approved"), "created"),
        (desk.call("advance"), "a person must approve"),
        (text("It waits for you."), None),
    )
    desk.headless(f"/stagent:start --flow {flow} a task")
    session = play.over(quiet=0)[0].session
    run = desk.run()
    play = Play(model, (text("Told."), None))
    desk.headless("/stagent:approve", "--resume", session)
    assert "Nothing was decided" in play.over(quiet=0)[0].fresh
    assert run.log("gate.decided") == []

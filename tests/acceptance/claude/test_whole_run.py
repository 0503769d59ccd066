"""A whole run in the person's own session, from the typed command to the terminal."""

from __future__ import annotations

import json

from acceptance.claude.kit import Desk, answer
from acceptance.support import stage
from stagent.testing.scripted_model import ScriptedModel, Thread, says, text

HOSTILE = """make it's "done" & $HOME `id > never`; touch never && $(touch never) \\ | 'x' 😀
second line; --force"""
STAGES = {
    "plan": stage({"approved": "build"}, gate={"type": "require_approval"}, writes="artifact"),
    "build": stage(
        {"PASS": "complete", "FAIL": "plan"}, checks=[{"name": "made", "run": "test -f made", "for": ["PASS"]}]
    ),
}


def test_a_run_from_the_typed_task_to_its_end(desk: Desk, model: ScriptedModel) -> None:
    flow = desk.flow(STAGES)
    model.say(
        Thread(
            [
                text("Stopping at once."),
                desk.call("tick"),
                desk.artifact("plan", "approved", body="The plan."),
                desk.call("advance"),
                text("It waits for the person."),
                desk.call("advance"),
                text("Stopping early."),
                desk.artifact("build", "PASS", epoch=2),
                desk.call("advance"),
                desk.shell("touch made"),
                desk.call("advance"),
                text("All done."),
            ]
        )
    )
    screen = desk.terminal(allow=["Bash(touch made)"])
    screen.say(f"/stagent:start --flow {flow} {HOSTILE}")
    screen.see("It waits for the person.", 30)
    run = desk.run()
    assert run.text(run.state.task) == HOSTILE
    assert not (desk.project / "never").exists()
    begun, ticked, wrote, asked, waits = model.main[:5]
    assert f"Run {run.run} started" in begun.whole
    assert "has begun and nothing was done yet" in ticked.fresh
    assert json.loads(answer(wrote))["status"] == "plan"
    assert "created successfully" in answer(asked)
    assert "a person must approve" in answer(waits)

    # The turn ended at the gate, nothing was decided, and nobody asked the model to go on.
    assert model.more(1.5) == []
    assert run.place == ("plan", 1)
    assert run.log("gate.decided") == []

    screen.say("/stagent:approve looks good")
    screen.see("Stopping early.", 30)
    (decided,) = run.log("gate.decided")
    assert decided["decision"] == "approve"
    assert decided["actor"].startswith("person:hook:")
    assert run.text(decided["text"]) == "looks good"
    assert "The approval counts" in model.wait(says("The approval counts")).fresh

    screen.see("All done.", 30)
    held, refused = model.main[7], model.main[9]
    assert "Stop hook feedback" in held.fresh
    assert "there is no artifact at" in held.fresh
    assert refused.results()[0]["is_error"]
    assert "check made" in answer(refused)
    assert run.state.terminal == "complete"
    assert [event["target"] for event in run.log("transitioned")] == ["build", "complete"]
    assert model.more(1) == []

"""What a session waits for is shown outside of it, and no longer than it waits."""

from __future__ import annotations

from acceptance.claude.kit import Desk, Play
from acceptance.claude.steps import asks
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import ScriptedModel, text


def waits(desk: Desk) -> tuple[str, str]:
    """How the only run stands in the list, and what its session waits for."""
    done = desk.cli("runs", "--json").json
    [row] = done if isinstance(done, list) else done["runs"]
    return row["status"], row["waits"]


def test_a_picker_and_a_permission(desk: Desk, model: ScriptedModel) -> None:
    stages = {
        "plan": stage({"approved": "work"}, gate={"type": "require_approval"}, writes="artifact"),
        "work": stage({"PASS": "complete"}),
    }
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "approved"), "created successfully"),
        (desk.call("advance"), "a person must approve"),
        (desk.call("tick"), "picker"),
        (asks(), "Approve"),
        (desk.call("advance"), "Stage work, epoch 2"),
        (desk.shell("touch made"), r"\[result\]"),
        (desk.artifact("work", "PASS", epoch=2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow(stages)} a task")
    screen.see("Enter to select", 60)
    wait_for(lambda: waits(desk) == ("waiting", "your answer in the session's picker"), "the picker to be shown", 10)
    assert "waits for your answer in the session's picker, since" in desk.cli("status").out
    screen.settle(1)
    screen.mark()
    screen.press("enter")
    screen.see("Do you want to", 60)
    wait_for(lambda: waits(desk) == ("waiting", "a permission in the session"), "the permission to be shown", 10)
    assert desk.run().place == ("work", 2)
    screen.settle(1)
    screen.press("enter")
    play.over()
    assert desk.run().state.terminal == "complete"
    assert waits(desk) == ("complete", "")

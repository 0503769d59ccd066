"""What a person decides in a session whose run is paused."""

from __future__ import annotations

from acceptance.claude.kit import Desk, Play
from acceptance.support import stage
from stagent.testing.scripted_model import ScriptedModel, text

PLAN = {"plan": stage({"approved": "complete"}, gate={"type": "require_approval"})}


def test_a_paused_run_is_not_approved_but_can_be_cancelled(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "approved"), "created"),
        (desk.call("advance"), "a person must approve"),
        (text("Waiting."), None),
    )
    screen = desk.terminal(allow=["Write"])
    screen.say(f"/stagent:start --flow {desk.flow(PLAN)} a task")
    play.over()
    run = desk.run()
    for command, said in (
        ("/stagent:interrupt", "is interrupted in stage plan"),
        ("/stagent:approve", "Nothing was decided: the run is interrupted.*Go on with it first: /stagent:continue"),
        ("/stagent:cancel not worth it", "is cancelled; its folder is now"),
    ):
        play = Play(model, (text("Told."), None))
        screen.say(command)
        (told,) = play.over()
        assert said.split(".*")[0] in told.fresh
        assert said.split(".*")[-1] in told.fresh
    assert run.log("gate.decided") == []
    assert run.state.terminal == "cancelled"
    assert run.log("terminal")[0]["actor"].startswith("person:command:")


def test_cancelled_for_good_the_folder_is_gone(desk: Desk, model: ScriptedModel) -> None:
    play = Play(model, (desk.call("tick"), '"status": "plan"'), (text("Shall I?"), None))
    screen = desk.terminal()
    screen.say(
        f"/stagent:start --flow {desk.flow({'plan': stage({'approved': 'complete'}, interruptible=True)})} a task"
    )
    play.over()
    run, folder = desk.run(), desk.run().folder
    for command, said in (
        ("/stagent:cancel --help", "no option --help"),
        ("/stagent:cancel --session nobody", "no run of session nobody"),
    ):
        play = Play(model, (text("Told."), None))
        screen.say(command)
        assert said in play.over()[0].fresh
        assert (run.state.status, folder.is_dir()) == ("running", True)
    play = Play(model, (text("Told."), None))
    screen.say("/stagent:cancel --hard")
    assert "is cancelled; its folder is removed" in play.over()[0].fresh
    assert run.state.terminal == "cancelled"
    assert not folder.exists()
    assert not (folder.parent / ".archive").exists()

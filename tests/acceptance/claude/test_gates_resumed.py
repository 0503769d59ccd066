"""A gate in a session that was ended and resumed: who may decide there, and how it goes on."""

from __future__ import annotations

from acceptance.claude.kit import Desk, Play, Run
from acceptance.claude.steps import asks, beside, delegated, launch, worked
from acceptance.support import stage
from stagent.testing.scripted_model import Answer, Request, ScriptedModel, Thread, Turn, of_agents, says, text, tool

STAGES = {
    "plan": stage({"approved": "build"}, gate={"type": "require_approval"}, writes="artifact"),
    "build": stage({"PASS": "complete"}),
}


WORKER = {**STAGES, "plan": delegated({"approved": "build"}, gate={"type": "require_approval"}, writes="artifact")}


def at_the_gate(desk: Desk, model: ScriptedModel, kill: bool, worker: bool = False) -> tuple[str, Run]:
    """A session whose stage waits for the person, killed or closed there; returns its id and the run.

    `worker`: a sub-agent works the stage.
    """
    if worker:
        model.say(Thread(worked(desk, "plan", "approved"), of_agents))
    delegating: list[tuple[Answer, str | None]] = [(launch(), "launched"), (text("It works."), "stage plan is over")]
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        *(delegating if worker else [(desk.artifact("plan", "approved"), "created")]),
        (desk.call("advance"), "a person must approve"),
        (text("Waiting."), None),
    )
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow(WORKER if worker else STAGES)} a task")
    session = play.over(quiet=0.3)[0].session
    screen.kill() if kill else screen.close()
    return session, desk.run()


def test_after_a_kill_the_resumed_session_has_the_run_and_the_typed_approval_counts(
    desk: Desk, model: ScriptedModel
) -> None:
    session, run = at_the_gate(desk, model, kill=True, worker=True)
    play = Play(
        model,
        (desk.call("advance"), "Stage build, epoch 2"),
        (desk.artifact("build", "PASS", 2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen = desk.terminal("--resume", session)
    screen.say("/stagent:approve")
    requests = play.over()
    assert requests[0].session == session
    assert "The approval counts" in requests[0].fresh
    assert f"This session drives the Stagent run {run.run}" in requests[0].whole
    (decided,) = run.log("gate.decided")
    assert decided["channel"] == "hook"
    assert run.state.fence == 2
    assert run.state.terminal == "complete"


def test_after_a_pause_nothing_counts_before_the_run_goes_on_and_then_the_picker_does(
    desk: Desk, model: ScriptedModel
) -> None:
    session, run = at_the_gate(desk, model, kill=False, worker=True)
    assert run.status() == "interrupted"
    screen = desk.terminal("--resume", session)
    play = Play(model, (text("Told."), None))
    screen.say("/stagent:approve")
    assert "Nothing was decided" in play.over()[0].fresh
    assert run.log("gate.decided") == []

    play = Play(
        model,
        (desk.call("advance"), "a person must approve"),
        (desk.call("tick"), "picker"),
        (asks(), "Approve"),
        (desk.call("advance"), "Stage build, epoch 2"),
        (desk.artifact("build", "PASS", 2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen.say("/stagent:continue")
    screen.see("Enter to select")
    screen.settle(1)
    screen.press("enter")
    play.over()
    (decided,) = run.log("gate.decided")
    assert (decided["decision"], decided["channel"]) == ("approve", "hook")
    assert run.state.terminal == "complete"


def test_a_resumed_print_session_is_woken_by_a_rejection_and_by_an_approval(desk: Desk, model: ScriptedModel) -> None:
    session, run = at_the_gate(desk, model, kill=False)
    play = Play(
        model,
        (desk.call("wait", run_in_background=True), "background"),
        (text("It waits for you."), "task-notification"),
        (desk.call("advance"), r"\[error\].*a person rejected this artifact"),
        (desk.call("context"), "Name the files"),
        (desk.artifact("plan", "approved", body="With the files."), "updated|created"),
        (desk.call("advance"), r"\[error\].*a person must approve"),
        (desk.call("wait", run_in_background=True), "second|background"),
        (text("It waits again."), "task-notification"),
        (desk.call("advance"), "Stage build, epoch 2"),
        (desk.artifact("build", "PASS", 2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    with beside(desk, f"/stagent:continue {run.run}", "--resume", session) as done:
        model.wait(says("background"), 40)
        assert desk.person("redo", run.run, "--feedback", "Name the files.").status == 0
        model.wait(says("background", lambda request: len(run.log("gate.opened")) > 1), 40)
        assert desk.person("approve", run.run).status == 0
        assert done.result().result["result"] == "Done."
    play.over(quiet=0)
    assert [event["decision"] for event in run.log("gate.decided")] == ["redo", "approve"]
    assert run.state.terminal == "complete"


def test_a_session_resumed_in_another_folder_of_the_project_has_the_same_run(desk: Desk, model: ScriptedModel) -> None:
    session, run = at_the_gate(desk, model, kill=False)
    folder = desk.project / "deep" / "er"
    folder.mkdir(parents=True)
    assert desk.person("approve", run.run).status == 0
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.call("advance"), "Stage build, epoch 2"),
        # The hook judges paths by the project of the run, wherever the session stands.
        (tool("Write", file_path=str(desk.project / ".stagent" / session / "state.md"), content="x"), r"\[error\]"),
        (desk.artifact("build", "PASS", 2, of=session), "created"),
        (text("I am done."), "Stop hook feedback.*finished with the result PASS"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    done = desk.headless(f"/stagent:continue {run.run}", "--resume", session, cwd=folder, allow=["Write"])
    requests = play.over(quiet=0)
    assert done.init["cwd"] == str(folder)
    assert requests[0].session == session
    assert done.result["result"] == "Done."
    assert run.state.terminal == "complete"
    assert run.log("transitioned")[-1]["source"] == "build"
    assert not (folder / ".stagent").exists()


def test_a_session_resumed_outside_of_the_project_moves_nothing_and_is_told_why(
    desk: Desk, model: ScriptedModel
) -> None:
    session, run = at_the_gate(desk, model, kill=False)
    folder = desk.root / "elsewhere"
    folder.mkdir()
    play = Play(
        model,
        (desk.call("advance"), r"\[error\].*the run is interrupted"),
        (text("It is of another project."), None),
    )
    desk.headless(f"/stagent:continue {run.run}", "--resume", session, cwd=folder)
    told = play.over(quiet=0)[0].whole
    assert f"project mismatch: this session works in {folder}, the run's project is {desk.project}" in told
    assert run.status() == "interrupted"
    assert run.place == ("plan", 1)


def test_a_session_that_begins_to_wait_when_the_decision_is_made_is_woken_all_the_same(
    desk: Desk, model: ScriptedModel
) -> None:
    def late(request: Request) -> Turn:
        assert desk.person("approve", desk.run().run).status == 0
        return desk.call("wait", run_in_background=True)

    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "approved"), "created"),
        (desk.call("advance"), "a person must approve"),
        (late, "background"),
        (text("It waits for you."), "task-notification"),
        (desk.call("advance"), "Stage build, epoch 2"),
        (desk.artifact("build", "PASS", 2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    done = desk.headless(f"/stagent:start --flow {desk.flow(STAGES)} a task")
    play.over(quiet=0)
    assert done.result["result"] == "Done."
    assert desk.run().state.terminal == "complete"

"""A model that stops while the engine's checks run: it is let go, and woken by what they find."""

from __future__ import annotations

from pathlib import Path

from acceptance.claude.kit import Desk, Play
from acceptance.claude.steps import beside
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import ScriptedModel, says, text


def slow(desk: Desk, *names: str) -> str:
    """A workflow whose stage has checks that each wait for a file and fail where it says so."""
    checks = [
        {
            "name": name,
            "run": f"touch {desk.root}/{name}.began; until [ -s {desk.root}/{name} ]; do sleep 0.1; done; "
            f". {desk.root}/{name}",
            "timeout": 120,
            "for": ["PASS"],
        }
        for name in names
    ]
    return desk.flow({"build": stage({"PASS": "complete"}, checks=checks)})


def let(desk: Desk, name: str, verdict: str = "true") -> None:
    """Have a check end; the file appears whole."""
    fresh = desk.root / f"{name}.new"
    fresh.write_text(verdict + "\n")
    fresh.rename(desk.root / name)


def began(desk: Desk, name: str) -> None:
    wait_for(Path(desk.root / f"{name}.began").exists, f"check {name} to begin", 30)


def test_interactively_it_may_stop_and_is_woken_when_the_last_of_them_is_over(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (desk.artifact("build", "PASS"), "created"),
        # Not a plain call: what excuses the stop is not this command in the background but that checks run.
        (desk.shell(f"{desk.launcher} advance; true", run_in_background=True), "background"),
        (lambda request: (began(desk, "one"), text("They run."))[1], None),
    )
    screen = desk.terminal(allow=["Bash"])
    screen.say(f"/stagent:start --flow {slow(desk, 'one', 'two')} a task")
    session = play.over()[0].session
    run = desk.run()
    assert desk.live(session)["checking"] is True
    assert run.status() == "running"

    # Said anything, the session may stop again: nothing of it is asked for while the checks run.
    play = Play(model, (text("They run still."), None))
    let(desk, "one")
    began(desk, "two")
    assert desk.live(session)["checking"] is True
    screen.say("how far are they?")
    play.over()

    play = Play(model, (text("Both are well."), None))
    let(desk, "two")
    woken = play.over()[0]
    assert "task-notification" in woken.fresh
    assert run.state.terminal == "complete"
    assert [event["name"] for event in run.log("check.ended")] == ["one", "two"]


def test_in_print_mode_a_check_that_fails_wakes_it_and_it_is_held_again(desk: Desk, model: ScriptedModel) -> None:
    # The call outlasts its time limit: the interface puts it into the background itself.
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (desk.artifact("build", "PASS"), "created"),
        (desk.call("advance", timeout=3000), "background"),
        (text("They run."), "task-notification"),
        (text("One is not well."), "Stop hook feedback.*finished with the result PASS"),
        (desk.call("advance"), r"\[error\].*check two failed with exit code 5"),
        (desk.artifact("build", "PASS", body="Better."), "updated"),
        (lambda request: (let(desk, "two"), desk.call("advance"))[1], "ended as complete"),
        (text("Done."), None),
    )
    with beside(desk, f"/stagent:start --flow {slow(desk, 'one', 'two')} a task") as done:
        began(desk, "one")
        let(desk, "one")
        began(desk, "two")
        model.wait(says("background"), 40)
        # The turn that follows is let go: only the end of the checks brings the next request.
        wait_for(lambda: len(model.main) >= 4, "the model to be told")
        assert model.more(1.5) == []
        let(desk, "two", "exit 5")
        assert done.result().result["result"] == "Done."
    play.over(quiet=0)
    run = desk.run()
    outcomes = [(event["name"], event["outcome"]) for event in run.log("check.ended")]
    assert outcomes[:2] == [("one", "pass"), ("two", "fail")]
    assert run.state.terminal == "complete"

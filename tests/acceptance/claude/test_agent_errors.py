"""What the agent's turn ended with, where it is no answer: the run shows it, also when the session is gone."""

from __future__ import annotations

import pytest

from acceptance.claude.kit import Desk, Play, Run
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import Rule, ScriptedModel, failure, text

BUILD = {"build": stage({"PASS": "complete"})}
SAID = "the script says so"


def fails(model: ScriptedModel) -> None:
    """Whatever follows the tick is refused; the program asks more than once."""
    model.say(Rule(lambda request: request.main and '"status": "build"' in request.fresh, failure(400)))


def shown(desk: Desk, run: Run) -> None:
    """The error stands wherever a person looks."""
    status = desk.cli("status", run.run, "--json").json
    assert SAID in status["error"]
    assert "400" in status["error"]
    assert f"Error:    the agent's last turn ended with: {status['error']}" in desk.cli("status", run.run).out
    rows = desk.cli("runs", "--json").json
    assert [row["error"] for row in rows] == [status["error"]]
    assert f"{run.run}: the agent's last turn ended with: {status['error']}" in desk.cli("runs").err


def logged(desk: Desk, run: Run) -> None:
    """The log names it as the reason of the pause."""
    assert run.status() == "interrupted"
    (interrupted,) = run.log("interrupted")
    assert SAID in run.text(interrupted["reason"])
    assert SAID in desk.cli("show", run.run).out


def test_in_print_mode_it_is_known_after_the_end(desk: Desk, model: ScriptedModel) -> None:
    fails(model)
    play = Play(model, (desk.call("tick"), '"status": "build"'))
    done = desk.headless(f"/stagent:start --flow {desk.flow(BUILD)} a task")
    session = play.over(quiet=0)[0].session
    assert done.status == 1
    run = desk.run()
    shown(desk, run)
    logged(desk, run)

    # It is over with the pause.
    play = Play(
        model,
        (desk.artifact("build", "PASS"), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    desk.headless(f"/stagent:continue {run.run}", "--resume", session)
    play.over(quiet=0)
    assert run.state.terminal == "complete"
    assert desk.cli("status", run.run, "--json").json["error"] == ""


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_in_the_interface_it_is_known_while_the_session_lives_and_afterwards(
    desk: Desk, model: ScriptedModel, end: str
) -> None:
    fails(model)
    play = Play(model, (desk.call("tick"), '"status": "build"'))
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow(BUILD)} a task")
    play.over(quiet=0)
    run = desk.run()
    wait_for(lambda: desk.cli("status", run.run, "--json").json["error"], "the error to be known", 30)
    assert run.state.status == "running"
    shown(desk, run)
    if end == "killed":
        screen.kill()
        shown(desk, run)
        assert desk.cli("status", run.run, "--json").json["driver"] == "stale"
        return
    screen.close()
    wait_for(lambda: run.status() == "interrupted", "the end of the session to be known", 20)
    shown(desk, run)
    logged(desk, run)

"""The permission mode `default`: two calls need no asking, in every kind of session; nothing else is let through."""

from __future__ import annotations

import pytest

from acceptance.claude.kit import Desk, Play
from acceptance.claude.steps import delegated, launch
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import Answer, ScriptedModel, Thread, of_agents, text, tool

PLAN = {"plan": stage({"approved": "complete"}, interruptible=True)}
ASKED = "Do you want to"


def resumed(desk: Desk, model: ScriptedModel) -> str:
    """A session that began a run and ended; returns its id."""
    play = Play(model, (desk.call("tick"), '"status": "plan"'), (text("Later."), None))
    desk.headless(f"/stagent:start --flow {desk.flow(PLAN)} a task")
    session = play.over(quiet=0)[0].session
    assert desk.run().status() == "interrupted"
    return session


def edit(desk: Desk) -> Answer:
    return lambda request: tool(
        "Edit", file_path=str(desk.report(request.session, "plan")), old_string="Work.", new_string="More work."
    )


def others(desk: Desk) -> list[Answer]:
    """What only looks like the calls that are let through, and plain work that a person is asked about."""
    return [
        desk.shell("touch other"),
        desk.call("tick && touch other"),
        desk.call("tick > other"),
        desk.call('tick "$(touch other)"'),
        desk.shell(f"X=1 {desk.launcher} tick; touch other"),
        desk.shell("cp /bin/true ./stagent-cc; ./stagent-cc tick"),
        tool("Write", file_path=str(desk.project / "other"), content="x"),
        tool("Write", file_path=str(desk.project / "plan-report.md"), content="x"),
    ]


@pytest.mark.parametrize("kind", ["fresh", "resumed"])
def test_in_print_mode(desk: Desk, model: ScriptedModel, kind: str) -> None:
    more: list[str] = []
    prompt = f"/stagent:start --flow {desk.flow(PLAN)} a task"
    if kind == "resumed":
        more = ["--resume", resumed(desk, model)]
        prompt = f"/stagent:continue {desk.run().run}"
    refused = others(desk)
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        *((step, r"\[error\]") for step in refused),
        (desk.artifact("plan", "approved"), "created"),
        (edit(desk), "updated"),
        (desk.call("context"), "Stage: plan"),
        (desk.call("next --result approved"), '"next_status": "complete"'),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    done = desk.headless(prompt, *more)
    play.over(quiet=0)
    assert len(done.result["permission_denials"]) == len(refused)
    assert not (desk.project / "other").exists()
    assert "More work." in desk.run().artifact("plan").read_text()
    assert desk.run().state.terminal == "complete"


@pytest.mark.rule("W33")
def test_in_a_sub_agent(desk: Desk, model: ScriptedModel) -> None:
    refused = [*others(desk), desk.call("advance"), launch()]
    model.say(Thread([desk.call("bootstrap"), *refused, desk.artifact("work", "PASS"), text("It is over.")], of_agents))
    play = Play(
        model,
        (desk.call("tick"), '"execution_type": "subagent"'),
        (launch(run_in_background=False), "It is over"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    desk.headless(f"/stagent:start --flow {desk.flow({'work': delegated({'PASS': 'complete'})})} a task")
    play.over(quiet=0)
    answers = [request.fresh for request in model.agents[1:]]
    assert "Stage: work" in answers[0]
    assert all("[error]" in fresh for fresh in answers[1:-1])
    assert len(answers) == len(refused) + 2
    assert "created" in answers[-1]
    assert "a sub-agent does not move the run" in answers[-3]
    assert not (desk.project / "other").exists()


@pytest.mark.parametrize("kind", ["fresh", "resumed"])
def test_interactively(desk: Desk, model: ScriptedModel, kind: str) -> None:
    more: list[str] = []
    prompt = f"/stagent:start --flow {desk.flow(PLAN)} a task"
    if kind == "resumed":
        more = ["--resume", resumed(desk, model)]
        prompt = f"/stagent:continue {desk.run().run}"
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "pending"), "created"),
        (edit(desk), "updated"),
        (desk.call("context"), "Stage: plan"),
        (text("Now something else."), None),
    )
    screen = desk.terminal(*more)
    screen.say(prompt)
    play.over(quiet=0)
    assert ASKED not in screen.screen(whole=True)

    for step in (desk.call("tick && touch other"), tool("Write", file_path=str(desk.project / "other"), content="x")):
        play = Play(model, (step, None))
        screen.say("go on")
        screen.see(ASKED)
        screen.settle()
        assert not (desk.project / "other").exists()
        screen.press("escape")
        screen.settle()
        play.over(quiet=0.3)

    play = Play(
        model,
        (desk.artifact("plan", "approved"), "updated"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen.say("go on")
    screen.see("Done.")
    play.over(quiet=0)
    assert ASKED not in screen.screen()
    wait_for(lambda: desk.run().state.terminal == "complete", "the end of the run")

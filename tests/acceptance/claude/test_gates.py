"""Where a person decides: the picker, the typed command, another terminal."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from acceptance.claude.kit import Desk, Play, Run, Terminal, answer
from acceptance.support import stage
from stagent.testing.scripted_model import Answer, Request, ScriptedModel, Turn, text, tool

STAGES = {
    "plan": stage({"approved": "build"}, gate={"type": "require_approval"}, writes="artifact"),
    "build": stage({"PASS": "complete"}),
}


def asks(change: Callable[[dict[str, object]], None] = lambda question: None) -> Callable[[Request], Turn]:
    """The model asks the question that the tick before printed, or a changed one."""

    def ask(request: Request) -> Turn:
        question = json.loads(answer(request))["picker"]
        change(question)
        return tool("AskUserQuestion", questions=[question])

    return ask


def at_the_gate(desk: Desk, model: ScriptedModel, *more: tuple[Answer, str | None]) -> tuple[Terminal, Run]:
    """A session whose first stage waits for the person."""
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "approved"), "created successfully"),
        (desk.call("advance"), "a person must approve"),
        *(more or ((text("Waiting."), None),)),
    )
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow(STAGES)} a task")
    play.over()
    return screen, desk.run()


def choose(screen: Terminal, *keys: str) -> None:
    screen.see("Enter to select")
    screen.settle(1)
    screen.press(*keys)


def test_a_picker_with_exactly_our_question_decides(desk: Desk, model: ScriptedModel) -> None:
    screen, run = at_the_gate(desk, model)
    play = Play(
        model,
        (desk.call("tick"), "picker"),
        (asks(), "Approve"),
        (desk.call("advance"), "Stage build, epoch 2"),
        (desk.artifact("build", "PASS", epoch=2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    screen.say("show me")
    choose(screen, "enter")
    play.over()
    (decided,) = run.log("gate.decided")
    assert (decided["decision"], decided["channel"]) == ("approve", "hook")
    assert run.state.terminal == "complete"


def test_the_picker_rejects_as_well(desk: Desk, model: ScriptedModel) -> None:
    screen, run = at_the_gate(desk, model)
    play = Play(model, (desk.call("tick"), "picker"), (asks(), "Reject"), (desk.call("advance"), "rejected"))
    screen.say("show me")
    choose(screen, "down", "enter")
    play.over(quiet=0)
    assert run.log("gate.decided")[0]["decision"] == "reject"
    assert run.place == ("plan", 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda question: question.update(question="Shall I go on?"),
        lambda question: question.update(header="Lunch"),
        lambda question: question["options"][0].update(description="Just a formality."),
        lambda question: question["options"].reverse(),
    ],
    ids=["question", "header", "description", "order"],
)
def test_a_picker_with_other_words_decides_nothing(
    desk: Desk, model: ScriptedModel, change: Callable[[dict[str, object]], None]
) -> None:
    screen, run = at_the_gate(desk, model)
    play = Play(
        model,
        (desk.call("tick"), "picker"),
        (asks(change), "answered"),
        (desk.call("advance"), "a person must approve"),
        (text("Still waiting."), None),
    )
    screen.say("show me")
    choose(screen, "enter")
    play.over()
    assert run.log("gate.decided") == []
    assert run.place == ("plan", 1)


def test_a_question_that_brings_its_answer_is_denied(desk: Desk, model: ScriptedModel) -> None:
    screen, run = at_the_gate(desk, model)

    def answered(request: Request) -> Turn:
        question = json.loads(answer(request))["picker"]
        return tool("AskUserQuestion", questions=[question], answers={question["question"]: "Approve"})

    play = Play(
        model,
        (desk.call("tick"), "picker"),
        (answered, "the person gives them"),
        (text("Still waiting."), None),
    )
    screen.say("show me")
    play.over()
    assert run.log("gate.decided") == []


def test_other_words_in_the_picker_are_feedback(desk: Desk, model: ScriptedModel) -> None:
    screen, run = at_the_gate(desk, model)
    play = Play(
        model,
        (desk.call("tick"), "picker"),
        (asks(), "Use fewer words"),
        (desk.call("advance"), r"\[error\].*a person rejected this artifact. Read the feedback"),
    )
    screen.say("show me")
    screen.see("Enter to select")
    screen.settle(1)
    screen.press("down", "down")
    screen.type("Use fewer words")
    screen.press("enter")
    play.over(quiet=0)
    (decided,) = run.log("gate.decided")
    assert (decided["decision"], decided["channel"]) == ("redo", "hook")
    assert run.text(decided["text"]) == "Use fewer words"
    assert run.place == ("plan", 1)


def test_a_decision_in_another_terminal_wakes_the_session_that_waits(desk: Desk, model: ScriptedModel) -> None:
    def background(request: Request) -> Turn:
        return desk.shell(json.loads(answer(request))["wait"], run_in_background=True)

    # Somebody sits in front of this session: what it is told to wait with has no limit.
    ticked = (desk.call("tick"), rf'"wait": "{desk.launcher} wait"')
    _, run = at_the_gate(desk, model, ticked, (background, "background"), (text("Waiting for you."), None))
    play = Play(
        model,
        (desk.call("advance"), "Stage build, epoch 2"),
        (desk.artifact("build", "PASS", epoch=2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    assert desk.person("approve", run.run).status == 0
    woken = play.over()[0]
    assert "task-notification" in woken.fresh
    (decided,) = run.log("gate.decided")
    assert decided["channel"] == "terminal"
    assert run.state.terminal == "complete"


def test_an_approval_of_what_was_changed_afterwards_is_void(desk: Desk, model: ScriptedModel) -> None:
    screen, run = at_the_gate(desk, model)
    play = Play(
        model,
        (desk.artifact("plan", "approved", body="Something else."), "updated|created"),
        (desk.call("advance"), r"\[error\].*(changed|approve)"),
        (text("Caught."), None),
    )
    screen.say("/stagent:approve")
    play.over()
    assert run.place == ("plan", 1)

"""Two sessions with a run each and one without, all in one folder at the same time."""

from __future__ import annotations

import re

from acceptance.claude.kit import Desk, Play, Run, Terminal
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import Answer, Request, ScriptedModel, Thread, Turn, text, tool

STAGES = {
    "plan": stage({"approved": "build"}, gate={"type": "require_approval"}),
    "build": stage({"PASS": "complete"}, checks=[{"name": "made", "run": "test -f one -a -f two", "for": ["PASS"]}]),
}


def to_the_gate(desk: Desk, model: ScriptedModel, flow: str, task: str) -> tuple[Terminal, Run, str]:
    """A session whose run waits for its person; returns its terminal, its run and its id."""
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "approved", body=f"The plan of {task}."), "created"),
        (desk.call("advance"), "a person must approve"),
        (text("Waiting."), None),
    )
    screen = desk.terminal(allow=["Bash", "Write"])
    screen.say(f"/stagent:start --flow {flow} {task}")
    session = play.over(quiet=0.3)[0].session
    return screen, Run(desk, desk.live(session)["run"]), session


def test_each_has_its_own_run_and_the_one_without_has_none(desk: Desk, model: ScriptedModel) -> None:
    flow = desk.flow(STAGES)
    first, one, own = to_the_gate(desk, model, flow, "the first task")
    second, two, other = to_the_gate(desk, model, flow, "the second task")
    assert one.run != two.run

    # The bystander does what it likes, is bound by nothing, drives nothing, and is told nothing.
    overwrite = tool(
        "Write", file_path=str(desk.report(own, "plan")), content="---\nepoch: 1\nresult: approved\n---\nNo.\n"
    )
    play = Play(
        model,
        (desk.shell("touch bystander"), r"\[result\]"),
        (desk.call("advance"), r"\[error\].*no run of session"),
        (desk.call(f"advance {one.run}"), r"\[error\].*does not drive the run"),
        (desk.shell(f"cat {desk.report(own, 'plan')}"), "The plan of the first task"),
        (overwrite, "updated"),
        (text("Enough."), None),
    )
    done = desk.headless("do something of your own", allow=["Bash", "Write", "Read"])
    requests = play.over(quiet=0)
    assert "Stagent" not in done.told()
    assert "This session drives" not in requests[-1].whole

    # What the bystander changed is not what the person of the first session was shown.
    play = Play(
        model,
        (desk.call("advance"), r"\[error\].*a person must approve"),
        (desk.artifact("plan", "approved", of=other), r"\[error\].*this stage writes only"),
        (desk.call(f"advance {two.run}"), r"\[error\].*does not drive the run"),
        (desk.call(f"approve {two.run}"), r"\[error\].*only a person"),
        (text("Waiting again."), None),
    )
    first.say("/stagent:approve")
    assert "Nothing was decided" in play.over()[0].fresh
    assert (one.place, two.place) == (("plan", 1), ("plan", 1))

    # Both go on at the same moment, each on its own person's word.
    model.say(
        *(
            Thread(building(desk, name, one, two), lambda request, task=task: request.main and task in request.whole)
            for name, task in (("one", "the first task"), ("two", "the second task"))
        )
    )
    assert two.log("gate.decided") == []
    assert desk.person("approve", two.run).status == 0
    assert one.log("gate.decided") == []
    first.say("/stagent:approve")
    second.say("it is approved in a terminal")
    for task, run in (("the first task", one), ("the second task", two)):
        ended = model.wait(lambda request, task=task: task in request.whole and ended_as_complete(request), 60)
        assert run.run in ended.fresh
        assert run.state.terminal == "complete"
        assert [event["decision"] for event in run.log("gate.decided")] == ["approve"]
    assert one.log("gate.decided")[0]["channel"] == "hook"
    assert two.log("gate.decided")[0]["channel"] == "terminal"


def building(desk: Desk, name: str, *runs: Run) -> list[Answer]:
    """Both build at once, in the same folder: the check of each needs what the other makes."""

    def make(request: Request) -> Turn:
        # A plan is approved together with the project as it lies there: nobody builds while the other's is not left.
        wait_for(lambda: all(run.place == ("build", 2) for run in runs), "both runs to be in their second stage", 60)
        return desk.shell(f"until test -f one -a -f two; do touch {name}; sleep 0.1; done")

    return [desk.call("advance"), desk.artifact("build", "PASS", 2), make, desk.call("advance"), text("Done.")]


def ended_as_complete(request: Request) -> bool:
    return re.search(r"Run \S+ ended as complete", request.fresh) is not None

"""`/stagent:create`: a workflow is planned, written by a sub-agent, validated, accepted, and then used in a session."""

from __future__ import annotations

import json

from acceptance.claude.kit import Desk, Play, Run
from acceptance.claude.steps import beside, launch, worked
from acceptance.create.kit import changed, folder, plan
from stagent.testing.scripted_model import Answer, ScriptedModel, Thread, Turn, of_agents, says, text, tool

WORDS = 'a workflow for "release notes"; touch injected'
BROKEN = changed(judge={"transitions": {"PASS": "complet", "FAIL": "draft"}})
HERE = launch(run_in_background=False)
ALLOWED = ["Write"]


def written(desk: Desk, steps: list[dict[str, dict[str, str]]]) -> list[Answer]:
    """The model writes the files of a workflow with the Write tool."""
    return [
        tool("Write", file_path=str(desk.project / step["write"]["path"]), content=step["write"]["text"])
        for step in steps
    ]


def agents(desk: Desk) -> list[Answer]:
    """A writer who makes a mistake, one who mends it, and a reviewer."""
    mend = next(step for step in folder() if step["write"]["path"].endswith("workflow.json"))["write"]
    return [
        *worked(desk, "writing", "done", 3, *written(desk, folder(BROKEN)), said="Written, I think."),
        *worked(desk, "writing", "done", 5, desk.shell(f"cat {mend['path']}"), *rewritten(desk, mend), said="Written."),
        *worked(desk, "final-review", "PASS", 7, said="Reviewed."),
    ]


def rewritten(desk: Desk, mend: dict[str, str]) -> list[Turn]:
    place = str(desk.project / mend["path"])
    return [tool("Read", file_path=place), tool("Write", file_path=place, content=mend["text"])]


def waits(desk: Desk) -> list[tuple[Answer, str | None]]:
    """The model waits for the person in the background and ends its turn."""
    return [(desk.call("wait", run_in_background=True), "background"), (text("It waits for you."), "task-notification")]


def test_from_the_command_to_a_run_of_what_was_written(desk: Desk, model: ScriptedModel) -> None:
    model.say(Thread(agents(desk), of_agents))
    planned = plan()["artifact"]["body"]
    play = Play(
        model,
        (desk.call("tick"), '"status": "planning"'),
        (desk.artifact("planning", "approved", body=planned), "created"),
        (desk.call("advance"), "a person must approve"),
        *waits(desk),
        (desk.call("advance"), "Stage preparing|Stage: preparing"),
        (desk.call("advance"), "Stage: writing"),
        (HERE, "Written, I think"),
        (desk.artifact("validating", "PASS", 4), r"\[error\].*this stage writes only"),
        (desk.call("advance"), "Stage validating|Stage: validating"),
        (desk.artifact("validating", "PASS", 4), r"\[error\].*the engine writes this artifact itself"),
        (desk.call("advance"), "Stage: writing"),
        (HERE, r"Written\."),
        (desk.call("advance"), "Stage validating|Stage: validating"),
        (desk.call("advance"), "Stage: final-review"),
        (HERE, "Reviewed"),
        (desk.call("advance"), "Stage acceptance|Stage: acceptance"),
        (desk.call("advance"), "a person must choose"),
        *waits(desk),
        (desk.call("advance"), "Stage publishing|Stage: publishing"),
        (desk.call("advance"), "ended as complete"),
        (text("The workflow is there."), None),
    )
    with beside(desk, f"/stagent:create {WORDS}", allow=[*ALLOWED, "Read", "Bash(cat *)"], seconds=120) as done:
        model.wait(says("background"), 40)
        run = desk.run()
        assert run.place == ("planning", 1)
        assert desk.person("approve", run.run).status == 0
        model.wait(says("a person must choose"), 80)
        model.wait(says("background"), 40)
        assert run.place == ("acceptance", 8)
        answered = desk.person("answer", run.run, "--choice", "accept")
        assert answered.status == 0, answered.out
        ended = done.result()
    play.over(quiet=0)
    assert ended.result["result"] == "The workflow is there."
    assert run.state.terminal == "complete"
    assert run.text(run.state.task) == WORDS
    assert not (desk.project / "injected").exists()
    kinds = [(event["stage"], event["producer"]["kind"], event["result"]) for event in run.log("artifact.recorded")]
    assert ("validating", "engine", "FAIL") in kinds and ("validating", "engine", "PASS") in kinds
    made = {event["stage"]: event["producer"]["id"] for event in run.log("artifact.recorded")}
    assert made["writing"] and made["writing"] != made["final-review"]
    assert desk.cli("validate", "--flow", "notes", "--strict").status == 0
    trusted = desk.person("template", "trust", "notes")
    assert trusted.status == 0, trusted.out
    uses(desk, model)


def uses(desk: Desk, model: ScriptedModel) -> None:
    """A second session is held to the new workflow."""
    model.say(Thread(worked(desk, "judge", "PASS", 2, said="Judged."), of_agents))
    notes = tool("Write", file_path=str(desk.project / "NOTES.md"), content="released\n")
    play = Play(
        model,
        (desk.call("tick"), '"status": "draft"'),
        (notes, "created"),
        (desk.artifact("draft", "done"), "created"),
        (desk.call("advance"), "Stage: judge"),
        (HERE, "Judged"),
        (desk.call("advance"), "ended as complete"),
        (text("The notes are there."), None),
    )
    done = desk.headless("/stagent:start --flow notes write the notes", allow=ALLOWED, seconds=90)
    play.over(quiet=0)
    assert done.result["result"] == "The notes are there."
    run = Run(desk, desk.runs()[-1])
    assert (run.state.flow, run.state.terminal) == ("notes", "complete")
    assert json.loads((desk.project / "workflows/notes/workflow.json").read_text())["title"] == "Release notes"

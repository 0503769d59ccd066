"""A template that is edited and deleted while a session works by it: the run goes on by the copy it began with."""

from __future__ import annotations

import json

import pytest

from acceptance.claude.kit import Desk, Play, answer
from acceptance.claude.steps import Latch, beside
from acceptance.support import Session, stage
from stagent.testing.scripted_model import Request, ScriptedModel, Turn, says, text, tool

PLACE = "workflows/notes"
DRAFT = "Name every change in one sentence."
OLD = "Judge each sentence by the changes themselves."
NEW = "Approve whatever lies there."


def document(drafted: str, judged: str) -> str:
    """The workflow with these words for what leads on from its two stages."""
    stages = {"draft": stage({drafted: "judge"}), "judge": stage({judged: "complete", "FAIL": "draft"})}
    terminals = ["complete", "escalated", "cancelled"]
    return json.dumps({"initial_stage": "draft", "terminal_stages": terminals, "max_epoch": 10, "stages": stages})


FILES = {
    f"{PLACE}/workflow.json": document("done", "PASS"),
    f"{PLACE}/readme.md": "# Notes\n\nWrites notes and has them judged.\n",
    f"{PLACE}/draft.md": f"# Draft\n\n{DRAFT}\n",
    f"{PLACE}/judge.md": f"# Judge\n\n{OLD}\n",
}
REMOVE = f"rm -r {PLACE}"


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """The desk with a project that has a template of its own."""
    desk.repository(FILES)
    return desk


def read(desk: Desk, name: str) -> Turn:
    return tool("Read", file_path=str(desk.project / PLACE / name))


def write(desk: Desk, name: str, words: str) -> Turn:
    return tool("Write", file_path=str(desk.project / PLACE / name), content=words)


def instructed(request: Request) -> Turn:
    """The model reads the instructions that the tick before named."""
    return tool("Read", file_path=json.loads(answer(request))["stage_instructions_path"])


def scenario(desk: Desk, model: ScriptedModel, latch: Latch) -> Play:
    """The model edits the template it works by, deletes it once the latch is open, and works its stages to the end."""
    return Play(
        model,
        (desk.call("tick"), '"status": "draft"'),
        (instructed, DRAFT),
        (read(desk, "judge.md"), OLD),
        (write(desk, "judge.md", f"# Judge\n\n{NEW}\n"), r"judge\.md has been updated"),
        (read(desk, "workflow.json"), '"done"'),
        (write(desk, "workflow.json", document("finished", "WAVED")), r"workflow\.json has been updated"),
        (latch.before(desk.shell(REMOVE)), r"\[result\]"),
        (desk.artifact("draft", "finished"), "created"),
        (desk.call("advance"), r"\[error\].*finished.*done"),
        (desk.artifact("draft", "done"), "updated"),
        (desk.call("advance"), "Stage judge, epoch 2"),
        (desk.call("tick"), '"status": "judge"'),
        (instructed, OLD),
        (desk.artifact("judge", "PASS", 2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("The notes are there."), None),
    )


@pytest.mark.rule("W10", "S1.46")
def test_a_run_goes_on_by_the_copy_it_began_with(desk: Desk, model: ScriptedModel) -> None:
    allow = ["Write", f"Bash({REMOVE})"]
    latch = Latch()
    play = scenario(desk, model, latch)
    with beside(desk, "/stagent:start --flow notes write the notes", allow=allow, seconds=150) as done:
        with latch:
            model.wait(says(r"workflow\.json has been updated"), 60)
            run = desk.run()
            assert run.place == ("draft", 1)
            # The edited template is there: another session's run begins with it.
            later = desk.session("notes")
        ended = done.result()
    requests = play.over(quiet=0)
    assert ended.result["result"] == "The notes are there."
    assert ended.result["permission_denials"] == []
    assert not (desk.project / PLACE).exists()

    # From the deletion to the end nothing told the model what it had written into the template.
    assert not any(NEW in request.fresh or "WAVED" in request.fresh for request in requests[7:])
    judging = json.loads(answer(next(request for request in requests if '"status": "judge"' in request.fresh)))
    assert judging["transition_keys"] == ["FAIL", "PASS"]
    assert run.codes() == ["artifact.result"]
    assert [event["result"] for event in run.log("transitioned")] == ["done", "PASS"]
    assert run.state.terminal == "complete"
    keeps(later)
    unknown(desk, model)


def keeps(later: Session) -> None:
    """The run that began between the edit and the deletion goes on by the edited copy."""
    assert later.cli("tick").json["transition_keys"] == ["finished"]
    later.claim("finished")
    moved = later.advance()
    assert moved.status == 0, moved.out
    ticked = later.cli("tick").json
    assert (ticked["status"], ticked["transition_keys"]) == ("judge", ["FAIL", "WAVED"])
    assert NEW in (later.folder / "workflow" / "judge.md").read_text()


def unknown(desk: Desk, model: ScriptedModel) -> None:
    """The deleted template begins no further run, and the session says why."""
    before = desk.runs()
    play = Play(model, (text("There is no such workflow."), None))
    ended = desk.headless("/stagent:start --flow notes write them again", seconds=90)
    (asked,) = play.over(quiet=0)
    assert ended.result["result"] == "There is no such workflow."
    assert 'no workflow "notes"' in asked.fresh
    assert "Name a known one" in asked.fresh
    assert desk.runs() == before
    assert desk.cli("validate", "--flow", "notes", "--json").code == "flow.unknown"

"""`create-workflow` with scripted agents through the real program: honest ones, lying ones, and what comes of it."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from acceptance.create.kit import NOTES, Author, changed, folder, plan
from acceptance.support import Driven, Json, claim, shell

USES = {
    "draft": [{"write": {"path": "NOTES.md", "text": "released\n"}}, claim("done")],
    "judge": [claim("PASS")],
}
PATH = ["preparing", "writing", "validating", "final-review", "acceptance", "publishing", "complete"]


def ways(run: Driven) -> list[str]:
    return [event["target"] for event in run.log("transitioned")]


def test_a_workflow_is_written_and_then_used(author: Author) -> None:
    run = author.write_one()
    assert run.status == 0, run.done.err
    assert ways(run) == PATH
    assert [event["result"] for event in run.log("transitioned")][-1] == "skipped"
    producers = {event["stage"]: event["producer"]["kind"] for event in run.log("artifact.recorded")}
    assert (producers["validating"], producers["publishing"], producers["writing"]) == ("engine", "engine", "attempt")
    judged = run.artifact("validating").read_text()
    assert "command at stages.judge.checks.notes: grep -q released NOTES.md" in judged
    published = run.artifact("publishing").read_text()
    assert "There is no hub" in published and "stagent template new notes --from" in published
    later = re.search(r"Once there is a server, .*: stagent (template publish \S+)", published)
    assert later is not None
    refused = author.cli(*later[1].split())
    assert (refused.status, "this version has none" in refused.err) == (2, True)
    assert author.cli("validate", "--flow", "notes", "--strict").status == 0

    used = author.uses(USES)
    assert used.status == 0, used.done.err
    assert used.state.flow == "notes"
    assert used.artifact("judge").exists()


def test_the_written_workflow_for_every_project(author: Author) -> None:
    author.write_one()
    made = author.cli("template", "new", "notes-of-mine", "--from", "notes", "--user", "--json")
    assert made.status == 0, made.err
    shutil.rmtree(author.project / "workflows")
    assert author.drive("notes-of-mine", USES).status == 0


def test_an_invalid_folder_that_is_claimed_to_be_done(author: Author) -> None:
    wrong = changed(judge={"transitions": {"PASS": "complet", "FAIL": "draft"}})
    lie = [*folder(wrong, readme=""), shell("touch workflows/notes/helper.py"), claim("done", body="\nIt validates.\n")]
    mend = [*folder(), {"delete": "workflows/notes/helper.py"}, claim("done")]
    run = author.write_one({"writing": [lie, mend]})
    assert run.status == 0, run.done.err
    assert ways(run) == ["preparing", "writing", "validating", "writing", *PATH[2:]]
    [found, *_] = [event for event in run.log("artifact.recorded") if event["stage"] == "validating"]
    assert found["result"] == "FAIL"
    text = run.text(found["digest"])
    assert 'no stage "complet"' in text
    assert "readme.md: it is missing" in text
    assert "helper.py: it is no file of a workflow" in text


def test_a_warning_is_a_failure(author: Author) -> None:
    hollow = changed(draft={"interruptible": True})
    run = author.write_one({"writing": [[*folder(hollow), claim("done")], [*folder(), claim("done")]]})
    assert run.status == 0
    [found, *_] = [event for event in run.log("artifact.recorded") if event["stage"] == "validating"]
    assert (found["result"], "only the agent's word" in run.text(found["digest"])) == ("FAIL", True)


def test_a_reviewer_who_mends_what_he_reviews(author: Author) -> None:
    mend = [shell("echo more >> workflows/notes/draft.md"), claim("PASS")]
    run = author.write_one({"final-review": mend})
    assert run.status == 3
    assert run.place[0] == "final-review"
    assert set(run.codes()) == {"tree.changed"} or "tree" in run.codes()[0]


def test_a_writer_who_writes_elsewhere(author: Author) -> None:
    run = author.write_one({"writing": [*folder(), shell("echo y = 2 >> src.py"), claim("done")]})
    assert run.status == 3
    assert run.place[0] == "writing"
    assert "src.py" in run.refusals()


@pytest.mark.parametrize("name", ["..", "a/b", "cancelled", "complete", "", "x" * 300, "naïve", "con", "default"])
def test_a_plan_with_a_name_that_cannot_be(author: Author, name: str) -> None:
    run = author.write_one({"planning": [plan(name)]})
    assert run.status == 3
    assert run.place == ("planning", 1)
    assert set(run.codes()) <= {"check.failed", "output.invalid"}
    assert not (author.project / "workflows").exists()


def test_a_plan_for_a_place_that_is_taken_or_leads_away(author: Author) -> None:
    author.write("workflows/notes/other.txt", "mine\n")
    run = author.write_one()
    assert (run.status, run.place) == (3, ("planning", 1))
    assert "workflows/notes exists already" in run.refusals()
    shutil.rmtree(author.project / "workflows")
    (author.project / "workflows").symlink_to(author.root)
    run = author.write_one()
    assert "leads out of the project" in run.refusals()


def test_an_agent_that_exchanges_the_plan_after_it_was_approved(author: Author) -> None:
    """The folder the engine judges is the one that was approved, whatever lies in the run folder."""
    author.drive("create-workflow", {"planning": [plan("fine")], "writing": [{"exit": 1}]}, *author.decisions())
    forge = "sed -i.bak s/notes/fine/ .stagent/r-*/planning-report.md"
    run = author.write_one({"writing": [*folder(changed(draft={"title": ""})), shell(forge), claim("done")]})
    assert run.status == 3
    assert "the artifact of planning is not the one that was accepted" in run.refusals()


def test_a_person_who_sends_it_back(author: Author) -> None:
    does = {"planning": [plan()], "writing": [*folder(), claim("done")], "final-review": [claim("PASS")]}
    run = author.drive("create-workflow", does, "--unattended", author.policy(planning="approve"), task="notes")
    assert (run.status, run.place[0]) == (4, "acceptance")
    answered = author.person("answer", run.run, "--choice", "revise", "--feedback", "Shorter, please.")
    assert answered.status == 0, answered.out
    again = author.resume(run.run)
    assert (again.status, again.place[0]) == (4, "acceptance")
    [first] = [event for event in run.log("artifact.recorded") if event["stage"] == "acceptance"]
    assert "Shorter, please." in run.text(first["digest"])
    assert ways(run)[-4:] == ["writing", "validating", "final-review", "acceptance"]
    accepted = author.person("answer", run.run, "--choice", "accept")
    assert accepted.status == 0, accepted.out
    assert author.resume(run.run).status == 0


@pytest.mark.rule("W10", "W52")
def test_a_workflow_is_changed_while_a_run_of_it_goes_on(author: Author) -> None:
    free = {"writes": "project"}  # else what the other run does in the project would be this one's stage's
    author.write_one({"writing": [*folder(changed(draft=free)), claim("done")]})
    waits = author.uses({"draft": [{"exit": 1}], "judge": [claim("PASS")]})
    assert waits.status == 3
    wider = changed(draft=free, judge={"checks": [{"name": "notes", "run": "false", "for": ["PASS"]}]})
    edit = {"planning": [plan(mode="edit", template="notes")], "writing": [*folder(wider), claim("done")]}
    run = author.write_one(edit, task="Let judge never pass.")
    assert run.status == 0, run.done.err
    judged = run.artifact("validating").read_text()
    assert re.search(r'^- +"run": "grep -q released NOTES.md",$', judged, re.MULTILINE)
    assert re.search(r'^\+ +"run": "false",$', judged, re.MULTILINE)
    assert "wider: new command at stages.judge.checks.notes: false" in judged
    assert "readme.md" not in judged

    author.script(USES)
    old = author.resume(waits.run)
    assert old.status == 0, old.done.err
    new = author.uses(USES)
    assert (new.status, set(new.codes())) == (3, {"check.failed"})
    assert new.state.workflow != old.state.workflow


def test_a_bundled_workflow_is_copied_before_it_is_changed(author: Author) -> None:
    title = "import json,pathlib; p=pathlib.Path('workflows/my-goal/workflow.json'); d=json.loads(p.read_text())"
    change = f"python3 -c \"{title}; d['title']='Mine'; p.write_text(json.dumps(d, indent=2))\""
    edit = {"planning": [plan("my-goal", "edit", template="goal-pursuit")], "writing": [shell(change), claim("done")]}
    run = author.write_one(edit)
    assert run.status == 0, run.done.err
    assert json.loads(author.read("workflows/my-goal/workflow.json"))["title"] == "Mine"
    assert (author.project / "workflows/my-goal/briefing.md").exists()
    judged = run.artifact("validating").read_text()
    assert '+  "title": "Mine"' in judged
    assert "--- a/briefing.md" not in judged


def test_a_workflow_of_ones_own_is_copied_before_it_is_changed(author: Author) -> None:
    assert author.cli("template", "new", "mine", "--user").status == 0
    edit = {"planning": [plan("mine-too", "edit", template="mine")], "writing": [claim("done")]}
    run = author.write_one(edit)
    assert run.status == 0, run.done.err
    assert "nothing changed" in run.artifact("validating").read_text()
    assert author.read("workflows/mine-too/plan.md") == (author.home / "templates/mine/plan.md").read_text()


def test_an_original_that_was_tampered_with_shows(author: Author) -> None:
    author.write_one()
    forge = "cp workflows/notes/* .stagent/r-*/original/"
    steps = [*folder(changed(draft={"title": "Other"})), shell(forge), claim("done")]
    run = author.write_one({"planning": [plan(mode="edit", template="notes")], "writing": steps}, "--json")
    assert run.status == 3
    assert "validating" in ways(run)
    found = [event for event in run.log("artifact.recorded") if event["stage"] == "validating"]
    assert {event["result"] for event in found} == {"FAIL"}
    assert "the original that was kept for comparison is not what it was" in run.text(found[0]["digest"])


@pytest.mark.rule("W11", "S4.9")
def test_a_workflow_deleted_during_its_run(author: Author) -> None:
    author.write_one()
    does = {"draft": [shell("rm -rf workflows"), *USES["draft"]], "judge": [claim("PASS")]}
    gone = changed(draft={"writes": "project"})
    for step in folder(gone):
        author.write(step["write"]["path"], step["write"]["text"])
    run = author.uses(does)
    assert run.status == 0, run.done.err
    assert not (author.project / "workflows").exists()
    assert run.artifact("judge").exists()
    assert author.cli("template", "show", "notes", "--json").code == "flow.unknown"


def with_facts(name: str, init: str) -> list[Json]:
    """The files of a workflow with one more run file."""
    return folder({**NOTES, "run_files": {name: {"init": init}}})


def test_a_run_file_that_names_a_place_outside_is_found_by_the_engine(author: Author) -> None:
    out = [*with_facts("../../escape", "echo x"), claim("done")]
    run = author.write_one({"writing": [out, [*folder(), claim("done")]]})
    assert run.status == 0
    [found, *_] = [event for event in run.log("artifact.recorded") if event["stage"] == "validating"]
    assert (found["result"], '"../../escape" cannot be a file name' in run.text(found["digest"])) == ("FAIL", True)


@pytest.mark.parametrize(
    ("init", "what"),
    [
        ("echo broken >&2; exit 3", "ended with exit code 3: broken"),
        ("head -c 100000000 /dev/zero", "printed more than 1048576 bytes"),
    ],
)
def test_a_written_workflow_whose_run_file_cannot_be_made(author: Author, init: str, what: str) -> None:
    assert author.write_one({"writing": [*with_facts("facts", init), claim("done")]}).status == 0
    known = author.cli("runs", "--all", "--json").out
    script = author.script(USES)
    arguments = ("run", "x", "--flow", "notes", "--agent", "scripted", "--script", script, "--json")
    refused = author.cli(*arguments)
    assert (refused.status, refused.code) == (2, "flow.untrusted")
    assert author.person("template", "trust", "notes").status == 0
    done = author.cli(*arguments)
    assert (done.status, done.code) == (2, "start.run_file")
    assert what in done.err
    assert author.cli("runs", "--all", "--json").out == known


def test_without_a_decision_it_waits_for_a_person(author: Author) -> None:
    run = author.drive("create-workflow", {"planning": [plan()]}, task="notes")
    assert (run.status, run.place) == (4, ("planning", 1))
    assert not (author.project / "workflows").exists()

"""What a run's driver is told: the same facts and the same paths, whichever command or hook tells them."""

from __future__ import annotations

import json

import pytest

from acceptance.support import OTHER, Json, Machine, Session, claim, stage


def said_at_the_end(session: Session) -> Json:
    """What the Stop hook answers when the session's turn ends now."""
    event = {"session_id": session.session, "hook_event_name": "Stop", "cwd": str(session.machine.project)}
    done = session.cli("hook", "Stop", stdin=json.dumps({**event, "background_tasks": []}))
    found: Json = json.loads(done.out)
    return found


@pytest.mark.rule("S3.28", "S1.13", "S1.14", "W4")
def test_tick_says_everything_as_json(building: Session) -> None:
    tick = building.cli("tick").json
    folder = building.folder
    assert {name: tick[name] for name in ("status", "epoch", "is_terminal", "execution_type", "model")} == {
        "status": "build", "epoch": 2, "is_terminal": False, "execution_type": "subagent", "model": "opus",
    }  # fmt: skip
    assert (tick["interruptible"], tick["view_url"]) == (False, None)
    assert tick["stage_instructions_path"] == str(folder / "workflow" / "build.md")
    assert tick["output_artifact_path"] == str(folder / "build-report.md")
    assert tick["transition_keys"] == ["AGAIN", "done"]
    assert tick["required_inputs"] == [
        {"type": "stage", "key": "plan", "description": "The plan.", "path": str(folder / "plan-report.md")},
        {"type": "run_file", "key": "notes", "description": "", "path": str(folder / "notes")},
    ]
    assert tick["optional_inputs"] == [
        {"type": "stage", "key": "judge", "description": "What was found.", "path": str(folder / "judge-report.md")}
    ]


@pytest.mark.rule("S3.28")
def test_tick_says_null_for_the_model_nobody_named(session: Session) -> None:
    tick = session.cli("tick").json
    assert (tick["model"], tick["execution_type"], tick["interruptible"]) == (None, "inline", True)


@pytest.mark.rule("W5", "S3.25", "S3.32", "S3.35", "S4.19")
def test_every_way_to_ask_names_the_same_paths(session: Session) -> None:
    session.claim("approved")
    moved = session.cli("advance")
    tick = session.cli("tick").json
    context, bootstrap = session.cli("context"), session.cli("bootstrap")
    stop = said_at_the_end(session)
    assert stop["decision"] == "block"
    paths = [tick["stage_instructions_path"], tick["output_artifact_path"]]
    paths += [item["path"] for item in (*tick["required_inputs"], *tick["optional_inputs"])]
    for text in (moved.out, context.out, bootstrap.out, stop["reason"]):
        assert [path for path in paths if path not in text] == []
    # Not only the paths: it is one text.
    assert context.out == bootstrap.out
    assert moved.out == f"Stage build, epoch 2.\n{context.out}"
    assert stop["reason"].endswith(context.out)


@pytest.mark.rule("S3.32", "S1.10")
def test_the_context_of_a_stage(building: Session) -> None:
    folder, project = building.folder, building.machine.project
    lines = building.cli("context").out.splitlines()
    assert f"Project: {project}" in lines
    assert "Epoch: 2" in lines
    assert f"Instructions: {folder}/workflow/build.md" in lines
    assert f"Output: {folder}/build-report.md" in lines
    assert f"  - {folder}/plan-report.md - The plan." in lines
    assert f"  - {folder}/notes" in lines
    assert f"  - {folder}/judge-report.md - What was found. (if it exists)" in lines
    assert lines[lines.index("epoch: 2") - 1 :][:4] == ["---", "epoch: 2", "result: <one of: AGAIN, done>", "---"]
    assert "For people only" not in building.cli("context").out


@pytest.mark.rule("S3.32", "S3.35")
def test_a_stage_without_inputs_says_so(session: Session) -> None:
    lines = session.cli("context").out.splitlines()
    assert lines[lines.index("Required inputs:") + 1] == "  (none)"
    assert "result: <one of: approved, or pending while unfinished>" in lines


@pytest.mark.rule("S3.34")
def test_the_context_of_a_sub_agents_stage_is_no_secret(building: Session) -> None:
    assert building.cli("context").status == 0


@pytest.mark.rule("S3.35")
def test_bootstrap_is_for_sub_agents(session: Session) -> None:
    done = session.cli("bootstrap", "--json")
    assert (done.status, done.code) == (2, "bootstrap.inline")
    assert session.cli("bootstrap", env={"CLAUDE_CODE_SESSION_ID": OTHER}).status == 1


@pytest.mark.rule("S3.29", "S3.33", "S3.31", "S3.35")
def test_at_the_end_there_is_nothing_to_do(machine: Machine) -> None:
    session = machine.session(machine.flow({"plan": stage({"done": "complete"})}))
    session.claim("done")
    assert session.advance().status == 0
    tick = session.cli("tick").json
    assert (tick["status"], tick["epoch"], tick["is_terminal"]) == ("complete", 2, True)
    named = ("status", "epoch", "is_terminal", "run", "state")
    assert {key: value for key, value in tick.items() if key not in named and value not in (None, [])} == {}
    for name in ("context", "bootstrap"):
        done = session.cli(name, "--json")
        assert (done.status, done.code) == (2, "run.ended")
    assert session.cli("next", "--result", "done", "--json").code == "run.ended"


@pytest.mark.rule("S3.30", "S3.33", "S3.31")
def test_a_pause_is_seen(session: Session) -> None:
    assert session.cli("interrupt").status == 0
    tick = session.cli("tick")
    assert (tick.status, tick.json["state"], tick.json["status"]) == (0, "interrupted", "plan")
    for arguments in (("context",), ("next", "--result", "approved")):
        done = session.cli(*arguments, "--json")
        assert (done.status, done.code) == (2, "run.interrupted")


@pytest.mark.rule("S3.31")
def test_next_shows_where_a_result_leads(session: Session) -> None:
    assert session.cli("next", "--result", "approved").json == {
        "next_status": "build", "is_terminal": False, "next_artifact_path": str(session.artifact("build")),
    }  # fmt: skip
    unknown = session.cli("next", "--result", "perfect", "--json")
    assert (unknown.status, unknown.code) == (64, "result.unknown")
    assert "Known: approved." in unknown.err
    assert session.cli("next").status == 64
    assert session.place == ("plan", 1)


@pytest.mark.rule("S2.8", "S4.13")
def test_the_first_tick_begins_the_run_and_later_ones_change_nothing(session: Session) -> None:
    assert "nothing was done yet" in said_at_the_end(session)["reason"]
    events, ticks = session.log(), []
    for _ in range(2):
        ticks.append(session.cli("tick").json)
        assert "decision" not in said_at_the_end(session)
    assert ticks[0] == ticks[1]
    assert session.log() == events


@pytest.mark.rule("S3.21", "S3.19")
def test_a_target_can_only_be_asserted(session: Session) -> None:
    session.claim("approved")
    wrong = session.advance("--to", "nowhere")
    assert (wrong.status, wrong.code) == (64, "transition.target")
    assert "leads to build, not to nowhere" in wrong.json["refusal"]["message"]
    assert session.place == ("plan", 1)
    assert session.advance("--to", "build").status == 0


@pytest.mark.rule("S2.12")
def test_the_agents_report_of_the_end_is_kept_with_the_right_epoch_and_result(machine: Machine) -> None:
    session = machine.session(machine.flow({"plan": stage({"done": "complete"})}))
    session.claim("done")
    place = session.cli("next", "--result", "done").json["next_artifact_path"]
    report = session.artifact("complete")
    assert place == str(report)
    report.write_text("---\nepoch: 77\nresult: great\n---\n\nAll is well: é.\n")
    assert session.advance().status == 0
    assert report.read_text() == "---\nepoch: 2\nresult: complete\n---\n\nAll is well: é.\n"


@pytest.mark.rule("S2.13", "S2.20", "W21")
def test_an_end_without_a_report_gets_one_and_everything_stays(machine: Machine) -> None:
    run = machine.drive(machine.flow({"plan": stage({"done": "complete"})}), {"plan": [claim("done")]})
    text = (run.folder / "complete-report.md").read_text()
    assert text.startswith("---\nepoch: 2\nresult: complete\n---\n")
    assert "Generated by the engine" in text
    [accepted] = run.log("artifact.recorded")
    assert f"| plan | 1 | done | `{accepted['digest'][:12]}` | attempt {accepted['producer']['id']} |" in text
    assert "status: complete\n" in (run.folder / "state.md").read_text()
    assert (run.folder / "plan-report.md").exists()
    assert run.log("terminal")[0]["success"] is True

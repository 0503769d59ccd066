"""What a workflow says, seen in a run; and where the fields of the original's state went."""

from __future__ import annotations

import json

import pytest

from acceptance.support import Json, Machine, Session, stage

FIRST_LAST = {"last": stage({"done": "shipped"}), "first": stage({"done": "last"})}
ENDS = {"initial_stage": "first", "terminal_stages": ["shipped", "escalated", "cancelled"]}


@pytest.mark.rule("S1.3")
def test_a_run_begins_in_the_initial_stage_wherever_it_stands(machine: Machine) -> None:
    session = machine.session(machine.flow(FIRST_LAST, **ENDS))
    assert session.place == ("first", 1)
    assert session.cli("tick").json["status"] == "first"


@pytest.mark.rule("S1.4", "S2.19")
def test_a_run_ends_in_a_terminal_and_is_in_no_stage_then(machine: Machine) -> None:
    session = machine.session(machine.flow(FIRST_LAST, **ENDS))
    for target in ("last", "shipped"):
        session.claim("done")
        assert session.advance("--to", target).status == 0
    assert (session.state.status, session.state.terminal, session.state.success) == ("ended", "shipped", True)
    tick = session.cli("tick").json
    assert (tick["status"], tick["is_terminal"], tick["stage_instructions_path"]) == ("shipped", True, None)
    session.claim("done")
    assert session.advance().code == "run.ended"


@pytest.mark.rule("S1.12")
def test_the_main_agent_works_an_inline_stage_and_a_sub_agent_the_other(building: Session) -> None:
    # The first stage was inline: its artifact came from the main agent and was accepted.
    producers = {event["stage"]: event["producer"]["kind"] for event in building.log("artifact.recorded")}
    assert producers["plan"] == "session"
    building.claim("done")
    refused = building.advance()
    assert (refused.status, building.place) == (2, ("build", 2))
    assert refused.code.startswith("producer."), refused.out
    building.worked_by("agent-1", "done")
    assert building.advance().status == 0
    assert building.place == ("judge", 3)


def told_at_the_launch(session: Session) -> str:
    launch = {"subagent_type": "stagent:workflow-subagent", "prompt": "Run your stage."}
    event: Json = {"session_id": session.session, "hook_event_name": "PreToolUse", "cwd": str(session.machine.project)}
    event |= {"tool_name": "Agent", "tool_use_id": "t-1", "tool_input": launch}
    said: str = session.cli("hook", "PreToolUse", stdin=json.dumps(event)).json["hookSpecificOutput"][
        "additionalContext"
    ]
    return said


@pytest.mark.rule("S1.13")
@pytest.mark.parametrize("model", ["haiku", None])
def test_the_model_of_a_stage_is_told_when_its_sub_agent_is_launched(machine: Machine, model: str | None) -> None:
    execution = {"type": "subagent"} | ({"model": model} if model else {})
    session = machine.session(machine.flow({"build": {"execution": execution, "transitions": {"done": "complete"}}}))
    said = told_at_the_launch(session)
    assert session.cli("tick").json["model"] == model
    assert (", model haiku," in said) == (model is not None)
    # Without one nothing is said, and the sub-agent's own definition names it.
    assert "model" in said if model else "model" not in said


@pytest.mark.rule("S2.36")
def test_where_the_other_fields_of_the_state_went(session: Session) -> None:
    text = (session.folder / "state.md").read_text().split("---\n")[1]
    names = [line.partition(":")[0] for line in text.splitlines()]
    gone = {"topic", "workflow_dir", "worktree", "mode", "bootstrap_completed_at", "awaiting_user", "awaiting_reason"}
    assert not gone & set(names)
    [row] = session.machine.cli("runs", "--json").json
    assert (row["run"], row["label"]) == (session.run, "a task")
    assert session.cli("tick").json["stage_instructions_path"].startswith(f"{session.folder}/workflow/")
    waiting = {"session_id": session.session, "hook_event_name": "Notification", "notification_type": "idle_prompt"}
    assert session.cli("hook", "Notification", stdin=json.dumps({**waiting, "message": "x"})).status == 0
    assert session.cli("status", "--json").json["session_waits"].endswith("which is idle")
    assert (session.folder / "state.md").read_text().split("---\n")[1] == text


@pytest.mark.rule("S7.12")
def test_a_project_without_commits_at_the_start_is_held_to_none(machine: Machine) -> None:
    """Nothing was recorded to be compared with: neither the root commits nor the last commit hold anybody up."""
    machine.project = machine.root / "fresh"
    machine.project.mkdir()
    session = machine.session(machine.flow({"plan": stage({"done": "complete"})}))
    assert session.cli("interrupt").status == 0
    machine.repository({"src.py": "x = 1\n"})
    assert session.state.fingerprint == ""
    done = session.cli("continue", session.run)
    assert done.status == 0, done.err
    assert "mismatch" not in done.err and "behind" not in done.err


@pytest.mark.rule("S4.31")
@pytest.mark.parametrize("ended", [False, True])
def test_the_end_of_a_session_changes_no_run_that_does_not_go_on(machine: Machine, ended: bool) -> None:
    session = machine.session(machine.flow({"plan": stage({"done": "complete"})}))
    if ended:
        session.claim("done")
    assert session.cli("advance" if ended else "interrupt").status == 0
    before, event = session.log(), {"session_id": session.session, "hook_event_name": "SessionEnd", "reason": "logout"}
    assert session.cli("hook", "SessionEnd", stdin=json.dumps(event)).status == 0
    assert session.cli("status", "--json").json["status"] == ("ended" if ended else "interrupted")
    assert session.log() == before

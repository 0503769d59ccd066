"""Sessions, people and the end of a turn: one test or row for each rule of the tables."""

from __future__ import annotations

import json
import os
import posix
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stagent.cli.pending import Kept
from stagent.core.events import Holder
from stagent.core.ids import is_session
from stagent.engine import persons, spool
from stagent.hooks import hook, standstill
from unit.hooks.hook_world import CLIENT, PID, SESSION, Session

AGENT = "stagent:workflow-subagent"
DEAD = 2**22 + 1
"""A process id no system gives."""


# -- sessions


@pytest.mark.rule("S4.2")
@pytest.mark.parametrize("source", ["startup", "resume"])
def test_a_session_is_told_where_its_run_stands(session: Session, source: str) -> None:
    answer = session.ask("SessionStart", source=source)
    assert answer is not None
    said = answer["hookSpecificOutput"]
    assert said["hookEventName"] == "SessionStart"
    assert session.live["run"] in said["additionalContext"]
    assert [(line["e"], line["d"]["source"]) for line in session.lines()] == [("SessionStart", source)]


@pytest.mark.rule("S4.2", "W17")
def test_after_a_compaction_nothing_is_noted(session: Session) -> None:
    assert session.ask("PreCompact", trigger="auto") is None
    assert session.ask("SessionStart", source="compact") is not None
    assert session.ask("PostCompact", trigger="auto") is None
    assert session.lines() == []


@pytest.mark.parametrize(("before", "during"), [("", "comp"), ("idle", "comp"), ("gate", "gate"), ("picker", "picker")])
def test_a_compaction_is_what_a_session_waits_for_unless_it_is_a_person(
    session: Session, before: str, during: str
) -> None:
    session.file.with_suffix(".waiting").write_text(before)
    session.ask("PreCompact", trigger="manual")
    assert session.companion(".waiting") == (hook.COMPACTION if during == "comp" else before)
    session.ask("PostCompact", trigger="manual")
    assert session.companion(".waiting") == ("" if during == "comp" else before)


@pytest.mark.parametrize("source", ["project_settings", "local_settings", "user_settings", "skills", "new_settings"])
@pytest.mark.parametrize("status", ["running", "interrupted", "stalled"])
def test_changed_settings_are_kept_out_of_a_session_with_a_run(session: Session, source: str, status: str) -> None:
    session.set(status=status)
    answer = session.ask("ConfigChange", source=source, file_path="/p/.claude/settings.json")
    assert answer is not None
    assert answer["decision"] == "block"
    assert "/p/.claude/settings.json changed" in answer["reason"]
    assert session.live["run"] in answer["reason"]
    assert source in session.ask("ConfigChange", source=source)["reason"]  # type: ignore[index]
    assert session.ask("ConfigChange", source=source, session_id="other") is None
    assert session.lines() == []


def test_a_second_process_is_told_that_it_does_not_drive(session: Session) -> None:
    session.set(pid=os.getpid())
    answer = session.ask("SessionStart", source="resume")
    assert answer is not None
    assert "another process" in answer["systemMessage"]
    session.set(pid=DEAD)
    assert "hookSpecificOutput" in (session.ask("SessionStart", source="resume") or {})


@pytest.mark.rule("W17")
def test_clear_takes_the_run_along(session: Session) -> None:
    (session.home / "live" / f"pid-{PID}").write_text(SESSION)
    session.tool("Skill", skill="deploy")
    for old, new in ((SESSION, "second"), ("second", "third")):
        answer = session.ask("SessionStart", source="clear", session_id=new)
        assert session.live["run"] in (answer or {})["hookSpecificOutput"]["additionalContext"]
        assert json.loads((session.home / "live" / f"{new}.json").read_text())["run"] == session.live["run"]
        assert (session.home / "live" / f"pid-{PID}").read_text() == new
        assert (session.lines()[-1]["e"], session.lines()[-1]["s"]) == ("Rebound", new)
        assert session.lines()[-1]["d"]["old"] == old
        assert (session.home / "live" / f"{new}.skill").read_text() == "deploy"
    assert session.ask("SessionStart", source="clear", session_id="third") is not None
    assert len(session.lines()) == 2
    session.environment({})
    session.spool_file.write_text(session.spool_file.read_text().replace(f'"p":{PID}', '"p":null'))
    assert session.world.now.session == "third"


@pytest.mark.parametrize(
    ("event", "pid", "noted"),
    [
        ({"source": "startup"}, PID, SESSION),
        ({"source": "clear"}, 77, SESSION),
        ({"source": "clear"}, None, SESSION),
        ({"source": "clear"}, PID, "nobody"),
        ({"source": "clear"}, PID, "../../etc/passwd"),
        ({"source": "clear"}, PID, None),
    ],
)
def test_nothing_else_takes_a_run_along(session: Session, event: dict, pid: int | None, noted: str | None) -> None:
    if noted is not None:
        (session.home / "live" / f"pid-{PID}").write_text(noted)
        (session.home / "live" / "pid-77").write_text(noted)
    session.environment({} if pid is None else {"CLAUDE_PID": str(pid)})
    assert session.ask("SessionStart", session_id="second", **event) is None
    assert not (session.home / "live" / "second.json").exists()
    assert session.lines() == []


@pytest.mark.rule("S4.3", "W17")
@pytest.mark.parametrize(
    ("reason", "pid", "noted"),
    [
        ("other", PID, True),
        ("logout", PID, True),
        ("resume", PID, True),
        ("prompt_input_exit", PID, True),
        ("clear", PID, False),
        ("other", 77, False),
    ],
)
def test_the_end_of_a_session(session: Session, reason: str, pid: int, noted: bool) -> None:
    session.environment({"CLAUDE_PID": str(pid)})
    assert session.ask("SessionEnd", reason=reason) is None
    assert [line["e"] for line in session.lines()] == ["SessionEnd"] * noted


def test_in_a_runners_attempt_nothing_is_decided(session: Session) -> None:
    posix.environ[b"STAGENT_ATTEMPT"] = b"r-1.1.1"
    assert session.stop() == ("allow", "")
    assert session.bash("stagent approve") == ""
    assert session.ask("UserPromptExpansion", command_name="stagent:start", command_args="x") is None
    assert not (session.home / "pending" / f"{SESSION}.json").exists()


# -- what is waited for


@pytest.mark.rule("S2.22", "S2.23", "S4.4", "S4.5", "S4.6", "W51", "S2.39")
def test_what_a_session_waits_for(session: Session) -> None:
    def waiting(name: str, **fields: Any) -> str:
        assert session.ask(name, **fields) is None
        return session.companion(".waiting")

    question = {"tool_name": "AskUserQuestion", "tool_input": {"questions": []}}
    assert waiting("Notification", notification_type="idle_prompt") == "idle"
    assert waiting("PermissionRequest", tool_name="Bash") == "permission"
    assert waiting("Notification", notification_type="idle_prompt") == "permission"
    assert waiting("PostToolUse", tool_name="Write", tool_input={}) == ""
    assert waiting("Notification", notification_type="auth_success", message="permission") == ""
    assert waiting("PreToolUse", **question) == "picker"
    assert waiting("PermissionRequest", **question) == "picker"
    assert waiting("Notification", notification_type="permission_prompt") == "picker"
    assert waiting("UserPromptSubmit", prompt="<task-notification>done") == "picker"
    assert waiting("PostToolUse", **question) == ""
    assert waiting("StopFailure", error="rate_limit") == "error: rate_limit"
    assert waiting("UserPromptSubmit", prompt="go on") == ""
    session.environment({"CLAUDE_PID": "77"})
    assert waiting("PermissionRequest", tool_name="Bash") == ""


# -- people


def _claims(session: Session) -> list[persons.Claim]:
    lines, _, torn = spool.read(Path(session.spool_file), 0)
    assert torn == []
    return [msgspec.convert(line.d, persons.Claim) for line, _ in lines if line.e == "Decision"]


def _command(session: Session, verb: str, args: Any = "", **more: Any) -> None:
    fields = {"command_name": f"stagent:{verb}", "command_args": args, "command_source": "plugin", **more}
    assert session.ask("UserPromptExpansion", **fields) is None


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_person_decides_by_a_command(session: Session, verb: str) -> None:
    _command(session, verb, "a")
    assert _claims(session) == []
    session.gate(tree="t" * 40)
    _command(session, verb, "because 'it' is; $(x)")
    [claim] = _claims(session)
    assert (claim.decision, claim.text, claim.via, claim.source) == (verb, "because 'it' is; $(x)", "command", "plugin")
    assert (claim.prompt, claim.attended, claim.parent, claim.epoch) == ("p-1", "1", os.getppid(), 1)
    assert (claim.body, claim.tree, claim.anchor) == ("b" * 64, "t" * 40, session.live["head"])


@pytest.mark.parametrize("verb", ["interrupt", "cancel"])
def test_a_person_ends_by_a_command_without_a_gate(session: Session, verb: str) -> None:
    _command(session, verb)
    assert [claim.decision for claim in _claims(session)] == [verb]


def test_other_commands_decide_nothing(session: Session) -> None:
    session.gate()
    for verb in ("status", "start", "continue", "approved", "approve:x"):
        _command(session, verb)
    session.ask("UserPromptExpansion", command_name="other:approve", command_args="")
    session.ask("UserPromptExpansion", command_name="approve", command_args="")
    session.ask("UserPromptSubmit", prompt="/stagent:approve")
    assert session.lines() == []


@pytest.mark.parametrize("words", ["x" * 5000, "é" * 999, "\ud800" * 300, "\n" * 600, "☃" * 200_000])
def test_long_words_are_kept_beside_the_spool(session: Session, words: str) -> None:
    session.gate()
    _command(session, "reject", words, prompt_id="../../x")
    [claim] = _claims(session)
    assert claim.text == ""
    kept = (session.home / "pending" / claim.reference).read_bytes()
    assert kept == words.encode("utf-8", "surrogatepass")
    assert "/" not in claim.reference
    assert len(session.spool_file.read_bytes()) <= hook.LIMIT


@pytest.mark.rule("W48")
def test_arguments_are_kept_word_for_word(session: Session) -> None:
    _command(session, "start", "a \"b\" 'c' $(d) `e` ; f\n☃")
    path = session.home / "pending" / f"{SESSION}.json"
    kept = msgspec.json.decode(path.read_bytes(), type=Kept)
    assert (kept.command, kept.args) == ("stagent:start", "a \"b\" 'c' $(d) `e` ; f\n☃")
    assert (kept.prompt, kept.pid, kept.attended, kept.source) == ("p-1", str(PID), "1", "plugin")
    assert path.stat().st_mode & 0o777 == 0o600
    _command(session, "start", 17)
    assert msgspec.json.decode(path.read_bytes(), type=Kept).args == ""


def test_a_bystanders_arguments_are_kept_where_nothing_was_made_yet(tmp_path: Path) -> None:
    event = {"session_id": "other", "hook_event_name": "UserPromptExpansion", "command_name": "stagent:start"}
    assert hook.handle(str(tmp_path / "new"), json.dumps(event)) is None
    assert (tmp_path / "new" / "pending" / "other.json").exists()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    hook.handle(str(tmp_path / "new"), json.dumps({**event, "session_id": "o2", "command_name": "other:start"}))
    assert not (tmp_path / "new" / "pending" / "o2.json").exists()


def _asked(session: Session, **changes: Any) -> dict[str, Any]:
    gate = session.live["gate"]
    options = [{"label": option["label"], "description": option["description"]} for option in gate["options"]]
    question = {"question": gate["question"], "header": gate["header"], "options": options, "multiSelect": False}
    return {"questions": [{**question, **changes}]}


def _answer(session: Session, given: dict[str, Any], answers: Any, event: str = "PostToolUse", **who: Any) -> None:
    tool_input = {**given, "answers": answers}
    assert session.ask(event, tool_name="AskUserQuestion", tool_input=tool_input, tool_use_id="t", **who) is None


@pytest.mark.parametrize(
    ("answer", "decision", "text"),
    [
        ("Approve", "approve", ""),
        ("Reject", "reject", ""),
        ("approve", "feedback", "approve"),
        ("Approve, but shorter", "feedback", "Approve, but shorter"),
        ("Approve, Reject", "feedback", "Approve, Reject"),
        ("", None, ""),
        ("  ", None, ""),
        (None, None, ""),
        (["Approve"], None, ""),
    ],
)
def test_only_a_label_decides(session: Session, answer: Any, decision: str | None, text: str) -> None:
    session.gate()
    _answer(session, _asked(session), {"Good?": answer})
    assert [(claim.decision, claim.text, claim.via) for claim in _claims(session)] == (
        [(decision, text, "picker")] if decision else []
    )


def test_a_choice_is_one_of_the_printed_ones(session: Session) -> None:
    options = [{"label": "ship", "description": "Leads to x.", "decision": "answer"}]
    session.gate(options=options)
    _answer(session, _asked(session), {"Good?": "something else"})
    assert _claims(session) == []
    _answer(session, _asked(session), {"Good?": "ship"})
    assert [(claim.decision, claim.choice) for claim in _claims(session)] == [("answer", "ship")]


OTHERS: list[dict[str, Any]] = [
    {"question": "Good!"},
    {"header": "Plan"},
    {"multiSelect": True},
    {"preview": "something else"},
    {"options": []},
    {"options": [{"label": "Approve", "description": "Yes."}]},
    {"options": [{"label": "Reject", "description": "No."}, {"label": "Approve", "description": "Yes."}]},
    {"options": [{"label": "Approve", "description": "Looks fine"}, {"label": "Reject", "description": "No."}]},
    {"options": [{"label": "Approve", "description": "Yes.", "x": 1}, {"label": "Reject", "description": "No."}]},
    {"options": [{"label": "Approve", "description": "Yes."}, {"label": "Reject", "description": "No."}, "x"]},
    {"options": "Approve"},
]


@pytest.mark.parametrize("changes", OTHERS, ids=range(len(OTHERS)))
def test_another_question_decides_nothing(session: Session, changes: dict[str, Any]) -> None:
    session.gate()
    _answer(session, _asked(session, **changes), {"Good?": "Approve", "Good!": "Approve"})
    assert session.lines() == []


def test_a_question_among_others_decides_nothing(session: Session) -> None:
    session.gate()
    [ours] = _asked(session)["questions"]
    other = {**ours, "question": "Tea?"}
    for questions in ([ours, other], [other, ours], [ours, ours], [], None, "x"):
        _answer(session, {"questions": questions}, {"Good?": "Approve", "Tea?": "Approve"})
    _answer(session, _asked(session), {"Good?": "Approve"}, agent_id="a1")
    _answer(session, _asked(session), {"Good?": "Approve"}, event="PostToolUseFailure")
    session.set(gate=None)
    session.ask("PostToolUse", tool_name="AskUserQuestion", tool_input={"answers": {"Good?": "Approve"}})
    assert session.lines() == []


def test_a_skill_of_another_maker_is_in_the_proof(session: Session) -> None:
    session.gate()
    for skill in ("stagent:stagent", "stagent:setup", "stagent:create"):
        assert session.tool("Skill", skill=skill) is None
    _answer(session, _asked(session), {"Good?": "Approve"})
    assert session.tool("Skill", skill="deploy") is None
    _answer(session, _asked(session), {"Good?": "Approve"})
    _command(session, "approve")
    assert [claim.skill for claim in _claims(session)] == ["", "deploy", "deploy"]
    assert {claim.client for claim in _claims(session)} == {CLIENT}


def test_a_question_brings_no_answers(session: Session) -> None:
    session.gate()
    assert session.tool("AskUserQuestion", **_asked(session)) is None
    assert session.tool("AskUserQuestion", **_asked(session), answers={"Good?": "Approve"})[0] == "deny"


def test_the_picker_the_engine_prints_is_the_one_that_decides(session: Session) -> None:
    world = session.world
    world.work("done", "x")
    world.advance()
    world.work("PASS", "x")
    world.advance()
    session.live = json.loads(session.file.read_bytes())
    session.set(pid=PID)
    assert session.live["gate"]["open"] is True
    _answer(session, _asked(session), {session.live["gate"]["question"]: "Approve"})
    [claim] = _claims(session)
    assert claim.body == world.now.gate.body  # type: ignore[union-attr]


def test_a_decision_about_another_epoch_does_not_count(session: Session) -> None:
    state = msgspec.structs.replace(session.world.now, epoch=2)
    lease = msgspec.structs.replace(state.lease, holder=Holder(kind="session", session=SESSION, pid=PID, host="h"))
    state = msgspec.structs.replace(state, lease=lease)
    claim = persons.Claim(
        decision="approve", via="command", source="plugin", prompt="p", attended="1", parent=PID, epoch=1, client=CLIENT
    )
    assert "another epoch" in persons.doubt(claim, state, PID, None)
    assert persons.doubt(msgspec.structs.replace(claim, epoch=2), state, PID, None) == ""
    assert persons.doubt(msgspec.structs.replace(claim, decision="cancel"), state, PID, None) == ""


# -- the end of a turn


def count(session: Session) -> int:
    """How many blocks without progress were counted."""
    return int(session.companion(".stop").splitlines()[-1].split()[0])


@pytest.mark.rule("S4.8")
def test_row_1_no_run(session: Session) -> None:
    assert session.stop(session_id="other") == ("allow", "")


@pytest.mark.rule("S4.10")
@pytest.mark.parametrize("status", ["ended", "interrupted", "stalled", "blocked", "escalated"])
def test_rows_2_to_5_a_run_that_does_not_go_on(session: Session, status: str) -> None:
    session.set(status=status, pid=None)
    assert session.stop() == ("allow", "")


@pytest.mark.rule("S4.13", "S2.8", "S3.47")
def test_row_6_nothing_was_done_yet(session: Session) -> None:
    assert session.stop()[0] == "block"
    assert "nothing was done yet" in session.stop()[1]
    session.set(interruptible=True)
    assert session.stop()[0] == "block"
    assert session.companion(".waiting") == ""
    session.begun()
    assert "nothing was done yet" not in session.stop()[1]
    session.file.with_suffix(".begun").write_text("r-another")
    assert "nothing was done yet" in session.stop()[1]
    session.set(epoch=2)
    assert "nothing was done yet" not in session.stop()[1]


@pytest.mark.rule("S1.11", "S4.14")
def test_row_7_interruptible_and_done(session: Session) -> None:
    session.set(interruptible=True)
    session.write("done")
    verdict, said = session.stop()
    assert verdict == "allow"
    assert f"{session.live['launcher']} advance" in said
    assert session.companion(".waiting") == "question"


@pytest.mark.rule("S1.11", "S2.11", "S4.15")
@pytest.mark.parametrize("result", ["pending", "", "nonsense", None])
def test_row_8_interruptible_and_not_done(session: Session, result: str | None) -> None:
    session.set(interruptible=True, epoch=2)
    if result is not None:
        session.write(result, epoch=2)
    verdict, said = session.stop()
    assert (verdict, session.companion(".waiting")) == ("allow", "question")
    assert "waits for you" in said


@pytest.mark.rule("S4.16", "S4.20")
def test_row_9_autonomous_and_done(session: Session) -> None:
    session.write("done")
    verdict, said = session.stop()
    assert verdict == "block"
    assert "result done, which leads to judge" in said
    assert f"{session.live['launcher']} advance" in said


@pytest.mark.rule("S2.11", "S4.17")
def test_row_10_an_unknown_result(session: Session) -> None:
    session.write("nonsense")
    verdict, said = session.stop()
    assert verdict == "block"
    assert 'unknown result "nonsense"' in said
    assert "Known: FAIL, done" in said
    assert "Required inputs" not in said


def _row(agent: str, **more: Any) -> dict[str, Any]:
    return {"id": agent, "type": "subagent", "status": "running", "agent_type": AGENT, **more}


@pytest.mark.rule("S4.18", "S4.20")
def test_row_11_the_stages_agent_works(session: Session) -> None:
    ledger = [{"agent": "a" * 17, "ended": False, "started": 3_723_000}]
    session.set(execution="subagent", ledger=ledger)
    verdict, said = session.stop(background_tasks=[_row("a" * 17)])
    assert (verdict, said) == ("allow", f"Stagent: waiting for {AGENT} {'a' * 12}, started 01:02:03 UTC")
    session.write("done")
    assert session.stop(background_tasks=[_row("a" * 17)])[0] == "allow"
    event = session.event("Stop")
    assert hook.handle(str(session.home), json.dumps(event)) == {"systemMessage": said}


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [_row("b1")],
        [_row("a1", status="completed")],
        [_row("a1", type="shell", command="sleep 5")],
        [{"id": "x", "type": "shell", "status": "running", "command": "sleep 1", "description": "stagent wait"}],
        ["a1", None, 7],
    ],
)
def test_an_agent_that_is_gone_excuses_nothing_and_may_be_replaced(session: Session, rows: list[Any]) -> None:
    session.set(execution="subagent", ledger=[{"agent": "a1", "ended": False, "started": 1}])
    session.begun()
    assert session.stop(background_tasks=rows)[0] == "block"
    assert [(line["e"], line["d"]["agents"]) for line in session.lines()] == [("SubagentGone", ["a1"])]
    given = {"subagent_type": AGENT}
    assert session.tool("Agent", **given)[0] is None


def test_other_agents_excuse_nothing(session: Session) -> None:
    session.begun()
    assert session.stop(background_tasks=[_row("e1", agent_type="Explore")])[0] == "block"
    session.set(execution="subagent", ledger=[{"agent": "a1", "ended": True, "started": 1}])
    assert session.stop(background_tasks=[_row("a1")])[0] == "block"


@pytest.mark.rule("W50")
@pytest.mark.parametrize(
    ("command", "verdict"),
    [
        ("stagent wait", "allow"),
        ("stagent wait --timeout 60", "allow"),
        ("stagent advance", "allow"),
        ("stagent tick", "block"),
        ("stagent wait; sleep 9999", "block"),
        ("sleep 9999", "block"),
        ("sh -c 'stagent wait'", "block"),
        (None, "block"),
    ],
)
def test_a_command_of_ours_in_the_background_excuses_a_stop(session: Session, command: Any, verdict: str) -> None:
    session.begun()
    row = {"id": "b1", "type": "shell", "status": "running", "description": "x", "command": command}
    assert session.stop(background_tasks=[row])[0] == verdict
    assert session.stop(background_tasks=[{**row, "status": "completed"}])[0] == "block"


@pytest.mark.rule("S4.19", "S2.10")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no artifact"),
        ("no front matter", "does not begin with a line ---"),
        ("---\nresult: done\n---\n", "states no epoch"),
        ("---\nepoch: 7\nresult: done\n---\n", "epoch mismatch"),
        ("---\nepoch: 1\n---\n", "has no result yet"),
        ("---\nepoch: 1\nresult: pending\n---\n", "has no result yet"),
    ],
)
def test_row_12_not_done(session: Session, text: str | None, words: str) -> None:
    session.begun()
    if text is not None:
        session.artifact.write_text(text)
    verdict, said = session.stop()
    assert verdict == "block"
    assert words in said
    assert f"Output: {session.artifact}" in said
    assert "result: <one of: FAIL, done>" in said


def test_while_a_check_runs_the_turn_may_end(session: Session) -> None:
    session.write("done")
    session.set(checking=True, checker=os.getpid())
    assert session.stop() == ("allow", "")
    session.set(checking=True, checker=None)
    assert session.stop() == ("allow", "")
    session.set(checking=True, checker=DEAD)
    assert session.stop()[0] == "block"


def test_what_the_engine_runs_or_a_person_chooses(session: Session) -> None:
    session.begun()
    session.set(kind="command")
    assert "the engine runs itself" in session.stop()[1]
    session.gate()
    session.set(kind="human")
    assert session.stop()[0] == "allow"
    assert session.companion(".waiting") == "gate"
    session.gate(decided="answer")
    assert session.stop()[0] == "block"


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, "allow", "waits for your decision"),
        ({"for": ["done"]}, "allow", "waits for your decision"),
        ({"for": ["FAIL"]}, "block", "advance"),
        ({"explicit": False}, "block", "advance"),
        ({"open": False}, "block", "advance"),
        ({"decided": "approve"}, "block", "advance"),
        ({"decided": "reject"}, "block", "a person rejected"),
        ({"decided": "redo"}, "block", "a person rejected"),
    ],
)
def test_a_finished_artifact_with_a_gate(session: Session, changes: dict, verdict: str, words: str) -> None:
    session.write("done")
    session.gate(**changes)
    said = session.stop()
    assert said[0] == verdict
    assert words in said[1]
    assert session.companion(".waiting") == ("gate" if verdict == "allow" else "")


def test_a_gate_that_was_shown_something_else_is_not_waited_for(session: Session) -> None:
    session.write("done")
    session.gate()
    session.artifact.write_text(session.artifact.read_text() + "more\n")
    assert session.stop()[0] == "block"


def test_a_second_process_is_not_held(session: Session) -> None:
    session.environment({"CLAUDE_PID": "77"})
    verdict, said = session.stop()
    assert verdict == "allow"
    assert "another process" in said


@pytest.mark.rule("W7", "S4.21")
def test_without_progress_the_turn_is_let_go_in_the_end(session: Session) -> None:
    session.begun()
    verdicts = [session.stop()[0] for _ in range(4)]
    assert verdicts == ["block"] * 4
    session.write("nonsense")
    assert [session.stop()[0] for _ in range(5)] == ["block"] * 4 + ["allow"]
    [line] = session.lines()
    assert (line["e"], line["d"]["blocks"], line["d"]["code"]) == ("Stalled", 5, "artifact.result")
    assert "let go as stalled" in session.stop()[1]
    assert len(session.lines()) == 1
    session.set(lease=2)
    assert session.stop()[0] == "block"
    session.set(epoch=2)
    assert count(session) == 1


@pytest.mark.rule("S4.21")
def test_the_stage_says_how_often_and_with_which_words(session: Session) -> None:
    session.begun()
    session.set(stop={"blocks": 1, "message": "Think of the tests."})
    assert session.stop()[0] == "allow"
    session.set(stop={"blocks": 2, "message": "Think of the tests."}, lease=9)
    assert session.stop()[1].endswith("\n\nThink of the tests.")


@pytest.mark.parametrize("code", [1, 2, 64, 127, -9])
def test_a_session_whose_project_cannot_be_compared_is_not_held_for_ever(
    session: Session, tmp_path: Path, code: int
) -> None:
    session.begun()
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n[ {code} -ge 0 ] && exit {code}; kill -9 $$\n")
    program.chmod(0o755)
    session.set(python=str(program), stop={"blocks": 2, "message": ""})
    assert session.stop()[0] == "block"
    verdict, said = session.stop()
    assert verdict == "allow"
    assert said.endswith("It could not be told whether the project changed.")
    [line] = session.lines()
    assert (line["e"], line["d"]["blocks"]) == ("Stalled", 2)
    assert "could not be told" in line["d"]["why"]


@pytest.mark.parametrize("noise", ["", "{", "here\n4 0", "\n4 0", "4 0", "\n", "x x", "\0" * 9000])
def test_a_damaged_count_begins_anew(session: Session, noise: str) -> None:
    session.begun()
    session.file.with_suffix(".stop").write_text(noise)
    assert session.stop()[0] == "block"
    assert count(session) == 1


def test_the_program_is_asked_whether_anything_moved(session: Session, tmp_path: Path) -> None:
    """It is started at the first block, and waited for at the last; it finds the data home and the session."""
    session.begun()
    log = tmp_path / "calls"
    program = tmp_path / "python"
    program.write_text(
        f'#!/bin/sh\necho "$STAGENT_HOME $*" >>{log}\n[ "$5" != unchanged ] || exit $(cat {tmp_path}/code)\n'
    )
    program.chmod(0o755)
    (tmp_path / "code").write_text(str(standstill.CHANGED))
    session.set(python=str(program), stop={"blocks": 3, "message": ""})
    assert [session.stop()[0] for _ in range(3)] == ["block"] * 3
    (tmp_path / "code").write_text("0")
    assert [session.stop()[0] for _ in range(3)] == ["block", "block", "allow"]
    until = time.monotonic() + 10
    while log.read_text().count("\n") < 4 and time.monotonic() < until:
        time.sleep(0.05)
    calls = sorted(log.read_text().splitlines())
    call = f"{session.home} -I -m stagent hook {{}} --session {SESSION}"
    assert calls == [call.format("snapshot")] * 2 + [call.format("unchanged")] * 2


# -- ids and words


NAMES = ["a", "A1._-", "5e55ab1e-0000-4000-8000-000000000001", "", ".", "..", "../x", "a/b", "-a", "_a", "é", "a\n"]


@pytest.mark.rule("W45")
@pytest.mark.parametrize("name", [*NAMES, "x" * 128, "x" * 129, None, 7, ["a"]])
def test_the_engine_and_the_hook_accept_the_same_session_ids(name: object) -> None:
    assert hook.safe(name) is (isinstance(name, str) and is_session(name))


@pytest.mark.rule("W39")
def test_only_what_a_call_needs_is_loaded(session: Session) -> None:
    program = (
        "import sys, runpy; sys.argv[0:1] = []; before = set(sys.modules)\n"
        "runpy = None; exec(compile(open(sys.argv[0]).read(), 'hook', 'exec'))\n"
        "sys.stderr.write(' '.join(sorted(set(sys.modules) - before)))"
    )

    def loaded(event: dict[str, Any]) -> set[str]:
        argv = [sys.executable, "-I", "-S", "-c", program.replace("import sys, runpy", "import sys"), hook.__file__]
        done = subprocess.run(
            [*argv, str(session.home)],
            input=json.dumps(event).encode(),
            capture_output=True,
            env=session.env,
            check=True,
        )
        return set(done.stderr.decode().split())

    paths = {"os", "os.path", "posixpath", "genericpath", "stat", "_stat", "abc", "_abc", "_collections_abc"}
    base = {"_json", "__future__", "time"}
    shell, files = {"shellguard", "lineguard", "fileguard"}, {"fileguard"}
    bash = session.event("PreToolUse", tool_name="Bash", tool_input={"command": "ls"})
    write = session.event("PreToolUse", tool_name="Write", tool_input={"file_path": str(session.artifact)})
    assert loaded({**bash, "session_id": "bystander"}) <= base
    assert loaded(session.event("Stop")) <= base | {"standstill"}
    assert loaded(bash) <= base | paths | shell
    assert loaded(write) <= base | paths | files

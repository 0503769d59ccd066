"""Who runs beside the main agent, from what hooks see: what excuses the end of a turn and what does not."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from stagent.hooks import hook
from unit.hooks.hook_world import Session

AGENT = "stagent:workflow-subagent"


def launched(session: Session, call: str, kind: str | None = AGENT, **more: Any) -> Any:
    """A launch the main agent asked for, as far as it is let through."""
    given = {"subagent_type": kind} if kind else {"prompt": "x"}
    return session.ask("PreToolUse", tool_name="Agent", tool_use_id=call, tool_input=given, **more)


def row(agent: str, kind: str = AGENT, **more: Any) -> dict[str, Any]:
    return {"id": agent, "type": "subagent", "status": "running", "agent_type": kind, **more}


def own(session: Session) -> None:
    """Have the process that calls the hook be the one that drives the run."""
    session.set(pid=os.getppid())
    session.environment({**session.env, "CLAUDE_PID": str(os.getppid())})


def agent(session: Session, event: str, name: str, kind: str = AGENT) -> Any:
    return session.ask(event, agent_id=name, agent_type=kind)


# -- launched, not yet seen to start


@pytest.mark.parametrize(
    ("execution", "kind", "rows", "verdict"),
    [
        ("subagent", AGENT, [row("a1")], "allow"),
        ("subagent", AGENT, [row("a1", agent_type=None)], "allow"),
        ("subagent", AGENT, [row("a1", status="pending")], "allow"),
        ("subagent", AGENT, [], "block"),
        ("subagent", AGENT, [row("a1", status="completed")], "block"),
        ("subagent", AGENT, [row("a1", "Explore")], "block"),
        ("subagent", AGENT, [row("a1", type="shell", command="sleep 1")], "block"),
        *(("subagent", AGENT, [row("a1", None, type=name)], "block") for name in ("monitor", "workflow", "MCP task")),
        ("subagent", AGENT, [{"id": "a1", "status": "running", "agent_type": AGENT}], "block"),
        ("subagent", "Explore", [row("a1", "Explore")], "block"),
        ("inline", "Explore", [row("a1", "Explore")], "allow"),
        ("inline", None, [row("a1", "general-purpose")], "allow"),
        ("inline", "Explore", [], "block"),
        ("inline", "Explore", [row("a1")], "block"),
        ("inline", AGENT, [row("a1")], "block"),
    ],
)
def test_a_launch_excuses_a_stop_together_with_an_agent_that_runs(
    session: Session, execution: str, kind: str | None, rows: list[Any], verdict: str
) -> None:
    session.begun()
    session.set(execution=execution)
    launched(session, "t-1", kind)
    said = session.stop(background_tasks=rows)
    assert said[0] == verdict
    assert verdict == "block" or said[1].endswith("being launched")


@pytest.mark.parametrize("what", ["nothing", "failed", "old", "another epoch", "another lease", "known"])
def test_without_a_launch_of_now_an_unknown_agent_excuses_nothing(session: Session, what: str) -> None:
    session.begun()
    session.set(execution="subagent")
    if what != "nothing":
        launched(session, "t-1")
    if what == "failed":
        session.ask("PostToolUseFailure", tool_name="Agent", tool_use_id="t-1", tool_input={"subagent_type": AGENT})
    elif what == "old":
        before = str(time.time_ns() // 10**6)[:6]
        session.spool_file.write_text(session.spool_file.read_text().replace(f'"t":{before}', '"t":100000'))
    elif what == "another epoch":
        session.set(epoch=2)
    elif what == "another lease":
        session.set(lease=9)
    elif what == "known":
        session.set(ledger=[{"agent": "a1", "type": AGENT, "ended": True, "started": 1, "left": False}])
    assert session.stop(background_tasks=[row("a1")])[0] == "block"


def test_what_started_is_not_being_launched_any_more(session: Session) -> None:
    session.begun()
    session.set(execution="subagent")
    launched(session, "t-1")
    agent(session, "SubagentStart", "a1")
    assert "started" in session.stop(background_tasks=[row("a1")])[1]
    assert session.stop(background_tasks=[row("a2")])[0] == "block"


# -- several at once


def test_an_inline_stage_waits_for_all_its_helpers(session: Session) -> None:
    session.begun()
    for number, name in enumerate(("a1", "a2", "a3")):
        launched(session, f"t-{number}", "Explore")
        agent(session, "SubagentStart", name, "Explore")
    rows = [row(name, "Explore") for name in ("a1", "a2", "a3")]
    verdict, said = session.stop(background_tasks=rows)
    assert verdict == "allow"
    assert [said.count(f"Explore {name}, started") for name in ("a1", "a2", "a3")] == [1, 1, 1]
    agent(session, "SubagentStop", "a2", "Explore")
    assert "a2" not in session.stop(background_tasks=[rows[0], rows[2]])[1]
    assert session.stop(background_tasks=[])[0] == "block"
    assert session.lines()[-1]["d"]["agents"] == ["a1", "a3"]
    assert session.stop(background_tasks=rows)[0] == "block"


def test_an_interruptible_stage_waits_for_its_helpers_first(session: Session) -> None:
    session.begun()
    session.set(interruptible=True)
    agent(session, "SubagentStart", "a1", "Explore")
    assert "waiting for Explore a1" in session.stop(background_tasks=[row("a1", "Explore")])[1]
    assert session.companion(".waiting") == ""


def test_helpers_excuse_nothing_where_a_sub_agent_works_the_stage(session: Session) -> None:
    session.begun()
    session.set(execution="subagent")
    agent(session, "SubagentStart", "a1", "Explore")
    assert session.stop(background_tasks=[row("a1", "Explore")])[0] == "block"
    assert "Launch it as type" in str(launched(session, "t-1"))


def test_who_was_left_behind_excuses_nothing_and_is_missed_when_gone(session: Session) -> None:
    session.begun()
    left = {"agent": "a1", "type": "Explore", "ended": False, "started": 1, "left": True}
    session.set(ledger=[left, {**left, "agent": "a2", "left": False}])
    verdict, said = session.stop(background_tasks=[row("a1", "Explore"), row("a2", "Explore")])
    assert (verdict, "a1" in said, "Explore a2" in said) == ("allow", False, True)
    assert session.stop(background_tasks=[row("a1", "Explore")])[0] == "block"
    assert session.lines()[-1]["d"]["agents"] == ["a2"]
    assert session.stop(background_tasks=[])[0] == "block"
    assert sorted(session.lines()[-1]["d"]["agents"]) == ["a1"]


def test_a_helper_of_a_sub_agent_is_its_own_business(session: Session) -> None:
    session.set(execution="subagent")
    assert launched(session, "t-1", "Explore", agent_id="a9", agent_type=AGENT) is None
    assert session.lines() == []


def test_lines_without_what_they_need_are_passed_over(session: Session) -> None:
    session.begun()
    session.set(execution="subagent")
    launched(session, "t-1")
    text = session.spool_file.read_text()
    for torn in (text.replace('"e":"Launch"', '"x":1,"y":"Launch"'), text.replace('"d":{', '"d":7,"z":{'), text[:40]):
        session.spool_file.write_text(torn + "\n" + text)
        assert session.stop(background_tasks=[row("a1")])[0] == "allow"


# -- an answer that was not folded yet


@pytest.mark.parametrize("interruptible", [False, True])
@pytest.mark.parametrize(
    ("answer", "words"),
    [("Approve", "approved this artifact"), ("Reject", "a person rejected"), ("make it shorter", "a person rejected")],
)
def test_a_turn_does_not_end_on_a_fresh_answer(session: Session, answer: str, words: str, interruptible: bool) -> None:
    session.write("done")
    session.gate()
    session.set(interruptible=interruptible)
    own(session)
    options = [{key: item[key] for key in ("label", "description")} for item in session.live["gate"]["options"]]
    asked = {"questions": [{"question": "Good?", "header": "Stagent", "options": options}]}
    assert session.stop() == ("allow", session.stop()[1])
    session.ask("PostToolUse", tool_name="AskUserQuestion", tool_input={**asked, "answers": {"Good?": answer}})
    verdict, said = session.stop()
    assert (verdict, words in said) == ("block", True)
    session.set(folded=session.spool_file.stat().st_size)
    assert session.stop()[0] == "allow"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"attended":"1"', '"attended":"0"'),
        lambda text: text.replace(f'"parent":{os.getppid()}', '"parent":77'),
        lambda text: text.replace('"a":null', '"a":"agent-1"'),
        lambda text: text.replace('"body":"' + "b" * 64, '"body":"' + "c" * 64),
        lambda text: text.replace('"epoch":1', '"epoch":2'),
        lambda text: text.replace('"decision":"approve"', '"decision":"interrupt"'),
        lambda text: text.replace('"lease":1', '"lease":2'),
    ],
)
def test_what_is_no_persons_answer_holds_nothing(session: Session, change: Any) -> None:
    session.write("done")
    session.gate()
    own(session)
    session.ask("UserPromptExpansion", command_name="stagent:approve", command_args="", command_source="plugin")
    text = session.spool_file.read_text()
    assert session.stop()[0] == "block"
    changed = change(text)
    assert changed != text
    session.spool_file.write_text(changed)
    assert session.stop()[0] == "allow"


def test_a_choice_of_a_human_stage_is_an_answer(session: Session) -> None:
    options = [{"label": "left", "description": "Leads to left.", "decision": "answer"}]
    session.begun()
    session.gate(options=options, body="")
    session.set(kind="human")
    own(session)
    assert session.stop()[0] == "allow"
    question = {
        "question": "Good?",
        "header": "Stagent",
        "options": [{"label": "left", "description": "Leads to left."}],
    }
    given = {"questions": [question], "answers": {"Good?": "left"}}
    session.ask("PostToolUse", tool_name="AskUserQuestion", tool_input=given)
    verdict, said = session.stop()
    assert (verdict, "the choice is made" in said) == ("block", True)


# -- what is waited for


def test_who_waits_for_a_permission_is_told_apart(session: Session) -> None:
    def waiting(name: str, **fields: Any) -> str:
        session.ask(name, **fields)
        return session.companion(".waiting")

    session.begun()
    of_agent = {"agent_id": "a1", "agent_type": "Explore", "tool_name": "Bash", "tool_input": {}}
    of_main = {"tool_name": "Read", "tool_input": {}}
    assert waiting("PermissionRequest", **of_agent) == "permission@a1"
    assert waiting("Notification", notification_type="permission_prompt") == "permission@a1"
    assert waiting("PostToolUse", **of_main) == "permission@a1"
    assert waiting("PostToolUse", **of_agent) == ""
    assert waiting("PermissionRequest", **of_agent) == "permission@a1"
    assert waiting("SubagentStop", agent_id="a1", agent_type="Explore") == ""
    assert waiting("PermissionRequest", **of_main) == "permission"
    assert waiting("PostToolUse", **of_agent) == "permission"
    assert waiting("Stop", background_tasks=[]) == ""
    question = {"tool_name": "AskUserQuestion", "tool_input": {}}
    assert waiting("PreToolUse", **question) == "picker"
    assert waiting("PostToolUse", **of_agent) == "picker"
    assert waiting("PostToolUseFailure", **question) == ""
    assert waiting("Notification", notification_type="idle_prompt") == "idle"
    assert waiting("UserPromptSubmit", prompt="<task-notification>") == ""
    assert waiting("Notification", notification_type="idle_prompt") == "idle"
    assert waiting("PreToolUse", **of_main) == ""


def test_a_quick_line_is_not_waited_for() -> None:
    assert {"HelperStart", "HelperStop"} <= set(hook.QUICK)
    assert not {"Decision", "SubagentStop", "SessionEnd", "ArtifactWrite", "SubagentStart"} & set(hook.QUICK)

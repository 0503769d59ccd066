from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fixtures_claude import CLIENT, HOOK, SESSION, Desk
from stagent.cli.hook import EVENTS, OWN
from stagent.engine.install import HOOKS
from stagent.hooks import standstill


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Any) -> Desk:
    """A session whose run stands at the gate of its first stage."""
    made = Desk(tmp_path, monkeypatch)
    assert say("start", "x", "--flow", str(made.flow)).status == 0
    made.write("plan", "approved")
    assert say("advance").status == 4
    return made


def report(desk: Desk, say: Any, command: str, words: str = "", **fields: Any) -> str:
    desk.types(command, words, **fields)
    said = say("hook", "report")
    assert (said.status, said.err) == (0, "")
    return str(said.out)


def test_an_approval_counts_and_says_so(desk: Desk, say: Any) -> None:
    out = report(desk, say, "approve", "well done, it's fine; go")
    assert out.startswith("The approval counts: stage plan, epoch 1, run r-")
    assert "Words: well done, it's fine; go" in out
    assert say("status", "--json").json["head"] in out
    assert say("advance").status == 0
    assert "no hook kept the arguments" in say("hook", "report").out


def test_long_words_are_kept_beside_the_spool_and_removed(desk: Desk, say: Any) -> None:
    words = "change this. " * 200
    assert words.strip() in report(desk, say, "reject", words)
    assert list((desk.home / "pending").iterdir()) == []


def test_a_rejection_carries_its_words(desk: Desk, say: Any) -> None:
    assert report(desk, say, "reject", "more detail").startswith("The rejection counts: stage plan")
    assert "more detail" in say("context").out


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"attended": "0"}, "the session is not attended by a person"),
        ({"agent_id": "agent-1"}, "it came from a sub-agent"),
        ({"pid": 1}, "it came from another process"),
    ],
)
def test_it_says_why_a_decision_does_not_count(desk: Desk, say: Any, fields: dict[str, Any], why: str) -> None:
    out = report(desk, say, "approve", **fields)
    assert out.startswith("Nothing was decided: approve does not count: ")
    assert why in out
    assert say("advance").status == 4
    status = say("status", "--json").json
    assert why in status["doubt"]
    assert why in say("status").out
    assert report(desk, say, "approve", prompt="prompt-2").startswith("The approval counts")
    assert say("status", "--json").json["doubt"] == ""


def test_it_says_why_also_when_another_call_folded_the_line(desk: Desk, say: Any) -> None:
    desk.types("approve", attended="0")
    assert say("tick").status == 0
    assert "not attended" in say("hook", "report").out


def test_a_prompt_decides_once(desk: Desk, say: Any) -> None:
    report(desk, say, "reject", "no")
    desk.write("plan", "approved", body="better\n")
    assert say("advance").status == 4
    desk.types("approve", prompt="prompt-1")
    say("tick")
    status = say("status", "--json").json
    assert "its prompt has decided before" in status["doubt"]


def test_what_was_shown_must_not_have_changed(desk: Desk, say: Any) -> None:
    desk.types("approve")
    desk.write("plan", "approved", body="something else\n")
    assert "what was shown has changed meanwhile" in say("hook", "report").out


def test_without_a_hook_nothing_is_decided(desk: Desk, say: Any) -> None:
    desk.live().unlink()
    desk.types("approve")
    out = say("hook", "report").out
    assert "no hook saw this command as a person's" in out
    assert "stagent approve r-" in out


def noted(desk: Desk, say: Any, event: str, agent: str) -> None:
    """Append the line a hook writes about a sub-agent of the session."""
    run = say("status", "--json").json["run"]
    line = {"v": 1, "k": agent + event, "t": 1, "e": event, "s": SESSION, "p": os.getpid(), "a": agent, "d": {}}
    with open(desk.home / "spool" / f"{run}.ndjson", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


@pytest.mark.rule("S3.37")
def test_interrupt_names_the_agents_to_be_stopped(desk: Desk, say: Any) -> None:
    for agent in ("agent-7", "agent-8", "agent-9"):
        noted(desk, say, "SubagentStart", agent)
    noted(desk, say, "SubagentStop", "agent-9")
    say("tick")
    out = report(desk, say, "interrupt")
    first, second = out.splitlines()
    name, *agents = first.split()
    assert (name, sorted(agents)) == ("STAGENT_STOP_AGENT_IDS:", ["agent-7", "agent-8"])
    assert "is interrupted in stage plan" in second
    assert say("status", "--json").json["status"] == "interrupted"
    desk.types("approve", prompt="prompt-2")
    assert "the run is interrupted" in say("hook", "report").out


@pytest.mark.rule("S3.39")
def test_cancel_archives_the_folder(desk: Desk, say: Any) -> None:
    folder = desk.folder
    out = report(desk, say, "cancel")
    assert "is cancelled; its folder is now" in out
    assert not folder.exists()
    [kept] = (desk.project / ".stagent" / ".archive").iterdir()
    assert kept.name.endswith("-cancelled")
    assert sorted(path.name for path in (desk.home / "live").iterdir()) == []
    assert "the run ended as cancelled" in report(desk, say, "approve", prompt="prompt-2")


@pytest.mark.rule("S3.39")
@pytest.mark.parametrize("words", ["--hard", "not worth it --hard"])
def test_a_hard_cancel_removes_the_folder(desk: Desk, say: Any, words: str) -> None:
    folder, run = desk.folder, say("status", "--json").json["run"]
    assert "is cancelled; its folder is removed" in report(desk, say, "cancel", words)
    assert not folder.exists()
    assert not (folder.parent / ".archive").exists()
    assert say("status", run, "--json").json["terminal"] == "cancelled"


@pytest.mark.rule("S3.3")
@pytest.mark.parametrize("verb", ["cancel", "interrupt"])
@pytest.mark.parametrize("words", ["--help", "--nosuch", "why --force", "--session", "--hard=1", "--topic"])
def test_an_end_with_a_word_that_is_no_option_is_none(desk: Desk, say: Any, verb: str, words: str) -> None:
    out = report(desk, say, verb, words)
    assert out.startswith(f"stagent: /stagent:{verb}: no option --")
    assert "--session ID, --topic TOPIC" in out
    assert ("--hard" in out.partition("Known")[2]) == (verb == "cancel")
    assert say("status", "--json").json["status"] == "running"


@pytest.mark.rule("S3.2", "S3.3")
@pytest.mark.parametrize("verb", ["cancel", "interrupt"])
def test_an_end_of_another_run_is_none_of_this_one(desk: Desk, say: Any, verb: str) -> None:
    own = say("status", "--json").json["run"]
    desk.enter("session-2")
    other = say("start", "the other", "--flow", str(desk.flow), "--json").json["run"]
    desk.enter(SESSION)
    for named in ("--session session-2", "--topic 'the other'"):
        out = report(desk, say, verb, named)
        assert f"{other} is not the run of this session" in out
        assert f"In a terminal: stagent {verb} {other}." in out
    for named in ("--session nobody", "--topic nosuch"):
        assert "no run of" in report(desk, say, verb, named)
    assert [say("status", run, "--json").json["status"] for run in (own, other)] == ["running", "running"]


@pytest.mark.parametrize(("verb", "status"), [("cancel", "cancelled"), ("interrupt", "interrupted")])
@pytest.mark.parametrize("named", [f"--session {SESSION}", "--topic x"])
def test_a_session_may_name_its_own_run(desk: Desk, say: Any, verb: str, status: str, named: str) -> None:
    run = say("status", "--json").json["run"]
    assert "Nothing was decided" in report(desk, say, verb, named)
    assert f"{run} is {status}" in as_session(desk, verb, f"{named} enough")
    assert events(say, run)[-1]["actor"] == f"person:command:{SESSION}"


@pytest.mark.rule("S7.1")
def test_a_session_goes_on_with_the_run_of_another_one(desk: Desk, say: Any) -> None:
    run = say("status", "--json").json["run"]
    report(desk, say, "interrupt")
    desk.enter("session-2")
    desk.types("continue", f"--session {SESSION}")
    assert f"Going on with {run} in stage plan" in say("continue", "--pending").out
    assert say("status", "--json").json["holder"].startswith("session session-2")


def test_a_run_of_another_session_is_out_of_reach(desk: Desk, say: Any) -> None:
    desk.enter("session-2")
    assert "no run of session session-2" in report(desk, say, "approve")


def test_snapshot_and_unchanged(desk: Desk, say: Any) -> None:
    assert "there is no snapshot" in say("hook", "unchanged").err
    assert say("hook", "unchanged").status == 2
    assert say("hook", "snapshot", "--session", SESSION).status == 0
    assert json.loads(desk.live(".tree").read_text())["stage"] == "plan"
    assert say("hook", "unchanged", "--session", SESSION).status == 0
    (desk.project / "new.txt").write_text("x")
    assert say("hook", "unchanged", "--session", SESSION).status == standstill.CHANGED
    (desk.project / "new.txt").unlink()
    assert say("hook", "unchanged").status == 0
    report(desk, say, "approve")
    assert say("advance").status == 0
    said = say("hook", "unchanged")
    assert (said.status, "the snapshot is of stage plan, epoch 1" in said.err) == (2, True)
    assert say("hook", "unchanged", "--session", "nobody").status == 1
    desk.live(".tree").write_text("{")
    assert say("hook", "unchanged").status == 2


def test_a_line_that_only_names_the_program(desk: Desk, say: Any) -> None:
    assert say("hook", "names", "--line=echo stagent approve").status == 0
    assert say("hook", "names", "--line=sh -c 'stagent approve'").status == 1
    assert say("hook", "names", "--line=stagent advance").status == 0
    assert say("hook", "agent-names", "--line=stagent advance").status == 1
    assert say("hook", "names", "--line=-x").status == 0


def test_a_session_whose_project_cannot_be_compared_is_let_go_all_the_same(desk: Desk, say: Any) -> None:
    report(desk, say, "approve")
    assert say("advance").status == 0
    # Where git cannot read its own configuration no snapshot can be taken.
    config = desk.project / ".git" / "config"
    config.write_text("[nonsense")
    for _ in range(4):
        assert desk.hook("Stop", background_tasks=[])["decision"] == "block"
    said = desk.hook("Stop", background_tasks=[])["systemMessage"]
    assert "let go as stalled" in said
    assert said.endswith("It could not be told whether the project changed.")
    config.unlink()
    assert say("status", "--json").json["status"] == "stalled"
    [stalled] = events(say, say("status", "--json").json["run"], "stalled")
    assert stalled["data"]["text"]


def events(say: Any, run: str, kind: str = "") -> list[Any]:
    """The run's events, of one type or all."""
    found = [json.loads(line) for line in say("log", run, "--json").out.splitlines()]
    return [event for event in found if kind in ("", event["data"]["type"])]


SESSIONS_OWN = """
import json, os, subprocess, sys
hook, home, event = sys.argv[1:]
env = {**os.environ, "CLAUDE_PID": str(os.getpid()), "CLAUDE_CODE_SESSION_ID": "%s"}
told = {**env, "CLAUDE_CODE_SESSION_ATTENDED": "1", "AI_AGENT": "%s"}
subprocess.run([sys.executable, "-I", "-S", hook, home], input=event.encode(), env=told, check=True)
report = [sys.executable, "-I", "-m", "stagent", "hook", "report"]
done = subprocess.run(report, env=env, capture_output=True, text=True)
print(done.stdout, done.stderr)
"""


def as_session(desk: Desk, command: str, words: str) -> str:
    """Have a process stand for the session's own, its hook see the command and its shell call what the command says."""
    event = {"session_id": SESSION, "hook_event_name": "UserPromptExpansion", "prompt_id": "prompt-2"}
    event |= {"command_name": f"stagent:{command}", "command_args": words, "command_source": "plugin"}
    # The session's own process is started with no mark of an agent.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CLAUDE", "AI_"))}
    program = SESSIONS_OWN % (SESSION, CLIENT)
    argv = [sys.executable, "-c", program, str(HOOK), str(desk.home), json.dumps(event)]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("words", ["", "not worth it"])
def test_a_paused_run_can_be_cancelled_by_its_sessions_person(desk: Desk, say: Any, words: str) -> None:
    run = say("status", "--json").json["run"]
    report(desk, say, "interrupt")
    assert "not attended" in report(desk, say, "cancel", attended="0")
    assert "too old" in report(desk, say, "cancel", client="claude-code_2-0-9_harness")
    assert "another process" in report(desk, say, "cancel", pid=1)
    assert "does not stand above this call" in report(desk, say, "cancel")
    assert say("status", "--json").json["status"] == "interrupted"
    out = as_session(desk, "cancel", words)
    assert f"{run} is cancelled; its folder is now" in out
    assert say("status", run, "--json").json["terminal"] == "cancelled"
    assert events(say, run)[-1]["actor"] == f"person:command:{SESSION}"
    assert not desk.live().exists()


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_decision_about_a_paused_run_says_how_to_go_on(desk: Desk, say: Any, verb: str) -> None:
    report(desk, say, "interrupt")
    out = report(desk, say, verb, prompt="prompt-2")
    assert out == (
        "Nothing was decided: the run is interrupted, and nobody drives it. Go on with it first: /stagent:continue\n"
    )
    assert say("status", "--json").json["status"] == "interrupted"


@pytest.mark.parametrize(
    ("client", "why"),
    [
        ("claude-code_2-1-328_harness", "Claude Code 2.1.328 is too old; decisions count from 2.1.329 on"),
        ("claude-code_1-99-400_harness", "Claude Code 1.99.400 is too old"),
        ("", "does not say which version"),
        ("another-agent_9-9-9_harness", "does not say which version"),
        ("claude-code_harness", "does not say which version"),
    ],
)
def test_below_the_lowest_version_no_decision_counts(desk: Desk, say: Any, client: str, why: str) -> None:
    assert why in report(desk, say, "approve", client=client)
    assert why in say("tick").json["doubt"]
    assert why in say("status").out
    assert say("advance").status == 4
    assert report(desk, say, "approve", prompt="prompt-2", client="claude-code_2-2-0_harness").startswith(
        "The approval"
    )
    assert say("tick").json["doubt"] is None


def test_below_the_lowest_version_a_picker_does_not_count(desk: Desk, say: Any) -> None:
    asked = say("tick").json["picker"]
    given = {"tool_input": {"questions": [asked], "answers": {asked["question"]: "Approve"}}, "tool_use_id": "t"}
    desk.hook("PostToolUse", tool_name="AskUserQuestion", client="claude-code_2-1-328_harness", **given)
    assert "too old" in say("tick").json["doubt"]
    assert say("advance").status == 4
    desk.hook("PostToolUse", tool_name="AskUserQuestion", **given)
    assert say("advance").status == 0


@pytest.mark.parametrize(("skill", "counts"), [("deploy", False), ("stagent:stagent", True)])
def test_after_another_skill_a_picker_does_not_count(desk: Desk, say: Any, skill: str, counts: bool) -> None:
    desk.hook("PreToolUse", tool_name="Skill", tool_input={"skill": skill})
    asked = say("tick").json["picker"]
    given = {"tool_input": {"questions": [asked], "answers": {asked["question"]: "Approve"}}, "tool_use_id": "t"}
    desk.hook("PostToolUse", tool_name="AskUserQuestion", **given)
    assert ("the skill deploy may have brought" in (say("tick").json["doubt"] or "")) is not counts
    assert say("advance").status == (0 if counts else 4)
    if not counts:
        assert report(desk, say, "approve").startswith("The approval counts")


def test_the_stop_hook_can_call_them(desk: Desk, say: Any) -> None:
    """The turn that makes no progress is let go at the fifth time, by what these two commands say."""
    report(desk, say, "approve")
    assert say("advance").status == 0
    for _ in range(4):
        assert desk.hook("Stop", background_tasks=[])["decision"] == "block"
    wait_for(desk.live(".tree"))
    assert "stalled" in desk.hook("Stop", background_tasks=[])["systemMessage"]
    assert say("status", "--json").json["status"] == "stalled"


def wait_for(path: Path) -> None:
    for _ in range(200):
        if path.exists():
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError(f"{path} was never made")


def test_an_event_runs_the_hook_itself(desk: Desk) -> None:
    event = {"session_id": SESSION, "hook_event_name": "SessionStart", "source": "startup"}
    words = [sys.executable, "-m", "stagent", "hook", "SessionStart"]
    done = subprocess.run(words, input=json.dumps(event), capture_output=True, text=True, check=True)
    assert "This session drives the Stagent run" in done.stdout
    other = json.dumps({**event, "session_id": "x"})
    bystander = subprocess.run(words, input=other, capture_output=True, text=True, check=True)
    assert (bystander.stdout, bystander.stderr) == ("", "")


def test_wrong_usage(desk: Desk, say: Any) -> None:
    said = say("hook", "nothing")
    assert said.status == 64
    for name in (*OWN, *EVENTS):
        assert name in said.err
    assert say("hook").status == 64
    assert say("hook", "--help").status == 0
    desk.leave()
    assert "this is no agent session" in say("hook", "report").out
    assert say("hook", "unchanged").status == 64


def test_every_registered_event_can_be_called() -> None:
    handled = runpy.run_path(str(HOOK))["EVENTS"]
    assert set(EVENTS) == set(HOOKS) == set(handled), "an event nobody registers never comes, another is for nothing"


@pytest.mark.rule("W17")
def test_a_session_that_was_cleared_finds_its_run(desk: Desk, say: Any) -> None:
    run = say("status", "--json").json["run"]
    desk.enter("session-2")
    desk.hook("SessionStart", source="clear")
    assert say("tick").status == 0
    status = say("status", "--json").json
    assert (status["run"], status["holder"]) == (run, f"session session-2, process {os.getpid()}")
    assert report(desk, say, "approve").startswith("The approval counts")


def test_status_says_that_the_conversation_is_compacted(desk: Desk, say: Any) -> None:
    desk.hook("PreCompact", trigger="auto")
    assert "waits for the compaction of its conversation" in say("status").out
    desk.hook("PostCompact", trigger="auto")
    assert "compaction" not in say("status").out


@pytest.mark.rule("S2.22")
def test_status_says_what_the_session_waits_for(desk: Desk, say: Any) -> None:
    desk.hook("Notification", notification_type="permission_prompt")
    assert "waits for a permission in the session" in say("status").out
    desk.hook("StopFailure", error="rate_limit")
    status = say("status", "--json").json
    assert (status["error"], status["session_waits"]) == ("rate_limit", "")
    assert "ended with: rate_limit" in say("status").out
    desk.hook("UserPromptSubmit", prompt="x")
    status = say("status", "--json").json
    assert (status["error"], status["session_waits"]) == ("", "")


def test_the_error_a_session_ended_with_outlives_it(desk: Desk, say: Any) -> None:
    key = "sk-ant-" + "x" * 40
    desk.hook("StopFailure", error="unknown", last_assistant_message=f"API Error: 400 with {key}")
    assert say("status", "--json").json["error"] == "unknown: API Error: 400 with [masked]"
    desk.hook("SessionEnd", reason="other")
    status = say("status", "--json").json
    assert (status["status"], status["error"]) == ("interrupted", "unknown: API Error: 400 with [masked]")
    assert "Error:    the agent's last turn ended with: unknown: API Error: 400" in say("status").out
    assert "error: unknown: API Error: 400 with [masked]" in say("show").out
    assert say("runs", "--json").json[0]["error"] == status["error"]
    assert "ended with: unknown: API Error: 400" in say("runs").err
    assert key.encode() not in b"".join(path.read_bytes() for path in desk.home.rglob("*") if path.is_file())
    say("continue", "--session", SESSION)
    assert say("status", "--json").json["error"] == ""


def test_the_list_says_who_waits_for_somebody_and_until_when(desk: Desk, say: Any) -> None:
    def row() -> tuple[str, str]:
        [found] = say("runs", "--json").json
        # One word, wherever it is asked for.
        assert say("status", "--json").json["word"] == say("show", "--json").json["status"] == found["status"]
        return found["status"], found["waits"]

    assert row() == ("running", "")
    desk.hook("PreToolUse", tool_name="AskUserQuestion", tool_input={})
    assert row() == ("waiting", "your answer in the session's picker")
    assert "waits for your answer in the session's picker." in say("runs").err
    desk.hook("PostToolUseFailure", tool_name="AskUserQuestion", tool_input={})
    assert row() == ("running", "")
    desk.hook("PermissionRequest", tool_name="Bash", tool_input={}, agent_id="agent-12345678", agent_type="Explore")
    assert row() == ("waiting", "a permission in the session, for its sub-agent agent-123456")
    desk.hook("PostToolUse", tool_name="Bash", tool_input={}, agent_id="agent-12345678", agent_type="Explore")
    desk.hook("PreCompact", trigger="auto")
    assert row() == ("running", "the compaction of its conversation")
    desk.hook("PostCompact", trigger="auto")
    desk.hook("Notification", notification_type="idle_prompt")
    status = say("status", "--json").json
    assert "idle" in status["session_waits"]
    assert abs(status["session_since"] / 1000 - time.time()) < 60
    assert "which is idle, since " in say("status").out


def test_what_a_session_waited_for_is_over_when_its_run_moves(desk: Desk, say: Any) -> None:
    assert desk.hook("Stop", background_tasks=[]) is not None
    assert say("status", "--json").json["session_waits"].startswith("a person's decision")
    assert report(desk, say, "approve").startswith("The approval counts")
    assert say("status", "--json").json["session_waits"] == ""
    desk.hook("Notification", notification_type="idle_prompt")
    assert say("advance").status == 0
    assert say("status", "--json").json["session_waits"] == ""


def test_activity_of_a_session(desk: Desk, say: Any) -> None:
    assert (say("activity").out, "Nothing is known" in say("activity").err) == ("", True)
    for number, command in enumerate(("pytest -q", "echo sk-proj-0123456789abcdefghij", "sleep 9")):
        call = {"tool_name": "Bash", "tool_input": {"command": command}, "tool_use_id": f"t-{number}"}
        desk.hook("PreToolUse", **call)
        if number < 2:
            desk.hook("PostToolUse" if number else "PostToolUseFailure", duration_ms=1500, **call)
    lines = [line[9:] for line in say("activity").out.splitlines()]
    assert lines == [
        "plan.1  Bash: pytest -q  (failed, 1.5 s)",
        "plan.1  Bash: echo [masked]  (1.5 s)",
        "plan.1  Bash: sleep 9  (…)",
    ]
    assert len(say("activity", "--tail", "1").out.splitlines()) == 1
    assert say("activity", "--tail", "0").out == ""
    found = [json.loads(line) for line in say("activity", "--json").out.splitlines()]
    assert [(use["id"], use["outcome"], use["millis"]) for use in found] == [
        ("t-0", "failed", 1500),
        ("t-1", "ended", 1500),
        ("t-2", "open", None),
    ]


def test_activity_is_followed_to_the_end_of_the_run(desk: Desk, say: Any) -> None:
    command = [sys.executable, "-m", "stagent", "activity", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        call = {"tool_name": "Bash", "tool_input": {"command": "ls"}, "tool_use_id": "t-1"}
        desk.hook("PreToolUse", **call)
        first = json.loads(following.stdout.readline())
        desk.hook("PostToolUse", duration_ms=3, **call)
        second = json.loads(following.stdout.readline())
        assert (first["id"], first["outcome"], second["outcome"]) == ("t-1", "open", "ended")
        assert report(desk, say, "cancel").startswith("r-")
        assert following.wait(20) == 0


def test_an_interruption_by_a_person_names_the_agents_that_run(desk: Desk, say: Any) -> None:
    for name in ("agent-1", "agent-2"):
        desk.hook("SubagentStart", agent_id=name, agent_type="Explore")
    desk.hook("SubagentStop", agent_id="agent-1", agent_type="Explore")
    out = report(desk, say, "interrupt")
    assert out.startswith("STAGENT_STOP_AGENT_IDS: agent-2\n")

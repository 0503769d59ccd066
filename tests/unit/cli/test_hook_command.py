from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures_claude import HOOK, SESSION, Desk
from stagent.cli.hook import EVENTS, OWN
from stagent.engine.install import HOOKS


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


def test_interrupt_names_the_agents_to_be_stopped(desk: Desk, say: Any) -> None:
    for agent in ("agent-7", "agent-8", "agent-9"):
        noted(desk, say, "SubagentStart", agent)
    noted(desk, say, "SubagentStop", "agent-9")
    say("tick")
    out = report(desk, say, "interrupt")
    first, second = out.splitlines()
    assert first == "STAGENT_STOP_AGENT_IDS: agent-7 agent-8"
    assert "is interrupted in stage plan" in second
    assert say("status", "--json").json["status"] == "interrupted"
    desk.types("approve", prompt="prompt-2")
    assert "the run is interrupted" in say("hook", "report").out


def test_cancel_archives_the_folder(desk: Desk, say: Any) -> None:
    folder = desk.folder
    out = report(desk, say, "cancel")
    assert "is cancelled; its folder is now" in out
    assert not folder.exists()
    [kept] = (desk.project / ".stagent" / ".archive").iterdir()
    assert kept.name.endswith("-cancelled")
    assert sorted(path.name for path in (desk.home / "live").iterdir()) == []
    assert "the run ended as cancelled" in report(desk, say, "approve", prompt="prompt-2")


def test_a_run_of_another_session_is_out_of_reach(desk: Desk, say: Any) -> None:
    desk.enter("session-2")
    assert "no run of session session-2" in report(desk, say, "approve")


def test_snapshot_and_unchanged(desk: Desk, say: Any) -> None:
    assert say("hook", "unchanged").status == 1
    assert say("hook", "snapshot", "--session", SESSION).status == 0
    assert json.loads(desk.live(".tree").read_text())["stage"] == "plan"
    assert say("hook", "unchanged", "--session", SESSION).status == 0
    (desk.project / "new.txt").write_text("x")
    assert say("hook", "unchanged", "--session", SESSION).status == 1
    (desk.project / "new.txt").unlink()
    assert say("hook", "unchanged").status == 0
    report(desk, say, "approve")
    assert say("advance").status == 0
    assert say("hook", "unchanged").status == 1
    assert say("hook", "unchanged", "--session", "nobody").status == 1


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
    assert say("hook", "unchanged").status == 1


def test_every_registered_event_can_be_called() -> None:
    handled = runpy.run_path(str(HOOK))["EVENTS"]
    assert set(EVENTS) == set(HOOKS)
    assert set(handled) <= set(HOOKS), "an event nobody registers never comes"


def test_a_session_that_was_cleared_finds_its_run(desk: Desk, say: Any) -> None:
    run = say("status", "--json").json["run"]
    desk.enter("session-2")
    desk.hook("SessionStart", source="clear")
    assert say("tick").status == 0
    status = say("status", "--json").json
    assert (status["run"], status["holder"]) == (run, f"session session-2, process {os.getpid()}")
    assert report(desk, say, "approve").startswith("The approval counts")


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

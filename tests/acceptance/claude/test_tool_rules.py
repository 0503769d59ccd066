"""A stage's tool rules in a session, and what is kept of the tools that were used."""

from __future__ import annotations

import json

from acceptance.claude.kit import Desk, Play
from acceptance.claude.steps import delegated, launch, worked
from acceptance.support import stage
from stagent.testing.scripted_model import ScriptedModel, Thread, of_agents, text, tool

KEY = "sk-proj-0123456789abcdefghij"
RULES = {"allow": ["Read", "Bash(git status:*)", "Bash(echo:*)"], "deny": ["Read(secret/**)"]}
DENIED = r"\[error\].*works without this call of "


def test_the_main_agent_is_held_to_the_tools_of_its_stage(desk: Desk, model: ScriptedModel) -> None:
    (desk.project / "secret").mkdir()
    (desk.project / "secret" / "key").write_text(KEY)
    play = Play(
        model,
        (desk.call("tick"), '"status": "work"'),
        (tool("Write", file_path=str(desk.project / "src.py"), content="x"), DENIED + "Write"),
        (desk.shell("touch other"), DENIED + "Bash"),
        (desk.shell("git status && touch other"), DENIED + "Bash"),
        (desk.shell("git status --short"), r"\[result\]"),
        (desk.shell(f"echo {KEY}"), r"\[result\]"),
        (tool("Read", file_path=str(desk.project / "secret" / "key")), DENIED + "Read"),
        (tool("Read", file_path=str(desk.project / "src.py")), "x = 1"),
        (tool("Agent", subagent_type="general-purpose", description="x", prompt="x"), DENIED + "Agent"),
        (desk.artifact("work", "PASS"), "created"),
        (desk.call("advance"), "Stage free, epoch 2"),
        (desk.shell("touch made"), r"\[result\]"),
        (desk.artifact("free", "PASS", epoch=2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    stages = {"work": stage({"PASS": "free"}, tools=RULES), "free": stage({"PASS": "complete"})}
    desk.headless(f"/stagent:start --flow {desk.flow(stages)} a task", allow=["Bash", "Write", "Agent"])
    play.over(quiet=0)
    run = desk.run()
    assert run.state.terminal == "complete"
    assert not (desk.project / "other").exists()
    assert (desk.project / "made").exists()
    kept = (desk.home / "activity" / f"{run.run}.ndjson").read_text()
    assert KEY not in kept
    uses = [json.loads(line) for line in desk.cli("activity", run.run, "--json").out.splitlines()]
    known = [(use["tool"], use["outcome"]) for use in uses]
    assert known.count(("Bash", "denied")) == 2
    assert ("Agent", "denied") in known
    [echo] = [use for use in uses if use["target"].startswith("echo ")]
    assert (echo["target"], echo["outcome"], echo["stage"], echo["epoch"]) == ("echo [masked]", "ended", "work", 1)
    assert echo["millis"] >= 0
    assert next(use["target"] for use in uses if use["stage"] == "free") == "touch made"
    assert "work.1  Bash: git status --short" in desk.cli("activity", run.run).out


def test_the_stages_sub_agent_is_held_to_them_too(desk: Desk, model: ScriptedModel) -> None:
    steps = worked(desk, "work", "PASS", 1, desk.shell("touch other"), desk.shell("git status"))
    model.say(Thread(steps, of_agents))
    play = Play(
        model,
        (desk.call("tick"), '"execution_type": "subagent"'),
        (launch(run_in_background=False), "is over"),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    flow = desk.flow({"work": delegated({"PASS": "complete"}, tools={"allow": ["Bash(git status:*)"]})})
    desk.headless(f"/stagent:start --flow {flow} a task", allow=["Bash"])
    play.over(quiet=0)
    run = desk.run()
    assert run.state.terminal == "complete"
    assert not (desk.project / "other").exists()
    assert "works without this call of Bash" in model.agents[2].fresh
    [ended] = run.log("attempt.ended")
    assert len(ended["stream"]) == 64
    assert ended["stream_bytes"] > 0
    uses = [json.loads(line) for line in desk.cli("activity", run.run, "--json").out.splitlines()]
    assert {use["agent"] for use in uses if use["target"].startswith(("touch", "git"))} == {ended["agent"]}

"""What ends a run that does not come to its end by itself: the cap of epochs, a standstill, the agent's own word."""

from __future__ import annotations

import pytest

from acceptance.claude.kit import Desk, Play
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import Answer, Request, ScriptedModel, Turn, text

ROUND = {"build": stage({"PASS": "check"}), "check": stage({"PASS": "complete", "FAIL": "build"})}
BUILD = {"build": stage({"PASS": "complete"}, stop={"blocks": 3})}


@pytest.mark.parametrize("kind", ["print", "terminal"])
def test_at_the_cap_the_run_ends_as_declared_and_the_person_sees_it(
    desk: Desk, model: ScriptedModel, kind: str
) -> None:
    prompt = f"/stagent:start --flow {desk.flow(ROUND, max_epoch=4)} a task"
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (desk.artifact("build", "PASS"), "created"),
        (desk.call("advance"), "Stage check, epoch 2"),
        (desk.artifact("check", "FAIL", 2), "created"),
        (desk.call("advance"), "Stage build, epoch 3"),
        (desk.artifact("build", "PASS", 3), "created|updated"),
        (desk.call("advance"), "max-epoch 4 reached: the run ends as escalated.*ended as escalated"),
        (text("It went round and round."), None),
    )
    if kind == "print":
        done = desk.headless(prompt)
        assert done.result["result"] == "It went round and round."
    else:
        screen = desk.terminal()
        screen.say(prompt)
        screen.see("It went round and round.", 40)
    play.over()
    run = desk.run()
    assert run.state.terminal == "escalated"
    (reached,) = run.log("budget.reached")
    assert (reached["budget"], reached["limit"], reached["action"]) == ("max_epoch", 4, "escalate")
    shown = desk.cli("status", run.run).out
    assert "escalated" in shown
    assert (run.folder / "escalated-report.md").exists()


def test_a_standstill_is_told_to_the_person_and_goes_on_where_it_stood(desk: Desk, model: ScriptedModel) -> None:
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (text("I cannot."), "Stop hook feedback"),
        (text("I cannot."), "Stop hook feedback"),
        (text("I really cannot."), None),
    )
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {desk.flow(BUILD)} a task")
    play.over()
    run = desk.run()
    screen.see("made no progress in 3 tries and is let go as stalled")
    screen.see(f"stagent run --resume {run.run}")
    assert run.status() == "stalled"
    play = Play(
        model,
        (desk.artifact("build", "PASS"), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("Now I could."), None),
    )
    screen.say("/stagent:continue")
    assert "Going on with" in play.over()[0].fresh
    assert run.state.terminal == "complete"


NEXT = "Claude Code lets a turn be held no more than 8 times in a row"


@pytest.mark.rule("W7")
def test_more_blocks_than_claude_code_allows_end_as_stalled_before_it_ends_the_turn(
    desk: Desk, model: ScriptedModel
) -> None:
    flow = desk.flow({"build": stage({"PASS": "complete"}, stop={"blocks": 20})})
    assert "stages.build.stop.blocks" in desk.cli("validate", flow).err
    assert desk.cli("validate", flow, "--strict").status == 1
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        *[(text(f"Done, {number}."), "Stop hook feedback") for number in range(6)],
        (text("Really done."), None),
    )
    done = desk.headless(f"/stagent:start --flow {flow} a task")
    play.over()
    _let_go(desk, done.told())
    assert "A hook blocked the turn" not in done.told()


@pytest.mark.rule("W7")
def test_a_project_that_changes_all_the_time_holds_no_turn_beyond_claude_codes_cap(
    desk: Desk, model: ScriptedModel
) -> None:
    flow = desk.flow({"build": stage({"PASS": "complete"})})

    def while_a_server_logs(words: str) -> Answer:
        def late(request: Request) -> Turn:
            # Compared is with the first block's snapshot, which is taken in the background.
            if words != "Done, 0.":
                wait_for((desk.home / "live" / f"{request.session}.tree").exists, "the snapshot", 40)
            (desk.project / "server.log").write_text(words)
            return text(words)

        return late

    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        *[(while_a_server_logs(f"Done, {number}."), "Stop hook feedback") for number in range(6)],
        (while_a_server_logs("Really done."), None),
    )
    screen = desk.terminal()
    screen.say(f"/stagent:start --flow {flow} a task")
    play.over(seconds=90)
    screen.see(NEXT)
    _let_go(desk, NEXT)
    assert "A hook blocked the turn" not in screen.screen(whole=True)


def _let_go(desk: Desk, told: str) -> None:
    run = desk.run()
    assert NEXT in told
    assert run.status() == "stalled"
    (stalled,) = run.log("stalled")
    assert stalled["blocks"] == 7
    assert NEXT in run.text(stalled["text"])


def test_what_the_agent_gave_up_a_person_has_go_on_from_the_same_stage(desk: Desk, model: ScriptedModel) -> None:
    reason = f"{desk.launcher} advance --escalate - <<'END'\nIt's \"impossible\" & $HOME says so.\nEND"
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (desk.artifact("build", "PASS"), "created"),
        (desk.call("advance"), "Stage check, epoch 2"),
        (desk.shell(reason), r"\[error\].*nothing was refused and nothing failed in this epoch"),
        (desk.call("advance"), r"\[error\].*no artifact"),
        (desk.shell(reason), "given up by the agent in stage check"),
        (text("I gave up."), None),
    )
    screen = desk.terminal(allow=["Bash"])
    screen.say(f"/stagent:start --flow {desk.flow(ROUND)} a task")
    play.over()
    run = desk.run()
    assert run.state.status == "escalated"
    (given_up,) = run.log("escalated")
    assert given_up["by"] == "agent"
    assert run.text(given_up["text"]).strip() == 'It\'s "impossible" & $HOME says so.'
    assert "escalated" in desk.cli("status", run.run).out
    play = Play(
        model,
        (desk.artifact("check", "PASS", 2), "created"),
        (desk.call("advance"), "ended as complete"),
        (text("It was possible."), None),
    )
    screen.say("/stagent:continue")
    assert "stage check, epoch 2" in play.over()[0].fresh
    assert run.state.terminal == "complete"

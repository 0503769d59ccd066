"""One run, one session after the other: paused, killed or only stopped, and what the one before still may."""

from __future__ import annotations

import os
import signal
from typing import Any

from acceptance.claude.kit import Desk, Play, Terminal
from acceptance.claude.steps import Latch, beside
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import ScriptedModel, Thread, text

TWO: dict[str, Any] = {"build": stage({"PASS": "check", "FAIL": "build"}), "check": stage({"PASS": "complete"})}
OPEN: dict[str, Any] = {
    "build": stage({"PASS": "check", "FAIL": "build"}),
    "check": stage({"PASS": "complete"}, interruptible=True),
}


def in_the_second_stage(desk: Desk, model: ScriptedModel, flow: dict[str, Any], last: Any) -> tuple[Terminal, str]:
    """A session that has passed one stage and written the artifact of the next; then `last`. Returns its id, too."""
    play = Play(
        model,
        (desk.call("tick"), '"status": "build"'),
        (desk.artifact("build", "PASS"), "created"),
        (desk.call("advance"), "Stage check, epoch 2"),
        (desk.artifact("check", "PASS", 2, body="Half."), "created"),
        (last, None),
    )
    screen = desk.terminal(allow=["Bash"])
    screen.say(f"/stagent:start --flow {desk.flow(flow)} a task")
    return screen, play.over(quiet=0.3)[0].session


def test_an_interrupted_run_goes_on_in_another_session_where_it_was_left(desk: Desk, model: ScriptedModel) -> None:
    first, session = in_the_second_stage(desk, model, OPEN, text("Shall I go on?"))
    run = desk.run()
    play = Play(model, (text("It is paused."), None))
    first.say("/stagent:interrupt")
    assert f"{run.run} is interrupted in stage check" in play.over(quiet=0)[0].fresh
    assert run.state.status == "interrupted"

    # The first session is bound by nothing any more, and moves nothing.
    play = Play(
        model,
        (desk.call("advance"), r"\[error\].*the run is interrupted"),
        (desk.artifact("check", "PASS", 2, body="Forced."), r"\[error\].*the run is interrupted"),
        (text("I leave it."), None),
    )
    first.say("go on all the same")
    play.over()

    second = desk.terminal()
    play = Play(
        model,
        (desk.call("tick"), '"epoch": 2.*"status": "check"|"status": "check".*"epoch": 2'),
        (desk.call("advance"), "ended as complete"),
        (text("Done."), None),
    )
    second.say("/stagent:continue")
    requests = play.over()
    assert f"Going on with {run.run} in stage check, epoch 2" in requests[0].fresh
    assert requests[0].session != session
    assert "Half." in run.artifact("check").read_text()
    assert run.state.terminal == "complete"
    assert [event["fence"] for event in run.log("resumed")] == [2]


def test_a_stopped_process_that_wakes_after_a_take_over_moves_nothing(desk: Desk, model: ScriptedModel) -> None:
    with Latch() as latch, Latch() as thinking:
        # The answer comes while the process is stopped: what it brings is acted upon when it wakes.
        first, session = in_the_second_stage(desk, model, TWO, latch.before(desk.call("advance")))
        run = desk.run()
        os.kill(first.pid, signal.SIGSTOP)
        second = desk.terminal()
        play = Play(
            model,
            (desk.call("tick"), '"status": "check"'),
            (text("A moment."), "Stop hook feedback.*finished with the result PASS"),
            (thinking.before(text("Thinking.")), None),
        )
        second.say(f"/stagent:continue {run.run} --take-over")
        requests = play.over(quiet=0)
        assert requests[0].session != session
        assert run.state.fence == 2
        model.say(Thread([text("Then I end here.")], lambda request: request.session == session and request.main))
        latch.open()
        os.kill(first.pid, signal.SIGCONT)
        first.see("Then I end here.", 40)
        late = [request for request in model.main if request.session == session]
        assert f"this session does not drive the run {run.run} any more" in late[-1].fresh
        assert all(request.session != session for request in model.more(1.5))
        assert run.place == ("check", 2)
        assert run.state.terminal is None


def test_a_killed_print_session_is_given_on_by_a_person_only(desk: Desk, model: ScriptedModel) -> None:
    with Latch() as latch:
        play = Play(
            model,
            (desk.call("tick"), '"status": "build"'),
            (desk.artifact("build", "PASS"), "created"),
            (desk.call("advance"), "Stage check, epoch 2"),
            (desk.artifact("check", "PASS", 2, body="Half."), "created"),
            (latch.before(text("Never said.")), None),
        )
        with beside(desk, f"/stagent:start --flow {desk.flow(TWO)} a task") as ended:
            play.over(quiet=0)
            run = desk.run()
            lease = run.state.lease
            assert lease is not None and lease.holder.pid is not None
            os.kill(lease.holder.pid, signal.SIGKILL)
            assert ended.result().status == -signal.SIGKILL
    assert "stale" in desk.cli("status", run.run).out

    for words in ("", " --take-over"):
        play = Play(model, (text("I tell them."), None))
        desk.headless(f"/stagent:continue {run.run}{words}")
        refused = play.over(quiet=0)[0]
        assert "does not count as a person's order" in refused.fresh or "another session owns the run" in refused.fresh
    assert run.state.fence == 1

    assert desk.person("interrupt", run.run).status == 0
    play = Play(model, (desk.call("advance"), "ended as complete"), (text("Done."), None))
    desk.headless(f"/stagent:continue {run.run}")
    assert "stage check, epoch 2" in play.over(quiet=0)[0].fresh
    assert "Half." in run.artifact("check").read_text()
    wait_for(lambda: run.state.terminal == "complete", "the end")

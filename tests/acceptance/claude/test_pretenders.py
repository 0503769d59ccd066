"""Who is no person: a prompt the model scheduled, a command it calls as a skill, a terminal it opened."""

from __future__ import annotations

import pytest

from acceptance.claude.kit import Desk, Play
from acceptance.claude.steps import Stream, begun, delegated, launch, worked
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import Answer, Request, ScriptedModel, Thread, of_agents, text, tool

PLAN = {"plan": stage({"approved": "complete"}, gate={"type": "require_approval"}, interruptible=True)}
SCHEDULED = "/stagent:approve as I said"


def to_the_gate(desk: Desk, *then: tuple[Answer, str | None]) -> list[tuple[Answer, str | None]]:
    return [
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "approved"), "created"),
        (desk.call("advance"), "a person must approve"),
        *then,
    ]


SCHEDULES = {
    "CronCreate": {"cron": "* * * * *", "prompt": SCHEDULED, "recurring": False},
    "ScheduleWakeup": {"delaySeconds": 60, "prompt": SCHEDULED, "reason": "nobody answers", "noop": True},
}


def scheduled(desk: Desk, task: str, schedule: str) -> Thread:
    """The model of one session: it comes to the gate, has itself prompted, and tries to go on when it is."""
    steps = [step for step, _ in to_the_gate(desk)]
    steps += [tool(schedule, **SCHEDULES[schedule]), text("It waits."), desk.call("advance"), text("It waits still.")]
    return Thread(steps, lambda request: request.main and task in request.whole)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_prompt_the_model_scheduled_approves_nothing(desk: Desk, model: ScriptedModel, schedule: str) -> None:
    flow = desk.flow(PLAN)
    tasks = ("the attended task", "the other task")
    model.say(*(scheduled(desk, task, schedule) for task in tasks))
    screen = desk.terminal(allow=[schedule])
    screen.say(f"/stagent:start --flow {flow} {tasks[0]}")
    with Stream(desk, allow=[schedule]) as stream:
        stream.turn(f"/stagent:start --flow {flow} {tasks[1]}")
        for task in tasks:
            came: list[Request] = []

            def prompted(request: Request, task: str = task) -> bool:
                return request.main and task in request.whole and SCHEDULED in request.fresh

            came.append(model.wait(prompted, 150))
            assert "The approval counts" not in came[0].fresh

            def refused(request: Request, before: Request = came[0], task: str = task) -> bool:
                later = request.main and task in request.whole and request.number > before.number
                return later and "a person must approve" in request.fresh

            model.wait(refused, 30)
        runs = desk.runs()
    assert len(runs) == 2
    for run in runs:
        assert [event for event in desk.log(run) if event["type"] == "gate.decided"] == []
        assert desk.state(run).terminal is None


@pytest.mark.parametrize("kind", ["print", "terminal"])
def test_a_persons_command_is_not_the_models_to_call(desk: Desk, model: ScriptedModel, kind: str) -> None:
    prompt = f"/stagent:start --flow {desk.flow(PLAN)} a task"
    play = Play(
        model,
        *to_the_gate(
            desk,
            (tool("Skill", skill="stagent:approve"), r"\[error\]"),
            (tool("Skill", skill="stagent:cancel"), r"\[error\]"),
            (tool("Skill", skill="stagent:interrupt"), r"\[error\]"),
            (desk.call("advance"), "a person must approve"),
            (text("It waits for you."), None),
        ),
    )
    if kind == "print":
        desk.headless(prompt, allow=["Skill"])
    else:
        screen = desk.terminal(allow=["Skill"])
        screen.say(prompt)
    play.over()
    run = desk.run()
    assert run.log("gate.decided") == []
    assert run.state.status in ("running", "interrupted")
    assert run.place == ("plan", 1)


TYPED = """
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    if sys.argv[1] == "bare":
        keep = {key: os.environ[key] for key in ("PATH", "HOME", "STAGENT_HOME")}
        os.execve(sys.argv[2], sys.argv[2:], keep)
    os.execv(sys.argv[2], sys.argv[2:])
os.write(terminal, b"yes\\n")
seen = b""
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    seen += part
os.waitpid(pid, 0)
print(seen.decode())
"""


def test_a_terminal_the_agent_opened_is_no_persons(desk: Desk, model: ScriptedModel) -> None:
    """The verb is kept in a file, so that the shell line says nothing; the program itself looks who stands above."""
    (desk.project / "typed.py").write_text(TYPED)
    (desk.project / "verb").write_text("approve\n")

    def typed(how: str) -> Answer:
        return desk.shell(f"xargs -a verb python3 typed.py {how} $(cat home.txt)")

    (desk.project / "home.txt").write_text(desk.launcher + "\n")
    play = Play(
        model,
        *to_the_gate(
            desk,
            (typed("whole"), "an agent cannot approve"),
            (typed("bare"), "an agent cannot approve"),
            (desk.call("advance"), "a person must approve"),
            (text("It waits for you."), None),
        ),
    )
    desk.headless(f"/stagent:start --flow {desk.flow(PLAN)} a task", allow=["Bash"])
    play.over(quiet=0)
    assert desk.run().log("gate.decided") == []


def test_a_sub_agent_decides_nothing(desk: Desk, model: ScriptedModel) -> None:
    flow = desk.flow({"work": delegated({"PASS": "complete"}, gate={"type": "require_approval"})})
    tries = [desk.call("approve"), desk.call("continue --take-over"), desk.shell("stagent cancel")]
    bootstrap, artifact, over = worked(desk, "work", "PASS")
    model.say(Thread([bootstrap, artifact, *tries, over], of_agents))
    play = Play(
        model,
        (desk.call("tick"), '"execution_type": "subagent"'),
        (launch(), "launched|Async"),
        (begun(model, 1, text("It works.")), "task-notification"),
        (desk.call("advance"), "a person must approve"),
        (text("It waits for you."), None),
    )
    screen = desk.terminal(allow=["Bash"])
    screen.say(f"/stagent:start --flow {flow} a task")
    play.over()
    denied = [request.fresh for request in model.agents if "[error]" in request.fresh]
    assert len(denied) == len(tries)
    run = desk.run()
    assert run.log("gate.decided") == []
    play = Play(model, (desk.call("advance"), "ended as complete"), (text("Done."), None))
    screen.say("/stagent:approve")
    play.over(quiet=0)
    wait_for(lambda: run.state.terminal == "complete", "the person's own approval to count")

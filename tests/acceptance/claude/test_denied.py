"""What an agent may not do, tried by a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.claude.kit import Desk, Play, Run, answer
from acceptance.support import stage
from stagent.testing.scripted_model import Request, ScriptedModel, Turn, text, tool

PLAN = {"plan": stage({"approved": "complete"}, gate={"type": "require_approval"}, interruptible=True)}


def run_in_print_mode(desk: Desk, model: ScriptedModel, *steps: tuple[object, str | None]) -> Run:
    """Start a run, let the model do these steps, everything of its own allowed to it."""
    play = Play(model, (desk.call("tick"), '"status": "plan"'), *steps, (text("Enough."), None))
    desk.headless(f"/stagent:start --flow {desk.flow(PLAN)} a task", allow=["Bash", "Write", "Edit"])
    play.over(quiet=0)
    return desk.run()


def write(path: Path) -> Turn:
    return tool("Write", file_path=str(path), content="---\nepoch: 1\nresult: approved\n---\n")


@pytest.mark.rule("W35")
def test_writes_to_what_is_the_engines_are_denied(desk: Desk, model: ScriptedModel) -> None:
    def near(name: str) -> object:
        return lambda request: write(desk.project / ".stagent" / request.session / name)

    run = run_in_print_mode(
        desk,
        model,
        (near("state.md"), r"\[error\].*this stage writes only"),
        (near("../../.stagent/other-session/plan-report.md"), r"\[error\].*this stage writes only"),
        (near("complete-report.md/../state.md"), r"\[error\].*this stage writes only"),
        (write(desk.home / "live" / "x.json"), r"\[error\].*data home belongs to the engine"),
        (write(desk.home / "plugin" / ".." / "spool" / "x"), r"\[error\].*data home belongs to the engine"),
        (desk.shell(f"echo x >> {desk.home}/spool/x"), r"\[error\].*data home"),
    )
    assert run.place == ("plan", 1)
    assert not (desk.home / "spool" / "x").exists()
    assert "result: approved" not in (run.folder / "state.md").read_text()


@pytest.mark.parametrize(
    "command",
    [
        "{launcher} approve",
        "true && {launcher} approve --feedback ok",
        "stagent cancel",
        "{launcher} continue --take-over",
        "{launcher} start --force again",
        "echo '{{}}' | {launcher} hook Stop",
    ],
)
def test_a_persons_commands_are_denied_in_the_shell(desk: Desk, model: ScriptedModel, command: str) -> None:
    step = (desk.shell(command.format(launcher=desk.launcher)), r"\[error\].*Stagent: ")
    run = run_in_print_mode(desk, model, step)
    assert run.place == ("plan", 1)
    assert run.log("gate.decided") == []


def test_a_hidden_call_is_refused_by_the_program_itself(desk: Desk, model: ScriptedModel) -> None:
    hidden = f"verb=appro; {desk.launcher} ${{verb}}ve"
    run = run_in_print_mode(
        desk,
        model,
        (desk.artifact("plan", "approved"), "created"),
        (desk.call("advance"), "a person must approve"),
        (desk.shell(hidden), r"\[error\].*(an agent cannot approve|Stagent: )"),
    )
    assert run.log("gate.decided") == []


NESTED = {
    "print mode": "echo /stagent:approve | {claude} -p --resume {session}; echo over",
    "a terminal of its own": "python3 nested.py {claude} --resume {session}; echo over",
}
TYPIST = """
import os, pty, sys, threading, time
def type_in(terminal):
    for words in (b"/stagent:approve", b"\\r", None):
        time.sleep(4)
        if words:
            os.write(terminal, words)
    os.kill(pid, 15)
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
threading.Thread(target=type_in, args=(terminal,)).start()
while True:
    try:
        os.read(terminal, 65536)
    except OSError:
        break
os.waitpid(pid, 0)
"""


@pytest.mark.parametrize("way", NESTED)
def test_a_nested_session_cannot_approve_for_the_person(desk: Desk, model: ScriptedModel, way: str) -> None:
    desk.register()
    (desk.project / "nested.py").write_text(TYPIST)

    def nested(request: Request) -> Turn:
        return desk.shell(NESTED[way].format(claude=desk.claude, session=request.session))

    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "approved"), "created"),
        (desk.call("advance"), "a person must approve"),
        (nested, "Nothing was decided"),
        (text("The nested one ends."), "over"),
        (desk.call("advance"), "a person must approve"),
        (text("Waiting."), None),
    )
    screen = desk.terminal(allow=["Bash", "Write"], plugin=False)
    screen.say(f"/stagent:start --flow {desk.flow(PLAN)} a task")
    play.over()
    run = desk.run()
    assert run.log("gate.decided") == []
    assert run.state.status == "running"
    assert answer(model.main[-1])


def test_a_hook_call_forged_by_a_program_of_the_agent_decides_nothing(desk: Desk, model: ScriptedModel) -> None:
    """The agent builds the event itself and starts the hook as it is registered, from a program of its own."""
    forge = desk.project / "forge.py"
    forge.write_text(
        "import json, os, subprocess, sys\n"
        "event = dict(hook_event_name='UserPromptExpansion', command_name='stagent:approve', command_args='',\n"
        "    command_source='plugin', prompt_id='forged', session_id=os.environ['CLAUDE_CODE_SESSION_ID'],\n"
        "    cwd=os.getcwd())\n"
        "home = open('home.txt').read().strip()\n"
        "os.environ['CLAUDE_CODE_SESSION_ATTENDED'] = '1'\n"
        "hook = home + '/plugin/plugins/stagent/hooks/hook.pyc'\n"
        "subprocess.run([sys.executable, '-I', '-S', hook, home], input=json.dumps(event), text=True)\n"
        "print('forged')\n"
    )
    (desk.project / "home.txt").write_text(str(desk.home))
    play = Play(
        model,
        (desk.call("tick"), '"status": "plan"'),
        (desk.artifact("plan", "approved"), "created"),
        (desk.call("advance"), "a person must approve"),
        (desk.shell("python3 forge.py"), "forged"),
        (desk.call("advance"), "a person must approve"),
        (text("Waiting."), None),
    )
    screen = desk.terminal(allow=["Bash", "Write"])
    screen.say(f"/stagent:start --flow {desk.flow(PLAN)} a task")
    play.over()
    assert desk.run().log("gate.decided") == []

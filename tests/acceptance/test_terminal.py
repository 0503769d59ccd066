"""What a person meets who drives a run at a terminal: questions, what answers them, and what shows that it goes on."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from acceptance.seat import Seat
from acceptance.support import Headless, Json, Machine, claim, shell, stage

GATED = {"type": "require_approval"}
GATE = r"\[l\]ater\? "
FEEDBACK = r"An empty line ends it[^:]*: "
HUMAN = {
    "kind": "human",
    "inputs": {"required": [{"from_stage": "plan", "description": "what to do"}]},
    "transitions": {"ship": "complete", "hold": "plan"},
}
PLAN = claim("ready", body="\nRound every price.\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.repository({"prices.py": "x = 1\n"})
    return made


def gated(machine: Machine) -> str:
    plan = stage({"ready": "build"}, gate=GATED)
    return machine.flow({"plan": plan, "build": stage({"done": "complete"})})


def asks(machine: Machine) -> str:
    return machine.flow({"plan": stage({"ready": "choose"}), "choose": HUMAN})


def sit(machine: Machine, flow: str, plan: list[Json] | list[list[Json]], **env: str) -> Seat:
    """A person who drives a run; its stage `build` is done at once."""
    script = machine.script({"plan": plan, "build": [claim("done")]})
    return Seat(machine, "run", "a task", "--flow", flow, "--agent", "scripted", "--script", script, env=env)


def only(machine: Machine) -> str:
    """The id of the machine's only run."""
    [run] = machine.cli("runs", "--json").json
    return str(run["run"])


def decided(machine: Machine) -> list[str]:
    return [event["decision"] for event in machine.log(only(machine)) if event["type"] == "gate.decided"]


def held(machine: Machine) -> Json:
    """A step that lasts until `release`."""
    return shell(f"until test -e {machine.root}/go; do sleep 0.05; done")


def release(machine: Machine) -> None:
    (machine.root / "go").touch()


def paste(text: str) -> str:
    """What a terminal sends for a paste."""
    return f"\x1b[200~{text}\x1b[201~"


# -- what answers a question ----------------------------------------------------------------------------------------


def test_keys_typed_before_the_gate_do_not_decide_it(machine: Machine) -> None:
    with sit(machine, gated(machine), [held(machine), PLAN]) as seat:
        seat.see("attempt 1 at plan started")
        seat.type("a\n")
        release(machine)
        seat.see(GATE)
        seat.type("l\n")
        assert seat.end().status == 4
        assert decided(machine) == []


def test_keys_typed_before_a_command_do_not_confirm_it(machine: Machine) -> None:
    run = waiting(machine)
    with Seat(machine, "approve", run, ahead="yes\n") as seat:
        seat.see(r"Approve\? \[yes/no\] ")
        seat.type("no\nrm -rf everything\n")
        assert seat.end().status == 2
        assert seat.left_typed() == b"", "what is left would be the shell's next command"
    assert decided(machine) == []


@pytest.mark.parametrize("flow", [gated, asks])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_a_question_interrupts_the_run(
    machine: Machine, flow: object, number: signal.Signals, status: int
) -> None:
    with sit(machine, flow(machine), [PLAN]) as seat:  # type: ignore[operator]
        seat.see(r"\[l\]ater")
        seat.signal(number)
        assert seat.end().status == status
    assert machine.state(only(machine)).status == "interrupted"


def test_ctrl_c_at_a_question_interrupts_the_run(machine: Machine) -> None:
    with sit(machine, gated(machine), [PLAN]) as seat:
        seat.see(GATE)
        seat.type("\x03")
        assert seat.end().status == 130
    assert machine.state(only(machine)).status == "interrupted"


@pytest.mark.parametrize("before", ["", "r\n"])
def test_a_terminal_that_is_closed_at_a_question_interrupts_the_run(machine: Machine, before: str) -> None:
    with sit(machine, gated(machine), [PLAN]) as seat:
        seat.see(GATE)
        if before:
            seat.type(before)
            seat.see(FEEDBACK)
        seat.hang_up()
        assert seat.end().status == 129
    assert machine.state(only(machine)).status == "interrupted"
    assert decided(machine) == []


# -- the answers ----------------------------------------------------------------------------------------------------


def test_a_person_looks_then_approves(machine: Machine) -> None:
    with sit(machine, gated(machine), [shell("echo y > other.py"), PLAN], PAGER="sed 's/^/PAGED /'") as seat:
        seat.see(GATE)
        for answer, shown in (
            ("wat\n", "none of the answers"),
            ("\n", "none of the answers"),
            ("v\n", r"PAGED   \| Round every price\."),
            ("d\n", r"PAGED \+y"),
        ):
            seat.type(answer)
            seat.see(shown)
            seat.see(GATE)
        seat.type("a\n")
        assert seat.end().status == 0
    assert decided(machine) == ["approve"]


def test_without_a_pager_everything_is_printed(machine: Machine) -> None:
    with sit(machine, gated(machine), [PLAN], PAGER="/nowhere/at/all") as seat:
        seat.see(GATE)
        seat.type("v\n")
        seat.see(r"\| Round every price\.")
        seat.see(GATE)
        seat.type("l\n")
        assert seat.end().status == 4


def test_a_rejection_leaves_the_run_waiting(machine: Machine) -> None:
    with sit(machine, gated(machine), [PLAN]) as seat:
        seat.see(GATE)
        seat.type("j\n")
        seat.see(FEEDBACK)
        seat.type("\n")
        seat.see("nothing was decided")
        seat.see(GATE)
        seat.type("j\n")
        seat.see(FEEDBACK)
        seat.type("Not like this.\n\n")
        assert seat.end().status == 4
    assert decided(machine) == ["reject"]
    assert len(events(machine, "attempt.started")) == 1


@pytest.mark.parametrize("capable", [True, False])
def test_pasted_feedback_is_taken_whole(machine: Machine, capable: bool) -> None:
    words = "Round to 5 cents.\n\nNot to 10.\necho pasted > stolen" if capable else "Round to 5 cents.\nNot to 10."
    with sit(machine, gated(machine), [[PLAN], [shell("cat > told"), PLAN]]) as seat:
        seat.see(GATE)
        seat.type("r\n")
        seat.see(FEEDBACK)
        seat.type((paste(words) if capable else words) + "\n\n")
        seat.see(GATE)
        assert seat.left_typed() == b""
        seat.type("l\n")
        assert seat.end().status == 4
    [event] = events(machine, "gate.decided")
    assert machine.blob(only(machine), event["text"]) == words
    assert words in machine.read("told")


def test_a_paste_at_a_question_is_no_answer(machine: Machine) -> None:
    run = waiting(machine)
    with Seat(machine, "redo", run) as seat:
        seat.see(FEEDBACK)
        seat.type(paste("First.\nyes\nrm -rf everything") + "\n\n")
        seat.see(r"Redo\? \[yes/no\] ")
        seat.type(paste("yes\nrm -rf everything") + "\n")
        assert seat.end().status == 2
        assert seat.left_typed() == b""
    assert decided(machine) == []


def test_feedback_is_written_in_the_persons_editor(machine: Machine) -> None:
    editor = machine.write("editor.sh", 'printf "As I say.\\n\\nAt length.\\n" > "$1"\n')
    with sit(machine, gated(machine), [PLAN], EDITOR=f"sh {editor}") as seat:
        seat.see(GATE)
        seat.type("r\n")
        seat.see(FEEDBACK)
        seat.type("e\n")
        seat.see(GATE)
        seat.type("l\n")
        assert seat.end().status == 4
    [event] = events(machine, "gate.decided")
    assert machine.blob(only(machine), event["text"]) == "As I say.\n\nAt length."


def test_a_choice_is_made_with_its_inputs_in_view(machine: Machine) -> None:
    with sit(machine, asks(machine), [PLAN]) as seat:
        seat.see(r"plan, epoch 1, result ready: what to do")
        seat.see(r"\| Round every price\.")
        seat.see(r"Choose hold \| ship, or")
        seat.type("shop\n")
        seat.see("none of the answers")
        seat.see("Choose")
        seat.type("ship\n")
        assert seat.end().status == 0
    assert decided(machine) == ["answer"]


@pytest.mark.parametrize("answer", ["later\n", "\n"])
def test_a_choice_is_left_for_later(machine: Machine, answer: str) -> None:
    with sit(machine, asks(machine), [PLAN]) as seat:
        seat.see(r"\[l\]ater: ")
        seat.type(answer)
        done = seat.end()
        assert done.status == 4
        assert re.search(r"Decide: +\S+ answer r-\w+ --choice CHOICE +\(hold, ship\)", done.out)


@pytest.mark.parametrize(
    ("words", "flow"),
    [(["answer", "--choice", "maybe"], asks), (["approve"], asks), (["answer", "--choice", "x"], gated)],
)
def test_what_cannot_be_decided_is_not_asked_about(machine: Machine, words: list[str], flow: object) -> None:
    run = machine.drive(flow(machine), {"plan": [PLAN]}).run  # type: ignore[operator]
    with Seat(machine, words[0], run, *words[1:]) as seat:
        done = seat.end()
        assert done.status == 64
        assert "[yes/no]" not in done.out
    assert decided(machine) == []


# -- decided, or driven, from elsewhere -----------------------------------------------------------------------------


def test_an_approval_from_elsewhere_settles_the_question(machine: Machine) -> None:
    with sit(machine, gated(machine), [PLAN]) as seat:
        seat.see(GATE)
        assert machine.person("approve", only(machine)).status == 0
        assert seat.end().status == 0
    assert decided(machine) == ["approve"]


def test_an_interruption_from_elsewhere_ends_the_question(machine: Machine) -> None:
    with sit(machine, gated(machine), [PLAN]) as seat:
        seat.see(GATE)
        said = machine.person("interrupt", only(machine))
        assert said.status == 0
        assert f"Go on: stagent run --resume {only(machine)}" in said.out
        assert seat.end().status == 3
    assert decided(machine) == []
    assert machine.state(only(machine)).status == "interrupted"


def test_a_headless_run_is_gone_on_with_by_a_runner(machine: Machine) -> None:
    run = waiting(machine)
    refused = machine.person("continue", run, words=[])
    assert refused.status == 2
    assert f"stagent run --resume {run}" in refused.out
    assert machine.person("continue", run, "--take-over").status == 0


# -- what is approved after all -------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["redo", "reject"])
def test_what_is_approved_after_all_is_what_the_run_goes_on_with(machine: Machine, word: str) -> None:
    """What comes back as it was is asked about again; approved then, it is not made a third time."""
    other = claim("ready", body="\nOtherwise.\n")
    run = machine.drive(gated(machine), {"plan": [[PLAN], [PLAN], [other]], "build": [claim("done")]})
    assert machine.person(word, run.run, words=[("it: ", "Why?\n"), ("[yes/no]", "yes")]).status == 0
    again = machine.resume(run.run)
    assert (again.status, again.summary["ending"]) == (4, "waiting")
    assert again.codes() == ["gate.rejected"]
    status = machine.cli("status", run.run).out
    assert "State:    waiting" in status
    approved = run.artifact("plan").read_text()
    assert machine.person("approve", run.run).status == 0
    done = machine.resume(run.run)
    assert (done.status, done.state.terminal) == (0, "complete")
    assert run.artifact("plan").read_text() == approved
    made = [event for event in done.log("attempt.started") if event["stage"] == "plan"]
    assert len(made) == (2 if word == "redo" else 1)


def test_who_sent_it_back_is_told_that_it_came_back_unchanged(machine: Machine) -> None:
    with sit(machine, gated(machine), [PLAN]) as seat:
        seat.see(GATE)
        seat.type("r\n")
        seat.see(FEEDBACK)
        seat.type("Say how far.\n\n")
        seat.see("left it as it was")
        seat.see(GATE)
        seat.type("a\n")
        assert seat.end().status == 0
    assert decided(machine) == ["redo", "approve"]


# -- what shows that it goes on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 40])
def test_a_line_says_what_works_and_leaves_nothing_behind(machine: Machine, columns: int) -> None:
    wide = "\N{CJK UNIFIED IDEOGRAPH-65E5}" * 60
    with sit(machine, gated(machine), [shell(f"echo {wide}"), held(machine), PLAN]) as seat:
        seat.see("attempt 1 at plan started")
        seat.resize(columns)
        seat.see(r"plan · attempt 1 · \d+ s · 2 tools[^\n]*…")
        seat.see("plan · attempt 1")
        [row] = [row for row in seat.screen if "plan · attempt 1" in row]
        assert sum(2 if letter == wide[0] else 1 for letter in row) < columns
        release(machine)
        seat.see(GATE)
        assert not [row for row in seat.screen if "Ctrl-C" in row or wide[0] in row]
        seat.type("l\n")
        assert seat.end().status == 4


def test_a_check_that_runs_shows_too(machine: Machine) -> None:
    check = {"name": "tests", **held(machine)}
    flow = machine.flow({"plan": stage({"ready": "complete"}, checks=[check])})
    with sit(machine, flow, [PLAN]) as seat:
        seat.see(r"checking tests · \d+ s · Ctrl-C pauses")
        release(machine)
        assert seat.end().status == 0
        assert not [row for row in seat.screen if "checking" in row]


@pytest.mark.parametrize(("env", "line"), [({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False)])
def test_who_wants_no_colours_gets_none(machine: Machine, env: dict[str, str], line: bool) -> None:
    with sit(machine, gated(machine), [held(machine), PLAN], **env) as seat:
        seat.see("attempt 1 at plan started")
        if line:
            seat.see("Ctrl-C pauses")
        release(machine)
        seat.see(GATE)
        seat.type("l\n")
        done = seat.end()
    assert ("\x1b[" in done.out) is line
    assert re.search(r"\x1b\[[\d;]*m", done.out) is None
    assert ("Ctrl-C" in done.out) is line


def test_a_run_that_goes_on_shows_what_is_new(machine: Machine) -> None:
    run = machine.drive(gated(machine), {"plan": [PLAN], "build": [claim("done")]})
    before = len(run.log())
    done = machine.cli("run", "--resume", run.run, "--agent", "scripted", "--script", str(machine.root / "script.json"))
    assert done.status == 4
    first, second, *_ = done.out.splitlines()
    assert first.startswith(f"… {before} earlier events: ")
    assert f"{before + 1}  taken over by runner" in second
    options = f"--agent scripted --script {machine.root}/script.json"
    assert re.search(rf"Go on: +\S+ run --resume {run.run} {options}$", done.out, re.MULTILINE)


def test_who_follows_a_run_that_nobody_drives_is_told(machine: Machine) -> None:
    with sit(machine, gated(machine), [held(machine)]) as seat:
        seat.see("attempt 1 at plan started")
        run = only(machine)
        os.kill(seat.pid, signal.SIGKILL)
        seat.end()
    with Seat(machine, "log", "-f", run) as seat:
        seat.see(f"the process that drove it is gone. Next: stagent run --resume {run}")
        seat.type("\x03")
        assert seat.end().status == 130
    release(machine)


def waiting(machine: Machine) -> str:
    """A run that waits at its gate, driven by nobody."""
    run: Headless = machine.drive(gated(machine), {"plan": [PLAN], "build": [claim("done")]})
    assert run.status == 4
    return run.run


def events(machine: Machine, kind: str) -> list[Json]:
    return [event for event in machine.log(only(machine)) if event["type"] == kind]

"""An agent that approves its own work, and the person who really decides.

What is prevented is tried here from inside an attempt: the plain command, a script, an emptied environment, a session
and a terminal of one's own, two forks, and all of it together. The runner adopts whatever an attempt detaches, so all
of it stays below the runner that holds the run, and nothing of it is left when the run waits for a person.

What a program of the same user can still do is not prevented but left visible in the log (the actor names the user,
host and terminal), or shows against an anchored head:

- kill the runner (SIGKILL), so that nobody above the forger is known any more, then approve at a terminal of its own;
- in a session mode, where no runner adopts processes: detach twice with an emptied environment and approve at a
  terminal of its own (`test_what_a_detached_program_of_the_same_user_can_still_forge` shows it and what the log says);
- have a service that is no child of the agent start the command: at, cron, a user service manager, a container
  engine, ssh to the same machine, a terminal multiplexer the person left open;
- type into a terminal the person has open (a debugger, or the kernel's input injection where it is allowed);
- write to the data home directly: the database with a recomputed chain shows only against a head kept elsewhere;
- exchange the program itself, or the interpreter it runs with, in a folder it may write.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from acceptance.support import SESSION, STAGENT, Headless, Machine, Session, claim, shell, stage

GATED = {"plan": {"PASS": "build"}, "build": {"PASS": "complete"}}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.repository({"src.py": "x = 1\n"})
    return made


def gated(machine: Machine, **gate: object) -> str:
    plan = stage({"PASS": "build"}, gate={"type": "require_approval", **gate}, retry={"attempts": 2})
    return machine.flow({"plan": plan, "build": stage({"PASS": "complete"})})


WORK = {"plan": [claim("PASS", body="\nThe plan.\n")], "build": [claim("PASS")]}


def waiting(machine: Machine) -> Headless:
    """A run that waits for a person at the gate of its first stage."""
    run = machine.drive(gated(machine), WORK)
    assert (run.status, run.place) == (4, ("plan", 1)), run.done.err
    assert run.summary["ending"] == "waiting"
    return run


def assert_undecided(run: Headless | Session) -> None:
    assert run.place[0] == "plan"
    assert run.log("gate.decided") == []
    assert run.log("transitioned") == []


# -- from inside an attempt ---------------------------------------------------------------------------------------

APPROVE = f'{STAGENT} approve "$1"'
PTY = """
import os, pty, select, sys, time
# What the child asks is answered with yes; what it says is kept.
pid, terminal = pty.fork()
if pid == 0:
    os.execve(sys.executable, [sys.executable, "-m", "stagent", *sys.argv[2:]], dict(os.environ))
seen = b""
until = time.monotonic() + 10
while time.monotonic() < until:
    if select.select([terminal], [], [], 0.1)[0]:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
        if b"[yes/no]" in part:
            os.write(terminal, b"yes\\n")
with open(sys.argv[1], "ab") as file:
    file.write(seen)
"""
DETACH = """
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open("out.txt", "ab") as out:
            subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        with open("done.txt", "w"):
            pass
    os._exit(0)
"""
CLEAN = 'env -i PATH="$PATH" HOME="$HOME" STAGENT_HOME="$STAGENT_HOME"'
PYTHON = sys.executable
DONE = "for i in $(seq 800); do test -e done.txt && break; sleep 0.01; done"
FORGERIES = {
    "the plain command": f"yes | {STAGENT} approve >> out.txt 2>&1",
    "the command with the run": f'{STAGENT} approve "$STAGENT_RUN" >> out.txt 2>&1',
    "a script": f'printf \'{STAGENT} approve "$1"\' > s.sh; sh s.sh "$STAGENT_RUN" >> out.txt 2>&1',
    "an emptied environment": f'{CLEAN} {STAGENT} approve "$STAGENT_RUN" >> out.txt 2>&1',
    "a session of its own": f'setsid -w {STAGENT} approve "$STAGENT_RUN" >> out.txt 2>&1',
    "two forks": f'{PYTHON} detach.py {STAGENT} approve "$STAGENT_RUN"; {DONE}',
    "a terminal of its own": f'{PYTHON} pty_yes.py out.txt approve "$STAGENT_RUN"',
    "a terminal and an emptied environment": f'{CLEAN} {PYTHON} pty_yes.py out.txt approve "$STAGENT_RUN"',
    "a session, a terminal and an emptied environment": (
        f'{CLEAN} setsid -w {PYTHON} pty_yes.py out.txt approve "$STAGENT_RUN"'
    ),
    "everything": f'{CLEAN} {PYTHON} detach.py {PYTHON} pty_yes.py out.txt approve "$STAGENT_RUN"; {DONE}',
}


@pytest.fixture
def forger(machine: Machine) -> Machine:
    machine.write("pty_yes.py", PTY)
    machine.write("detach.py", DETACH)
    return machine


@pytest.mark.parametrize("how", FORGERIES)
def test_an_attempt_approves_its_own_gate(forger: Machine, how: str) -> None:
    work = {**WORK, "plan": [[claim("PASS"), {"exit": 1}], [claim("PASS"), shell(FORGERIES[how])]]}
    run = forger.drive(gated(forger), work)
    assert run.status == 4, run.done.err
    assert_undecided(run)
    said = forger.read("out.txt")
    assert "an agent cannot approve" in said
    assert "approve: stage" not in said


@pytest.mark.parametrize(
    "what",
    ["reject", "redo", "answer --choice PASS", "cancel", "interrupt", "continue --take-over", "start x --force"],
)
def test_an_attempt_does_a_persons_other_acts(forger: Machine, what: str) -> None:
    name, *more = what.split()
    arguments = " ".join(['"$STAGENT_RUN"' if name != "start" else "", *more])
    lie = f"{CLEAN} {PYTHON} detach.py {PYTHON} pty_yes.py out.txt {name} {arguments}; {DONE}"
    run = forger.drive(gated(forger), {**WORK, "plan": [shell(lie), claim("PASS")]})
    assert run.status == 4, run.done.err
    assert_undecided(run)
    assert {event["type"] for event in run.log()}.isdisjoint({"interrupted", "taken_over", "terminal", "resumed"})
    assert "an agent cannot" in forger.read("out.txt")


def test_a_check_approves_the_gate_of_its_stage(forger: Machine) -> None:
    """The code a check runs is the agent's as well."""
    lie = f"test -e run.sh || exit 1; . ./run.sh; {PYTHON} detach.py {PYTHON} pty_yes.py out.txt approve $RUN; {DONE}"
    plan = stage(
        {"PASS": "build"},
        gate={"type": "require_approval"},
        checks=[{"name": "tests", "run": lie}],
    )
    flow = forger.flow({"plan": plan, "build": stage({"PASS": "complete"})})
    told = shell('echo "export RUN=$STAGENT_RUN STAGENT_HOME=$STAGENT_HOME" > run.sh')
    run = forger.drive(flow, {**WORK, "plan": [told, claim("PASS")]})
    assert run.status == 4, run.done.err
    assert_undecided(run)
    assert "an agent cannot approve" in forger.read("out.txt")


@pytest.mark.parametrize("clean", ["", CLEAN])
@pytest.mark.parametrize("session", [None, SESSION])
def test_a_check_approves_the_gate_of_a_run_nobody_adopts_processes_for(
    forger: Machine, session: str | None, clean: str
) -> None:
    lie = f'test -e run.sh && . ./run.sh; {clean} {PYTHON} pty_yes.py out.txt approve "$RUN"'
    plan = stage({"PASS": "build"}, gate={"type": "require_approval"}, checks=[{"name": "tests", "run": lie}])
    run = forger.session(forger.flow({"plan": plan, "build": stage({"PASS": "complete"})}), session=session)
    forger.write("run.sh", f"export RUN={run.run} STAGENT_HOME={forger.home}\n")
    run.claim("PASS")
    assert run.advance().code == "gate.waiting"
    assert_undecided(run)
    assert "an agent cannot approve" in forger.read("out.txt")


def test_without_a_terminal_nobody_decides(machine: Machine) -> None:
    run = waiting(machine)
    answer = machine.cli("approve", run.run, "--json", stdin="yes\n")
    assert (answer.status, answer.code) == (2, "person.no_terminal")
    assert_undecided(run)


@pytest.mark.rule("W35")
def test_a_session_decides_its_own_gate(machine: Machine) -> None:
    run = machine.session(gated(machine))
    run.claim("PASS")
    assert run.advance().code == "gate.waiting"
    for name in ("approve", "reject", "redo"):
        answer = run.cli(name, "--json", stdin="yes\n")
        assert (answer.status, answer.code) == (2, "person.agent")
    assert_undecided(run)
    assert (run.advance().status, run.place) == (4, ("plan", 1))


def test_what_a_detached_program_of_the_same_user_can_still_forge(machine: Machine) -> None:
    """Not prevented, but the log names the terminal it came from: see the head of this file."""
    run = machine.session(gated(machine))
    run.claim("PASS")
    assert run.advance().code == "gate.waiting"
    assert machine.person("approve", run.run).status == 0
    decided = run.log("gate.decided")[0]
    assert decided["channel"] == "terminal"
    assert re.fullmatch(r"person:[^:]+:/dev/(pts/\d+|ttys\d+)", decided["actor"])


# -- policies ------------------------------------------------------------------------------------------------------


def test_a_policy_for_a_gate_that_takes_none(machine: Machine) -> None:
    run = machine.drive(gated(machine, unattended=False), WORK, "--unattended", machine.policy(plan="approve"))
    assert run.status == 4
    assert_undecided(run)


def test_a_policy_is_never_a_person(machine: Machine) -> None:
    run = machine.drive(gated(machine), WORK, "--unattended", machine.policy(plan="approve"))
    assert (run.status, run.state.terminal) == (0, "complete")
    decided = run.log("gate.decided")
    assert [event["channel"] for event in decided] == ["policy"]
    assert decided[0]["actor"].startswith("policy:")


def test_a_policy_that_always_wants_it_anew_comes_to_an_end(machine: Machine) -> None:
    work = {**WORK, "plan": [claim("PASS"), shell('date +%N >> "$STAGENT_ARTIFACT"')]}
    run = machine.drive(gated(machine), work, "--unattended", machine.policy(plan="redo"))
    assert run.status == 4
    assert [event["decision"] for event in run.log("gate.decided")] == ["redo"]
    assert len(run.log("attempt.started")) == 2
    assert run.log("transitioned") == []


def test_an_agent_brings_a_policy_of_its_own_to_a_waiting_run(machine: Machine) -> None:
    run = waiting(machine)
    agent = {"CLAUDECODE": "1"}
    script = str(machine.root / "script.json")
    policy = machine.policy(plan="approve")
    answer = machine.cli(
        "run", "--resume", run.run, "--agent", "scripted", "--script", script, "--unattended", policy, "--json",
        env=agent,
    )  # fmt: skip
    assert (answer.status, answer.code) == (2, "person.agent")
    assert_undecided(run)
    # A person may.
    resume = ("run", "--resume", run.run, "--agent", "scripted", "--script", script, "--unattended", policy)
    assert machine.person(*resume, words=[]).status == 0
    assert run.state.terminal == "complete"


# -- a person -------------------------------------------------------------------------------------------------------


def test_a_person_approves_and_the_run_completes(machine: Machine) -> None:
    run = waiting(machine)
    said = machine.person("approve", run.run)
    assert said.status == 0, said.out
    assert "The plan." in said.out
    assert run.place == ("plan", 1), "approving alone moves nothing"
    done = machine.resume(run.run)
    assert (done.status, done.state.terminal, done.state.success) == (0, "complete", True)
    decided = done.log("gate.decided")
    assert [(event["decision"], event["channel"]) for event in decided] == [("approve", "terminal")]
    assert decided[0]["actor"].startswith("person:")
    assert len(done.log("attempt.started")) == 2, "the approved work was not done again"


def test_a_person_who_says_no_has_decided_nothing(machine: Machine) -> None:
    run = waiting(machine)
    said = machine.person("approve", run.run, words=[("[yes/no]", "no")])
    assert said.status == 2
    assert "not confirmed" in said.out
    assert_undecided(run)


def test_redo_carries_the_feedback_into_the_next_attempt(machine: Machine) -> None:
    run = machine.drive(
        gated(machine), {**WORK, "plan": [[claim("PASS")], [shell("cat"), claim("PASS", body="\n2\n")]]}
    )
    words = "Name the files you will touch."
    assert machine.person("redo", run.run, words=[("changed?", f"{words}\n"), ("[yes/no]", "yes")]).status == 0
    anew = machine.resume(run.run)
    assert (anew.status, anew.place) == (4, ("plan", 1))
    assert words in anew.said()
    assert len(anew.log("attempt.started")) == 2
    assert machine.person("approve", run.run).status == 0
    assert machine.resume(run.run).state.terminal == "complete"


def test_reject_leaves_the_run_waiting(machine: Machine) -> None:
    run = machine.session(gated(machine))
    run.claim("PASS")
    assert run.advance().code == "gate.waiting"
    assert machine.person("reject", run.run, words=[("changed?", "Not like this.\n"), ("[yes/no]", "yes")]).status == 0
    answer = run.advance()
    assert (answer.status, answer.code) == (2, "gate.rejected")
    assert run.place == ("plan", 1)
    assert "Not like this." in run.cli("context").out
    run.claim("PASS", body="\nOtherwise.\n")
    assert run.advance().code == "gate.waiting"
    assert machine.person("approve", run.run).status == 0
    assert run.advance().status == 0
    assert run.place == ("build", 2)


def test_a_person_answers_a_human_stage(machine: Machine) -> None:
    human = {"kind": "human", "transitions": {"yes": "complete", "no": "plan"}}
    flow = machine.flow({"plan": stage({"PASS": "choose"}), "choose": human})
    run = machine.drive(flow, {"plan": [claim("PASS")]})
    assert (run.status, run.place) == (4, ("choose", 2))
    # What lies in the artifact's place is not the answer.
    run.artifact("choose").write_text("---\nepoch: 2\nresult: yes\n---\n")
    assert machine.resume(run.run).status == 4
    assert run.place == ("choose", 2)
    assert machine.person("answer", run.run, "--choice", "maybe").status == 64
    assert machine.person("answer", run.run, "--choice", "yes").status == 0
    done = machine.resume(run.run)
    assert (done.status, done.state.terminal) == (0, "complete")
    assert done.log("artifact.recorded")[-1]["producer"]["kind"] == "person"


# -- after the approval ---------------------------------------------------------------------------------------------


@pytest.fixture
def approved(machine: Machine) -> Session:
    """A session's run whose gate a person has approved; its stage may write the project."""
    plan = stage({"PASS": "build", "ALSO": "build"}, gate={"type": "require_approval"}, writes="project")
    run = machine.session(machine.flow({"plan": plan, "build": stage({"PASS": "complete"})}))
    run.claim("PASS", body="\nA small change.\n")
    assert run.advance().code == "gate.waiting"
    assert machine.person("approve", run.run).status == 0
    return run


def assert_stale(run: Session) -> None:
    answer = run.advance()
    assert (answer.status, answer.code) == (4, "gate.stale")
    assert run.place == ("plan", 1)
    assert run.log("gate.opened")[-1]["stale"] is True
    assert run.log("transitioned") == []
    # Looking again and approving what is there now helps.
    assert run.machine.person("approve", run.run).status == 0
    assert run.advance().status == 0
    assert run.place == ("build", 2)


def test_the_artifact_changes_after_the_approval(approved: Session) -> None:
    approved.claim("PASS", body="\nA large change.\n")
    assert_stale(approved)


def test_the_result_changes_after_the_approval(approved: Session) -> None:
    approved.claim("ALSO", body="\nA small change.\n")
    assert_stale(approved)


def test_the_project_changes_after_the_approval(approved: Session) -> None:
    approved.machine.write("src.py", "x = 'something else'\n")
    assert_stale(approved)


def test_an_unchanged_approval_holds(approved: Session) -> None:
    assert approved.cli("tick").status == 0
    assert approved.advance().status == 0
    assert approved.place == ("build", 2)


def test_an_approval_does_not_reach_into_a_later_epoch(machine: Machine) -> None:
    plan = stage({"PASS": "build"}, gate={"type": "require_approval"})
    run = machine.session(machine.flow({"plan": plan, "build": stage({"PASS": "complete", "FAIL": "plan"})}))
    run.claim("PASS")
    assert run.advance().code == "gate.waiting"
    assert machine.person("approve", run.run).status == 0
    assert run.advance().status == 0
    run.claim("FAIL")
    assert run.advance().status == 0
    run.claim("PASS")
    assert run.advance().code == "gate.waiting"
    assert run.place == ("plan", 3)


def test_a_check_that_writes_files_leaves_the_approval_valid(machine: Machine) -> None:
    plan = stage(
        {"PASS": "build"},
        gate={"type": "require_approval"},
        checks=[{"name": "tests", "run": "date +%N >> coverage.txt"}],
    )
    run = machine.session(machine.flow({"plan": plan, "build": stage({"PASS": "complete"})}))
    run.claim("PASS")
    assert run.advance().code == "gate.waiting"
    assert machine.person("approve", run.run).status == 0
    answer = run.advance()
    assert answer.status == 0, answer.out
    assert run.place == ("build", 2)


def test_a_check_that_changes_the_project_after_the_approval(machine: Machine) -> None:
    machine.write("turn.sh", "if test -e once.txt; then echo 'x = 666' > src.py; fi; touch once.txt\n")
    plan = stage(
        {"PASS": "build"},
        gate={"type": "require_approval"},
        writes="project",
        checks=[{"name": "tests", "run": "sh turn.sh"}],
    )
    run = machine.session(machine.flow({"plan": plan, "build": stage({"PASS": "complete"})}))
    run.claim("PASS")
    assert run.advance().code == "gate.waiting"
    assert machine.person("approve", run.run).status == 0
    # The body stays what was approved; another key in its front matter has the check run once more.
    path = run.artifact("plan")
    path.write_text(path.read_text().replace("---\n", "---\nnote: x\n", 1))
    assert_stale(run)
    assert machine.read("src.py") == "x = 666\n"

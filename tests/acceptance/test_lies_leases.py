"""An agent that moves a run which is not its own to move, gives up without trying, or never ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.support import OTHER, SESSION, STAGENT, Machine, Session, claim, shell, stage, wait_for

TWO = {"plan": stage({"PASS": "build"}), "build": stage({"PASS": "complete", "FAIL": "plan"})}
CLEAN = 'env -i PATH="$PATH" HOME="$HOME" STAGENT_HOME="$STAGENT_HOME"'


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.repository({"src.py": "x = 1\n"})
    return made


@pytest.fixture
def plain(machine: Machine) -> Session:
    return machine.session(machine.flow(TWO))


# -- somebody else's run -------------------------------------------------------------------------------------------


def stranger_of(run: Session, *, session: str | None = SESSION, pid: int | None = None) -> Session:
    """Another process that names a run of this session."""
    made = Session(run.machine, session)
    made.run = run.run
    made.pid = run.pid if pid is None else pid
    return made


@pytest.mark.rule("S5.1", "W43")
@pytest.mark.parametrize(
    ("session", "pid"),
    [(OTHER, None), (SESSION, 1), (OTHER, 1), (None, None)],
    ids=["another session", "another process", "both", "no session"],
)
def test_a_stranger_moves_a_sessions_run(plain: Session, session: str | None, pid: int | None) -> None:
    plain.claim("PASS")
    stranger = stranger_of(plain, session=session, pid=pid)
    answer = stranger.advance(plain.run)
    assert (answer.status, answer.code) == (2, "lease.held")
    assert plain.place == ("plan", 1)
    assert plain.log("attempt.ended") == [], "a stranger's call says nothing about the work"
    assert plain.advance().status == 0
    assert plain.place == ("build", 2)


def test_a_session_without_its_process_id_is_a_stranger(plain: Session) -> None:
    plain.claim("PASS")
    answer = plain.advance(env={"CLAUDE_PID": ""})
    assert (answer.status, answer.code) == (2, "lease.held")
    assert plain.place == ("plan", 1)


@pytest.mark.rule("S5.1", "W43")
def test_a_session_without_a_run_does_not_get_anothers(plain: Session) -> None:
    stranger = stranger_of(plain, session=OTHER)
    assert stranger.advance().code == "run.none"
    assert stranger.cli("continue", plain.run, "--json").code == "lease.held"
    for name in ("interrupt", "cancel"):
        assert stranger.cli(name, plain.run, "--json").code == "person.agent"
    assert plain.place == ("plan", 1)
    assert [event["type"] for event in plain.log()] == ["run.started", "stage.entered"]


@pytest.mark.rule("S3.10", "S3.11")
def test_a_session_starts_over_to_be_rid_of_its_run(plain: Session) -> None:
    again = plain.cli("start", "an easier task", "--flow", str(plain.machine.root / "flow") + "/", "--json")
    assert (again.status, again.code) == (2, "start.live_run")
    forced = plain.cli("start", "easier", "--force", "--flow", str(plain.machine.root / "flow") + "/", "--json")
    assert (forced.status, forced.code) == (2, "person.agent")
    assert plain.place == ("plan", 1)


@pytest.mark.rule("W35")
def test_a_session_cancels_its_own_run(plain: Session) -> None:
    answer = plain.cli("cancel", "--json", stdin="yes\n")
    assert (answer.status, answer.code) == (2, "person.agent")
    assert plain.state.status == "running"
    assert plain.machine.person("cancel", plain.run).status == 0
    assert plain.state.terminal == "cancelled"
    assert plain.advance().code == "run.ended"


# -- from inside an attempt ----------------------------------------------------------------------------------------

MOVES = {
    "advance": f'{STAGENT} advance "$STAGENT_RUN"',
    "advance without a mark": f'{CLEAN} {STAGENT} advance "$STAGENT_RUN"',
    "advance as a session": f'{CLEAN} CLAUDE_CODE_SESSION_ID=mine CLAUDE_PID=$PPID {STAGENT} advance "$STAGENT_RUN"',
    "advance --escalate": f'{CLEAN} {STAGENT} advance "$STAGENT_RUN" --escalate "too hard"',
    "interrupt": f'{STAGENT} interrupt "$STAGENT_RUN"',
    "interrupt without a mark": f'{CLEAN} {STAGENT} interrupt "$STAGENT_RUN"',
    "continue": f'{STAGENT} continue "$STAGENT_RUN"',
    "continue without a mark": f'{CLEAN} {STAGENT} continue "$STAGENT_RUN"',
    "continue --take-over": f'{CLEAN} {STAGENT} continue "$STAGENT_RUN" --take-over',
    "run --resume": f'{STAGENT} run --resume "$STAGENT_RUN" --agent scripted --script s.json',
    "run --resume without a mark": f'{CLEAN} {STAGENT} run --resume "$STAGENT_RUN" --agent scripted --script s.json',
    "cancel": f'{CLEAN} {STAGENT} cancel "$STAGENT_RUN" --hard',
}


@pytest.mark.parametrize("how", MOVES)
def test_an_attempt_moves_its_own_run(machine: Machine, how: str) -> None:
    machine.write("s.json", '{"stages": {"plan": []}}')
    lie = f'{MOVES[how]} > out.txt 2>&1; echo "exit $?" >> out.txt'
    run = machine.drive(machine.flow(TWO), {"plan": [shell(lie), claim("PASS")], "build": [claim("PASS")]})
    said = machine.read("out.txt")
    assert "exit 2" in said, said
    assert (run.status, run.state.terminal) == (0, "complete")
    assert [event["type"] for event in run.log()] == [
        "run.started",
        *["stage.entered", "attempt.started", "attempt.ended", "artifact.recorded", "transitioned"] * 2,
        "terminal",
    ]
    assert run.state.fence == 1


def test_an_attempt_reads_its_own_context(machine: Machine) -> None:
    work = {"plan": [shell(f"{STAGENT} context"), claim("PASS")], "build": [claim("PASS")]}
    run = machine.drive(machine.flow(TWO), work)
    assert run.status == 0
    assert "Stage: plan" in run.said()


# -- giving up -------------------------------------------------------------------------------------------------------


def test_a_session_gives_up_at_once(plain: Session) -> None:
    answer = plain.advance("--escalate", "It is too hard.")
    assert (answer.status, answer.code) == (2, "escalate.early")
    assert (plain.place, plain.state.status) == (("plan", 1), "running")
    assert plain.log("escalated") == []


@pytest.mark.rule("S3.26")
def test_a_session_gives_up_after_it_was_refused(plain: Session) -> None:
    assert plain.advance().code == "artifact.missing"
    assert plain.advance("--escalate", "").code == "escalate.reason"
    assert plain.advance("--escalate", "Nobody told me the password.").status == 0
    state = plain.state
    assert (state.status, state.stage, state.epoch) == ("escalated", "plan", 1)
    event = plain.log("escalated")[0]
    assert event["by"] == "agent"
    assert plain.text(event["text"]) == "Nobody told me the password."
    assert plain.advance().code == "run.escalated"
    # What an agent gave up it does not take up again by itself.
    assert plain.cli("continue", "--json").code == "person.agent"
    assert plain.state.status == "escalated"
    assert plain.machine.person("continue", plain.run).status == 0
    assert plain.place == ("plan", 1)


# -- limits ------------------------------------------------------------------------------------------------------------


def endless(machine: Machine, *terminals: str) -> str:
    return machine.flow(
        {"plan": stage({"AGAIN": "build", "PASS": "complete"}), "build": stage({"AGAIN": "plan"})},
        max_epoch=5,
        terminal_stages=["complete", *terminals],
    )


AGAIN = {"plan": [claim("AGAIN")], "build": [claim("AGAIN")]}


@pytest.mark.rule("S2.15")
def test_a_loop_ends_at_the_cap(machine: Machine) -> None:
    run = machine.drive(endless(machine, "escalated"), AGAIN)
    assert run.status == 3
    assert (run.state.terminal, run.state.epoch, run.state.success) == ("escalated", 5, False)
    assert [(event["limit"], event["action"]) for event in run.log("budget.reached")] == [(5, "escalate")]
    assert run.log("transitioned")[-1]["cause"] == "cap"


@pytest.mark.rule("S2.15")
def test_a_loop_without_a_declared_end_goes_on_and_says_so(machine: Machine) -> None:
    work = {"plan": [*[[claim("AGAIN")]] * 3, [claim("PASS")]], "build": [claim("AGAIN")]}
    run = machine.drive(endless(machine), work)
    assert (run.status, run.state.terminal) == (0, "complete")
    assert run.state.epoch > 5
    assert {event["action"] for event in run.log("budget.reached")} == {"continue"}


@pytest.mark.rule("S2.16")
def test_reaching_the_end_exactly_at_the_cap_is_no_failure(machine: Machine) -> None:
    work = {"plan": [[claim("AGAIN")], [claim("PASS")]], "build": [claim("AGAIN")]}
    run = machine.drive(endless(machine, "escalated"), work)
    assert (run.status, run.state.terminal) == (0, "complete")


@pytest.mark.parametrize("declared", [True, False])
def test_an_agent_that_never_gets_it_right_is_stopped(machine: Machine, declared: bool) -> None:
    flow = machine.flow(
        {"plan": stage({"PASS": "complete"}, retry={"attempts": 2})},
        terminal_stages=["complete", *(["escalated"] if declared else [])],
    )
    run = machine.drive(flow, {"plan": [claim("DONE")]})
    assert run.status == 3
    assert run.state.status == ("escalated" if declared else "blocked")
    assert run.codes() == ["artifact.result"] * 2
    assert len(run.log("attempt.started")) == 2
    if not declared:
        assert run.log("blocked")[0]["code"] == "artifact.result"
    # A person goes on; the agent has learnt.
    machine.script({"plan": [claim("PASS")]})
    done = machine.resume(run.run)
    assert (done.status, done.state.terminal, done.state.fence) == (0, "complete", 2)


# -- honest changes of the driver ------------------------------------------------------------------------------------


@pytest.mark.rule("W3", "S7.4", "S2.21")
def test_a_session_pauses_and_goes_on(plain: Session) -> None:
    assert plain.cli("interrupt", "--json").status == 0
    plain.claim("PASS")
    assert plain.advance().code == "run.interrupted"
    assert plain.place == ("plan", 1)
    later = stranger_of(plain, session=OTHER)
    assert later.cli("continue", plain.run, "--json").status == 0
    assert plain.advance(plain.run).code == "lease.held"
    assert later.advance().status == 0
    assert plain.place == ("build", 2)
    assert plain.state.fence == 2


@pytest.mark.rule("S5.7")
def test_a_person_takes_a_run_over_and_the_old_holder_is_refused(plain: Session) -> None:
    plain.claim("PASS")
    assert plain.machine.person("continue", plain.run, "--take-over").status == 0
    assert plain.state.fence == 2
    assert len(plain.log("taken_over")) == 1
    answer = plain.advance()
    assert (answer.status, answer.code) == (2, "lease.held")
    assert plain.place == ("plan", 1)
    heir = stranger_of(plain, session=None)
    assert heir.advance(plain.run).status == 0
    assert plain.place == ("build", 2)


def test_a_runner_that_lost_its_run_moves_nothing_any_more(machine: Machine) -> None:
    flow = machine.flow(TWO)
    script = machine.script(
        {
            "plan": [
                {"write": {"path": "began.txt", "text": ""}},
                shell("for i in $(seq 800); do test -e go.txt && break; sleep 0.02; done"),
                claim("PASS"),
            ],
            "build": [claim("PASS")],
        }
    )
    command = [sys.executable, "-m", "stagent", "run", "x", "--flow", flow, "--agent", "scripted", "--script", script]
    process = subprocess.Popen(
        [*command, "--json"], cwd=machine.project, env=machine.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for((machine.project / "began.txt").exists, "the attempt")
        run = Session(machine, None)
        run.run = next(iter((machine.project / ".stagent").glob("r-*"))).name
        assert machine.person("continue", run.run, "--take-over").status == 0
        machine.write("go.txt", "")
        _, err = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    assert run.place == ("plan", 1)
    assert run.log("transitioned") == []
    assert run.state.fence == 2


def test_a_run_whose_runner_was_killed_goes_on(machine: Machine) -> None:
    work = {
        "plan": [
            [shell('kill -9 "$STAGENT_RUNNER"'), {"sleep": 60}],
            [claim("PASS")],
        ],
        "build": [claim("PASS")],
    }
    script = machine.script(work)
    killed = machine.cli("run", "x", "--flow", machine.flow(TWO), "--agent", "scripted", "--script", script, "--json")
    assert killed.status == -signal.SIGKILL
    [row] = machine.cli("runs", "--json").json
    shown = machine.cli("show", row["run"], "--json").json
    assert (row["status"], machine.cli("status", "--json").json["word"], shown["status"]) == ("stale",) * 3
    assert shown["visits"][0]["attempts"][0]["outcome"] == "stale"
    assert "**stale**" in machine.cli("export", row["run"]).out
    run = next(iter((machine.project / ".stagent").glob("r-*"))).name
    done = machine.resume(run)
    assert (done.status, done.state.terminal) == (0, "complete")
    assert [event["outcome"] for event in done.log("attempt.ended")] == ["orphaned", "ok", "ok"]
    assert os.path.exists(done.folder / "complete-report.md")

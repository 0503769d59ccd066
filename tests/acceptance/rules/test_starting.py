"""How a run begins, what is said about it, and what becomes of the one before."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acceptance.support import SESSION, Done, Machine, Session, claim, stage

CLIENT = "claude-code_2-1-329_harness"
# Stands for the session's own process: above the program, with no mark of an agent of its own.
_TYPED = """
import json, os, subprocess, sys
order = json.loads(sys.argv[1])
pid, env = str(os.getpid()), {**os.environ, **order["env"]}
env["CLAUDE_PID"] = pid
kept = {**order["kept"], "pid": pid}
with open(order["place"], "w") as file:
    json.dump(kept, file)
done = subprocess.run([sys.executable, "-m", "stagent", "start", "--pending"], env=env, capture_output=True, text=True)
print(json.dumps([done.returncode, done.stdout, done.stderr]))
"""


def typed(session: Session, words: str, **fields: str) -> Done:
    """Have a person type /stagent:start in the session, as its own process and hook would pass it on."""
    machine = session.machine
    place = machine.home / "pending" / f"{session.session}.json"
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = {"v": 1, "command": "stagent:start", "args": words, "prompt": "p", "source": "plugin"}
    kept |= {"attended": "1", "client": CLIENT, "t": time.time_ns() // 1_000_000, **fields}
    env = {name: value for name, value in session.env.items() if name != "CLAUDE_PID"}
    order = json.dumps({"kept": kept, "place": str(place), "env": env})
    argv = [sys.executable, "-c", _TYPED, order]
    done = subprocess.run(argv, cwd=machine.project, env=machine.env, capture_output=True, text=True, check=True)
    return Done(*json.loads(done.stdout))


def archives(machine: Machine) -> list[str]:
    """The names of the run folders that were put away, without their times."""
    found = sorted((machine.project / ".stagent" / ".archive").glob("*"))
    return [re.sub(r"^\d{8}-\d{6}-", "", path.name) for path in found]


@pytest.mark.rule("S3.16", "S2.1", "S3.44", "S3.7", "S1.9", "S2.6")
def test_starting_says_what_was_started(machine: Machine, flow: str) -> None:
    session = Session(machine, SESSION)
    said = session.cli("start", "Build the thing.\nIn two lines.", "--flow", flow).out
    folder = machine.project / ".stagent" / SESSION
    session.run = said.split()[1]
    assert said.startswith(f"Run {session.run} started in {machine.project}\n")
    assert f"Topic: Build the thing.; session: {SESSION}\n" in said
    assert "mode: local (from default)\n" in said
    assert f"Run folder: {folder}\n" in said
    assert "Stage plan is interruptible" in said
    assert "was there before" not in said
    assert "Stage: plan" in said
    assert "Epoch: 1" in said
    assert f"Output: {folder}/plan-report.md" in said
    assert (folder / "notes").read_text() == "noted\n"
    assert f"session_id: {SESSION}\n" in (folder / "state.md").read_text()


@pytest.mark.rule("S3.7")
def test_the_mode_comes_from_the_option_the_environment_or_the_default(machine: Machine, flow: str) -> None:
    wrong = machine.cli("start", "x", "--flow", flow, "--json", env={"STAGENT_DEFAULT_MODE": "cloud"})
    assert (wrong.status, wrong.code) == (64, "config.value")
    told = machine.cli("start", "x", "--flow", flow, "--mode", "local", env={"STAGENT_DEFAULT_MODE": "cloud"})
    assert "mode: local (from --mode)" in told.out


@pytest.mark.rule("S3.8")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("",), "start.no_task"),
        (("x", "--mode", "localhost"), "mode.unknown"),
        (("x", "--flow", ""), "usage"),
        (("x", "--flow", " "), "usage"),
        (("x", "--topic", ""), "usage"),
        (("x", "--mode", ""), "usage"),
        (("x", "--flow", "nosuch"), "flow.unknown"),
        (("x", "--flow", "./nowhere"), "workflow.unreadable"),
        (("x", "--flow", "cloud://demo"), "flow.cloud"),
    ],
)
def test_a_start_that_fails_makes_nothing(machine: Machine, words: tuple[str, ...], code: str) -> None:
    done = Session(machine, SESSION).cli("start", *words, "--json")
    assert done.status in (1, 64)
    assert done.code == code
    assert not (machine.project / ".stagent").exists()


def test_a_headless_run_that_fails_to_start_says_so_of_itself(machine: Machine) -> None:
    for words, code in (
        (("",), "run.no_task"),
        ((" ", "--agent", "scripted"), "run.no_task"),
        (("x", "--flow", ""), "usage"),
    ):
        done = machine.cli("run", *words, "--json")
        assert (done.status, done.code) == (64, code)
    assert machine.cli("run", "").err.startswith("stagent: run: there is no task. ")


def test_an_invalid_workflow_is_told_line_by_line(machine: Machine) -> None:
    done = machine.cli("start", "x", "--flow", machine.flow({"plan": stage({"done": "nowhere"})}))
    *problems, last = done.err.splitlines()[1:]
    assert problems
    assert all(line.startswith("  - ") for line in problems)
    assert last == "Mend what is listed and validate again."


@pytest.mark.rule("S3.9", "S5.4")
def test_outside_of_a_session_the_run_is_driven_by_hand(machine: Machine) -> None:
    hand = Session(machine, None)
    started = hand.cli("start", "x", "--flow", machine.flow({"plan": stage({"done": "complete"})}), "--json")
    hand.run = started.json["run"]
    assert hand.folder.name == hand.run
    hand.claim("done")
    assert hand.advance().status == 0
    assert hand.state.terminal == "complete"


@pytest.mark.rule("S3.10")
def test_a_live_run_is_in_the_way(session: Session, flow: str) -> None:
    again = session.cli("start", "another", "--flow", flow, "--json")
    assert (again.status, again.code) == (2, "start.live_run")
    assert again.fields == {"run": session.run, "topic": "a task", "stage": "plan", "status": "running"}
    for words in ("already has an active run", '"a task"', str(session.machine.project)):
        assert words in again.json["message"]
    for way in ("stagent status", "cancel", "/stagent:start --force"):
        assert way in again.json["remedy"]
    assert session.place == ("plan", 1)


@pytest.mark.rule("S3.10")
def test_a_paused_run_is_in_the_way_too(session: Session, flow: str) -> None:
    assert session.cli("interrupt").status == 0
    again = session.cli("start", "another", "--flow", flow, "--json")
    assert (again.status, again.fields["status"]) == (2, "interrupted")


@pytest.mark.rule("S3.12", "S3.15", "S2.2", "W31")
def test_a_run_that_ended_in_a_terminal_of_its_own_is_put_away(machine: Machine) -> None:
    flow = machine.flow({"plan": stage({"done": "shipped"})}, terminal_stages=["shipped"])
    session = Session(machine, SESSION)
    topics = ["Schön & gut: ship/it!", "  --  ", "x" * 60, "last"]
    for topic in topics:
        started = session.cli("start", "a task", "--topic", topic, "--flow", flow)
        assert started.status == 0, started.err
        session.run = started.out.split()[1]
        session.claim("done")
        assert session.advance().status == 0
        for command in ("interrupt", "continue"):
            over = session.cli(command, session.run, "--json")
            assert (over.status, over.code) == (2, "run.ended")
        assert session.state.terminal == "shipped"
    assert "The run folder that was there before is now " in started.out
    assert sorted(archives(machine)) == sorted(["Sch-n-gut-ship-it", SESSION, "x" * 40])


@pytest.mark.rule("S2.2")
def test_archives_of_one_second_and_one_topic_are_told_apart(machine: Machine, flow: str) -> None:
    program = f"""
from datetime import UTC, datetime
from pathlib import Path
from stagent.engine import setup
root = Path({str(machine.project)!r})
class Clock(datetime):
    @classmethod
    def now(cls, zone=None):
        return datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
setup.datetime = Clock
for _ in range(3):
    (root / ".stagent" / "s").mkdir(parents=True)
    print(setup.archive(root, "s", "-cancelled", "one").name)
"""
    done = subprocess.run([sys.executable, "-c", program], env=machine.env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"20300102-030405-one-cancelled{number}" for number in ("", "-2", "-3")]


@pytest.mark.rule("S3.11", "S3.37", "S3.39", "W49")
def test_a_person_begins_anew_by_force(building: Session, flow: str) -> None:
    building.hook("SubagentStart", "agent-7")
    done = typed(building, f"--force --flow {flow} an easier task")
    assert (done.status, done.err) == (0, "")
    assert "STAGENT_STOP_AGENT_IDS: agent-7\n" in done.out
    assert f"{building.run} is cancelled." in done.out
    old = building.state
    assert old.terminal == "cancelled"
    assert building.log("terminal")[0]["actor"] == f"person:command:{SESSION}"
    assert archives(building.machine) == ["a-task-cancelled"]
    building.run = re.findall(r"^Run (\S+) started", done.out, re.MULTILINE)[0]
    assert building.place == ("plan", 1)
    assert "an easier task" in building.cli("context").out


@pytest.mark.rule("S3.11")
@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("--force --flow {flow} easier", {"attended": "0"}),
        ("--force --flow {flow} easier", {"client": "claude-code_1-0-0_harness"}),
        ("--force --flow nosuch easier", {}),
        ("--force --flow {flow}", {}),
        ("--force=yes --flow {flow} easier", {}),
        ("--flow {flow} easier", {}),
    ],
)
def test_what_is_no_persons_order_or_no_run_ends_nothing(
    session: Session, flow: str, words: str, fields: dict[str, str]
) -> None:
    done = typed(session, words.format(flow=flow), **fields)
    assert done.out.startswith("stagent: ")
    assert "started" not in done.out
    assert (session.place, session.state.status) == (("plan", 1), "running")


@pytest.mark.rule("S3.11")
@pytest.mark.parametrize(("answer", "status"), [("yes", 0), ("no", 2)])
def test_at_a_terminal_a_person_is_asked(machine: Machine, flow: str, answer: str, status: int) -> None:
    first = machine.cli("start", "x", "--flow", flow, "--json").json["run"]
    done = machine.person("start", "anew", "--flow", flow, "--force", words=[("[yes/no]", answer)])
    assert done.status == status, done.out
    assert f"Cancel {first} in stage plan and start anew?" in done.out
    assert (machine.state(first).terminal == "cancelled") == (answer == "yes")
    assert archives(machine) == (["x-cancelled"] if answer == "yes" else [])


@pytest.mark.rule("S3.11")
def test_force_without_a_run_in_the_way_asks_nobody(machine: Machine, flow: str) -> None:
    assert machine.cli("start", "x", "--flow", flow, "--force").status == 0


@pytest.mark.rule("S3.39", "S2.5", "W49")
@pytest.mark.parametrize("hard", [False, True])
def test_a_cancelled_run_makes_room_for_the_next(session: Session, flow: str, hard: bool) -> None:
    machine, folder = session.machine, session.folder
    done = machine.person("cancel", session.run, *["--hard"] * hard)
    assert done.status == 0, done.out
    assert archives(machine) == ([] if hard else ["a-task-cancelled"])
    assert not folder.exists()
    event = session.log("terminal")[0]
    assert (event["terminal"], event["actor"].partition(":")[0]) == ("cancelled", "person")
    again = session.cli("start", "the next", "--flow", flow, "--json")
    assert again.status == 0, again.err


@pytest.mark.rule("S3.36")
def test_who_is_paused_is_told_so(session: Session) -> None:
    assert session.cli("interrupt").status == 0
    again = session.cli("interrupt")
    assert (again.status, again.out) == (0, "")
    assert "is interrupted already" in again.err


@pytest.mark.rule("S3.37", "S2.33")
def test_a_pause_names_the_agents_to_be_stopped(building: Session) -> None:
    building.hook("SubagentStart", "agent-7")
    building.hook("SubagentStart", "agent-8")
    building.hook("SubagentStop", "agent-8", artifact=None)
    assert building.cli("interrupt").out.splitlines()[0] == "STAGENT_STOP_AGENT_IDS: agent-7"


@pytest.mark.rule("S3.37")
def test_a_cancellation_names_the_agents_to_be_stopped(building: Session) -> None:
    building.hook("SubagentStart", "agent-7")
    done = building.machine.person("cancel", building.run)
    assert "STAGENT_STOP_AGENT_IDS: agent-7" in done.out
    again = building.machine.person("cancel", building.run, "--json")
    assert again.status == 2


@pytest.mark.rule("S3.37")
def test_beside_json_the_agents_are_named_on_standard_error(building: Session) -> None:
    building.hook("SubagentStart", "agent-7")
    done = building.cli("interrupt", "--json")
    assert done.json["status"] == "interrupted"
    assert done.err == "STAGENT_STOP_AGENT_IDS: agent-7\n"


@pytest.mark.rule("S3.38", "S2.14", "S2.21")
def test_a_pause_keeps_stage_and_epoch_and_records_the_commit(building: Session) -> None:
    machine = building.machine
    machine.write("more.py", "y = 2\n")
    for words in (["add", "-A"], ["commit", "-q", "-m", "more"]):
        subprocess.run(["git", *words], cwd=machine.project, env=machine.env, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=machine.project, env=machine.env, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert building.cli("interrupt").status == 0
    assert building.place == ("build", 2)
    text = (building.folder / "state.md").read_text()
    for line in ("status: interrupted", "epoch: 2", "resume_status: build", f"last_seen_head: {head}"):
        assert f"\n{line}\n" in text
    assert building.cli("continue").status == 0
    assert building.place == ("build", 2)


@pytest.mark.rule("S3.18", "S1.9")
def test_run_files_are_made_in_the_order_of_their_names_in_the_project(machine: Machine) -> None:
    order = machine.root / "order"
    files = {name: {"init": f"echo {name} >> {order}; pwd"} for name in ("zeta", "alpha", "mid.txt")}
    session = machine.session(machine.flow({"plan": stage({"done": "complete"})}, run_files=files))
    assert order.read_text().split() == ["alpha", "mid.txt", "zeta"]
    assert (session.folder / "alpha").read_text() == f"{machine.project}\n"


@pytest.mark.rule("S1.7", "S2.31")
@pytest.mark.parametrize("declared", [None, True, False])
def test_the_baseline_is_taken_unless_that_is_turned_off(machine: Machine, declared: bool | None) -> None:
    machine.write("dirt.txt", "was there before\n")
    top = {} if declared is None else {"modifies_worktree": declared}
    flow = machine.flow({"plan": stage({"done": "complete"})}, **top)
    run = machine.drive(flow, {"plan": [{"write": {"path": "new.txt", "text": "new\n"}}, claim("done")]})
    diff = machine.cli("diff", run.run)
    assert (run.state.baseline is None) == (declared is False)
    if declared is False:
        assert (diff.status, diff.out) == (0, "")
        assert "does not record the project" in diff.err
    else:
        assert "+++ b/new.txt" in diff.out
        assert "dirt.txt" not in diff.out


@pytest.mark.rule("S1.42")
def test_without_a_reference_the_default_is_taken(machine: Machine) -> None:
    assert Session(machine, SESSION).cli("start", "x").status == 0
    assert machine.cli("status", "--session", SESSION, "--json").json["workflow"] == "default"


@pytest.mark.rule("S1.43", "S1.44", "S1.45", "W37")
@pytest.mark.parametrize("absolute", [True, False])
def test_every_command_takes_a_folder_in_the_same_way(machine: Machine, absolute: bool) -> None:
    folder = Path(machine.flow({"plan": stage({"done": "complete"})}))
    reference = str(folder) if absolute else "../flow"
    script = machine.script({"plan": [claim("done")]})
    calls = [
        ("validate", "--flow", reference),
        ("template", "show", reference),
        ("start", "x", "--flow", reference),
        ("run", "x", "--flow", reference, "--agent", "scripted", "--script", script),
    ]
    for call in calls:
        assert machine.cli(*call).status == 0, call
    assert typed(Session(machine, SESSION), f"--flow {reference} x").out.startswith("Run r-")
    for call in calls:
        for other in ("nosuch", "cloud://demo", "./nosuch"):
            words = [other if word == reference else word for word in call]
            assert machine.cli(*words).status in (1, 64), words


@pytest.mark.rule("S3.42")
@pytest.mark.parametrize("spelt", ["~", "$HOME", "${HOME}"])
def test_the_home_folder_has_three_spellings(machine: Machine, spelt: str) -> None:
    folder = Path(machine.flow({"plan": stage({"done": "complete"})}))
    os.rename(folder, machine.root / "home" / "my flow")
    session = Session(machine, SESSION)
    said = typed(session, f"--flow '{spelt}/my flow' x").out
    assert "Workflow: my flow (" in said, said


@pytest.mark.rule("S3.2")
def test_options_take_their_values_both_ways(session: Session) -> None:
    for words in (("--topic", "a task"), ("--topic=a task",)):
        assert session.cli("status", *words, "--json").json["run"] == session.run
        assert session.cli("tick", *words).json["run"] == session.run


@pytest.mark.rule("S3.1", "S3.3", "S3.4")
@pytest.mark.parametrize("command", ["tick", "next", "advance", "context", "status", "interrupt", "continue", "cancel"])
def test_wrong_words_are_an_error_on_standard_error(session: Session, command: str) -> None:
    for words, message in ((("--nosuch",), "--nosuch"), (("--session",), "--session")):
        done = session.cli(command, *["--result", "x"] * (command == "next"), *words)
        assert (done.status, done.out) == (64, "")
        assert message in done.err
    assert session.place == ("plan", 1)


@pytest.mark.rule("S1.2")
def test_the_readme_describes_a_template(machine: Machine) -> None:
    folder = machine.project / "workflows" / "mine"
    folder.parent.mkdir()
    os.rename(machine.flow({"plan": stage({"done": "complete"})}), folder)
    (folder / "readme.md").write_text("# A title\n\n## Another\n\nDoes one thing well.\n\nMore of it.\n")
    [row] = [row for row in machine.cli("template", "list", "--json").json if row["name"] == "mine"]
    assert row["description"] == "Does one thing well."


def test_a_topic_of_two_lines_is_listed_on_one(machine: Machine) -> None:
    flow = machine.flow({"plan": stage({"done": "complete"})})
    assert machine.cli("start", "x", "--topic", "one\n\ttwo", "--flow", flow).status == 0
    head, row = machine.cli("runs").out.splitlines()
    assert row.endswith("  one two")
    assert row.index("one two") == head.index("LABEL")

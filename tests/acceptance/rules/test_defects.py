"""Situations in which the original plugin went wrong, made here with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.support import OTHER, SESSION, Json, Machine, Session, claim, shell, stage

ONE = {"plan": stage({"done": "complete"})}
# Runs the program in this interpreter and notes whatever would reach for a network.
_WATCHED = """
import os, sys
names = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind")
place = sys.argv[1]
def look(event, arguments):
    if event in names or event.startswith(("urllib.", "http.client.", "ftplib.", "smtplib.")):
        with open(place, "a") as file:
            file.write(event + " " + repr(arguments) + chr(10))
sys.addaudithook(look)
from stagent.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def hook(session: Session, event: str, **fields: object) -> Json | None:
    """Give an event of a session to the hook, as its program does, and return the answer."""
    given = {"session_id": session.session, "hook_event_name": event, "cwd": str(session.machine.project), **fields}
    done = session.cli("hook", event, stdin=json.dumps(given))
    assert done.status == 0
    return json.loads(done.out) if done.out else None


def beside(session: Session, suffix: str) -> str:
    """What stands beside the session's live file."""
    path = (session.machine.home / "live" / f"{session.session}.json").with_suffix(suffix)
    return path.read_text() if path.exists() else ""


@pytest.mark.rule("W1")
def test_blanks_and_lines_of_a_body_stay_what_they_are(machine: Machine) -> None:
    folder = Path(machine.flow(ONE))
    os.rename(folder, machine.root / "my own flow")
    session = Session(machine, SESSION)
    started = session.cli("start", "A B", "--flow", f"{machine.root}/my own flow", "--json")
    session.run = started.json["run"]
    assert session.cli("status", "--topic", "A B", "--json").json["run"] == session.run
    path = session.artifact("plan")
    path.write_text("---\nresult: done\nepoch: 1\n---\nepoch: 7\nresult: other\n---\nstatus: complete\n")
    assert session.advance().status == 0
    assert session.log("artifact.recorded")[0]["result"] == "done"


@pytest.mark.rule("W3")
def test_nothing_ends_well_without_an_artifact(session: Session) -> None:
    for epoch, code in ((None, ""), ("", "artifact.no_epoch")):
        if epoch is not None:
            session.claim("approved", epoch=epoch)
        for target in ("shipped", "judge", "build"):
            answer = session.advance("--to", target)
            assert answer.status != 0
            assert answer.code in (code or "artifact.missing", "artifact.front_matter", "transition.target")
    assert session.cli("interrupt").status == 0
    session.claim("approved")
    assert session.advance("--to", "build").code == "run.interrupted"
    assert session.place == ("plan", 1)


@pytest.mark.rule("W6", "S4.4", "S2.24")
def test_a_hook_acts_on_the_session_of_its_event_only(session: Session, flow: str) -> None:
    other = Session(session.machine, OTHER)
    other.run = other.cli("start", "another", "--flow", flow, "--json").json["run"]
    for one in (session, other):
        hook(one, "PermissionRequest", tool_name="Bash")
        assert beside(one, ".waiting") == "permission"
    # The environment names the one session, the event the other: the event counts.
    given = {"session_id": other.session, "hook_event_name": "UserPromptSubmit", "prompt": "go on"}
    assert session.cli("hook", "UserPromptSubmit", stdin=json.dumps(given)).status == 0
    assert (beside(session, ".waiting"), beside(other, ".waiting")) == ("permission", "")
    mark = (session.machine.home / "live" / f"{SESSION}.waiting").stat()
    hook(session, "PermissionRequest", tool_name="Bash")
    assert (session.machine.home / "live" / f"{SESSION}.waiting").stat().st_mtime_ns == mark.st_mtime_ns


@pytest.mark.rule("W30", "S2.23")
@pytest.mark.parametrize("how", ["transition", "pause"])
def test_what_is_over_is_not_waited_for(session: Session, how: str) -> None:
    session.cli("tick")
    hook(session, "Stop", background_tasks=[])
    assert beside(session, ".waiting") == "question"
    assert session.cli("status", "--json").json["session_waits"]
    if how == "transition":
        session.claim("approved")
        assert session.advance().status == 0
    else:
        assert session.cli("interrupt").status == 0
        assert session.cli("continue").status == 0
    assert beside(session, ".waiting") == ""
    assert session.cli("status", "--json").json["session_waits"] == ""


@pytest.mark.rule("W9")
@pytest.mark.parametrize("mode", ["localhost", "local ", "Local", "", "cloud"])
def test_a_mode_is_exactly_one_of_the_known_ones(machine: Machine, flow: str, mode: str) -> None:
    done = machine.cli("start", "x", "--flow", flow, f"--mode={mode}", "--json")
    if mode:
        assert (done.status, done.code) == (64, "mode.unknown")
    assert machine.cli("start", 'it\'s "mine"; $(touch x) `touch x`', "--flow", flow, "--mode", "local").status == 0
    assert not (machine.project / "x").exists()


@pytest.mark.rule("W13", "S1.33")
@pytest.mark.parametrize("name", ["../outside", "../../outside", "/outside", "a/b", ".hidden"])
def test_a_run_file_does_not_lead_out_of_its_folder(machine: Machine, name: str) -> None:
    before = sorted(machine.root.rglob("*"))
    done = machine.cli("start", "x", "--flow", machine.flow(ONE, run_files={name: {"init": "echo out"}}), "--json")
    assert (done.status, done.code) == (1, "workflow.invalid")
    assert "cannot be a file name" in done.json["message"]
    assert [path for path in machine.root.rglob("*") if path not in before and path.name.endswith("outside")] == []
    assert not (machine.project / ".stagent").exists()


@pytest.mark.rule("W15", "S1.17")
@pytest.mark.parametrize("count", [255, 256, 512])
def test_no_number_of_problems_looks_like_success(machine: Machine, count: int) -> None:
    stages = {f"s{number}": stage({"done": "nowhere"}) for number in range(count)}
    flow = machine.flow(stages)
    done = machine.cli("validate", "--flow", flow)
    assert done.status == 1
    assert sum("nowhere" in line for line in done.err.splitlines()) == count
    assert machine.cli("start", "x", "--flow", flow).status == 1


@pytest.mark.rule("W19")
@pytest.mark.parametrize("failing", ["alpha", "omega"])
def test_whichever_run_file_fails_nothing_is_left(machine: Machine, failing: str) -> None:
    files = {name: {"init": "exit 3" if name == failing else "echo ok"} for name in ("alpha", "mid", "omega")}
    done = machine.cli("start", "x", "--flow", machine.flow(ONE, run_files=files), "--json")
    assert (done.status, done.code) == (2, "start.run_file")
    assert failing in done.json["message"]
    assert not list((machine.project / ".stagent").glob("*")) if (machine.project / ".stagent").exists() else True
    assert machine.cli("runs", "--json").json == []


@pytest.mark.rule("W22")
def test_a_text_and_a_diff_of_300_kib_arrive_whole(machine: Machine) -> None:
    task = "line of a long task é\n" * 15_000
    session = Session(machine, SESSION)
    started = session.cli("start", "-", "--flow", machine.flow(ONE), "--json", stdin=task)
    assert started.status == 0, started.err
    session.run = started.json["run"]
    assert task.strip() in session.cli("context").out
    machine.write("big.txt", "".join(f"{number:06}\n" for number in range(50_000)))
    assert f"+{49_999:06}\n" in session.cli("diff").out
    body = "é" * 200_000
    session.claim("done", body=f"\n{body}\n")
    assert session.advance().status == 0
    assert body in session.text(session.log("artifact.recorded")[0]["digest"])


@pytest.mark.rule("W24", "S2.26", "S2.29")
@pytest.mark.parametrize("repository", ["none", "empty", "dirty"])
def test_nothing_is_committed_and_no_object_is_stored_in_the_users_repository(tmp_path: Path, repository: str) -> None:
    machine = Machine(tmp_path)
    if repository == "dirty":
        machine.repository({"src.py": "x = 1\n"})
    elif repository == "empty":
        subprocess.run(["git", "init", "-q"], cwd=machine.project, env=machine.env, check=True)
    machine.write(".env", "PASSWORD=hunter2hunter2\n")

    def seen() -> dict[str, bytes]:
        found = {}
        for path in sorted((machine.project / ".git").rglob("*")):
            if path.is_file() and path.name != "exclude":
                found[str(path)] = path.read_bytes()
        return found

    before = seen()
    run = machine.drive(machine.flow(ONE), {"plan": [shell("echo y > new.py"), claim("done")]})
    assert run.status == 0
    assert (machine.project / ".git").exists() == (repository != "none")
    assert seen() == before
    assert run.state.baseline


@pytest.mark.rule("W26", "W23", "S3.13")
def test_nothing_reaches_for_a_network(machine: Machine, flow: str) -> None:
    place = machine.root / "network"
    session = Session(machine, SESSION)
    env = {**machine.env, **session.env, "STAGENT_SERVER": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", _WATCHED, str(place), *words]
        return subprocess.run(argv, cwd=machine.project, env=env, capture_output=True, text=True, check=False)

    started = call("start", "x", "--flow", flow, "--json")
    assert started.returncode == 0, started.stderr
    session.run = json.loads(started.stdout)["run"]
    session.claim("approved")
    for words in ("tick", "context", "advance", "status", "runs", "show", "log", "diff", "interrupt", "continue"):
        assert call(words).returncode == 0, words
    call("doctor")
    script = machine.script({"plan": [claim("done")]})
    assert call("run", "x", "--flow", machine.flow(ONE), "--agent", "scripted", "--script", script).returncode == 0
    assert not place.exists(), place.read_text()
    # The watch itself works.
    probe = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    argv = [sys.executable, "-c", _WATCHED.split("from stagent")[0] + probe, str(place)]
    subprocess.run(argv, env=env, check=True)
    assert "socket.connect" in place.read_text()


@pytest.mark.rule("W29")
def test_an_unchanged_artifact_with_accents_is_read_once(machine: Machine) -> None:
    run = machine.session(machine.flow({"plan": stage({"done": "complete"}, checks=[{"name": "no", "run": "exit 1"}])}))
    run.claim("done", body="\nDéjà vu, naïve façade: 42 ≠ 44.\n")
    for _ in range(3):
        assert run.advance().code == "check.failed"
    assert len(run.log("artifact.recorded")) == 1
    assert len(run.log("check.started")) == 1


@pytest.mark.rule("W33", "S4.24", "S4.25")
def test_what_is_told_at_a_launch_goes_to_the_model_and_asks_for_no_permission(building: Session) -> None:
    launch = {"subagent_type": "stagent:workflow-subagent", "prompt": "Run your stage."}
    answer = hook(building, "PreToolUse", tool_name="Agent", tool_use_id="t-1", tool_input=launch)
    assert answer is not None
    said = answer["hookSpecificOutput"]
    assert said["hookEventName"] == "PreToolUse"
    for words in ("stagent:workflow-subagent", "model opus", "Run your stage."):
        assert words in said["additionalContext"]
    assert "permission" not in json.dumps(answer).lower()
    assert "updatedInput" not in said


@pytest.mark.rule("W34", "S4.26")
@pytest.mark.parametrize("command", ["$P/tool --x", "sed 's/&/$P/' a|b", 'P="/a&b"; "$P/run"', "echo $P/"])
def test_no_hook_changes_a_command(session: Session, command: str) -> None:
    given = {"command": command, "timeout": 5000, "run_in_background": True}
    assert hook(session, "PreToolUse", tool_name="Bash", tool_use_id="t-1", tool_input=given) is None


@pytest.mark.rule("W40", "S4.27")
def test_an_edit_costs_nothing_and_what_a_shell_changed_is_seen(machine: Machine) -> None:
    session = machine.session(machine.flow({"plan": stage({"done": "complete"}, writes="artifact")}))
    shadow = next((machine.home / "projects").glob("*/shadow"))

    def objects() -> list[Path]:
        return sorted(path for path in shadow.rglob("*") if path.is_file())

    before = objects()
    path = machine.write("src.py", "x = 2\n")
    edit = {"tool_name": "Edit", "tool_input": {"file_path": str(path)}, "tool_use_id": "t-1"}
    assert hook(session, "PostToolUse", **edit) is None
    assert objects() == before
    subprocess.run(["sh", "-c", "echo 'by a shell' > made.txt"], cwd=machine.project, check=True)
    session.claim("done")
    refused = session.advance()
    assert refused.code == "tree.changed"
    for name in ("src.py", "made.txt"):
        assert name in refused.json["refusal"]["message"]


@pytest.mark.rule("W44", "S2.7")
def test_a_newline_in_the_topic_overwrites_nothing(machine: Machine) -> None:
    topic = "x\nstatus: complete\nepoch: 99\n---\nactive: false"
    session = Session(machine, SESSION)
    started = session.cli("start", topic, "--topic", topic, "--flow", machine.flow(ONE), "--json")
    session.run = started.json["run"]
    head = (session.folder / "state.md").read_text().split("---\n")[1].splitlines()
    assert [line for line in head if line.startswith(("status:", "epoch:", "active:"))] == [
        "active: true", "status: plan", "epoch: 1",
    ]  # fmt: skip
    assert session.cli("status", "--topic", topic, "--json").json["run"] == session.run
    assert session.cli("tick").json["status"] == "plan"


@pytest.mark.rule("W47", "S1.38")
def test_validating_runs_no_code_of_anybody_else(machine: Machine) -> None:
    flow = machine.flow(ONE, run_files={"made": {"init": f"touch {machine.root}/ran"}})
    for name in ("stagent.py", "json.py", "sitecustomize.py", "plugin-root"):
        machine.write(name, f"open({str(machine.root / 'ran')!r}, 'w')\n")
    settings = machine.root / "home" / ".config" / "stagent"
    settings.mkdir(parents=True)
    (settings / "plugin-root").write_text(f"{machine.project}\n")
    program = Path(sys.executable).with_name("stagent")
    argv = [str(program), "validate", "--flow", flow]
    done = subprocess.run(argv, cwd=machine.project, env=machine.env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[:1]) == (0, "✅"), done.stderr
    assert not (machine.root / "ran").exists()
    assert not (machine.home / "registry.db").exists()


@pytest.mark.rule("W50", "S4.18")
def test_with_an_agent_at_work_in_the_background_nobody_is_waited_for(session: Session) -> None:
    session.cli("tick")
    agent = {"agent_id": "a1b2c3d4e5f6a7b8c", "agent_type": "Explore"}
    given = {"subagent_type": "Explore", "prompt": "look"}
    hook(session, "PreToolUse", tool_name="Agent", tool_use_id="t-1", tool_input=given)
    hook(session, "SubagentStart", **agent)
    task = {"id": agent["agent_id"], "type": "subagent", "agent_type": "Explore", "status": "running"}
    answer = hook(session, "Stop", background_tasks=[task])
    assert answer is not None
    assert "a1b2c3d4e5f6" in answer["systemMessage"]
    assert beside(session, ".waiting") == ""
    hook(session, "SubagentStop", **agent)
    hook(session, "Stop", background_tasks=[])
    assert beside(session, ".waiting") == "question"


@pytest.mark.rule("W18", "S4.29")
@pytest.mark.parametrize("stranger", ["agent-8", "../../../evil", "agent-7/../x", "agent-7\n"])
def test_the_end_of_another_agent_ends_nothing_and_no_id_is_a_path(building: Session, stranger: str) -> None:
    machine, worker = building.machine, {"agent_type": "stagent:workflow-subagent", "agent_id": "agent-7"}
    hook(building, "SubagentStart", **worker)
    noted = (machine.home / "spool", machine.home / "activity")

    def files() -> list[Path]:
        return sorted(path for path in machine.root.rglob("*") if path.parent not in noted)

    before = files()
    for event in ("SubagentStart", "SubagentStop"):
        hook(building, event, agent_id=stranger, agent_type="Explore")
    hook(building, "SubagentStop", agent_id=stranger, agent_type=worker["agent_type"], stop_hook_active=True)
    launch = {"subagent_type": worker["agent_type"], "prompt": "Run your stage."}
    second = hook(building, "PreToolUse", tool_name="Agent", tool_use_id="t-2", tool_input=launch)
    assert second is not None
    assert second["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert "agent-7" in second["hookSpecificOutput"]["permissionDecisionReason"]
    assert files() == before
    assert {path.name.partition(".")[0] for folder in noted for path in folder.iterdir()} == {building.run}
    assert building.cli("interrupt").out.splitlines()[0].split()[:2] == ["STAGENT_STOP_AGENT_IDS:", "agent-7"]


@pytest.mark.rule("W46")
def test_what_hooks_keep_of_ordinary_calls_does_not_grow_without_limit(session: Session) -> None:
    """A bystander leaves nothing at all, and what the driver's calls leave is no part of the log."""
    machine = session.machine
    spool = machine.home / "spool" / f"{session.run}.ndjson"
    events, stranger = session.log(), Session(machine, OTHER)
    before = sorted(machine.home.rglob("*"))
    for number in range(5):
        given = {"tool_name": "Read", "tool_input": {"file_path": "x" * 5000}, "tool_use_id": f"t-{number}"}
        hook(stranger, "PostToolUse", **given, tool_response={"content": "y" * 100_000})
    assert sorted(machine.home.rglob("*")) == before
    size = spool.stat().st_size if spool.exists() else 0
    for number in range(5):
        given = {"tool_name": "Read", "tool_input": {"file_path": "x" * 5000}, "tool_use_id": f"t-{number}"}
        hook(session, "PostToolUse", **given, tool_response={"content": "y" * 100_000})
    assert (spool.stat().st_size if spool.exists() else 0) == size
    grown = sum(path.stat().st_size for path in machine.home.rglob("*") if path.is_file() and path not in before)
    assert grown < 10_000
    session.cli("tick")
    assert session.log() == events

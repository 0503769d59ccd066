"""Disks that are full or may not be written: nothing half-made, nothing lost, and on with it when there is room."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.bad_input.kit import PLAIN, Bench, refused, unfinished
from acceptance.support import claim, shell, stage

FULL = {"store.full", "store.io", "workspace.shadow", "workspace.git_failed", "system.full", "home.unwritable"}
FULL |= {"runner.stream_unwritable", "workspace.unwritable", "workspace.unreadable", "workspace.run_folder"}
READ = 0o555


def test_a_project_that_may_not_be_written(machine: Bench) -> None:
    with machine.nothing_made():
        machine.project.chmod(READ)
        done = machine.call(*machine.plain(), obey=True)
        started = machine.call("start", "a task", "--flow", machine.flow(PLAIN), "--json", obey=True)
        machine.project.chmod(0o755)
    for one in (done, started):
        refused(one, 1, "workspace.run_folder", place=str(machine.project), remedy="project's folder writable")
    machine.works()


def test_private_ignore_rules_that_may_not_be_written(machine: Bench) -> None:
    rules = machine.project / ".git" / "info"
    with machine.nothing_made():
        rules.chmod(READ)
        done = machine.call(*machine.plain(), obey=True)
        rules.chmod(0o755)
    refused(done, 1, "workspace.unwritable", place=str(rules / "exclude"), remedy="add the line /.stagent/")
    machine.works()


def test_a_data_home_that_may_not_be_written(machine: Bench) -> None:
    done = machine.works()
    run = done.lines[-1]["run"]
    before = machine.log(run)
    places = [machine.home, *machine.home.rglob("*")]
    with machine.nothing_made():
        for place in places:
            place.chmod(READ if place.is_dir() else 0o444)
        begun = machine.call(*machine.plain(), obey=True)
        setting = machine.call("config", "agent", "scripted", "--json", obey=True)
        for place in places:
            place.chmod(0o755 if place.is_dir() else 0o644)
    refused(begun, 1, "store.readonly", place=str(machine.home), remedy="set STAGENT_HOME to a folder you may write")
    refused(setting, 1, "home.unwritable", place=str(machine.home), remedy="set STAGENT_HOME")
    assert machine.log(run) == before
    machine.works()


def test_a_data_home_that_cannot_be_made(machine: Bench) -> None:
    closed = machine.root / "closed"
    closed.mkdir(mode=READ)
    done = machine.call(*machine.plain(), env={"STAGENT_HOME": str(closed / "home")}, obey=True)
    refused(done, 1, "home.unwritable", place=str(closed / "home"), remedy="set STAGENT_HOME to one that is")
    assert list(closed.iterdir()) == []


def test_a_folder_of_projects_that_may_not_be_written(machine: Bench) -> None:
    machine.call("runs", "--json")
    folder = machine.home / "projects"
    folder.mkdir()
    with machine.nothing_made():
        folder.chmod(READ)
        done = machine.call(*machine.plain(), obey=True)
        folder.chmod(0o700)
    refused(done, 1, "home.unwritable", place=str(folder), remedy="Make the data home writable")
    machine.works()


@pytest.mark.parametrize("room", [0, 20_000, 60_000])
def test_a_disk_that_fills_up_at_the_start(machine: Bench, room: int) -> None:
    done = machine.call(*machine.plain(), room=room)
    assert done.status == 1, done.out
    error = done.lines[-1]
    assert error["error"] in FULL
    assert str(machine.root) in error["message"]
    assert "room" in error["message"] + error["remedy"] or "space" in error["remedy"] or "writable" in error["remedy"]
    assert unfinished(machine.project, machine.home / "live") == []
    # Whatever got as far as the log can go on from there; everything else is as if nobody had asked.
    for row in machine.runs():
        again = machine.resume(row["run"])
        assert (again.status, again.state.terminal) == (0, "complete")
    machine.works()
    for row in machine.runs():
        assert machine.call("audit", "verify", row["run"]).status == 0


def test_a_disk_that_fills_up_on_the_way(machine: Bench) -> None:
    flow = machine.flow({"one": stage({"done": "two"}), "two": stage({"done": "complete"})})
    big = shell("head -c 300000 /dev/urandom | base64 -w0")
    driving = machine.driving(flow, {"one": [claim("done")], "two": [big, claim("done")]})
    done = machine.call(*driving, room=200_000)
    # The log still takes what happened; there is a last line like that of any run, and nobody believes that it goes on.
    assert (done.status, done.lines[-1]["ending"]) == (3, "blocked"), done.out
    assert done.lines[-1]["refusal"] in FULL
    assert str(machine.home) in done.err
    assert "room" in done.err or "space" in done.err
    [row] = machine.runs()
    assert row["status"] == "blocked"
    before = machine.log(row["run"])
    assert [event["stage"] for event in before if event["type"] == "stage.entered"] == ["one", "two"]
    again = machine.resume(row["run"])
    assert (again.status, again.state.terminal) == (0, "complete")
    assert machine.log(row["run"])[: len(before)] == before
    assert machine.call("audit", "verify", row["run"]).status == 0


SMALL_DISK = """
set -e
mount -t tmpfs -o size=2m none "$STAGENT_HOME"
set +e
"$@" > "$SAID"
echo $? > "$SAID.status"
df --output=avail -k "$STAGENT_HOME" | tail -1 > "$SAID.left"
mount -o remount,size=64m "$STAGENT_HOME"
run=$(ls "$STAGENT_HOME/projects/"*/streams)
"$PYTHON" -m stagent log "$run" --json > "$SAID.before"
"$PYTHON" -m stagent run --resume "$run" --agent scripted --script "$SCRIPT" --json > "$SAID.again"
echo $? >> "$SAID.status"
"$PYTHON" -m stagent log "$run" --json > "$SAID.after"
"$PYTHON" -m stagent audit verify "$run" > "$SAID.audit"
"""


def test_a_disk_that_is_truly_full(machine: Bench) -> None:
    """A small file system of its own: unlike under a limit on a file, every write finds no room, not only long ones."""
    if sys.platform != "linux":
        return
    flow = machine.flow({"one": stage({"done": "two"}), "two": stage({"done": "complete"})})
    big = shell("head -c 3000000 /dev/urandom | base64 -w0")
    words = machine.driving(flow, {"one": [claim("done")], "two": [[big, claim("done")], [claim("done")]]})
    machine.home.mkdir(exist_ok=True)
    said = machine.root / "said"
    # A mount of one's own takes no more rights than a user has.
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "sh"]
    done = subprocess.run(
        [*command, sys.executable, "-m", "stagent", *words],
        cwd=machine.project,
        env={**machine.env, "SAID": str(said), "PYTHON": sys.executable, "SCRIPT": str(machine.root / "script.json")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, again = Path(f"{said}.status").read_text().split()
    error = json.loads(said.read_text().splitlines()[-1])
    assert (first, error["error"] in FULL) == ("1", True), error
    assert str(machine.home) in error["message"]
    assert "room" in error["remedy"] or "space" in error["remedy"]
    assert int(Path(f"{said}.left").read_text()) < 64, "it was full"
    before, after = (Path(f"{said}.{name}").read_text().splitlines() for name in ("before", "after"))
    assert after[: len(before)] == before and len(before) > 3
    assert again == "0", Path(f"{said}.again").read_text()
    assert "consistent" in Path(f"{said}.audit").read_text() and "NOT" not in Path(f"{said}.audit").read_text()


def test_an_artifact_there_is_no_room_to_keep(machine: Bench) -> None:
    session = machine.session(machine.flow(PLAIN))
    session.claim("done", body="\n" + "x" * 400_000)
    before = session.log()
    done = machine.call("advance", "--json", env=session.env, room=150_000)
    refused(done, 1, "store.full", place=str(machine.home), remedy="Free some space")
    assert session.log() == before
    assert unfinished(machine.project, machine.home) == []
    assert session.advance().status == 0
    assert session.state.terminal == "complete"


def test_a_report_there_is_no_room_for(machine: Bench) -> None:
    long = {"work": [claim("done", body="\n" + "x" * 200_000)]}
    run = machine.works(*machine.driving(machine.flow(PLAIN), long)).lines[-1]["run"]
    report = machine.root / "report.html"
    report.write_text("the old one")
    done = machine.call("export", run, "--format", "html", "--output", str(report), room=120_000)
    assert done.status == 64, done.err
    assert str(report) in done.err
    assert "Name a file in a folder that exists and that you may write" in done.err
    assert report.read_text() == "the old one"
    assert [place.name for place in machine.root.iterdir() if "report" in place.name] == ["report.html"]


def test_output_that_leads_to_a_full_disk(machine: Bench) -> None:
    machine.works()
    if not Path("/dev/full").exists():
        assert sys.platform != "linux"
        return
    for command in ("show", "log", "status --json", "tick", "--help"):
        done = machine.shell(f"stagent {command} > /dev/full")
        assert done.status == 1, command
        assert done.err == (
            "stagent: standard output: the system said: No space left on device. "
            "See that what it leads to takes what is written.\n"
        )


def test_a_run_whose_output_finds_no_room_goes_on(machine: Bench) -> None:
    place = "/dev/full" if Path("/dev/full").exists() else "/dev/null"
    words = " ".join(f"'{word}'" for word in machine.plain())
    done = machine.shell(f"stagent {words} > {place}")
    assert done.status == 0, done.err
    assert [row["status"] for row in machine.runs()] == ["complete"]

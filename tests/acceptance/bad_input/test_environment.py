"""Command lines, homes, folders, locales, outputs, terminals and agents that are not what a program hopes for."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.bad_input.kit import PLAIN, Bench, refused
from acceptance.support import claim, stage

USAGE = {
    "frobnicate": "stagent --help",
    "--frobnicate": "stagent --help",
    "": "stagent --help",
    "run --frobnicate": "stagent run --help",
    "status one two": "stagent status --help",
    "runs more": "stagent runs --help",
    "tick --frobnicate": "stagent tick --help",
    "advance --to": "stagent advance --help",
    "next": "stagent next --help",
    "wait --timeout soon": "stagent wait --help",
    "wait --timeout nan": "stagent wait --help",
    "audit frobnicate": "stagent audit --help",
    "run x --script nowhere.json": "stagent run --help",
    "start x --project nowhere": "stagent start --help",
}


@pytest.mark.rule("S3.1", "S3.3", "S3.4", "W45")
@pytest.mark.parametrize("line", USAGE)
def test_a_command_line_that_is_wrong(machine: Bench, line: str) -> None:
    words = line.split() or [""]
    done = machine.call(*words, "--json")
    error = refused(done, 64, "usage", place=USAGE[line].removesuffix(" --help"), remedy=USAGE[line])
    assert "\n" not in error["message"]
    assert not machine.home.exists() or machine.stored() == set()


def test_a_command_line_that_is_wrong_is_told_to_people(machine: Bench) -> None:
    for line in ("frobnicate", "run --frobnicate", "wait --timeout soon"):
        done = machine.call(*line.split())
        assert (done.status, done.out) == (64, "")
        assert USAGE[line] in done.err


NAMES = {
    "status r-nonsense": ("run.id", 64),
    "status r-01ARZ3NDEKTSV4RRFFQ69G5FAV": ("run.unknown", 1),
    "status --session ../x": ("session.id", 64),
    "status --session s-1": ("run.none", 1),
    "status --topic nothing": ("run.none", 1),
    "context": ("run.none", 1),
    "tick": ("run.none", 1),
    "run x --agent nobody": ("agents.unknown", 64),
    "run x": ("agent.none", 64),
    "start": ("start.no_task", 64),
    "start x --mode cloud": ("mode.unknown", 64),
    "config frobnicate": ("config.unknown", 64),
    "config mode cloud": ("config.value", 64),
    "config attempts none": ("config.value", 64),
    "config agent bogus": ("config.value", 64),
}


@pytest.mark.parametrize("line", NAMES)
def test_a_name_nobody_knows(machine: Bench, line: str) -> None:
    code, status = NAMES[line]
    machine.home.mkdir()
    with machine.nothing_made():
        done = machine.call(*line.split(), "--json")
    error = refused(done, status, code, place="", remedy="")
    assert error["remedy"]


def test_arguments_that_are_no_text(machine: Bench) -> None:
    done = machine.call("status", os.fsdecode(b"r-\xff"), "--json")
    error = refused(done, 64, "run.id", place="r-", remedy="stagent runs")
    assert "\\udcff" in error["message"]


def test_a_data_home_that_is_relative(machine: Bench) -> None:
    machine.works(env={"STAGENT_HOME": "../elsewhere"})
    assert (machine.root / "elsewhere" / "registry.db").is_file()
    assert not (machine.project / "elsewhere").exists()


@pytest.mark.parametrize("below", ["", "/home"])
def test_a_data_home_that_is_a_file(machine: Bench, below: str) -> None:
    place = machine.root / "file"
    place.write_text("mine")
    with machine.nothing_made():
        done = machine.call(*machine.plain(), env={"STAGENT_HOME": f"{place}{below}"})
    refused(done, 1, "home.unwritable", place=f"{place}{below}", remedy="set STAGENT_HOME to one that is")
    assert place.read_text() == "mine"


def test_a_data_home_whose_path_is_no_text(machine: Bench) -> None:
    with machine.nothing_made():
        done = machine.call(*machine.plain(), env={"STAGENT_HOME": os.fsdecode(b"/tmp/ho\xffme")})
    refused(done, 1, "home.not_text", place="ho\\xffme", remedy="Set STAGENT_HOME to a path that is")


def test_without_home_the_systems_word_counts(machine: Bench) -> None:
    away = {"HOME": None, "STAGENT_HOME": None, "XDG_DATA_HOME": None}
    done = machine.call("config", "--json", env=away)
    assert done.status == 0, done.err
    assert pwd.getpwuid(os.getuid()).pw_dir in machine.call("config", env=away).out
    machine.works(env={"HOME": None})


@pytest.mark.parametrize("text", [b'{"agent": "\xff"}', b"{", b'{"agent": 1}', b"[" * 100_000])
def test_settings_that_are_damaged(machine: Bench, text: bytes) -> None:
    machine.home.mkdir()
    place = machine.home / "config.json"
    place.write_bytes(text)
    with machine.nothing_made():
        done = machine.call("run", "x", "--flow", machine.flow(PLAIN), "--json")
    refused(done, 1, "config.damaged", place=str(place), remedy="Mend or delete it")
    changed = machine.call("config", "agent", "scripted", "--json")
    refused(changed, 1, "config.damaged", place=str(place), remedy="Mend or delete it")
    assert place.read_bytes() == text
    place.unlink()
    machine.works()


GONE = "mkdir gone && cd gone && rmdir ../gone && "


@pytest.mark.parametrize("command", ["runs", "status", "tick", "start x", "run x --agent scripted", "validate"])
def test_a_current_folder_that_is_gone(machine: Bench, command: str) -> None:
    done = machine.shell(f"{GONE}stagent {command} --json")
    refused(done, 1, "system.folder_gone", place="current folder", remedy="Change to one that does")
    assert machine.stored() == set()


def test_what_needs_no_current_folder_works_without_one(machine: Bench) -> None:
    run = machine.works().lines[-1]["run"]
    for command in ("runs --all", f"status {run}", f"show {run}", "doctor", "--version", "--help", "config"):
        done = machine.shell(f"{GONE}stagent {command}")
        assert (done.status, bool(done.out)) == (0, True), command + done.err


LOCALES = {
    "C": {"LC_ALL": "C", "LANG": None},
    "C without its remedies": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "none": {"LC_ALL": None, "LANG": None},
    "ASCII output": {"PYTHONIOENCODING": "ascii:strict"},
    "Latin-1 output": {"PYTHONIOENCODING": "latin-1:strict"},
}


def test_letters_the_terminal_does_not_have(machine: Bench) -> None:
    task = "za\N{LATIN SMALL LETTER Z WITH ACUTE} \N{SNOWMAN} \N{PILE OF POO}"
    done = machine.works("run", task, *machine.plain()[2:])
    run = done.lines[-1]["run"]
    for env in LOCALES.values():
        for words in (["runs"], ["show", run]):
            said = machine.call(*words, env=env)
            assert (said.status, run in said.out) == (0, True), said.err
    document = machine.call("runs", "--json", env={"LC_ALL": "C"}).json
    assert [row["label"] for row in document] == [task]  # type: ignore[index]
    other = machine.call("run", task, *machine.plain()[2:], env=LOCALES["C without its remedies"])
    assert other.status == 0, other.err


READERS = {
    "gone": "stagent {} | true; exit ${{PIPESTATUS[0]}}",
    "gone after a line": "stagent {} | head -1 > /dev/null; exit ${{PIPESTATUS[0]}}",
    "closed": "stagent {} >&-",
    "closed, all of them": "stagent {} <&- >&- 2>&-",
}


@pytest.mark.parametrize("how", READERS)
def test_output_nobody_reads(machine: Bench, how: str) -> None:
    run = machine.works().lines[-1]["run"]
    for command in (f"log {run}", f"show {run}", f"status {run} --json", "--help"):
        done = machine.shell(READERS[how].format(command))
        assert (done.status, done.err) == (0, ""), command


@pytest.mark.parametrize("how", READERS)
def test_a_run_whose_output_nobody_reads_goes_on_to_its_end(machine: Bench, how: str) -> None:
    flow = machine.flow({"one": stage({"done": "two"}), "two": stage({"bad": "escalated"})})
    words = machine.driving(flow, {"one": [claim("done")], "two": [claim("bad")]})
    done = machine.shell(READERS[how].format(" ".join(f"'{word}'" for word in words)))
    assert (done.status, done.err) == (3, "")
    assert [row["status"] for row in machine.runs()] == ["escalated"]


def test_an_error_nobody_reads_keeps_its_status(machine: Bench) -> None:
    for line in ("stagent tick --json >&- 2>&-", "stagent tick --json | true; exit ${PIPESTATUS[0]}"):
        assert machine.shell(line).status == 1
    assert machine.shell("stagent start - <&-").status == 64


def test_a_terminal_of_twenty_columns(machine: Bench) -> None:
    look = {"name": "look", "run": "echo words", "for": ["done"]}
    flow = machine.flow({"work": stage({"done": "complete"}, title="A rather long title of a stage", checks=[look])})
    run = machine.works(*machine.driving(flow, task="a task of many words " * 9)).lines[-1]["run"]
    terminal = (
        "import os, pty, sys\n"
        "pid, end = pty.fork()\n"
        "if pid == 0: os.execv(sys.argv[1], sys.argv[1:])\n"
        "import fcntl, struct, termios\n"
        "fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack('HHHH', 10, 20, 0, 0))\n"
        "said = b''\n"
        "while True:\n"
        "    try: part = os.read(end, 65536)\n"
        "    except OSError: break\n"
        "    if not part: break\n"
        "    said += part\n"
        "sys.stdout.buffer.write(said)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    env = {**machine.env, "COLUMNS": "20", "LINES": "10", "TERM": "dumb"}
    for words in (["runs"], ["status", run], ["show", run], ["log", run], ["doctor"], ["--help"]):
        argv = [sys.executable, "-c", terminal, sys.executable, "-m", "stagent", *words]
        done = subprocess.run(argv, cwd=machine.project, env=env, capture_output=True, timeout=25)
        assert done.returncode == 0, done.stdout
        assert done.stdout and b"Traceback" not in done.stdout


NO_SCRIPTS = {
    "not JSON": ("{", "agent.script_not_json", "Correct it at that place"),
    "no script": ('{"stages": {"work": [{"dance": 1}]}}', "agent.script_invalid", "Correct every place named"),
}


@pytest.mark.parametrize("how", NO_SCRIPTS)
def test_a_script_that_cannot_be_followed(machine: Bench, how: str) -> None:
    text, code, remedy = NO_SCRIPTS[how]
    words = machine.plain()
    script = Path(machine.script({}))
    script.write_text(text)
    refused(machine.call(*words), 1, code, place=str(script), remedy=remedy)
    assert machine.runs() == []


def _stand_in(machine: Bench, text: str) -> str:
    place = machine.root / "claude"
    place.write_text(text)
    place.chmod(0o755)
    return str(place)


STAND_INS = {
    "nonsense": ("#!/bin/sh\necho colourless green ideas\n", "version"),
    "nothing": ("#!/bin/sh\nexit 0\n", "version"),
    "no text": ("#!/bin/sh\nprintf '\\377\\376\\000\\n'\n", "version"),
    "a failure": ("#!/bin/sh\necho no >&2; exit 9\n", ""),
    "too old": ("#!/bin/sh\necho '1.0.0 (Claude Code)'\n", "oldest"),
    "no program": ("\0\0 nonsense", ""),
}


@pytest.mark.parametrize("how", STAND_INS)
def test_an_agents_program_of_an_unknown_version(machine: Bench, how: str) -> None:
    text, what = STAND_INS[how]
    program = _stand_in(machine, text)
    _unusable(machine, program, what)


def test_an_agents_program_that_is_not_there(machine: Bench) -> None:
    error = _unusable(machine, str(machine.root / "nowhere"), "there is no program")
    assert error["error"] == "agent.program_missing"
    assert "Install Claude Code" in error["remedy"]


def _unusable(machine: Bench, program: str, what: str) -> dict[str, object]:
    words = ["run", "x", "--flow", machine.flow(PLAIN), "--agent", "claude", "--json"]
    done = machine.call(*words, env={"STAGENT_CLAUDE": program})
    assert done.status == 1, done.out
    error: dict[str, object] = json.loads(done.out.splitlines()[-1])
    assert machine.runs() == []
    assert str(error["error"]).startswith("agent.program")
    assert program in str(error["message"])
    assert what in str(error["message"])
    assert error["remedy"]
    return error

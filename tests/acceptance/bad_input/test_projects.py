"""Projects that are no repository, half of one or an odd one, and names nobody expects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from acceptance.bad_input.kit import DOES, PLAIN, Bench, contents, refused
from acceptance.support import claim, shell, stage

ODD = "a 'b' \"c\"\nd $e `f` \\ żółć \N{SNOWMAN}"


def _bound(machine: Bench) -> str:
    """A workflow whose stage may not write the project and whose check looks at it."""
    look = {"name": "look", "run": "test -e src.py", "for": ["done"], "protect": ["src.py"]}
    return machine.flow({"work": stage({"done": "complete"}, writes="artifact", checks=[look])})


@pytest.mark.rule("S2.30")
def test_a_folder_without_git_works(tmp_path: Path) -> None:
    machine = Bench(tmp_path)
    machine.write("src.py", "x = 1\n")
    machine.works(*machine.driving(_bound(machine)))
    assert not (machine.project / ".git").exists()


@pytest.mark.rule("S2.26", "S2.27")
def test_a_repository_without_commits_works(tmp_path: Path) -> None:
    machine = Bench(tmp_path)
    machine.write("src.py", "x = 1\n")
    machine.git("init", "-q")
    machine.works(*machine.driving(_bound(machine)))


def test_a_detached_head_works_and_stays_where_it_is(machine: Bench) -> None:
    machine.git("checkout", "-q", "--detach")
    before = machine.read(".git/HEAD")
    machine.works(*machine.driving(_bound(machine)))
    assert machine.read(".git/HEAD") == before


def test_a_bare_repository_is_refused(tmp_path: Path) -> None:
    machine = Bench(tmp_path)
    machine.git("init", "-q", "--bare")
    with machine.nothing_made():
        done = machine.call(*machine.plain())
    refused(done, 1, "workspace.bare", place=str(machine.project), remedy="git worktree add")


def test_submodules_work_and_a_change_in_one_is_seen(machine: Bench) -> None:
    library = machine.root / "library"
    library.mkdir()
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "begin"]):
        machine.git(*arguments, cwd=library)
    machine.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    machine.git("commit", "-q", "-m", "add the library")
    machine.works(*machine.driving(_bound(machine)))
    commit = "cd lib && git commit -q --allow-empty -m more"
    flow = machine.flow({"work": stage({"done": "complete"}, writes="artifact", retry={"attempts": 1})})
    done = machine.call(*machine.driving(flow, {"work": [shell(commit), claim("done")]}))
    assert done.status == 3
    run = done.lines[-1]["run"]
    [refusal] = [event for event in machine.log(run) if event.get("code") == "tree.changed"]
    assert "lib" in machine.blob(run, refusal["text"])


@pytest.mark.rule("W1")
def test_odd_names_everywhere_work(tmp_path: Path) -> None:
    root = tmp_path / ODD
    root.mkdir()
    machine = Bench(root)
    machine.project = root / f"project {ODD}"
    machine.project.mkdir()
    machine.home = root / f"home {ODD}"
    machine.env["STAGENT_HOME"] = str(machine.home)
    machine.repository({"src.py": "x = 1\n", ODD: "odd\n"})
    look = {"name": "look", "run": "cat *", "for": ["done"], "protect": ["**"]}
    flow = machine.flow({"work": stage({"done": "complete"}, writes="project", checks=[look])})
    done = machine.works(*machine.driving(flow, {"work": [shell("echo more > '$new \"file'"), claim("done")]}, ODD))
    run = done.lines[-1]["run"]
    assert Path(done.lines[-1]["report"]).is_file()
    for words in (["status", run], ["show", run], ["runs"], ["log", run], ["diff", run], ["doctor"]):
        assert machine.call(*words).status == 0, words
    assert machine.call("audit", "verify", run).status == 0
    assert [row["label"] for row in machine.runs()] == [ODD.splitlines()[0]]
    session = machine.session(flow, session=None)
    assert session.folder.is_dir()
    assert Path(session.cli("tick").json["output_artifact_path"]).parent == session.folder


def test_a_project_whose_path_is_no_text_is_refused(machine: Bench) -> None:
    odd = Path(os.fsdecode(os.fsencode(machine.root) + b"/pro\xffject"))
    odd.mkdir()
    done = machine.call(*machine.plain(), cwd=odd)
    refused(done, 1, "workspace.not_text", place="pro\\xffject", remedy="Rename the folder")
    assert contents(odd) == {}
    assert machine.runs() == []


def test_a_file_of_the_project_whose_name_is_no_text_is_seen(machine: Bench) -> None:
    flow = machine.flow({"work": stage({"done": "complete"}, writes="artifact", retry={"attempts": 1})})
    name = shell("printf x > \"$(printf 'fi\\377le')\"")
    done = machine.call(*machine.driving(flow, {"work": [name, claim("done")]}))
    assert done.status == 3
    run = done.lines[-1]["run"]
    assert {event["code"] for event in machine.log(run) if event.get("code")} >= {"tree.changed"}
    assert machine.call("show", run).status == 0
    assert machine.call("diff", run).status == 0


@pytest.mark.rule("W9", "S3.41")
@pytest.mark.parametrize(
    "task",
    ["first line\nsecond \"line\" 'x' $(y) `z`", "x" * 120_000, "\x1b[2J\x07 bell", "-", "żółć \N{PILE OF POO}"],
    ids=["lines", "long", "steering", "from stdin", "letters"],
)
def test_any_task_reaches_the_agent_whole(machine: Bench, task: str) -> None:
    words = "of the\nstandard input" if task == "-" else task
    done = machine.call("start", task, "--flow", machine.flow(PLAIN), "--json", stdin=words.encode())
    assert done.status == 0, done.err
    run = done.json["run"]
    assert machine.blob(run, machine.state(run).task) == words
    [row] = machine.runs()
    assert row["label"] == words.splitlines()[0].strip()[:120]
    listed = machine.call("runs").out
    assert "\x1b" not in listed and "\x07" not in listed
    assert len(listed.splitlines()) == 2


def test_a_task_that_is_no_text_is_kept_as_it_is(machine: Bench) -> None:
    done = machine.works("run", os.fsdecode(b"caf\xe9"), *machine.plain()[2:])
    run = done.lines[-1]["run"]
    [row] = machine.runs()
    assert (row["run"], row["label"], row["status"]) == (run, "caf\N{REPLACEMENT CHARACTER}", "complete")
    again = machine.call("start", "-", "--flow", machine.flow(PLAIN), "--json", stdin=b"caf\xe9")
    assert again.status == 0, again.err


@pytest.mark.rule("W1", "S5.3")
def test_a_topic_finds_its_run_whatever_letters_it_has(machine: Bench) -> None:
    topic = 'two\nlines and "quotes" \N{SNOWMAN}' + "x" * 500
    flow = machine.flow(PLAIN)
    started = machine.call("start", "a task", "--topic", topic, "--flow", flow, "--json")
    assert started.status == 0, started.err
    found = machine.call("status", "--topic", topic, "--json")
    assert (found.status, found.json["run"]) == (0, started.json["run"])
    with machine.nothing_made():
        done = machine.call("start", "x", "--topic", os.fsdecode(b"to\xffpic"), "--flow", flow, "--json")
    refused(done, 64, "usage", place="--topic", remedy="Give it as text")


def test_what_lies_in_the_place_of_the_run_folders_is_left_alone(machine: Bench) -> None:
    machine.write(".stagent", "mine\n")
    with machine.nothing_made():
        done = machine.call(*machine.plain())
    refused(done, 1, "workspace.run_folder", place=str(machine.project / ".stagent"), remedy="move away what lies")
    assert machine.read(".stagent") == "mine\n"


def test_without_the_program_git_nothing_begins(machine: Bench) -> None:
    tools = machine.root / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    with machine.nothing_made():
        done = machine.call(*machine.plain(), env={"PATH": str(tools)})
    refused(done, 1, "workspace.no_git", place="PATH", remedy="Install git")
    machine.works(*machine.driving(machine.flow(PLAIN), DOES))

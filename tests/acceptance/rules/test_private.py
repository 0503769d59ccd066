"""The run folder stays out of the user's repository, wherever the project lies in it, and in the project."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from acceptance.support import SESSION, Machine, Session, stage

STAGES = {"plan": stage({"done": "judge"}), "judge": stage({"done": "complete"})}


def git(machine: Machine, *words: str, folder: Path | None = None) -> str:
    """Call git in the project, or in another folder."""
    done = subprocess.run(
        ["git", *words], cwd=folder or machine.project, env=machine.env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def started(machine: Machine, folder: Path, *words: str) -> Session:
    """A run that was started in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    machine.project = folder
    run = Session(machine, SESSION)
    answer = run.cli("start", "x", "--flow", machine.flow(STAGES), "--json", *words)
    assert answer.status == 0, answer.err
    run.run = answer.json["run"]
    return run


@pytest.mark.parametrize("name", ["big/pkg", "big/a [b]"])
def test_of_a_project_inside_a_repository(machine: Machine, name: str) -> None:
    top = machine.project
    run = started(machine, top / name, "--project", ".")
    assert run.folder.is_relative_to(top / name)
    assert git(machine, "status", "--short", folder=top) == ""


def test_without_a_named_project_it_is_the_top_of_the_work_tree(machine: Machine) -> None:
    top = machine.project
    started(machine, top / "big" / "pkg")
    assert (top / ".stagent" / SESSION).is_dir()
    assert not (top / "big" / "pkg" / ".stagent").exists()


@pytest.mark.parametrize("inside", ["", "sub"])
def test_of_a_linked_work_tree(machine: Machine, inside: str) -> None:
    linked = machine.root / "linked"
    git(machine, "worktree", "add", "-q", str(linked))
    started(machine, linked / inside, "--project", ".")
    assert (linked / inside / ".stagent").is_dir()
    assert git(machine, "status", "--short", folder=linked) == ""


@pytest.mark.parametrize("how", ["advance", "continue"])
def test_of_a_repository_that_was_made_later(machine: Machine, how: str) -> None:
    run = started(machine, machine.root / "new" / "project")
    git(machine, "init", "-q", folder=machine.root / "new")
    assert ".stagent" in git(machine, "status", "--short", "-uall")
    if how == "advance":
        run.claim("done")
        assert run.advance().status == 0
    else:
        assert run.cli("interrupt").status == 0
        assert run.cli("continue").status == 0
    assert ".stagent" not in git(machine, "status", "--short", "-uall")


@pytest.mark.parametrize("place", [".stagent", ".stagent/.archive"])
def test_a_link_that_leads_out_of_the_project_is_refused(machine: Machine, place: str) -> None:
    outside, link = machine.root / "outside", machine.project / place
    outside.mkdir()
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    for call in (
        ("start", "x", "--json"),
        ("run", "x", "--agent", "scripted", "--script", machine.script({}), "--json"),
    ):
        done = machine.cli(*call, "--flow", machine.flow(STAGES))
        assert (done.status, done.code) == (1, "workspace.outside")
        assert str(outside) in done.err
    assert list(outside.iterdir()) == []
    link.unlink()
    (machine.project / "kept").mkdir()
    link.symlink_to(machine.project / "kept")
    assert machine.cli("start", "x", "--flow", machine.flow(STAGES)).status == 0

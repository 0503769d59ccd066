"""The commit a run was last seen at: noted whenever it moves or changes hands, and a continuation is held to it."""

from __future__ import annotations

import subprocess

import pytest

from acceptance.support import OTHER, SESSION, Machine, Session, stage


def git(machine: Machine, *words: str) -> str:
    """Call git in the project."""
    done = subprocess.run(["git", *words], cwd=machine.project, env=machine.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(run: Session) -> str:
    """Commit something and return the commit."""
    git(run.machine, "commit", "-q", "--allow-empty", "-m", "more")
    return git(run.machine, "rev-parse", "HEAD")


def last_seen(run: Session) -> str:
    """What state.md says."""
    lines = (run.folder / "state.md").read_text().splitlines()
    return next(line.removeprefix("last_seen_head: ") for line in lines if line.startswith("last_seen_head: "))


@pytest.fixture
def moved(building: Session) -> tuple[Session, str]:
    """A run that left two stages after a commit, none of them bound to the tree; and that commit."""
    made = commit(building)
    building.worked_by("agent-1", "done")
    assert building.advance().status == 0
    return building, made


@pytest.mark.rule("S2.34")
def test_a_transition_notes_the_commit(moved: tuple[Session, str]) -> None:
    run, made = moved
    assert last_seen(run) == made


@pytest.mark.rule("S2.34", "S7.7")
def test_a_take_over_is_held_to_the_commit_of_the_last_transition(moved: tuple[Session, str]) -> None:
    run, made = moved
    machine = run.machine
    git(machine, "reset", "-q", "--hard", "HEAD~1")
    refused = machine.person("continue", run.run, "--take-over")
    assert refused.status == 2
    assert f"behind: it lacks the last-seen commit {made[:12]}" in refused.out
    assert run.state.fence == 1
    git(machine, "reset", "-q", "--hard", made)
    later = commit(run)
    taken = machine.person("continue", run.run, "--take-over")
    assert taken.status == 0
    assert "has advanced" in taken.out
    assert last_seen(run) == later


@pytest.mark.rule("S2.34", "S7.7")
@pytest.mark.parametrize("event", ["Stalled", "SessionEnd"])
def test_a_run_that_was_let_go_is_held_to_its_commit(session: Session, event: str) -> None:
    made, machine = commit(session), session.machine
    session.hook(event, blocks=5, reason="other")
    assert session.cli("tick").status == 0
    assert session.state.status in ("stalled", "interrupted")
    assert last_seen(session) == made
    heir = Session(machine, OTHER)
    git(machine, "reset", "-q", "--hard", "HEAD~1")
    refused = heir.cli("continue", session.run, "--json")
    assert (refused.status, refused.code) == (2, "continue.project")
    git(machine, "reset", "-q", "--hard", made)
    done = heir.cli("continue", session.run)
    assert (done.status, done.err) == (0, ""), "its own commit is no advance of the project"


@pytest.mark.rule("S2.34")
def test_where_git_cannot_tell_a_run_goes_on_all_the_same(machine: Machine) -> None:
    run = machine.session(machine.flow({"plan": stage({"done": "judge"}), "judge": stage({"done": "complete"})}))
    seen = last_seen(run)
    (machine.project / ".git" / "HEAD").write_text("nonsense\n")
    run.claim("done")
    assert run.advance().status == 0
    assert last_seen(run) == seen
    assert run.session == SESSION

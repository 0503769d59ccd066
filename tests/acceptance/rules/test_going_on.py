"""How a paused run goes on: where, by whom, and when not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from acceptance.support import OTHER, SESSION, Machine, Session, claim, stage


def git(machine: Machine, *words: str, folder: Path | None = None) -> str:
    """Call git in the project, or in another folder."""
    done = subprocess.run(
        ["git", *words], cwd=folder or machine.project, env=machine.env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def paused(building: Session) -> Session:
    """A run that was paused in its second stage."""
    assert building.cli("interrupt").status == 0
    return building


def heir_of(run: Session) -> Session:
    """Another session that is to drive a run."""
    made = Session(run.machine, OTHER)
    made.run = run.run
    return made


def fields(run: Session) -> dict[str, str]:
    """What state.md says."""
    text = (run.folder / "state.md").read_text().split("---\n")[1]
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


@pytest.mark.rule("S7.4", "S7.9", "S7.10", "S7.11", "W28", "S2.14", "S2.38", "S2.41")
def test_a_paused_run_goes_on_in_another_session_with_all_that_is_known(paused: Session) -> None:
    before, folder = fields(paused), paused.folder
    heir = heir_of(paused)
    said = heir.cli("continue", paused.run)
    assert said.status == 0, said.err
    assert said.out.startswith(f"Going on with {paused.run} in stage build, epoch 2, at {paused.machine.project}.\n")
    assert f"Topic: a task; session: {OTHER}\n" in said.out
    assert "/stagent:interrupt" in said.out
    assert "/stagent:cancel" in said.out
    assert said.out.endswith(heir.cli("context").out)
    assert (heir.place, heir.state.status, heir.folder) == (("build", 2), "running", folder)
    after = fields(heir)
    assert (after["status"], after["session_id"]) == ("build", OTHER)
    kept = ("run", "workflow", "workflow_digest", "project_fingerprint", "baseline_tree", "started_at")
    for name in (*kept, "last_seen_head", "project_root"):
        assert after[name] == before[name], name
        assert after[name], name


@pytest.mark.rule("S7.2")
def test_without_a_name_the_only_paused_run_is_meant(session: Session, flow: str) -> None:
    machine, heir = session.machine, heir_of(session)
    live = heir.cli("continue", "--json")
    assert (live.status, live.code) == (2, "lease.held")
    assert session.cli("interrupt").status == 0
    third = Session(machine, "5e55ab1e-0000-4000-8000-000000000003")
    third.run = third.cli("start", "third", "--flow", flow, "--json").json["run"]
    assert third.cli("interrupt").status == 0
    several = heir.cli("continue", "--json")
    assert (several.status, several.code) == (64, "run.ambiguous")
    for run in (session.run, third.run):
        assert f"{run} (interrupted, stage plan)" in several.err
    assert machine.person("cancel", third.run).status == 0
    assert heir.cli("continue", "--json").json["run"] == session.run


@pytest.mark.rule("S7.2", "S3.20")
def test_without_any_run_there_is_nothing_to_go_on_with(machine: Machine) -> None:
    done = Session(machine, SESSION).cli("continue", "--json")
    assert (done.status, done.code) == (1, "run.none")


@pytest.mark.rule("W16", "S7.1")
@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("r-01K0000000000000000000000A",), 1, "run.unknown"),
        (("r-nonsense",), 64, "run.id"),
        (("--session", "5e55ab1e-0000-4000-8000-00000000dead"), 1, "run.none"),
    ],
)
def test_a_run_that_is_not_there_is_an_error_with_guidance(
    session: Session, words: tuple[str, ...], status: int, code: str
) -> None:
    done = heir_of(session).cli("continue", *words, "--json")
    assert (done.status, done.code) == (status, code)
    assert done.json["remedy"]
    assert done.err.startswith("stagent: ")
    assert session.place == ("plan", 1)


@pytest.mark.rule("W16")
def test_a_run_whose_log_is_gone_is_an_error_with_guidance(paused: Session) -> None:
    for path in (paused.machine.home / "projects").glob("*/stagent.db*"):
        path.unlink()
    done = heir_of(paused).cli("continue", paused.run, "--json")
    assert (done.status, done.code) == (1, "run.missing")
    assert "Restore" in done.json["remedy"]


@pytest.mark.rule("S7.3")
def test_a_run_that_another_drives_is_refused_with_the_way(session: Session) -> None:
    done = heir_of(session).cli("continue", session.run, "--json")
    assert (done.status, done.code) == (2, "lease.held")
    for words in ("another session owns the run", "Interrupt it there", "--take-over"):
        assert words in done.err
    assert session.place == ("plan", 1)


@pytest.mark.rule("S7.3", "W31")
def test_a_run_that_has_ended_does_not_go_on(machine: Machine) -> None:
    session = machine.session(machine.flow({"plan": stage({"done": "shipped"})}, terminal_stages=["shipped"]))
    session.claim("done")
    assert session.advance().status == 0
    events = session.log()
    for one in (session, heir_of(session)):
        for command in ("continue", "interrupt"):
            done = one.cli(command, session.run, "--json")
            assert (done.status, done.code) == (2, "run.ended")
            assert "shipped" in done.err
    assert session.log() == events


@pytest.mark.rule("S7.7")
def test_the_same_commit_is_silent(paused: Session) -> None:
    assert heir_of(paused).cli("continue", paused.run).err == ""


@pytest.mark.rule("S7.7")
def test_a_project_that_has_advanced_is_told(paused: Session) -> None:
    git(paused.machine, "commit", "-q", "--allow-empty", "-m", "more")
    done = heir_of(paused).cli("continue", paused.run)
    assert (done.status, done.err) == (0, "The project has advanced since the run was last driven.\n")


@pytest.mark.rule("S7.7")
@pytest.mark.parametrize("how", ["behind", "diverged"])
def test_a_project_that_lacks_the_last_seen_commit_is_refused_unless_forced(session: Session, how: str) -> None:
    machine = session.machine
    git(machine, "commit", "-q", "--allow-empty", "-m", "seen")
    seen = git(machine, "rev-parse", "HEAD")
    assert session.cli("interrupt").status == 0
    git(machine, "reset", "-q", "--hard", "HEAD~1")
    if how == "diverged":
        git(machine, "commit", "-q", "--allow-empty", "-m", "other")
    heir = heir_of(session)
    done = heir.cli("continue", session.run, "--json")
    assert (done.status, done.code) == (2, "continue.project")
    for words in (how, seen[:12], "--force-project-mismatch"):
        assert words in done.err
    assert session.state.status == "interrupted"
    forced = heir.cli("continue", session.run, "--force-project-mismatch")
    assert forced.status == 0
    assert f"Warning: the project is {how}" in forced.err


def begin_anew(machine: Machine) -> None:
    """Give the project another history."""
    shutil.rmtree(machine.project / ".git")
    machine.repository({})
    git(machine, "commit", "-q", "--amend", "--allow-empty", "-m", "another root")


def no_git(machine: Machine) -> None:
    """Take the project's history away."""
    shutil.rmtree(machine.project / ".git")


@pytest.mark.rule("S7.5")
@pytest.mark.parametrize(
    ("change", "words"), [(begin_anew, "its root commits"), (no_git, "the folder is no git repository")]
)
def test_another_project_is_refused_unless_forced(paused: Session, change: object, words: str) -> None:
    machine = paused.machine
    root = git(machine, "rev-list", "--max-parents=0", "HEAD")
    change(machine)  # type: ignore[operator]
    heir = heir_of(paused)
    done = heir.cli("continue", paused.run, "--json")
    assert (done.status, done.code) == (2, "continue.project")
    assert f"project mismatch: {words}" in done.err
    if change is begin_anew:
        assert root in done.err
        assert git(machine, "rev-list", "--max-parents=0", "HEAD") in done.err
    assert paused.state.status == "interrupted"
    forced = heir.cli("continue", paused.run, "--force-project-mismatch")
    assert forced.status == 0
    assert f"Warning: project mismatch: {words}" in forced.err


@pytest.mark.rule("S7.8")
def test_uncommitted_changes_are_shown_in_ten_lines_at_most(paused: Session) -> None:
    for number in range(15):
        paused.machine.write(f"file-{number:02}.txt", "x\n")
    done = heir_of(paused).cli("continue", paused.run)
    assert done.status == 0
    lines = done.err.splitlines()
    assert lines[0] == "Uncommitted changes:"
    assert 10 <= len(lines) - 1 <= 11
    assert ".stagent" not in done.err


# -- another folder ----------------------------------------------------------------------------------------------------


@pytest.mark.rule("S7.6")
def test_a_folder_inside_the_project_is_no_other_one(paused: Session) -> None:
    machine = paused.machine
    root = machine.project
    machine.project = root / "inner"
    machine.project.mkdir()
    done = heir_of(paused).cli("continue", "--json")
    assert (done.status, done.json["run"], done.err) == (0, paused.run, "")


def moved(machine: Machine) -> Path:
    """Move the project and stand in the new place; returns the old one."""
    old = machine.project
    machine.project = machine.root / "elsewhere"
    old.rename(machine.project)
    return old


@pytest.mark.rule("S7.6", "S7.5")
def test_a_project_that_was_moved_takes_its_runs_along(paused: Session) -> None:
    machine = paused.machine
    old = moved(machine)
    gone = machine.cli("status", paused.run, "--json")
    assert (gone.status, gone.code) == (1, "project.gone")
    assert "stagent continue" in gone.json["remedy"]
    heir = heir_of(paused)
    done = heir.cli("continue", paused.run)
    assert done.status == 0, done.err
    assert done.err == f"The project of {paused.run} lay in {old}; it lies in {machine.project} now.\n"
    assert f"Project: {machine.project}" in done.out
    assert str(old) not in heir.cli("tick").out
    assert fields(heir)["project_root"] == str(machine.project)
    # From now on it is found by its folder too, and goes on as if nothing had been.
    assert [row["run"] for row in machine.cli("runs", "--json").json] == [paused.run]
    heir.worked_by("agent-1", "done")
    assert heir.advance().status == 0
    assert heir.place == ("judge", 3)
    assert machine.cli("diff", paused.run).status == 0
    # And the folder it left may become another project.
    old.mkdir()
    machine.project = old
    machine.repository({"new.py": "z = 3\n"})
    third = Session(machine, "5e55ab1e-0000-4000-8000-000000000003")
    third.run = third.cli("start", "x", "--flow", str(machine.root / "flow") + "/", "--json").json["run"]
    assert [row["run"] for row in machine.cli("runs", "--json").json] == [third.run]
    assert {row["run"] for row in machine.cli("runs", "--all", "--json").json} == {paused.run, third.run}


@pytest.mark.rule("S7.6")
def test_a_headless_run_goes_on_where_its_project_was_moved(machine: Machine) -> None:
    flow = machine.flow({"plan": stage({"done": "complete"}, retry={"attempts": 1})}, terminal_stages=["complete"])
    blocked = machine.drive(flow, {"plan": [[claim("nonsense")], [claim("done")]]})
    assert blocked.status == 3
    # The new place is a project with a run of its own already.
    old = moved(machine)
    there = machine.cli("start", "x", "--flow", flow, "--json").json["run"]
    machine.script({"plan": [claim("done")]})
    done = machine.resume(blocked.run)
    assert (done.status, done.state.terminal) == (0, "complete")
    assert f"lay in {old}; it lies in {machine.project} now." in done.done.err
    assert {row["run"] for row in machine.cli("runs", "--json").json} == {there, blocked.run}


@pytest.mark.rule("S7.5", "S7.6")
def test_another_repository_is_not_taken_for_the_one_that_is_gone(paused: Session) -> None:
    machine = paused.machine
    old = moved(machine)
    lost, machine.project = machine.project, machine.root / "unrelated"
    machine.project.mkdir()
    machine.repository({"other.py": "1\n"})
    git(machine, "commit", "-q", "--amend", "--allow-empty", "-m", "another root")
    heir = heir_of(paused)
    done = heir.cli("continue", paused.run, "--json")
    assert (done.status, done.code) == (2, "continue.project")
    assert "project mismatch" in done.err
    assert not (machine.project / ".stagent").exists()
    assert machine.cli("status", paused.run, "--json").code == "project.gone"
    lost.rename(old)
    machine.project = old
    assert heir.cli("continue", paused.run).status == 0


@pytest.mark.rule("S7.5", "S7.6")
@pytest.mark.parametrize("along", [True, False])
def test_without_git_the_run_folder_shows_that_it_is_the_project(machine: Machine, along: bool) -> None:
    machine.project = machine.root / "plain"
    machine.project.mkdir()
    session = machine.session(machine.flow({"plan": stage({"done": "complete"})}))
    assert session.cli("interrupt").status == 0
    moved(machine)
    if not along:
        shutil.rmtree(machine.project / ".stagent")
    heir = heir_of(session)
    done = heir.cli("continue", session.run, "--json")
    assert done.status == (0 if along else 2)
    if not along:
        assert "nothing shows that this folder is the run's project" in done.err
        assert heir.cli("continue", session.run, "--force-project-mismatch").status == 0
    assert (session.folder / "state.md").exists()


@pytest.mark.rule("S7.6")
def test_another_copy_of_the_project_does_not_take_the_work_away(paused: Session) -> None:
    machine, root = paused.machine, paused.machine.project
    machine.project = machine.root / "clone"
    git(machine, "clone", "-q", str(root), str(machine.project), folder=machine.root)
    heir = heir_of(paused)
    done = heir.cli("continue", paused.run)
    assert done.status == 0
    assert done.err == f"The run's project is {root}; this session works in {machine.project}.\n"
    assert f"Project: {root}" in done.out
    assert not (machine.project / ".stagent").exists()
    machine.project = root
    assert heir.place == ("build", 2)


@pytest.mark.rule("S7.5")
def test_a_session_in_another_repository_does_not_go_on_unless_forced(paused: Session) -> None:
    machine, root = paused.machine, paused.machine.project
    machine.project = machine.root / "unrelated"
    machine.project.mkdir()
    machine.repository({"other.py": "1\n"})
    git(machine, "commit", "-q", "--amend", "--allow-empty", "-m", "another root")
    heir = heir_of(paused)
    done = heir.cli("continue", paused.run, "--json")
    assert (done.status, done.code) == (2, "continue.project")
    for words in ("project mismatch", str(root), str(machine.project)):
        assert words in done.err
    forced = heir.cli("continue", paused.run, "--force-project-mismatch")
    assert forced.status == 0
    assert "Warning: project mismatch" in forced.err
    # A person in a terminal names a run from anywhere; it is not the terminal's folder that is worked in.
    machine.project = root
    assert heir.cli("interrupt").status == 0
    machine.project = machine.root / "home"
    assert machine.person("continue", paused.run).status == 0


@pytest.mark.rule("S3.10")
def test_a_session_with_a_run_of_its_own_goes_on_with_no_other(paused: Session, flow: str) -> None:
    heir = heir_of(paused)
    own = heir.cli("start", "its own", "--flow", flow, "--json").json["run"]
    for words in ((paused.run,), ("--session", SESSION)):
        done = heir.cli("continue", *words, "--json")
        assert (done.status, done.code, done.fields) == (2, "continue.live_run", {"run": own})
    assert heir.cli("tick").json["run"] == own
    assert paused.state.status == "interrupted"

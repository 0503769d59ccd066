"""Which run a command means."""

from __future__ import annotations

import pytest

from acceptance.support import OTHER, SESSION, Machine, Session, stage


@pytest.fixture
def other(session: Session, flow: str) -> Session:
    """A second session in the same folder, with a run of its own."""
    made = Session(session.machine, OTHER)
    made.run = made.cli("start", "another task", "--topic", "second", "--flow", flow, "--json").json["run"]
    return made


@pytest.mark.rule("S5.1", "W43")
def test_each_session_has_its_own_run_in_one_folder(session: Session, other: Session) -> None:
    for one in (session, other, session):
        assert one.cli("tick").json["run"] == one.run
    other.claim("approved")
    assert other.advance().status == 0
    assert (session.place, other.place) == (("plan", 1), ("build", 2))
    assert session.folder != other.folder


@pytest.mark.rule("S5.1", "S3.20", "S7.3")
def test_a_session_without_a_run_gets_no_neighbours(session: Session) -> None:
    stranger = Session(session.machine, OTHER)
    for words in (("tick",), ("status", "--session", OTHER), ("interrupt",), ("advance",)):
        done = stranger.cli(*words, "--json")
        assert (done.status, done.code) == (1, "run.none"), words
        assert session.run in done.err
    assert session.place == ("plan", 1)


@pytest.mark.rule("S5.2", "W36")
def test_a_session_is_named_exactly(session: Session, other: Session) -> None:
    machine = session.machine
    for one in (session, other):
        assert machine.cli("status", "--session", str(one.session), "--json").json["run"] == one.run
        assert other.cli("tick", "--session", str(one.session)).json["run"] == one.run
    wrong = machine.cli("status", "--session", "5e55ab1e", "--json")
    assert (wrong.status, wrong.code) == (1, "run.none")
    # Pausing, going on and ending by the name of a session that is not one's own.
    assert session.cli("interrupt").status == 0
    heir = Session(machine, "5e55ab1e-0000-4000-8000-000000000003")
    assert heir.cli("continue", "--session", SESSION).status == 0
    assert session.state.lease is not None
    assert session.state.lease.holder.session == heir.session
    assert machine.person("cancel", "--session", OTHER).status == 0
    assert other.state.terminal == "cancelled"


@pytest.mark.rule("S5.3", "W8", "S3.40")
def test_an_unknown_topic_is_an_error_although_there_is_only_one_run(session: Session) -> None:
    machine = session.machine
    for words in (("tick",), ("status",), ("advance",), ("interrupt",), ("continue",), ("cancel",)):
        for topic in ("nosuch", "a tas", "A task", "a task "):
            done = session.cli(*words, "--topic", topic, "--json")
            assert (done.status, done.code) == (1, "run.none"), (words, topic)
    assert machine.cli("status", "--topic", "a task", "--json").json["run"] == session.run
    assert session.place == ("plan", 1)


@pytest.mark.rule("S5.3", "W8")
def test_a_topic_outranks_the_session(session: Session, other: Session) -> None:
    assert session.cli("tick", "--topic", "second").json["run"] == other.run
    assert other.cli("tick", "--topic", "a task").json["run"] == session.run


@pytest.mark.rule("S5.4")
def test_without_a_session_the_only_unfinished_run_is_meant(session: Session, flow: str) -> None:
    machine = session.machine
    assert machine.cli("tick").json["run"] == session.run
    other = Session(machine, OTHER)
    other.run = other.cli("start", "another", "--flow", flow, "--json").json["run"]
    several = machine.cli("tick", "--json")
    assert (several.status, several.code) == (64, "run.ambiguous")
    assert session.run in several.err
    assert other.run in several.err
    assert machine.person("cancel", other.run).status == 0
    assert machine.cli("tick").json["run"] == session.run


@pytest.mark.rule("S5.4")
@pytest.mark.parametrize("git", [True, False])
def test_a_folder_inside_the_project_is_the_project(machine: Machine, git: bool) -> None:
    flow = machine.flow({"plan": stage({"done": "complete"})})
    if not git:
        machine.project = machine.root / "plain"
        machine.project.mkdir()
    run = machine.cli("start", "x", "--flow", flow, "--json").json["run"]
    inner = machine.project / "a" / "b"
    inner.mkdir(parents=True)
    machine.project = inner
    assert machine.cli("tick").json["run"] == run
    assert [row["run"] for row in machine.cli("runs", "--json").json] == [run]


@pytest.mark.rule("S5.4")
def test_a_repository_inside_another_project_is_none_of_it(machine: Machine) -> None:
    machine.project = machine.root / "plain"
    machine.project.mkdir()
    machine.cli("start", "x", "--flow", machine.flow({"plan": stage({"done": "complete"})}))
    machine.project = machine.project / "inner"
    machine.project.mkdir()
    machine.repository({"a": "b"})
    assert machine.cli("tick", "--json").code == "run.none"


@pytest.mark.rule("S5.5", "S2.4")
def test_nothing_but_the_environment_says_which_session_it_is(session: Session) -> None:
    """No file of the user's cache or settings is read or made for it."""
    assert session.cli("tick").status == 0
    home = session.machine.root / "home"
    assert list(home.iterdir()) == []
    assert session.cli("tick", env={"CLAUDE_CODE_SESSION_ID": ""}).json["run"] == session.run


@pytest.mark.rule("S5.6")
def test_a_state_file_in_the_old_place_is_no_run(machine: Machine) -> None:
    machine.write(".stagent/state.md", "---\nactive: true\nstatus: planning\nepoch: 1\n---\n")
    assert machine.cli("tick", "--json").code == "run.none"


@pytest.mark.rule("S5.7")
def test_who_lost_the_run_is_told_who_drives_it(session: Session) -> None:
    assert session.cli("interrupt").status == 0
    heir = Session(session.machine, OTHER)
    heir.run = session.run
    assert heir.cli("continue", session.run).status == 0
    assert heir.cli("tick").json["run"] == session.run
    lost = session.cli("tick", "--json")
    assert (lost.status, lost.code) == (2, "lease.held")
    assert OTHER in lost.err


@pytest.mark.rule("W45", "S5.2")
@pytest.mark.parametrize("name", ["../../../precious", "/etc", "a/b", ".", "..", "", "a\nb", "x" * 200])
def test_a_session_id_is_no_path(session: Session, name: str) -> None:
    precious = session.machine.root / "precious"
    precious.mkdir()
    for words in (("interrupt",), ("cancel", "--hard"), ("continue",), ("status",)):
        done = session.machine.cli(*words, f"--session={name}")
        assert done.status in (1, 64), (words, done.out)
    begun = session.machine.cli("start", "x", env={**session.env, "CLAUDE_CODE_SESSION_ID": name or "/"})
    assert begun.status == 64
    assert precious.is_dir()
    assert session.folder.is_dir()
    assert session.place == ("plan", 1)

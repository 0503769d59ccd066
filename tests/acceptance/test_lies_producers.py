"""An agent that lets the wrong one work: the author reviews, the main agent writes what a sub-agent should have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from acceptance.support import OTHER, SESSION, Machine, Session, claim, stage

SUBAGENT = {"execution": {"type": "subagent"}}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.repository({"src.py": "x = 1\n"})
    return made


@pytest.fixture
def delegated(machine: Machine) -> Session:
    """A session's run in a stage a sub-agent must work."""
    return machine.session(
        machine.flow({"build": stage({"PASS": "check"}, **SUBAGENT), "check": stage({"PASS": "complete"})})
    )


def assert_refused(run: Session, code: str, place: tuple[str, int] = ("build", 1)) -> None:
    answer = run.advance()
    assert (answer.status, answer.code) == (2, code), answer.out
    assert run.place == place
    assert run.codes()[-1] == code


def test_the_main_agent_writes_the_artifact_of_a_sub_agent_stage(delegated: Session) -> None:
    delegated.claim("PASS")
    assert_refused(delegated, "producer.no_subagent")


def test_a_sub_agent_that_started_but_never_stopped_made_nothing(delegated: Session) -> None:
    delegated.hook("SubagentStart", "agent-1")
    delegated.claim("PASS")
    assert_refused(delegated, "producer.no_subagent")


def test_a_sub_agent_that_stopped_without_an_artifact_made_nothing(delegated: Session) -> None:
    delegated.hook("SubagentStart", "agent-1")
    delegated.stopped("agent-1")
    delegated.claim("PASS")
    assert_refused(delegated, "producer.no_subagent")


def test_the_main_agent_rewrites_what_the_sub_agent_left(delegated: Session) -> None:
    delegated.worked_by("agent-1", "PASS", body="\nIt does not work.\n")
    assert delegated.cli("tick").status == 0
    delegated.claim("PASS", body="\nIt works.\n")
    answer = delegated.advance()
    assert (answer.status, answer.code) == (2, "producer.changed_after")
    assert answer.fields["stopped_with"] != answer.fields["found"]
    assert answer.fields["agent"] == "agent-1"
    assert delegated.place == ("build", 1)


def test_a_rewrite_before_anything_was_folded_is_seen_by_the_mark(delegated: Session) -> None:
    delegated.worked_by("agent-1", "PASS", body="\nIt does not work.\n")
    before = delegated.artifact("build").stat()
    delegated.claim("PASS", body="\nIt works, really\n")
    os.utime(delegated.artifact("build"), ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert_refused(delegated, "producer.changed_after")


def test_a_sub_agent_of_another_session_is_none_of_this_run(delegated: Session) -> None:
    stranger = Session(delegated.machine, OTHER)
    stranger.run = delegated.run
    stranger.worked_by("agent-1", "PASS")
    assert_refused(delegated, "producer.no_subagent")


def test_a_sub_agent_reported_by_another_process_is_none_of_this_run(delegated: Session) -> None:
    stranger = Session(delegated.machine, SESSION)
    stranger.run, stranger.pid = delegated.run, 1
    stranger.worked_by("agent-1", "PASS")
    assert_refused(delegated, "producer.no_subagent")


def test_the_sub_agents_own_work_is_accepted(delegated: Session) -> None:
    delegated.worked_by("agent-1", "PASS")
    assert delegated.advance().status == 0
    assert delegated.place == ("check", 2)
    assert delegated.log("artifact.recorded")[-1]["producer"] == {"kind": "subagent", "id": "agent-1"}


def test_a_second_sub_agent_after_a_bad_first_one_is_accepted(delegated: Session) -> None:
    delegated.worked_by("agent-1", "DONE")
    assert_refused(delegated, "artifact.result")
    delegated.worked_by("agent-2", "PASS")
    assert delegated.advance().status == 0
    assert delegated.log("artifact.recorded")[-1]["producer"]["id"] == "agent-2"


# -- reviews -----------------------------------------------------------------------------------------------------

JUDGES = {"required": [{"from_stage": "build", "description": "The work."}]}


def reviewed(machine: Machine, **execution: object) -> str:
    return machine.flow(
        {
            "build": stage({"PASS": "review"}),
            "review": stage({"PASS": "complete", "FAIL": "build"}, kind="review", inputs=JUDGES, **execution),
        }
    )


def test_the_author_reviews_his_own_work(machine: Machine) -> None:
    run = machine.session(reviewed(machine))
    run.claim("PASS")
    assert run.advance().status == 0
    run.claim("PASS", body="\nExcellent work.\n")
    answer = run.advance()
    assert (answer.status, answer.code) == (2, "producer.same_as_author")
    assert answer.fields["input"] == "build"
    assert run.place == ("review", 2)


def test_a_sub_agent_reviews_the_sessions_work(machine: Machine) -> None:
    run = machine.session(reviewed(machine, **SUBAGENT))
    run.claim("PASS")
    assert run.advance().status == 0
    run.worked_by("agent-1", "PASS")
    assert run.advance().status == 0
    assert run.state.terminal == "complete"


def test_a_callers_name_for_the_producer_is_nothing_in_a_session(machine: Machine) -> None:
    run = machine.session(reviewed(machine))
    run.claim("PASS")
    assert run.advance().status == 0
    run.claim("PASS")
    assert run.advance("--producer", "somebody-else").code == "producer.same_as_author"
    assert run.place == ("review", 2)


def test_outside_a_session_the_reviewer_is_the_callers_own_word_and_called_so(machine: Machine) -> None:
    run = machine.session(reviewed(machine), session=None)
    run.claim("PASS")
    assert run.advance().status == 0
    run.claim("PASS")
    assert run.advance().code == "producer.same_as_author"
    assert run.advance("--producer", "somebody-else").status == 0
    made = run.log("artifact.recorded")[-1]["producer"]
    assert made == {"kind": "caller", "id": "somebody-else"}
    told = run.cli("show", run.run).out
    assert "Unproven review: who reviewed in stage review, epoch 2" in " ".join(told.split())


def test_headless_every_attempt_is_another_producer(machine: Machine) -> None:
    run = machine.drive(reviewed(machine), {"build": [claim("PASS")], "review": [claim("PASS")]})
    assert (run.status, run.state.terminal) == (0, "complete")
    producers = [event["producer"] for event in run.log("artifact.recorded")]
    assert [made["kind"] for made in producers] == ["attempt", "attempt"]
    assert producers[0] != producers[1]

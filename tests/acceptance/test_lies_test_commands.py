"""`default` finds the test command of six kinds of project, and believes the tests instead of the agent."""

from __future__ import annotations

from pathlib import Path

import pytest

import fixtures_projects as projects
from acceptance.support import Headless, Machine, claim

CHECKED = "import unittest\n\n\nclass Sums(unittest.TestCase):\n    def test_adds(self):\n        assert 2 + 3 == 5\n"
HONEST = {"executing": [claim("done")], "reviewing": [claim("PASS")]}
SKIPPED = {"qa-ing": [claim("skipped")], "deploy": [claim("skipped")]}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.env = projects.offline(made.env)
    return made


def drive(machine: Machine) -> Headless:
    machine.repository({})
    script = {"planning": [claim("approved", body="\nThe plan.\n")], **HONEST, **SKIPPED}
    return machine.drive("default", script, "--unattended", machine.policy(planning="approve"))


def assert_refused(run: Headless, words: str) -> None:
    assert (run.status, run.state.status, run.state.stage) == (3, "escalated", "executing")
    assert set(run.codes()) == {"check.failed"}
    assert words in run.refusals()
    assert run.log("terminal") == []


@pytest.mark.parametrize("kind", sorted(projects.KINDS))
def test_green_tests_are_believed(machine: Machine, kind: str) -> None:
    projects.KINDS[kind](machine.project, "green")
    run = drive(machine)
    assert (run.status, run.state.terminal) == (0, "complete"), run.refusals()
    checks = run.log("check.ended")
    assert {(check["name"], check["outcome"], check["exit"]) for check in checks} >= {("tests", "pass", 0)}
    assert "ended with exit code 0: 1 test ran." in run.text(checks[0]["output"])


@pytest.mark.parametrize("kind", sorted(projects.KINDS))
def test_red_tests_are_believed(machine: Machine, kind: str) -> None:
    projects.KINDS[kind](machine.project, "red")
    assert_refused(drive(machine), "1 test ran, 1 failed")


def test_a_project_without_tests_is_never_passed(machine: Machine) -> None:
    projects.none(machine.project)
    assert_refused(drive(machine), "STAGENT_TEST_COMMAND")


@pytest.mark.parametrize(("test", "outcome"), [(CHECKED, "complete"), ("", None)])
def test_a_declared_command_counts_where_none_is_found(machine: Machine, test: str, outcome: str | None) -> None:
    projects.none(machine.project)
    machine.write("checks/adding.py", test)
    machine.env["STAGENT_TEST_COMMAND"] = "python3 -m unittest checks/adding.py"
    run = drive(machine)
    if outcome:
        assert (run.status, run.state.terminal) == (0, outcome), run.refusals()
    else:
        assert_refused(run, "ran no test")

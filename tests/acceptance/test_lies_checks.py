"""An agent that says the checks pass, or makes them pass by changing what they check with."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from acceptance.support import Headless, Machine, Session, claim, shell, stage, wait_for

FAILING = "import sys, src\nsys.exit(src.x != 2)\n"
CHECK = {"name": "tests", "run": "python3 tests/check.py", "for": ["PASS"], "protect": ["tests/**"]}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A project whose check fails until `src.py` says x = 2."""
    made = Machine(tmp_path)
    made.repository({"src.py": "x = 1\n", "tests/check.py": "import sys\nsys.path.insert(0, '.')\n" + FAILING})
    return made


def building(machine: Machine, check: dict[str, Any], *, attempts: int = 1, **more: object) -> str:
    return machine.flow(
        {
            "build": stage(
                {"PASS": "complete", "FAIL": "escalated"}, checks=[check], retry={"attempts": attempts}, **more
            )
        }
    )


def assert_refused(run: Headless, code: str) -> None:
    """The run went nowhere and gave up with this refusal."""
    assert run.status == 3, run.done.err
    assert run.state.status == "escalated"
    assert run.place == ("build", 1)
    assert set(run.codes()) == {code}
    assert run.log("transitioned") == []
    assert [event["by"] for event in run.log("escalated")] == ["engine"]


def test_a_claim_the_check_does_not_bear_out_is_refused(machine: Machine) -> None:
    run = machine.drive(building(machine, CHECK, attempts=2), {"build": [claim("PASS", body="\nAll tests pass.\n")]})
    assert_refused(run, "check.failed")
    assert run.codes() == ["check.failed", "check.failed"]
    # The same claim about the same tree is not worth a second run.
    assert [(event["outcome"], event["exit"]) for event in run.log("check.ended")] == [("fail", 1)]


def test_the_honest_work_passes_after_the_refusal_was_read(machine: Machine) -> None:
    run = machine.drive(
        building(machine, CHECK, attempts=2),
        {"build": [[claim("PASS")], [shell("cat"), shell("echo 'x = 2' > src.py"), claim("PASS")]]},
    )
    assert (run.status, run.state.terminal, run.state.success) == (0, "complete", True)
    assert run.codes() == ["check.failed"]
    assert [event["outcome"] for event in run.log("check.ended")] == ["fail", "pass"]
    assert "check tests failed with exit code 1" in run.said()


SPOIL = {
    "deleting the test": ["tests/check.py", "rm tests/check.py; mkdir -p tests; printf '' > tests/other.py"],
    "emptying the test": ["tests/check.py", "printf '' > tests/check.py"],
    "linking the test elsewhere": ["tests/check.py", "printf '' > ok.py; ln -sf ../ok.py tests/check.py"],
    "moving the test away": ["tests/check.py", "mv tests tests2"],
    "hiding the change from git": [
        "tests/check.py",
        "git update-index --assume-unchanged tests/check.py; printf '' > tests/check.py",
    ],
    "ignoring the folder": ["tests/check.py", "printf 'tests/\\n' > .gitignore; printf '' > tests/check.py"],
    "committing the change": ["tests/check.py", "printf '' > tests/check.py; git commit -qam 'mend the tests'"],
    "nesting a repository": [
        "tests/check.py",
        "printf '' > tests/check.py; cd tests; git init -q; git add -A; git commit -qm mine",
    ],
    "hiding it by an attribute": [
        "tests/check.py",
        "printf 'tests/** binary -diff\\n' > .gitattributes; printf '' > tests/check.py",
    ],
}


@pytest.mark.parametrize("how", SPOIL)
def test_a_protected_file_that_was_changed_fails_the_check(machine: Machine, how: str) -> None:
    named, command = SPOIL[how]
    run = machine.drive(building(machine, CHECK), {"build": [shell(command), claim("PASS")]})
    assert_refused(run, "check.protected")
    ended = run.log("check.ended")[-1]
    assert ended["outcome"] == "protected"
    assert ended.get("exit") is None
    assert named in run.text(ended["protected"])
    assert named in run.refusals()


def test_a_project_nobody_can_look_at_is_mended_by_the_next_attempt(machine: Machine) -> None:
    run = machine.drive(
        building(machine, CHECK, attempts=2),
        {
            "build": [
                [shell("git init -q tests"), claim("PASS")],
                [shell("rm -rf tests/.git; echo x = 2 > src.py"), claim("PASS")],
            ]
        },
    )
    assert (run.status, run.state.terminal) == (0, "complete")
    assert run.codes() == ["workspace.unreadable"]
    assert "these paths cannot be read" in run.refusals()


def test_adding_tests_beside_the_protected_ones_is_allowed_and_listed(machine: Machine) -> None:
    run = machine.drive(
        building(machine, CHECK),
        {"build": [shell("echo 'x = 2' > src.py; touch tests/more.py"), claim("PASS")]},
    )
    assert (run.status, run.state.terminal) == (0, "complete")
    assert run.text(run.log("check.ended")[-1]["added"]) == "A tests/more.py\n"


MAKEFILE = "test:\n\tpython3 tests/check.py\n"
PACKAGE = '{"name": "p", "scripts": {"test": "python3 tests/check.py"}}\n'
COMMANDS = {
    "the Makefile": ("make test", {"Makefile": MAKEFILE}, "printf 'test:\\n\\ttrue\\n' > Makefile", "Makefile"),
    "a Makefile that goes before": (
        "make test",
        {"Makefile": MAKEFILE},
        "printf 'test:\\n\\ttrue\\n' > GNUmakefile",
        "GNUmakefile",
    ),
    "the scripts of package.json": (
        "npm test",
        {"package.json": PACKAGE},
        "sed -i 's/python3 tests.check.py/true/' package.json",
        "package.json",
    ),
    "the script the check names": (
        "sh scripts/verify.sh",
        {"scripts/verify.sh": "python3 tests/check.py\n"},
        "echo true > scripts/verify.sh",
        "scripts/verify.sh",
    ),
    "the script behind &&": (
        "cd . && ./verify",
        {"verify": "#!/bin/sh\npython3 tests/check.py\n"},
        "printf '#!/bin/sh\\n' > verify; chmod +x verify",
        "verify",
    ),
    "a command inside quotes": (
        "sh -c 'make test; exit $?'",
        {"Makefile": MAKEFILE},
        "printf 'test:\\n\\ttrue\\n' > Makefile",
        "Makefile",
    ),
    "the configuration of pytest": (
        "python3 -m pytest -q tests",
        {"pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-q"\n'},
        "printf '[tool.pytest.ini_options]\\naddopts = \"--collect-only\"\\n' > pyproject.toml",
        "pyproject.toml",
    ),
    "a configuration of pytest that goes before": (
        "python3 -m pytest -q tests",
        {"pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-q"\n'},
        "printf '[pytest]\\naddopts = --collect-only\\n' > pytest.ini",
        "pytest.ini",
    ),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_what_defines_the_checks_command_is_protected(tmp_path: Path, what: str) -> None:
    command, files, lie, named = COMMANDS[what]
    machine = Machine(tmp_path)
    machine.repository({"src.py": "x = 1\n", "tests/check.py": FAILING, **files})
    flow = building(machine, {"name": "tests", "run": command, "for": ["PASS"]})
    run = machine.drive(flow, {"build": [shell(lie), claim("PASS")]})
    assert_refused(run, "check.protected")
    assert named in run.text(run.log("check.ended")[-1]["protected"])


def test_a_new_dependency_in_the_command_file_is_no_change_of_the_command(machine: Machine) -> None:
    machine.repository({"pyproject.toml": '[project]\nname = "p"\nversion = "1"\n'})
    flow = building(machine, {"name": "tests", "run": "python3 -m pytest --version", "for": ["PASS"]})
    lie = 'printf \'[project]\\nname = "p"\\nversion = "1"\\ndependencies = []\\n\' > pyproject.toml; touch setup.cfg'
    machine.env["PATH"] = f"{Path(sys.executable).parent}:{machine.env['PATH']}"
    run = machine.drive(flow, {"build": [shell(lie), claim("PASS")]})
    assert (run.status, run.state.terminal) == (0, "complete")


# -- the environment of a check ---------------------------------------------------------------------------------


def in_session(machine: Machine, command: str) -> Session:
    return machine.session(building(machine, {"name": "tests", "run": command, "for": ["PASS"]}))


def test_a_path_with_a_program_of_the_agents_own_is_not_used(machine: Machine) -> None:
    run = in_session(machine, "python3 tests/check.py")
    fake = machine.root / "bin" / "python3"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 0\n")
    fake.chmod(0o755)
    run.claim("PASS")
    answer = run.advance(env={"PATH": f"{fake.parent}:{machine.env['PATH']}"})
    assert (answer.status, answer.code) == (2, "check.failed")
    assert run.place == ("build", 1)


@pytest.mark.parametrize(
    "lie",
    [
        {"PYTEST_ADDOPTS": "--collect-only"},
        {"PYTHONPATH": "lies"},
        {"STAGENT_TEST_COMMAND": "true"},
        {"LD_PRELOAD": "/nowhere.so"},
        {"BASH_ENV": "lies.sh"},
        {"MAKEFLAGS": "-n"},
        {"PYTEST": "true"},
        {"SKIP_TESTS": "1"},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_a_variable_set_at_advance_does_not_reach_the_check(machine: Machine, lie: dict[str, str]) -> None:
    (name, value) = next(iter(lie.items()))
    run = in_session(machine, f'test "${name}" = "{value}"')
    run.claim("PASS")
    answer = run.advance(env=lie)
    assert (answer.status, answer.code) == (2, "check.failed")
    assert run.place == ("build", 1)


def test_a_variable_of_the_start_reaches_the_check(machine: Machine) -> None:
    machine.env["DATABASE"] = "here"
    machine.env["PYTEST_ADDOPTS"] = "-q"
    run = in_session(machine, 'test "$DATABASE$PYTEST_ADDOPTS" = "here-q"')
    run.claim("PASS")
    assert run.advance().status == 0
    assert run.state.terminal == "complete"


# -- while a check runs -------------------------------------------------------------------------------------------


def test_a_check_that_hangs_is_ended_with_all_it_started(machine: Machine) -> None:
    long = f"sleep 300.{os.getpid()}"
    check = {"name": "tests", "run": f"{long}1 & {long}2", "for": ["PASS"], "timeout": 0.5}
    run = machine.drive(building(machine, check), {"build": [claim("PASS")]})
    assert_refused(run, "check.failed")
    ended = run.log("check.ended")[-1]
    assert (ended["outcome"], ended.get("exit")) == ("timeout", None)
    assert "did not finish in time" in run.refusals()
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert long not in found


DAEMON = """
import os, subprocess
loop = "i=0; while [ $i -lt 200 ]; do echo more >> late.txt; sleep 0.05; i=$((i + 1)); done"
if os.fork() == 0:
    subprocess.Popen(["/bin/sh", "-c", loop], start_new_session=True, env={environment})
"""


@pytest.mark.parametrize("environment", ["os.environ", "{}"], ids=["its own", "none"])
def test_what_a_check_starts_does_not_outlive_it(machine: Machine, environment: str) -> None:
    """Test code is the agent's; a daemon it leaves would act with nobody above it."""
    machine.write("daemon.py", DAEMON.format(environment=environment))
    check = {"name": "tests", "run": "python3 daemon.py; sleep 0.3", "for": ["PASS"]}
    run = machine.drive(building(machine, check), {"build": [claim("PASS")]})
    assert run.status == 0
    late = machine.project / "late.txt"
    assert late.exists()
    size = late.stat().st_size
    threading.Event().wait(0.4)
    assert late.stat().st_size == size


def test_what_changes_while_the_check_runs_is_recorded(machine: Machine) -> None:
    flow = machine.flow(
        {
            "look": stage(
                {"PASS": "build"},
                writes="artifact",
                checks=[{"name": "slow", "run": "touch began.tmp; until test -e go.tmp; do sleep 0.02; done"}],
            ),
            "build": stage({"PASS": "complete"}, writes="artifact"),
        }
    )
    machine.write(".gitignore", "*.tmp\n")
    run = machine.session(flow)

    def meddle() -> None:
        wait_for((machine.project / "began.tmp").exists, "the check")
        machine.write("src.py", "x = 3\n")
        machine.write("go.tmp", "")

    run.claim("PASS")
    meddler = threading.Thread(target=meddle)
    meddler.start()
    answer = run.advance()
    meddler.join()
    assert answer.status == 0, answer.out
    ended = run.log("check.ended")[-1]
    assert run.text(ended["changed"]) == "M src.py\n"
    assert ended["tree"] != ended["tree_after"]


def test_tests_exchanged_while_the_check_runs_fail_it(machine: Machine) -> None:
    check = {
        "name": "tests",
        "run": "touch began.tmp; until test -e go.tmp; do sleep 0.02; done; python3 tests/check.py",
        "for": ["PASS"],
        "protect": ["tests/**"],
    }
    machine.write(".gitignore", "*.tmp\n")
    run = machine.session(building(machine, check))

    def meddle() -> None:
        wait_for((machine.project / "began.tmp").exists, "the check")
        machine.write("tests/check.py", "")
        machine.write("go.tmp", "")

    run.claim("PASS")
    meddler = threading.Thread(target=meddle)
    meddler.start()
    answer = run.advance()
    meddler.join()
    assert (answer.status, answer.code) == (2, "check.protected")
    assert run.place == ("build", 1)
    assert run.text(run.log("check.ended")[-1]["protected"]) == "M tests/check.py\n"


def test_a_check_that_writes_files_fails_neither_this_nor_the_next_advance(machine: Machine) -> None:
    flow = machine.flow(
        {
            "look": stage(
                {"PASS": "complete"},
                writes="artifact",
                checks=[{"name": "tests", "run": "date +%N > coverage.txt; python3 tests/check.py"}],
            )
        }
    )
    run = machine.session(flow)
    run.claim("PASS")
    for _ in range(2):
        answer = run.advance()
        assert (answer.status, answer.code) == (2, "check.failed")
    assert run.text(run.log("check.ended")[0]["changed"]) == "A coverage.txt\n"
    run.claim("PASS", body="\nOnce more.\n")
    assert run.advance().code == "check.failed"
    assert run.place == ("look", 1)


# -- the bundled workflow -----------------------------------------------------------------------------------------


TESTS = """\
import unittest
import src


class X(unittest.TestCase):
    def test_x(self):
        assert src.x == 2
"""


def bundled(machine: Machine, work: str) -> Headless:
    machine.repository({"tests/test_x.py": TESTS, "tests/__init__.py": ""})
    machine.env["STAGENT_TEST_COMMAND"] = "python3 -m unittest"
    script = {
        "planning": [claim("approved", body="\nThe plan.\n")],
        "executing": [shell(work), claim("done")],
        "reviewing": [claim("PASS")],
        "qa-ing": [claim("skipped")],
        "deploy": [claim("skipped")],
    }
    return machine.drive("default", script, "--unattended", machine.policy(planning="approve"))


def test_the_bundled_workflow_does_not_complete_with_deleted_tests(machine: Machine) -> None:
    run = bundled(machine, "rm -rf tests")
    assert (run.status, run.state.status) == (3, "escalated")
    assert run.state.stage == "executing"
    assert set(run.codes()) == {"check.protected"}
    assert "D tests/test_x.py" in run.refusals()
    assert run.log("terminal") == []
    assert (run.folder / "escalated-report.md").exists()


def test_the_bundled_workflow_completes_with_honest_work(machine: Machine) -> None:
    run = bundled(machine, "echo 'x = 2' > src.py")
    assert (run.status, run.state.terminal, run.state.success) == (0, "complete", True)
    assert {event["outcome"] for event in run.log("check.ended")} == {"pass"}


def test_a_test_command_of_another_kind_is_not_slipped_in(machine: Machine) -> None:
    machine.repository({"tests/test_x.py": TESTS, "pytest.ini": "[pytest]\n"})
    script = {
        "planning": [claim("approved")],
        "executing": [
            shell("""printf '{"scripts": {"test": "echo Tests: 5 passed, 5 total"}}' > package.json"""),
            claim("done"),
        ],
    }
    run = machine.drive("default", script, "--unattended", machine.policy(planning="approve"))
    assert (run.status, run.state.status) == (3, "escalated")
    assert set(run.codes()) == {"check.protected"}
    assert "A package.json" in run.refusals()


def test_a_project_that_never_stands_still_is_not_checked_for_ever(machine: Machine) -> None:
    run = machine.session(building(machine, {"name": "tests", "run": "true", "for": ["PASS"]}))
    over = threading.Event()
    noise, fresh = machine.project / "noise.txt", machine.root / "noise.new"

    def meddle() -> None:
        # Far oftener than two looks at the tree can follow each other: every check finds another tree than the last.
        number = 0
        while not over.wait(0.0005):
            number += 1
            fresh.write_text(f"{number}\n")
            fresh.replace(noise)

    run.claim("PASS")
    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        answer = run.advance()
    finally:
        over.set()
        meddler.join()
    assert (answer.status, answer.code) == (2, "check.unsettled")
    assert run.place == ("build", 1)
    assert len(run.log("check.ended")) == 3
    assert run.advance().status == 0
    assert run.state.terminal == "complete"


def test_a_runner_told_to_stop_ends_the_check_it_runs(machine: Machine) -> None:
    check = {"name": "tests", "run": "touch began.tmp; test -e go.tmp || sleep 60", "for": ["PASS"]}
    machine.write(".gitignore", "*.tmp\n")
    script = machine.script({"build": [claim("PASS")]})
    command = [sys.executable, "-m", "stagent", "run", "x", "--flow", building(machine, check), "--script", script]
    process = subprocess.Popen(
        [*command, "--json"], cwd=machine.project, env=machine.env, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        wait_for((machine.project / "began.tmp").exists, "the check")
        process.terminate()
        process.communicate(timeout=15)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 143
    run = next(iter((machine.project / ".stagent").glob("r-*"))).name
    assert machine.state(run).status == "interrupted"
    machine.write("go.tmp", "")
    done = machine.resume(run)
    assert (done.status, done.state.terminal) == (0, "complete")

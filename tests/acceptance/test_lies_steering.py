"""An agent that touches no test, but adds a file with which the tests that fail are not run or not seen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from acceptance.support import Headless, Machine, claim, shell, stage

RED = "import src\n\n\ndef test_x():\n    assert src.x == 2\n"
PYTHON = {"src.py": "x = 1\n", "tests/test_x.py": RED}
TRIVIAL = "printf 'def test_ok():\\n    pass\\n' > tests/test_ok.py"
PYTEST = f'"{sys.executable}" -m pytest -q'
UNITTEST = "python3 -m unittest"
OURS = '"$STAGENT_PYTHON" -I -m stagent check tests'
NODE = {"package.json": '{"scripts": {"test": "mocha"}}\n', "test/x.js": ""}
GO = {"go.mod": "module x\n", "x_test.go": "package x\n"}
CARGO = {"Cargo.toml": '[package]\nname = "x"\n', "tests/x.rs": ""}
SILENT = "printf 'print(\"1 passed in 0.01s\")\\n' > {}"

ROOT_OUT = f"echo 'collect_ignore = [\"tests/test_x.py\"]' > conftest.py; {TRIVIAL}"
BESIDE_OUT = f"echo 'collect_ignore = [\"test_x.py\"]' > tests/conftest.py; {TRIVIAL}"
CONFIG = ".cargo/config.toml"

LIES = {
    "leaving the red tests out": (OURS, PYTHON, ROOT_OUT, "conftest.py"),
    "leaving them out from beside them": (PYTEST, PYTHON, BESIDE_OUT, "tests/conftest.py"),
    "hiding that from git": (OURS, PYTHON, f"{ROOT_OUT}; echo conftest.py > .gitignore", "conftest.py"),
    "another pytest": (OURS, PYTHON, SILENT.format("pytest.py"), "pytest.py"),
    "a package pytest": (PYTEST, PYTHON, f"mkdir pytest; {SILENT.format('pytest/__init__.py')}", "pytest/__init__.py"),
    "another unittest": (UNITTEST, PYTHON, SILENT.format("unittest.py"), "unittest.py"),
    "a package unittest": (UNITTEST, PYTHON, "mkdir unittest; touch unittest/__init__.py", "unittest/__init__.py"),
    "another module they import": (
        OURS,
        PYTHON,
        "echo 'raise SystemExit(0)' > tests/traceback.py",
        "tests/traceback.py",
    ),
    "a configuration of mocha": ("npm test", NODE, "echo 'spec: none.js' > .mocharc.yml", ".mocharc.yml"),
    "a configuration of jest": (OURS, NODE, "echo 'module.exports = {}' > jest.config.js", "jest.config.js"),
    "a shell for npm": (OURS, NODE, "echo 'script-shell=/bin/true' > .npmrc", ".npmrc"),
    "a workspace of go": (OURS, GO, "echo 'go 1.22' > go.work", "go.work"),
    "a configuration of cargo": ("cargo test", CARGO, f"mkdir .cargo; echo '[build]' > {CONFIG}", CONFIG),
    "a toolchain for cargo": (OURS, CARGO, "echo none > rust-toolchain", "rust-toolchain"),
}


def drive(root: Path, run: str, files: dict[str, str], work: str, **more: object) -> Headless:
    machine = Machine(root)
    machine.repository(files)
    check = {"name": "tests", "run": run, "for": ["PASS"], "protect": ["tests/**"]}
    made = stage({"PASS": "complete"}, checks=[check], retry={"attempts": 1}, **more)
    return machine.drive(machine.flow({"build": made}), {"build": [shell(work), claim("PASS")]})


@pytest.mark.parametrize("how", LIES)
def test_a_new_file_that_silences_tests_is_refused(tmp_path: Path, how: str) -> None:
    command, files, work, named = LIES[how]
    run = drive(tmp_path, command, files, work)
    assert (run.status, run.state.status, set(run.codes())) == (3, "escalated", {"check.protected"})
    assert f"A {named}\n" in run.text(run.log("check.ended")[-1]["protected"])
    assert f"A {named}" in run.refusals()


GREEN = "echo 'x = 2' > src.py"
HONEST = {
    "a new package with settings of its own": f"mkdir more; touch more/conftest.py; {GREEN}",
    "a module beside no test": f"mkdir lib; touch lib/queue.py; {GREEN}",
    "new ignore rules": f"echo dist > .gitignore; {GREEN}",
}


@pytest.mark.parametrize("how", HONEST)
def test_what_silences_nothing_may_be_added(tmp_path: Path, how: str) -> None:
    run = drive(tmp_path, PYTEST, PYTHON, HONEST[how])
    assert (run.status, run.state.terminal) == (0, "complete"), run.refusals()


def test_the_first_tests_of_a_project_may_come_with_settings(tmp_path: Path) -> None:
    work = "mkdir tests; touch conftest.py tests/conftest.py; printf 'def test_ok():\\n    pass\\n' > tests/test_ok.py"
    run = drive(tmp_path, PYTEST, {"README.md": "# New\n"}, work)
    assert (run.status, run.state.terminal) == (0, "complete"), run.refusals()


def test_a_stage_whose_job_it_is_may_add_them(tmp_path: Path) -> None:
    own = ["**/conftest.py", "src.py"]
    run = drive(tmp_path, PYTEST, PYTHON, f"touch conftest.py; {GREEN}", writes=own, protects=own)
    assert (run.status, run.state.terminal) == (0, "complete"), run.refusals()


def test_in_the_bundled_workflow_a_person_decides_about_such_a_file(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.repository(PYTHON)
    work = shell(f"touch conftest.py; {GREEN}")
    script = {
        "planning": [claim("approved", body="\nThe plan.\n")],
        "executing": [[work, claim("done")], [claim("tests-changed")]],
        "test-approval": [claim("approved", body="\nconftest.py is new.\n")],
        "reviewing": [claim("PASS")],
        "qa-ing": [claim("skipped")],
        "deploy": [claim("skipped")],
    }
    policy = machine.policy(planning="approve")
    run = machine.drive("default", script, "--unattended", policy)
    assert (run.status, run.state.stage, run.codes()) == (4, "test-approval", ["check.protected"])
    assert machine.person("approve", run.run).status == 0
    run = machine.resume(run.run, "--unattended", policy)
    assert (run.status, run.state.terminal) == (0, "complete"), run.refusals()

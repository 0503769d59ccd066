"""The project's own test command: found by its files, run for real, counted from what the runner reports."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path

import pytest

import fixtures_projects as projects
from stagent.checks import testcommand, testdetect

KINDS = sorted(projects.KINDS)


def check(root: Path, **env: str) -> tuple[testcommand.TestReport, str]:
    out = io.BytesIO()
    report = testcommand.run(root, out, {**projects.offline(), **env})
    return report, out.getvalue().decode()


def write(root: Path, name: str, text: str, mode: int = 0o644) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def found(root: Path, **env: str) -> testcommand.TestCommand:
    command = testcommand.find(root, {**projects.offline(), **env})
    assert command is not None
    return command


@pytest.mark.parametrize("kind", KINDS)
def test_a_green_project_is_ok_by_exit_code_and_count(kind: str, tmp_path: Path) -> None:
    report, shown = check(projects.KINDS[kind](tmp_path, "green"))
    assert (report.kind, report.exit_code, report.ran, report.failed) == (kind, 0, 1, 0), shown
    assert report.ok
    assert not report.empty
    assert report.reason.endswith("ended with exit code 0: 1 test ran.")


@pytest.mark.parametrize("kind", KINDS)
def test_a_red_project_fails_by_exit_code_and_count(kind: str, tmp_path: Path) -> None:
    report, shown = check(projects.KINDS[kind](tmp_path, "red"))
    assert (report.kind, report.ran, report.failed) == (kind, 1, 1), shown
    assert report.exit_code not in (0, None)
    assert not report.ok
    assert not report.empty
    assert "1 test ran, 1 failed" in report.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_that_collects_nothing_fails_and_says_so(kind: str, tmp_path: Path) -> None:
    report, shown = check(projects.KINDS[kind](tmp_path, "empty"))
    assert (report.kind, report.ran) == (kind, 0), shown
    assert not report.ok
    assert report.empty
    assert "ran no test" in report.reason
    assert "STAGENT_TEST_COMMAND" in report.reason


def test_a_project_without_a_command_fails_and_names_what_was_looked_for(tmp_path: Path) -> None:
    report, shown = check(projects.none(tmp_path))
    assert (report.kind, report.command, report.exit_code, report.ran) == ("none", "", None, None)
    assert not report.ok
    assert report.empty
    assert shown == ""
    for name in ("STAGENT_TEST_COMMAND", "package.json", "pytest.ini", "go.mod", "Cargo.toml", "Makefile", "test_*.py"):
        assert name in report.reason


@pytest.mark.parametrize("kind", ["npm", "go", "make", "cargo"])
def test_a_missing_toolchain_fails_and_is_named(kind: str, tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    report, _ = check(projects.KINDS[kind](tmp_path / "project", "green"), PATH=str(empty))
    assert (report.kind, report.exit_code) == (kind, None)
    assert not report.ok
    assert not report.empty
    assert f"the program {kind} is not installed" in report.reason


def test_a_python_without_pytest_fails_and_is_named(tmp_path: Path) -> None:
    root = projects.pytest(tmp_path)
    write(root, ".venv/bin/python", "#!/bin/sh\nexit 1\n", 0o755)
    report, _ = check(root)
    assert (report.kind, report.exit_code) == ("pytest", None)
    assert "has no pytest" in report.reason


def test_the_projects_own_interpreter_comes_first(tmp_path: Path) -> None:
    root = projects.pytest(tmp_path)
    write(root, ".venv/bin/python", f'#!/bin/sh\necho "own: $VIRTUAL_ENV"\nexec {sys.executable} "$@"\n', 0o755)
    report, shown = check(root)
    assert report.ok, shown
    assert report.command == ".venv/bin/python -m pytest"
    assert f"own: {root}/.venv" in shown


def test_a_relative_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = projects.pytest(tmp_path / "project")
    write(root, ".venv/bin/python", f'#!/bin/sh\nexec {sys.executable} "$@"\n', 0o755)
    monkeypatch.chdir(tmp_path)
    report, shown = check(Path("project"))
    assert report.ok, shown
    assert report.command == ".venv/bin/python -m pytest"


def test_this_interpreter_serves_where_the_path_has_no_pytest(tmp_path: Path) -> None:
    root = projects.pytest(tmp_path / "project")
    write(tmp_path, "bin/python3", "#!/bin/sh\nexit 1\n", 0o755)
    assert found(root, PATH=f"{tmp_path}/bin").argv == (sys.executable, "-m", "pytest")


def test_what_is_declared_beats_what_is_found(tmp_path: Path) -> None:
    root = projects.npm(tmp_path)
    write(root, "scripts/all.sh", "echo '2 passed, 0 failed'\n")
    report, shown = check(root, STAGENT_TEST_COMMAND="sh ./scripts/all.sh && npm test --silent")
    assert (report.kind, report.ran, report.exit_code) == ("declared", 1, 0), shown
    assert report.command == "sh ./scripts/all.sh && npm test --silent"
    command = found(root, STAGENT_TEST_COMMAND="sh ./scripts/all.sh && npm test")
    assert command.files == ("scripts/all.sh", "package.json")


def test_the_order_of_precedence(tmp_path: Path) -> None:
    """Build a project that has everything, take away the strongest sign each time."""
    for make_project in (projects.make, projects.cargo, projects.go, projects.pytest, projects.npm):
        make_project(tmp_path, "green")
    signs = ["package.json", "pyproject.toml", "go.mod", "Cargo.toml", "Makefile", "tests/test_sums.py"]
    kinds = ["npm", "pytest", "go", "cargo", "make", "pytest"]
    for sign, kind in zip(signs, kinds, strict=True):
        assert found(tmp_path).kind == kind
        (tmp_path / sign).unlink()
    assert testcommand.find(tmp_path, projects.offline()) is None


def test_the_placeholder_of_npm_init_is_no_test_script(tmp_path: Path) -> None:
    script = 'echo "Error: no test specified" && exit 1'
    write(tmp_path, "package.json", json.dumps({"scripts": {"test": script}}))
    assert testcommand.find(tmp_path, projects.offline()) is None


@pytest.mark.parametrize(
    "text", ["[]", '{"scripts": []}', '{"scripts": {"test": 3}}', '{"scripts": {"test": " "}}', "{}"]
)
def test_a_package_without_a_test_script_is_passed_over(text: str, tmp_path: Path) -> None:
    write(tmp_path, "package.json", text)
    assert testcommand.find(tmp_path, projects.offline()) is None


def test_a_damaged_package_json_is_not_passed_over(tmp_path: Path) -> None:
    write(projects.make(tmp_path), "package.json", "{")
    report, shown = check(tmp_path)
    assert report.kind == "npm"
    assert not report.ok
    assert not report.empty
    assert "package.json" in shown


@pytest.mark.parametrize(
    ("lock", "program", "argv"),
    [
        ("pnpm-lock.yaml", "pnpm", ("pnpm", "test")),
        ("yarn.lock", "yarn", ("yarn", "test")),
        ("bun.lock", "bun", ("bun", "run", "test")),
        ("bun.lockb", "bun", ("bun", "run", "test")),
    ],
)
def test_the_lock_file_chooses_the_program_where_it_is_installed(
    lock: str, program: str, argv: tuple[str, ...], tmp_path: Path
) -> None:
    root = projects.npm(tmp_path / "project")
    write(root, lock, "")
    (tmp_path / "bin").mkdir()
    assert found(root, PATH=f"{tmp_path}/bin").argv == ("npm", "test")
    write(tmp_path, f"bin/{program}", "#!/bin/sh\n", 0o755)
    assert found(root, PATH=f"{tmp_path}/bin").argv == argv


def test_the_files_that_define_a_command_are_named(tmp_path: Path) -> None:
    script = "node --import ./tools/setup.mjs node_modules/.bin/jest ../outside.js"
    write(tmp_path / "npm", "package.json", json.dumps({"scripts": {"pretest": "sh prepare.sh", "test": script}}))
    for name in ("tools/setup.mjs", "prepare.sh", "jest.config.js", "node_modules/.bin/jest", "../outside.js"):
        write(tmp_path / "npm", name, "")
    assert found(tmp_path / "npm").files == ("package.json", "jest.config.js", "prepare.sh", "tools/setup.mjs")
    write(tmp_path / "make", "Makefile", "check: build.sh\n\t./run.sh --all\nother:\n\t./other.sh\n")
    for name in ("build.sh", "run.sh", "other.sh"):
        write(tmp_path / "make", name, "")
    assert found(tmp_path / "make").files == ("Makefile", "build.sh", "run.sh")
    write(tmp_path / "py", "tests/conftest.py", "")
    write(tmp_path / "py", "setup.cfg", "[tool:pytest]\n")
    assert found(tmp_path / "py").files == ("setup.cfg", "tests/conftest.py")


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("test: build\n\tx\n", ("make", "test")),
        ("check test:: all\n", ("make", "test")),
        ("all check :\n\tx\n", ("make", "check")),
        ("lint \\\n  test: \n", ("make", "test")),
        ("test := 1\n", None),
        ("test = a:b\n", None),
        (".PHONY: test\n", None),
        ("# test: no\ntesting:\n\ttest: x\n", None),
    ],
)
def test_makefile_targets(text: str, argv: tuple[str, ...] | None, tmp_path: Path) -> None:
    write(tmp_path, "Makefile", text)
    command = testcommand.find(tmp_path, projects.offline())
    assert (command.argv if command else None) == argv


@pytest.mark.parametrize(
    ("name", "text", "configured"),
    [
        ("pytest.ini", "", True),
        ("pyproject.toml", "[tool.pytest]\n", True),
        ("pyproject.toml", "[tool.ruff]\n", False),
        ("pyproject.toml", "[tool.pytest\n", False),
        ("tox.ini", "[pytest]\n", True),
        ("tox.ini", "[tox]\n", False),
        ("setup.cfg", "no section\n", False),
        ("conftest.py", "", True),
        ("src/pkg/sums_test.py", "", True),
        (".hidden/test_sums.py", "", False),
        ("node_modules/x/test_sums.py", "", False),
    ],
)
def test_what_makes_a_pytest_project(name: str, text: str, configured: bool, tmp_path: Path) -> None:
    write(tmp_path, name, text)
    assert (testcommand.find(tmp_path, projects.offline()) is not None) == configured


def test_test_files_of_an_installed_environment_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, "python/pyvenv.cfg", "")
    write(tmp_path, "python/lib/test_sums.py", "")
    assert testcommand.find(tmp_path, projects.offline()) is None


def test_a_cargo_workspace_is_tested_whole_unless_it_names_its_default(tmp_path: Path) -> None:
    write(tmp_path, "Cargo.toml", '[workspace]\nmembers = ["a"]\n')
    assert found(tmp_path).argv == ("cargo", "test", "--no-fail-fast", "--workspace")
    write(tmp_path, "Cargo.toml", '[workspace]\nmembers = ["a", "b"]\ndefault-members = ["a"]\n')
    assert found(tmp_path).argv == ("cargo", "test", "--no-fail-fast")


def test_an_unknown_summary_is_a_failure_even_with_exit_code_0(tmp_path: Path) -> None:
    report, shown = check(tmp_path, STAGENT_TEST_COMMAND="echo all is well")
    assert (report.exit_code, report.ran, report.failed) == (0, None, None)
    assert not report.ok
    assert not report.empty
    assert "no count of tests was recognised" in report.reason
    assert shown == "all is well\n"


def test_reported_failures_outweigh_an_exit_code_of_0(tmp_path: Path) -> None:
    report, _ = check(tmp_path, STAGENT_TEST_COMMAND="echo '3 passed, 1 failed' || true")
    assert (report.exit_code, report.ran, report.failed) == (0, 4, 1)
    assert not report.ok
    assert "although it reports failures" in report.reason


def test_skipped_tests_did_not_run(tmp_path: Path) -> None:
    write(tmp_path, "test_sums.py", "import pytest\n\n\n@pytest.mark.skip\ndef test_adds():\n    assert False\n")
    report, shown = check(tmp_path)
    assert (report.exit_code, report.ran, report.skipped) == (0, 0, 1), shown
    assert not report.ok
    assert not report.empty


def test_a_node_test_file_without_tests_is_not_a_test(tmp_path: Path) -> None:
    root = projects.npm(tmp_path, "empty")
    write(root, "nothing.test.js", "console.log('loaded');\n")
    report, shown = check(root)
    assert (report.exit_code, report.ran) == (0, 0), shown
    assert not report.ok


def test_a_broken_build_is_not_an_empty_project(tmp_path: Path) -> None:
    root = projects.go(tmp_path)
    write(root, "sums.go", "package sums\n\nfunc Add(a, b int) int { return a + }\n")
    report, _ = check(root)
    assert report.exit_code not in (0, None)
    assert not report.ok
    assert not report.empty


def test_a_collection_error_is_not_an_empty_project(tmp_path: Path) -> None:
    root = projects.pytest(tmp_path)
    write(root, "tests/test_sums.py", "import missing_module_of_nobody\n")
    report, shown = check(root)
    assert (report.exit_code, report.ran) != (0, 0), shown
    assert not report.ok
    assert not report.empty


def test_go_counts_top_level_tests_and_shows_their_text(tmp_path: Path) -> None:
    root = projects.go(tmp_path)
    write(
        root,
        "more_test.go",
        'package sums\n\nimport "testing"\n\nfunc TestMore(t *testing.T) {\n\tprint("unfinished line")\n'
        '\tt.Run("sub", func(t *testing.T) {})\n}\n\nfunc TestSkipped(t *testing.T) { t.Skip("later") }\n',
    )
    report, shown = check(root)
    assert (report.ran, report.failed, report.skipped) == (2, 0, 1)
    assert "--- PASS: TestMore" in shown
    assert '"Action"' not in shown


def test_the_environment_is_plain_and_reads_nothing(tmp_path: Path) -> None:
    names = "CI NO_COLOR FORCE_COLOR TERM MAKEFLAGS NODE_TEST_CONTEXT OTHER"
    script = f'for n in {names}; do eval "echo $n=\\${{$n-unset}}"; done; cat; echo 1 passed'
    report, shown = check(
        tmp_path, STAGENT_TEST_COMMAND=script, MAKEFLAGS="n", NODE_TEST_CONTEXT="child-v8", OTHER="kept", CI=""
    )
    assert report.ok
    assert shown.split() == [
        "CI=1", "NO_COLOR=1", "FORCE_COLOR=0", "TERM=dumb", "MAKEFLAGS=unset", "NODE_TEST_CONTEXT=unset",
        "OTHER=kept", "1", "passed",
    ]  # fmt: skip


def test_a_command_that_checks_itself_is_refused(tmp_path: Path) -> None:
    root = projects.pytest(tmp_path)
    code = "import sys; from pathlib import Path; from stagent.checks import testcommand as t; "
    code += "r = t.run(Path('.'), sys.stdout.buffer); print(r.reason); sys.exit(not r.ok)"
    report, shown = check(root, STAGENT_TEST_COMMAND=f'{sys.executable} -c "{code}"')
    assert not report.ok
    assert shown.count("starts the check of its tests again") == 1


class Stamps(io.RawIOBase):
    """Remembers when each piece arrived."""

    def __init__(self) -> None:
        self.pieces: list[tuple[float, bytes]] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.pieces.append((time.monotonic(), bytes(data)))  # type: ignore[call-overload]
        return len(self.pieces[-1][1])


def test_output_streams_while_the_tests_run(tmp_path: Path) -> None:
    out = Stamps()
    command = "printf 'first'; sleep 0.7; echo; echo '1 passed'"
    report = testcommand.run(tmp_path, out, {**projects.offline(), "STAGENT_TEST_COMMAND": command})
    assert report.ok
    assert out.pieces[0][1] == b"first"
    assert out.pieces[-1][0] - out.pieces[0][0] > 0.5


def test_a_program_left_running_does_not_hold_the_check_up(tmp_path: Path) -> None:
    started = time.monotonic()
    report, _ = check(tmp_path, STAGENT_TEST_COMMAND="sleep 20 & echo $! > pid; echo '1 passed'")
    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert report.ok
    assert time.monotonic() - started < 10


class Closed(io.RawIOBase):
    """An output nobody reads any more."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise BrokenPipeError


def test_an_output_that_breaks_ends_the_command(tmp_path: Path) -> None:
    command = "echo $$ > pid; echo hello; exec sleep 60"
    with pytest.raises(BrokenPipeError):
        testcommand.run(tmp_path, Closed(), {**projects.offline(), "STAGENT_TEST_COMMAND": command})
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_program_ended_by_a_signal_is_a_failure(tmp_path: Path) -> None:
    report, _ = check(tmp_path, STAGENT_TEST_COMMAND="echo 1 passed; kill -9 $$")
    assert (report.exit_code, report.ran) == (-9, 1)
    assert not report.ok
    assert "signal 9" in report.reason


def test_a_program_that_cannot_be_started_is_a_failure(tmp_path: Path) -> None:
    root = projects.make(tmp_path / "project")
    write(tmp_path, "bin/make", "#!/nowhere/sh\n", 0o755)
    report, _ = check(root, PATH=f"{tmp_path}/bin")
    assert (report.kind, report.exit_code) == ("make", None)
    assert "could not be started" in report.reason


def test_the_search_for_test_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testdetect, "_WALK_LIMIT", 3)
    for name in ("a/one.txt", "a/two.txt", "b/three.txt", "c/test_late.py"):
        write(tmp_path, name, "")
    assert testcommand.find(tmp_path, projects.offline()) is None

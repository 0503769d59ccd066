"""Runs a project's own test command and says what it reported, as evidence rather than as a claim.

An exit code of 0 is not enough: a command that runs nothing ends with 0 as well. Only a run in which the test
program itself reports at least one executed test, and none failed, is `ok`.
"""

from __future__ import annotations

import os
import selectors
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, ClassVar

import msgspec

from stagent.checks.testcount import GoReader, Reader, SummaryReader, Tally
from stagent.checks.testdetect import DECLARED, LOOKED_FOR, TestCommand, find, has_pytest

__all__ = ["TestCommand", "TestReport", "find", "run"]

_SET = {
    "CI": "1",
    "NO_COLOR": "1",
    "FORCE_COLOR": "0",
    "CLICOLOR": "0",
    "PY_COLORS": "0",
    "CARGO_TERM_COLOR": "never",
    "TERM": "dumb",
    "PYTHONUNBUFFERED": "1",
    # Testing must leave no files behind that the project does not ignore.
    "PYTHONDONTWRITEBYTECODE": "1",
    "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
    "npm_config_update_notifier": "false",
}
# Left by an outer test run or an outer make, these change what an inner one does (`make -n` runs nothing at all).
_UNSET = ("NODE_TEST_CONTEXT", "PYTEST_CURRENT_TEST", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "GNUMAKEFLAGS")
_MARK = "STAGENT_TESTS_OF"
_FAMILIES = {"pytest": frozenset({"pytest"}), "cargo": frozenset({"cargo"})}
_DECLARE = f"set {DECLARED} to the command that runs them"

# How long to listen, in seconds, to a pipe that something else keeps open after the command has ended.
_GRACE = 2.0
_POLL = 0.2


class TestReport(msgspec.Struct, frozen=True):
    """How a run of the tests went.

    `kind` is that of the command, `none` when there is no command; `command` is as one would type it. `exit_code` is
    None when nothing was started, negative for a signal. `ran` and `failed` are None when no summary was recognised.
    `said_none` is true when the test program stated that it found no test.
    """

    __test__: ClassVar[bool] = False

    kind: str
    command: str
    exit_code: int | None
    ran: int | None
    failed: int | None
    reason: str
    skipped: int = 0
    said_none: bool = False

    @property
    def ok(self) -> bool:
        """True when the command ended with 0, at least one test ran and none is reported as failed."""
        return self.exit_code == 0 and bool(self.ran) and not self.failed

    @property
    def empty(self) -> bool:
        """True when the project has no test command, or its test program reports that there is nothing to run.

        A program that could not start, a build that broke, and tests that are all skipped are not empty.
        """
        if self.kind == "none":
            return True
        nothing = self.ran == 0 and not self.failed and self.skipped == 0
        return nothing and (self.exit_code == 0 or self.said_none)


def run(root: Path, out: BinaryIO, env: Mapping[str, str] | None = None) -> TestReport:
    """Run the tests of the project in `root` and stream their output to `out` as it comes; no time limit of its own.

    `env` is the environment to begin from, ours by default. The command reads nothing from standard input, writes
    without colour and stays in our process group. Never raises for what the project does; an error of `out` ends the
    command and is passed on.
    """
    values = dict(os.environ if env is None else env)
    root = root.absolute()
    command = find(root, values)
    if command is None:
        reason = f"no test command was found; looked for {', '.join(LOOKED_FOR)}. Add tests, or {_DECLARE}"
        return TestReport("none", "", None, None, None, f"{reason}.")
    shown = _shown(command, root)
    refusal = _unstartable(command, root, values)
    if refusal:
        return TestReport(command.kind, shown, None, None, None, refusal)
    try:
        code, tally = _execute(command, root, out, _environment(command, root, values))
    except _NotStarted as error:
        reason = f"`{shown}` could not be started: {error.__cause__}. Repair it, or {_DECLARE}."
        return TestReport(command.kind, shown, None, None, None, reason)
    reason = _reason(shown, command.kind, code, tally)
    return TestReport(command.kind, shown, code, tally.ran, tally.failed, reason, tally.skipped, tally.said_none)


class _NotStarted(Exception):
    """The program is there but the system would not start it; the cause is chained."""


def _shown(command: TestCommand, root: Path) -> str:
    if command.kind == "declared":
        return command.argv[-1]
    return shlex.join(part.removeprefix(f"{root}/") for part in command.argv)


def _unstartable(command: TestCommand, root: Path, env: Mapping[str, str]) -> str:
    """Say why a command cannot be run, or return an empty text."""
    program = command.argv[0]
    if env.get(_MARK) == str(root.resolve()):
        return (
            f"the test command of this project starts the check of its tests again. Let it run the tests: {_DECLARE}."
        )
    if shutil.which(program, path=env.get("PATH")) is None:
        return f"{command.why}, but the program {program} is not installed. Install {program}, or {_DECLARE}."
    if command.kind == "pytest" and not has_pytest(program, root, env):
        return f"{command.why}, but {program} has no pytest. Install pytest for it, or {_DECLARE}."
    return ""


def _environment(command: TestCommand, root: Path, env: Mapping[str, str]) -> dict[str, str]:
    values = {**env, **_SET, _MARK: str(root.resolve())}
    for name in _UNSET:
        values.pop(name, None)
    if command.kind == "pytest" and command.argv[0].startswith(f"{root}/"):
        # What an activated environment does, so that programs the tests start come from it too.
        folder = Path(command.argv[0]).parent
        values["PATH"] = os.pathsep.join([str(folder), env.get("PATH", os.defpath)])
        values["VIRTUAL_ENV"] = str(folder.parent)
    return values


def _execute(command: TestCommand, root: Path, out: BinaryIO, env: Mapping[str, str]) -> tuple[int, Tally]:
    reader: Reader = (
        GoReader() if command.kind == "go" else SummaryReader(root, _FAMILIES.get(command.kind, frozenset()))
    )
    try:
        process = subprocess.Popen(
            command.argv, cwd=root, env=dict(env), bufsize=0,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        raise _NotStarted from error
    try:
        _stream(process, reader, out)
        rest, tally = reader.close()
        _write(out, rest)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    return process.returncode, tally


def _stream(process: subprocess.Popen[bytes], reader: Reader, out: BinaryIO) -> None:
    """Pass output on until the command has ended; a program it leaves running does not hold us up."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    ended_at: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while ended_at is None or time.monotonic() - ended_at < _GRACE:
            if selector.select(_POLL):
                data = os.read(pipe, 65_536)
                if not data:
                    process.wait()
                    return
                _write(out, reader.feed(data))
            elif ended_at is not None:
                return
            if ended_at is None and process.poll() is not None:
                ended_at = time.monotonic()


def _write(out: BinaryIO, data: bytes) -> None:
    if data:
        out.write(data)
        out.flush()


def _reason(shown: str, kind: str, code: int, tally: Tally) -> str:
    ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    if tally.ran is None:
        text = f"`{shown}` {ended}, and no count of tests was recognised in its output"
        return f"{text}. Let the test program print its summary, or {_DECLARE}."
    count = f"{tally.ran} {'test' if tally.ran == 1 else 'tests'} ran"
    extra = f", {tally.failed} failed" if tally.failed else ""
    extra += f", {tally.skipped} skipped" if tally.skipped else ""
    if tally.ran == 0 and not tally.failed:
        text = f"`{shown}` {ended} and ran no test{extra}"
        return f"{text}. Add tests it collects, or {_DECLARE}."
    if code == 0 and tally.failed:
        text = f"`{shown}` ended with exit code 0 although it reports failures: {count}{extra}"
        return f"{text}. Let it fail when a test does."
    return f"`{shown}` {ended}: {count}{extra}."

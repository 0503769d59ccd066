"""Runs the git program: a scrubbed environment, bytes in and out, and errors that say what to do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from stagent.errors import WorkspaceError
from stagent.failpoints import hit

TIMEOUT = 600.0
"""Seconds one git process may take before it is killed."""


@dataclass(frozen=True)
class Result:
    """How a git process ended; `stderr` is decoded for people, `stdout` is kept as bytes."""

    code: int
    stdout: bytes
    stderr: str


def scrubbed(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without any GIT_* variable, with messages in English, plus `extra`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env.pop("LANGUAGE", None)
    # GIT_OPTIONAL_LOCKS=0 keeps read commands from refreshing the user's index behind their back; replace refs would
    # let anyone show us another history than the one that is there.
    env.update(LC_ALL="C", GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", GIT_NO_REPLACE_OBJECTS="1")
    env.update(extra or {})
    return env


@dataclass(frozen=True)
class Git:
    """One way to call git: a working folder, an environment and options; call it with the arguments of a command.

    `fds` are descriptors the process inherits, so that a lock we hold outlives us for as long as it works; `remedy`
    is what a person can do when a command fails for a reason we do not know.
    """

    cwd: str
    env: Mapping[str, str] = field(default_factory=scrubbed)
    options: Sequence[str] = ()
    fds: Sequence[int] = ()
    timeout: float = TIMEOUT
    remedy: str = "Run `git status` there and repair what it reports."

    def __call__(self, *args: str, stdin: bytes = b"") -> Result:
        """Run `git ARGS` and return how it ended. Raises WorkspaceError when it cannot be run or takes too long."""
        hit("git.spawn.before")
        try:
            done = subprocess.run(
                ["git", *self.options, *args],
                cwd=self.cwd,
                env=self.env,
                input=stdin,
                capture_output=True,
                pass_fds=self.fds,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as cause:
            raise WorkspaceError(
                "workspace.git_timeout",
                f"git {args[0]} took longer than {self.timeout:g} s and was stopped",
                where=printable(self.cwd),
                remedy="Ignore large generated folders, or name the files that matter with `watch`.",
            ) from cause
        except FileNotFoundError as cause:
            raise self._unstartable() from cause
        except (OSError, ValueError) as cause:
            raise WorkspaceError(
                "workspace.git_failed",
                f"git {args[0]} could not be started: {cause}",
                where=printable(self.cwd),
                remedy="Check that the folder can be entered and that `git --version` works there.",
            ) from cause
        hit("git.spawn.after")
        return Result(done.returncode, done.stdout, done.stderr.decode("utf-8", "backslashreplace"))

    def must(self, *args: str, stdin: bytes = b"") -> bytes:
        """Run `git ARGS` and return its output. Raises WorkspaceError when it fails."""
        done = self(*args, stdin=stdin)
        if done.code:
            raise failure(self, args[0], done)
        return done.stdout

    def _unstartable(self) -> WorkspaceError:
        if not Path(self.cwd).is_dir():
            return missing_folder(self.cwd)
        return WorkspaceError(
            "workspace.no_git",
            "the program `git` was not found",
            where="PATH",
            remedy="Install git 2.31 or newer and make sure it is on the PATH.",
        )


def failure(git: Git, command: str, done: Result) -> WorkspaceError:
    """Return the error for a git command that failed, with a remedy when the cause is a known one."""
    text = done.stderr.strip() or f"exit status {done.code}"
    if "dubious ownership" in text or "unsafe repository" in text:
        return WorkspaceError(
            "workspace.unsafe",
            "git refuses to work here because the repository belongs to another user",
            where=printable(git.cwd),
            remedy="If you trust it, run `git config --global --add safe.directory FOLDER` with its folder.",
            fields={"stderr": text},
        )
    return WorkspaceError(
        "workspace.git_failed",
        f"git {command} failed: {text.splitlines()[0]}",
        where=printable(git.cwd),
        remedy=git.remedy,
        fields={"stderr": text, "exit": done.code},
    )


def missing_folder(path: str) -> WorkspaceError:
    """Return the error for a project folder that is not there."""
    return WorkspaceError(
        "workspace.missing",
        "there is no such folder",
        where=printable(path),
        remedy="Name the folder of the project.",
    )


def printable(path: str) -> str:
    """Return a path as text that can be shown on one line, whatever bytes and control characters it has."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def names(output: bytes) -> list[str]:
    """Split NUL-terminated output into file names."""
    return [os.fsdecode(name) for name in output.split(b"\0") if name]


def pathspecs(only: Sequence[str], excluding: Sequence[str] = ()) -> list[str]:
    """Turn globs relative to the project into git's pathspecs (`**` crosses folders, a folder means all below it).

    Raises WorkspaceError for an empty or absolute glob and for one that leaves the project.
    """
    for glob in (*only, *excluding):
        if not glob or "\0" in glob or glob.startswith("/") or ".." in PurePosixPath(glob).parts:
            raise WorkspaceError(
                "workspace.bad_glob",
                f"{glob!r} does not name files inside the project",
                where="glob",
                remedy="Write it relative to the project, for example `tests/**`.",
            )
    return [*(f":(glob){glob}" for glob in only), *(f":(exclude,glob){glob}" for glob in excluding)]

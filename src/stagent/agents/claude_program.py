"""Which Claude Code program an attempt runs, and whether it is one we can drive."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from stagent.core import claudecode
from stagent.errors import StagentError

VARIABLE = "STAGENT_CLAUDE"
_SECONDS = 30.0
_HOW = f"name it with: stagent config claude.program PATH, or with {VARIABLE}"
_known: dict[tuple[str, int, int], claudecode.Version] = {}


def find(named: str, env: Mapping[str, str], workdir: str) -> str:
    """Return the absolute path of the program: `named`, else `$STAGENT_CLAUDE`, else `claude` on the PATH.

    A name with a `/` in it is a path, a relative one seen from the work folder. Raises StagentError without a program.
    """
    given = named or env.get(VARIABLE, "") or "claude"
    wanted = str(Path(workdir, given)) if "/" in given else given
    found = shutil.which(wanted, path=env.get("PATH"))
    if found is None:
        raise StagentError(
            "agent.program_missing",
            f"there is no program {given}",
            where="agent claude",
            remedy=f"Install Claude Code, or {_HOW}.",
        )
    return str(Path(found).absolute())


def check(program: str, env: Mapping[str, str]) -> claudecode.Version:
    """Return the program's version; asked once per process for each state of the program's file.

    Raises StagentError when it cannot be run, names no version, or is older than the oldest we can drive.
    """
    try:
        status = Path(program).stat()
        key = (program, status.st_mtime_ns, status.st_size)
        if key not in _known:
            _known[key] = _version(program, env)
    except OSError as error:
        raise _unusable(program, f"it cannot be run: {error.strerror or error}") from error
    found = _known[key]
    if found < claudecode.OLDEST:
        raise StagentError(
            "agent.program_old",
            f"its version is {claudecode.dotted(found)}; {claudecode.dotted(claudecode.OLDEST)} is the oldest we can "
            f"drive, for {claudecode.NEEDS}",
            where=program,
            remedy="Update it: claude update; or name another one with the option program.",
        )
    return found


def _version(program: str, env: Mapping[str, str]) -> claudecode.Version:
    # It may be a wrapper that has started more by the time it is ended: it leads a group, which is ended whole.
    with subprocess.Popen(
        [program, "--version"],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise _unusable(program, f"it did not say its version in {_SECONDS:g} s") from error
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    text = said.decode("utf-8", "replace").strip()
    found = claudecode.version(text) if process.returncode == 0 else None
    if found is None:
        raise _unusable(program, f'its --version says no version: "{text[:200]}", exit code {process.returncode}')
    return found


def _unusable(program: str, what: str) -> StagentError:
    return StagentError(
        "agent.program_unusable", what, where=program, remedy=f"Install Claude Code again, or {_HOW} another one."
    )

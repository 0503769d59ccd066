"""What the bad input tests share: a machine whose program is started in bad circumstances, and what must hold after.

A disk without room and a disk that may not be written are made without any privilege and for everybody:

- no room: the limit on the size of a file (RLIMIT_FSIZE, its signal ignored as Python does). Every write beyond it
  fails as on a full disk, only with EFBIG instead of ENOSPC; it needs no mount and holds for root, too;
- read-only: folders without the right to write. Root ignores such rights, so the program is started there without the
  capability to ignore them, which is root's to give away; nobody else has it to begin with.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from acceptance.support import Done, Machine, claim, stage

PLAIN = {"work": stage({"done": "complete"})}
"""One stage that ends the run."""
DOES = {"work": [claim("done")]}
"""An agent that finishes it."""

_UNDER = r"""
import ctypes, os, resource, signal, sys
room, modes = sys.argv[1:3]
if room:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), int(room)))
if modes and sys.platform == "linux" and os.geteuid() == 0:
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.argv[3], sys.argv[3:])
"""
# The program with one of its own values changed: a clock that is set, a patience too long for a test.
_CHANGED = r"""
import sys
from importlib import import_module
from stagent.cli.main import main
module, name, value = sys.argv[1:4]
setattr(import_module(module), name, eval(value))
sys.exit(main(sys.argv[4:]))
"""


class Bench(Machine):
    """A machine for one test of bad input."""

    def plain(self, **top: object) -> list[str]:
        """The arguments that drive a run of one stage to its end."""
        return self.driving(self.flow(PLAIN, **top))

    def driving(self, flow: str, does: Mapping[str, Sequence[Any]] | None = None, task: str = "a task") -> list[str]:
        """The arguments that drive a task through a workflow."""
        script = self.script(does or DOES)
        return ["run", task, "--flow", flow, "--agent", "scripted", "--script", script, "--json"]

    def call(
        self,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        room: int | None = None,
        obey: bool = False,
        changed: tuple[str, str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 25,
    ) -> Done:
        """Run the program; bytes that are not text stand as escapes in what it said.

        `room` is the largest file anything may write (bytes); with `obey` even root's program obeys the rights of
        files; `changed` sets a value of a module.
        """
        argv = [sys.executable, "-m", "stagent", *arguments]
        if changed is not None:
            argv = [sys.executable, "-c", _CHANGED, *changed, *arguments]
        if room is not None or obey:
            argv = [sys.executable, "-c", _UNDER, "" if room is None else str(room), "modes" if obey else "", *argv]
        values = {**self.env, **(env or {})}
        done = subprocess.run(
            argv,
            cwd=cwd or self.project,
            env={name: value for name, value in values.items() if value is not None},
            input=stdin,
            capture_output=True,
            timeout=timeout,
            start_new_session=True,
            check=False,
        )
        out, err = (text.decode("utf-8", "backslashreplace") for text in (done.stdout, done.stderr))
        assert "Traceback" not in err and "Exception ignored" not in err, err
        return Done(done.returncode, out, err)

    def shell(self, line: str, *, cwd: Path | None = None) -> Done:
        """Run a line of bash in which `stagent` is the program; its status is that of `stagent`."""
        function = f'stagent() {{ "{sys.executable}" -m stagent "$@"; }}; '
        done = subprocess.run(
            ["bash", "-c", function + line], cwd=cwd or self.project, env=self.env, capture_output=True, timeout=25
        )
        out, err = (text.decode("utf-8", "backslashreplace") for text in (done.stdout, done.stderr))
        assert "Traceback" not in err and "Exception ignored" not in err, err
        return Done(done.returncode, out, err)

    def git(self, *arguments: str, cwd: Path | None = None) -> None:
        """Run git in the project."""
        subprocess.run(["git", *arguments], cwd=cwd or self.project, env=self.env, check=True, capture_output=True)

    def runs(self) -> list[dict[str, Any]]:
        """Every run the data home knows, as the program lists them."""
        done = self.call("runs", "--all", "--json")
        assert done.status == 0, done.err
        found: list[dict[str, Any]] = json.loads(done.out)
        return found

    def stored(self) -> set[tuple[str, str]]:
        """Every run in a database of the data home, with the table that names it."""
        found = set()
        tables = [(self.home / "registry.db", "run_index"), *((p, "runs") for p in self.home.glob("projects/*/*.db"))]
        for place, table in tables:
            if place.is_file():
                with closing(sqlite3.connect(place)) as connection:
                    found |= {(table, run) for (run,) in connection.execute(f"SELECT run FROM {table}")}
        return found

    def database(self) -> Path:
        """The database of the only project."""
        [found] = (self.home / "projects").glob("*/stagent.db")
        return found

    @contextmanager
    def nothing_made(self) -> Iterator[None]:
        """Hold that the block leaves the project as it was and no run and no unfinished file behind."""
        before, runs = contents(self.project), self.stored()
        yield
        assert contents(self.project) == before
        assert unfinished(self.project, self.home) == []
        assert self.stored() == runs

    def works(self, *arguments: str, **how: Any) -> Done:
        """Drive a run of one stage to its end; it must get there."""
        done = self.call(*(arguments or self.plain()), **how)
        assert done.status == 0, done.out + done.err
        assert done.lines[-1]["status"] == "complete"
        assert unfinished(self.project, self.home) == []
        return done


def contents(folder: Path) -> dict[str, str]:
    """What lies below a folder: names and digests, without what git and the rules of privacy keep for themselves."""
    found = {}
    for place in sorted(folder.rglob("*")):
        name = os.fsencode(place.relative_to(folder)).decode("utf-8", "backslashreplace")
        # An empty `.stagent` and its line in the private ignore rules are no run.
        if name in (".stagent", ".git/info/exclude", ".git/index"):
            continue
        regular = place.is_file() and not place.is_symlink()
        found[name] = hashlib.sha256(place.read_bytes()).hexdigest() if regular else ""
    return found


def unfinished(*folders: Path) -> list[Path]:
    """Files that were to be put in the place of others and never were."""
    ends = (".new", ".tmp", ".lock")
    return [place for folder in folders for place in folder.rglob("*") if place.name.endswith(ends)]


def refused(done: Done, status: int, code: str, *, place: str, remedy: str) -> dict[str, Any]:
    """Hold that the program ended with a whole error: status, code, place, remedy, all of them for people as well."""
    found = [json.loads(line) for line in done.out.splitlines() if line.startswith('{"error"')]
    assert found, f"exit {done.status}: {done.out[-500:]}{done.err[-500:]}"
    [error] = found
    assert (error["error"], done.status) == (code, status), done.err
    assert place in error["message"], error["message"]
    assert remedy in error["remedy"], error["remedy"]
    assert error["message"].endswith(error["remedy"])
    assert error["message"] in done.err or "\\" in error["message"]
    whole: dict[str, Any] = error
    return whole

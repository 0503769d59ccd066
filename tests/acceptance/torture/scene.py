"""A machine with a hostile agent installed on it, and what must be true of it afterwards."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acceptance.support import Machine, stage, wait_for
from stagent import processes
from stagent.bootstrap import Home
from stagent.config import DataHome
from stagent.runner.roster import Marks
from stagent.runner.streams import seen

HERE = Path(__file__).parent
ENTRY = "[stagent.agents]\nhostile = hostile_backend:HostileBackend\n"
METADATA = "Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n"


class Scene:
    """One project on a machine; several scenes may share a data home."""

    def __init__(self, root: Path, home: Path | None = None, **variables: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.machine = Machine(root)
        self.notes = root / "notes"
        self.notes.mkdir()
        package = root / "installed" / "hostile-1.0.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text(METADATA)
        (package / "entry_points.txt").write_text(ENTRY)
        self.home = home or self.machine.home
        self.machine.home = self.home
        self.machine.env |= {
            "STAGENT_HOME": str(self.home),
            "PYTHONPATH": f"{package.parent}{os.pathsep}{HERE}",
            "HOSTILE_NOTES": str(self.notes),
            **variables,
        }
        self.machine.repository({"readme.txt": "A project.\n"})

    def flow(self, stages: int = 1, **more: object) -> str:
        """Write a workflow of so many stages in a row and return its reference."""
        names = [f"work{number}" for number in range(1, stages + 1)] + ["complete"]
        rows = itertools.pairwise(names)
        return self.machine.flow({name: stage({"done": to}, writes="artifact", **more) for name, to in rows})

    def start(self, *words: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start the program in the project."""
        return subprocess.Popen(
            [sys.executable, "-m", "stagent", *words],
            cwd=self.machine.project,
            env={**self.machine.env, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, flow: str, **variables: str) -> Ended:
        """Drive a run to its end."""
        process = self.start("run", "a task", "--flow", flow, "--agent", "hostile", "--json", **variables)
        return Ended(self, process)

    def kill_unnoticed(self, runner: subprocess.Popen[bytes]) -> None:
        """Kill a runner and the guardians below it, so that what they guard lives on."""
        guardians = [
            row for row in processes.below(runner.pid) if row.name == processes.GUARDIAN and row.ppid == runner.pid
        ]
        assert guardians
        for row in guardians:
            processes.send(row, signal.SIGSTOP)
        runner.kill()
        runner.communicate()
        for row in guardians:
            processes.send(row, signal.SIGKILL)
        wait_for(lambda: not any(processes.alive(row.pid, row.started) for row in guardians), "the guardians' end")

    def cli(self, *words: str) -> Any:
        """Call the program; it must succeed, and its answer be JSON if that was asked for."""
        process = self.start(*words)
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
        return json.loads(out) if "--json" in words else out.decode()

    def runs(self) -> list[str]:
        """The runs of this project."""
        home = Home(DataHome(self.home))
        try:
            return [row.run for row in home.at(self.machine.project).store.runs()]
        finally:
            home.close()

    def stream(self, run: str, attempt: str) -> Path:
        """Where an attempt's stream is."""
        [folder] = (self.home / "projects").glob(f"*/streams/{run}")
        return folder / f"{attempt}.ndjson"

    def pids(self) -> list[int]:
        """Every process the hostile program noted."""
        path = self.notes / "pids"
        return [int(word) for word in path.read_text().split()] if path.exists() else []

    def left(self) -> list[int]:
        """Which of them, and of any that carry a mark of a run, live: by what they are, not by their number alone."""
        marks = Marks()
        marked = [row.pid for run in self.runs() for name in marks.of(run) for row in marks.carriers[name]]
        return sorted({*marked, *(pid for pid in self.pids() if _hostile(pid))})

    def ended(self, run: str) -> list[Mapping[str, Any]]:
        """The endings of attempts in the log."""
        return [event for event in self.machine.log(run) if event["type"] == "attempt.ended"]

    def check_streams(self, run: str) -> None:
        """Hold every stream against the digest and length its ending names."""
        for event in self.ended(run):
            if event.get("stream"):
                path = self.stream(run, f"{event['epoch']}.{event['number']}")
                assert seen(str(path)) == (event["stream"], event.get("stream_bytes", 0))

    def check_end(self, run: str) -> None:
        """What must hold of every run that is over: complete, every attempt once, nothing left."""
        state = self.machine.state(run)
        assert (state.terminal, state.success) == ("complete", True)
        started = [
            (event["epoch"], event["number"]) for event in self.machine.log(run) if event["type"] == "attempt.started"
        ]
        assert len(started) == len(set(started))
        self.check_streams(run)
        assert self.left() == []


def _hostile(pid: int) -> bool:
    info = processes.look(pid)
    if info is None or info.dead:
        return False
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"hostile_child" in words or b"signal.signal(15" in words


class Ended:
    """A program that ran to its end; `peak` is its memory in bytes, 0 where it had less than we."""

    def __init__(self, scene: Scene, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None and process.stderr is not None
        self.out = process.stdout.read()
        self.errors = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.stdout.close()
        process.stderr.close()
        process.returncode = os.waitstatus_to_exitcode(status)
        self.status = process.returncode
        # What a process is started by counts as its own memory until it has more.
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.peak = usage.ru_maxrss * (1024 if sys.platform == "linux" else 1) if usage.ru_maxrss > own else 0
        self.scene = scene

    @property
    def run(self) -> str:
        """The run it drove, by its last word."""
        return str(json.loads(self.out.splitlines()[-1])["run"])

    def outcomes(self) -> list[str]:
        """How the attempts of the run ended, in order."""
        return [event["outcome"] for event in self.scene.ended(self.run)]

"""Whole runs by `stagent run` with the agent `claude`: a machine, a model that works as its plan says, and what came.

The program under test is a process of its own, and so is Claude Code; the model is in this one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from acceptance.claude.kit import KEY, claude_binary
from acceptance.headless.kit import stand_in
from acceptance.support import Done, Driven, Headless, Machine, wait_for
from stagent.testing.scripted_model import Answer, Request, ScriptedModel, Turn, text, tool

_STAGE = re.compile(r"^(?:\w+: )?Stage: (\S+)", re.MULTILINE)
_OUTPUT = re.compile(r"^(?:\w+: )?Output: (\S+)", re.MULTILINE)
_EPOCH = re.compile(r"^epoch: (\d+)", re.MULTILINE)
Attempts = Sequence[str | Sequence[Answer]]


def report(result: str, body: str = "Work.") -> Answer:
    """The model writes the artifact it was told to write, for the epoch it was told."""

    def write(request: Request) -> Turn:
        # A conversation is about one stage in one epoch; what a task says comes later.
        path, epoch = _OUTPUT.findall(request.whole)[0], _EPOCH.findall(request.whole)[0]
        return tool("Write", file_path=path, content=f"---\nepoch: {epoch}\nresult: {result}\n---\n{body}\n")

    return write


class Staff:
    """What the model does, stage by stage: an attempt is a result, or its turns one after another.

    The last attempt of a stage repeats, and every attempt ends with a word. What says where the artifact
    belongs begins an attempt, anything else goes on with it.
    """

    def __init__(self, plan: Mapping[str, Attempts]) -> None:
        self._plan = {stage: list(attempts) for stage, attempts in plan.items()}
        self._running: dict[str, Iterator[Answer]] = {}

    def take(self, request: Request) -> Answer | None:
        """Return the next answer of the conversation that asks; asides are nobody's."""
        if not request.main:
            return None
        if _OUTPUT.search(request.fresh):
            attempts = self._plan[_STAGE.findall(request.whole)[0]]
            attempt = attempts.pop(0) if len(attempts) > 1 else attempts[0]
            self._running[request.session] = iter([report(attempt)] if isinstance(attempt, str) else attempt)
        return next(self._running[request.session], text("Done."))


class Site(Machine):
    """A machine with Claude Code, a project, and a model that can be reached from it."""

    def __init__(self, root: Path, model: ScriptedModel) -> None:
        super().__init__(root)
        self.model = model
        self.repository({"src.py": "x = 1\n"})
        self.env |= {
            "STAGENT_CLAUDE": claude_binary(),
            "STAGENT_CLAUDE_PERMISSIONS": "edits",
            "STAGENT_PROVIDER_PAUSE": "1",
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": model.url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "0",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
        }

    def plan(self, **stages: Attempts) -> None:
        """Say what the model does at each stage; an underscore in a name stands for a hyphen."""
        self.model.say(Staff({name.replace("_", "-"): attempts for name, attempts in stages.items()}))

    def stand_in(self, body: str) -> None:
        """Put a small program in the place of Claude Code, which does what `body` says."""
        self.env["STAGENT_CLAUDE"] = stand_in(self.root, body)

    def run(self, flow: str, *more: str, task: str = "Mend the project.", timeout: float = 60) -> Headless:
        """Drive a task to its end and wait for it."""
        return Headless(self, self.cli("run", task, *self.words(flow, *more), timeout=timeout))

    def go_on(self, run: str, *more: str, timeout: float = 60) -> Headless:
        """Go on with a run and wait for it."""
        return Headless(self, self.cli("run", "--resume", run, "--agent", "claude", "--json", *more, timeout=timeout))

    def words(self, flow: str, *more: str) -> list[str]:
        """The command line that drives a workflow, after the task."""
        return ["--flow", flow, "--agent", "claude", "--json", *more]

    def start(self, *words: str, ignoring: str = "") -> subprocess.Popen[str]:
        """Start the program and do not wait for it; `ignoring` names signals it is started with as ignored."""
        program = [sys.executable, "-m", "stagent", *words]
        return subprocess.Popen(
            ["/bin/sh", "-c", f"trap '' {ignoring}; exec \"$@\"", "sh", *program] if ignoring else program,
            cwd=self.project,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str], timeout: float = 60) -> Headless:
        """Wait for what `start` started."""
        out, err = process.communicate(timeout=timeout)
        assert "Traceback" not in err, err
        return Headless(self, Done(process.returncode, out, err))

    def seen(self, run: str) -> Driven:
        """A run, to ask about."""
        found = Driven()
        found.machine, found.run = self, run
        return found

    @property
    def only(self) -> str:
        """The only run there is."""
        [run] = self.cli("runs", "--json").json
        return str(run["run"])

    def processes(self) -> list[int]:
        """Every living process that has this machine's home, whoever started it."""
        mine = f"HOME={self.env['HOME']}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                held = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if mine in held:
                found.append(int(path.parent.name))
        return found

    def nothing_left(self) -> None:
        """Wait until no process of this machine is left; fail when one stays."""
        wait_for(lambda: not self.processes(), "every process to be gone")

    def stream(self, run: str, attempt: str) -> list[str]:
        """The lines an attempt's process wrote."""
        [folder] = (self.home / "projects").glob(f"*/streams/{run}")
        return (folder / f"{attempt}.ndjson").read_text().splitlines()


def at(run: Headless, kind: str) -> list[int]:
    """When the events of one type were written, by what was printed (unix milliseconds)."""
    return [line["at"] for line in run.done.lines if "data" in line and line["data"]["type"] == kind]


def prompts(model: ScriptedModel) -> list[Request]:
    """The first request of every attempt: the one that says where the artifact belongs."""
    return [request for request in model.main if _OUTPUT.search(request.fresh)]


def ends(run: Driven) -> list[tuple[str, str]]:
    """How each attempt ended, in order: outcome and code."""
    return [(event["outcome"], event.get("code", "")) for event in run.log("attempt.ended")]


def well(run: Headless) -> Headless:
    """The run, which must have reached a success terminal; else fail with its whole log."""
    log = run.machine.cli("log", run.run).out
    assert run.status == 0, f"exit {run.status}\n{run.done.err}\n{log}\n{run.refusals()}"
    return run

"""A run on a data home of its own that is driven in this process, with an agent whose every attempt a test plays.

The agent's process is a real one, a shell; what becomes of it is what the test says.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from stagent.bootstrap import Home
from stagent.config import DataHome
from stagent.core.commands import Caller
from stagent.core.ports import AgentEvent, AttemptSpec, Launch, Verdict
from stagent.core.state import State
from stagent.core.verify.folder import validate
from stagent.engine.flows import Flow
from stagent.engine.setup import Request, start
from stagent.runner.attempt import AttemptMaker, Made
from stagent.runner.loop import Ending, Hooks, Runner, holder
from stagent.runner.policy import Policy

WRITES = 'printf -- "---\\nepoch: %s\\nresult: done\\n---\\n$STAGENT_ATTEMPT\\n" "$STAGENT_EPOCH" >"$STAGENT_ARTIFACT"'
"""A shell command that leaves a good artifact."""
OK = Verdict(status="ok")


def says(kind: str, **fields: object) -> str:
    """A shell command that prints an event."""
    return f"printf '%s\\n' '{json.dumps({'kind': kind, **fields})}'"


def failed(code: str = "", reason: str = "It broke.", retry_at: int | None = None) -> Verdict:
    """A verdict on an attempt that failed."""
    return Verdict(status="failed", code=code, reason=reason, retry_at=retry_at)


class Played:
    """An agent backend: one shell command and one verdict for each attempt, the last one repeats."""

    name = "played"

    def __init__(self, steps: Sequence[tuple[str, Verdict]]) -> None:
        self._steps = list(steps)
        self._verdict = OK
        self.specs: list[AttemptSpec] = []

    def launch(self, spec: AttemptSpec, env: Mapping[str, str]) -> Launch:
        """Start a shell."""
        self.specs.append(spec)
        command, self._verdict = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        return Launch(argv=["/bin/sh", "-c", command], env=env, stdin=spec.prompt.encode())

    def ready(self, options: Mapping[str, str], env: Mapping[str, str], workdir: str) -> None:
        """Be ready."""

    def parse(self, line: bytes) -> list[AgentEvent]:
        """Take a line as the event it is."""
        try:
            return [msgspec.json.decode(line, type=AgentEvent)]
        except msgspec.MsgspecError:
            return [AgentEvent(kind="other", text=line.decode("utf-8", "replace"))]

    def judge(self, exit_code: int, events: Sequence[AgentEvent]) -> Verdict:
        """Say what the test says."""
        return self._verdict


class RunnerWorld:
    """A project and one run in it; `close` it afterwards."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "project"
        self.project.mkdir()
        (self.project / "src.py").write_text("x = 1\n")
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "begin"]):
            subprocess.run(["git", *words], cwd=self.project, check=True)
        self.home = Home(DataHome(root / "data"))
        self.service = self.home.at(self.project, exact=True, register=True)
        self.played = Played([("true", OK)])
        self.waits: list[tuple[str, float]] = []

    def close(self) -> None:
        """Close the databases."""
        self.home.close()

    def begin(self, stages: Mapping[str, Any] | None = None, **top: Any) -> State:
        """Start a run of a workflow whose stages are agents' unless they say otherwise."""
        given = stages or {"work": {"transitions": {"done": "complete"}}}
        plain = {"execution": {"type": "inline"}}
        made = {name: entry if "kind" in entry else {**plain, **entry} for name, entry in given.items()}
        document = {
            "initial_stage": next(iter(made)),
            "terminal_stages": ["complete", "cancelled"],
            **top,
            "stages": made,
        }
        files = {f"{name}.md": f"# {name}\n".encode() for name in made}
        files["workflow.json"] = json.dumps(document).encode()
        workflow, problems = validate(files)
        assert workflow is not None, problems
        flow = Flow(name="flow", folder=Path("flow"), files=files, workflow=workflow, problems=())
        request = Request(task="Do it.", flow=flow, mode="headless", holder=holder(), actor="test", session=None)
        self.state = start(self.service, request)
        self.run = self.state.run
        self.artifact = self.service.folder(self.state).artifact(self.state.stage)
        return self.state

    def play(self, *steps: tuple[str, Verdict]) -> None:
        """Say what each attempt does and comes to."""
        self.played = Played(steps)

    # -- attempt by attempt ------------------------------------------------------------------------------------

    @property
    def caller(self) -> Caller:
        """The runner that holds the lease."""
        return Caller(actor=f"runner:{os.getpid()}", kind="runner", fence=self.now.fence)

    @property
    def now(self) -> State:
        """Where the run stands."""
        return self.service.state(self.run)

    def maker(self) -> AttemptMaker:
        """Make attempts with the played agent."""
        return AttemptMaker(self.service, self.played, {}, lambda event: None, self.note)

    def note(self, what: str, seconds: float) -> None:
        """Note what was waited for."""
        self.waits.append((what, seconds))

    def make(self, maker: AttemptMaker) -> Made:
        """Make the next attempt at the stage the run stands in."""
        state = self.now
        return maker.make(state, self.service.workflow(state).stages[state.stage], self.caller)

    # -- whole runs --------------------------------------------------------------------------------------------

    def runner(self, policy: Policy | None = None, **hooks: Any) -> Runner:
        """A runner with the played agent."""
        return Runner(
            self.service, self.played, self.run, policy=policy, hooks=Hooks(**{"on_wait": self.note, **hooks})
        )

    def drive(self, policy: Policy | None = None, **hooks: Any) -> Ending:
        """Drive the run as far as it goes."""
        return self.runner(policy, **hooks).drive(self.state)

    # -- the log -----------------------------------------------------------------------------------------------

    def log(self, kind: str) -> list[dict[str, Any]]:
        """The data of the run's events of one type."""
        bodies = [json.loads(record.body)["data"] for record in self.service.store.read(self.run)]
        return [body for body in bodies if body["type"] == kind]

    def ends(self) -> list[tuple[str, str]]:
        """How each attempt ended: outcome and code."""
        return [(event["outcome"], event.get("code", "")) for event in self.log("attempt.ended")]

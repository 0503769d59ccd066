"""Attempts of the `claude` backend on a private machine: through the supervisor, with the real program or a stand-in.

`Office` is a machine with one headless run in its first stage. `Office.attempt` does what the runner does for one
attempt, no more: the live file, the backend's launch, the supervisor.
"""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from acceptance.claude.kit import KEY, claude_binary
from acceptance.support import Machine, stage
from stagent.agents.claude import ClaudeBackend
from stagent.bootstrap import Home
from stagent.config import DataHome
from stagent.core.ports import AgentEvent, AttemptSpec, Outcome
from stagent.core.verify.folder import validate
from stagent.engine.flows import Flow
from stagent.engine.projections import attempt as attempts
from stagent.engine.setup import Request, start
from stagent.runner.loop import holder
from stagent.runner.supervisor import Supervisor
from stagent.testing.scripted_model import ScriptedModel

Json = dict[str, Any]
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"result": {"type": "string"}, "notes": {"type": "string"}},
        "required": ["result"],
        "additionalProperties": False,
    }
)


class Ended(msgspec.Struct, frozen=True):
    """An attempt that ended: how, and every typed event on the way."""

    outcome: Outcome
    events: list[AgentEvent]
    lines: list[Json]
    argv: list[str]

    def of(self, kind: str) -> list[AgentEvent]:
        """Its events of one kind."""
        return [event for event in self.events if event.kind == kind]

    def told(self) -> str:
        """Everything it was told about its tools that went wrong."""
        return "\n".join(event.text for event in self.of("tool") if event.is_error)

    @property
    def init(self) -> Json:
        """What was loaded."""
        return next(line for line in self.lines if line.get("subtype") == "init")


class Office(Machine):
    """A machine with a headless run that stands in its stage `work`, or in `review`, which writes nothing else."""

    def __init__(self, root: Path, model: ScriptedModel, program: str = "") -> None:
        super().__init__(root)
        self.model = model
        self.program = program or claude_binary()
        self.repository({"src.py": "x = 1\n"})
        self.count = 0

    def __enter__(self) -> Office:
        self._home = Home(DataHome(self.home))
        service = self._home.at(self.project, exact=True, register=True)
        stages = {"work": stage({"done": "review", "again": "work"}), "review": stage({"pass": "complete"})}
        document = {"initial_stage": "work", "terminal_stages": ["complete", "escalated"], "stages": stages}
        files = {"workflow.json": json.dumps(document).encode(), "work.md": b"# work\n", "review.md": b"# review\n"}
        workflow, problems = validate(files)
        assert workflow is not None, problems
        flow = Flow(name="flow", folder=Path("flow"), files=files, workflow=workflow, problems=())
        request = Request(task="x", flow=flow, mode="headless", holder=holder(), actor="test", session=None)
        self.service, self.state = service, start(service, request)
        self.run = self.state.run
        self.artifact = service.folder(self.state).artifact("work")
        return self

    def __exit__(self, *error: object) -> None:
        self._home.close()

    def agent_env(self, **more: str) -> dict[str, str]:
        """The environment a runner on this machine starts from."""
        return {
            **self.env,
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": self.model.url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            **more,
        }

    def spec(self, **changes: Any) -> AttemptSpec:
        """The next attempt at the stage `work`."""
        self.count += 1
        made = AttemptSpec(
            id=f"{self.run}.1.{self.count}",
            run=self.run,
            stage="work",
            epoch=1,
            number=self.count,
            stage_attempt=self.count,
            workdir=str(self.project),
            run_dir=str(self.artifact.parent),
            artifact=str(self.artifact),
            prompt="Work.",
            stream=str(self.root / "streams" / f"{self.count}.ndjson"),
            timeout=40.0,
        )
        options = {"program": self.program, **changes.pop("options", {})}
        return msgspec.structs.replace(made, options=options, **changes)

    def attempt(
        self,
        *,
        env: Mapping[str, str] | None = None,
        live: bool = True,
        during: Callable[[Supervisor, AgentEvent], None] | None = None,
        started: Callable[[int], None] | None = None,
        **changes: Any,
    ) -> Ended:
        """Do one attempt as the runner does it; `during` sees every event, `started` the process id."""
        spec = self.spec(**changes)
        backend, events = ClaudeBackend(), list[AgentEvent]()
        service, state = self.service, self.state
        if live:
            flow, folder = service.workflow(state), service.folder(state)
            attempts.publish(flow, state, folder, service.brief(state), service.home, spec)
        launch = backend.launch(spec, self.agent_env(**(env or {})))
        supervisor = Supervisor(backend, grace=3.0)

        def heard(event: AgentEvent) -> None:
            events.append(event)
            if during:
                during(supervisor, event)

        def begun(pid: int, _started: str) -> None:
            if started:
                started(pid)

        outcome = supervisor.run(spec, launch, on_event=heard, on_started=begun)
        attempts.forget(service.home, self.run)
        raw = Path(spec.stream).read_bytes().splitlines()
        lines = [json.loads(line) for line in raw if line.startswith(b'{"') and line.endswith(b"}")]
        return Ended(outcome, events, lines, list(launch.argv))

    def settings(self, document: Json) -> None:
        """Write the user's own settings of Claude Code."""
        path = self.root / "home" / ".claude" / "settings.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))

    def report(self, result: str = "done") -> str:
        """The text of an artifact of the stage."""
        return f"---\nepoch: 1\nresult: {result}\n---\nWork.\n"


_STAND_IN = r"""#!{python}
import json, os, signal, sys, time
if "--version" in sys.argv:
    print({version!r}); sys.exit({status})
prompt = sys.stdin.read()
def say(**line): print(json.dumps(line), flush=True)
def init(**more):
    if {hooked}:
        output = json.dumps(dict(stagent=os.environ["STAGENT_ATTEMPT"] + "/" + os.environ["STAGENT_LAUNCH"]))
        say(type="system", subtype="hook_response", hook_event="SessionStart", output=output)
    say(type="system", subtype="init", session_id="s-1", claude_code_version="2.1.329",
        plugins=[dict(name="stagent-runner", source="stagent-runner@inline")], **more)
def result(**more):
    say(**dict(dict(type="result", subtype="success", is_error=False, terminal_reason="completed", result="Done.",
        result_index=0, total_cost_usd=0.5), **more))
{body}
"""


def stand_in(
    folder: Path, body: str, version: str = "2.1.329 (Claude Code)", status: int = 0, hooked: bool = True
) -> str:
    """Write a program that is called like Claude Code and does what `body` says; return its path."""
    path = folder / "stand-in"
    path.write_text(_STAND_IN.format(python=sys.executable, version=version, status=status, hooked=hooked, body=body))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)

"""`stagent run`: drive a task to its end without a session, or go on with a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
import msgspec

from stagent.bootstrap import Home
from stagent.cli import backend, output, people, whereabouts
from stagent.cli.asker import Asker
from stagent.cli.reporter import Reporter, is_paused
from stagent.config import value
from stagent.core.commands import Caller, Resume
from stagent.core.events import AttemptStarted
from stagent.core.masking import mask
from stagent.core.model import Workflow
from stagent.core.ports import AgentBackend
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine import consent, flows, setup
from stagent.engine.brief import label
from stagent.engine.history import events
from stagent.engine.service import RunService
from stagent.errors import StoreError, UsageError
from stagent.runner.example import Example
from stagent.runner.loop import Ending, Hooks, Runner, holder
from stagent.runner.policy import Policy

_EXITS = {
    "waiting": output.WAITING,
    "blocked": output.ENDED_OTHERWISE,
    "paused": output.WAITING,
    "escalated": output.ENDED_OTHERWISE,
    "stalled": output.WAITING,
}
Driving = tuple[AgentBackend, dict[str, str]]
_EXAMPLE = "driving the bundled example, a small repository and a scripted agent."


@click.command(name="run")
@click.argument("task", required=False)
@click.option("--flow", help="A workflow by name, or a folder as a path with a / in it.")
@click.option("--agent", help="The agent backend; else the run's own with --resume, else the setting `agent`.")
@click.option(
    "--script",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What the scripted agent does (JSON).",
)
@click.option("--option", "given", multiple=True, metavar="NAME=VALUE", help="An option of the agent; repeatable.")
@click.option("--unattended", type=click.Path(path_type=Path), help="Decisions declared for gates (JSON).")
@click.option("--resume", metavar="RUN", help="Go on with this run instead of starting one.")
@click.option(
    "--project",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The project folder; without it the top of the git work tree you are in, else the folder you are in.",
)
@click.option("--example", is_flag=True, help="Drive the bundled example, which needs no agent.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per event.")
def run_command(
    task: str | None,
    flow: str | None,
    agent: str | None,
    script: Path | None,
    given: tuple[str, ...],
    unattended: Path | None,
    resume: str | None,
    project: Path | None,
    example: bool,
    as_json: bool,
) -> int:
    """Run TASK to its end, headless; people are asked at gates.

    Exit status: 0 success terminal, 2 refused, 3 another terminal, given up or blocked, 4 waits for a person, also
    where a budget paused it.
    """
    if flow is not None and not flow.strip():
        raise UsageError("usage", "there is nothing in it", where="--flow", remedy="Name a workflow, or leave it out.")
    home = Home()
    try:
        way = _Way(agent=agent, script=script, given=given, unattended=unattended)
        policy = Policy.load(unattended) if unattended else None
        if resume is not None:
            return _drive(_resumed(home, way, resume, policy), as_json)
        if example or (task is None and agent is None):
            if not example:
                found = "" if backend.installed(home.data) else ", and Claude Code is not on the PATH"
                output.note(f"There is no task{found}: {_EXAMPLE}")
            return _drive(_example(home, policy, flow), as_json)
        setup.need(task or "", "run")
        service = home.at(project or Path.cwd(), exact=project is not None, register=True)
        return _drive(_begun(home, service, way, task or "", flow, policy), as_json)
    finally:
        home.close()


class _Way(msgspec.Struct, frozen=True, kw_only=True):
    """How the agent is to be driven, as the command line says it."""

    agent: str | None
    script: Path | None
    given: tuple[str, ...] = ()
    unattended: Path | None = None

    @property
    def words(self) -> list[str]:
        """The same once more, for whoever goes on from any folder."""
        named = (("--agent", self.agent), ("--script", self.script), ("--unattended", self.unattended))
        found = [(name, str(at.absolute() if isinstance(at, Path) else at)) for name, at in named if at is not None]
        return [word for pair in (*found, *(("--option", entry) for entry in self.given)) for word in pair]


class _Drive(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be driven and with what; `earlier` counts the events from before."""

    service: RunService
    state: State
    driving: Driving
    policy: Policy | None
    way: _Way
    earlier: int = 0


def _example(home: Home, policy: Policy | None, flow: str | None) -> _Drive:
    made = Example.make()
    service = home.at(made.project, register=True)
    output.note(f"Example repository: {made.project}")
    way = _Way(agent="scripted", script=made.script)
    return _begun(home, service, way, made.task, flow, policy or made.policy)


def _begun(home: Home, service: RunService, way: _Way, task: str, flow: str | None, policy: Policy | None) -> _Drive:
    driving = backend.choose(home.data, way.agent, way.script, way.given)
    _ready(service, driving)
    state = _begin(home, service, task, flow, policy)
    return _Drive(service=service, state=state, driving=driving, policy=policy, way=way)


def _resumed(home: Home, way: _Way, run: str, policy: Policy | None) -> _Drive:
    if policy is not None:
        people.no_agent("declare decisions for a run that waits")
    service = _project_of(home, run)
    name = way.agent or (None if way.script else _drove(service, run))
    driving = backend.choose(home.data, name, way.script, way.given)
    before = service.state(run)
    _fits(policy, service.workflow(before))
    _ready(service, driving)
    state = _resume(service, run)
    return _Drive(service=service, state=state, driving=driving, policy=policy, way=way, earlier=before.seq)


def _ready(service: RunService, driving: Driving) -> None:
    """Refuse an agent that could not be started, or settings that are wrong, before anything is written.

    What people should know about the agent is said on standard error.
    """
    agent, options = driving
    for name in ("provider_pause", "provider_longest", "attempts"):
        value(service.home, name)
    if remark := agent.ready(options, dict(os.environ), str(service.root)):
        output.note(remark)


def _fits(policy: Policy | None, workflow: Workflow) -> None:
    """Refuse decisions for stages that are not there: nobody would ever make them."""
    unknown = sorted(set(policy.gates) - set(workflow.stages)) if policy is not None else []
    if unknown:
        raise UsageError(
            "policy.stage",
            f"the workflow has no stage {', '.join(unknown)}",
            where="--unattended",
            known=sorted(workflow.stages),
            remedy="Correct the name, or leave it out.",
        )


def _begin(home: Home, service: RunService, task: str, flow: str | None, policy: Policy | None) -> State:
    chosen = flows.usable(flow or value(home.data, "flow")[0], Path.cwd(), service.root)
    _fits(policy, chosen.workflow)
    consent.need(home.data, chosen, service.root)
    request = setup.Request(
        task=task,
        flow=chosen,
        mode="headless",
        holder=holder(),
        actor=f"runner:{os.getpid()}",
    )
    return setup.start(service, request, lambda state: home.note(service, state, None, label(task)))


def _project_of(home: Home, run: str) -> RunService:
    """Open the project of a run, also where it lies now when it was moved here."""
    try:
        return home.of(run)
    except StoreError as error:
        if error.code != "project.gone":
            raise
        return whereabouts.moved(home, run, error, force=False).service


def _resume(service: RunService, run: str) -> State:
    state = service.state(run)
    caller = Caller(actor=f"runner:{os.getpid()}", kind="runner", fence=state.fence)
    if state.given_up:
        people.no_agent("go on with a run that waits for a person's decision")
    answer = service.submit(run, caller, Resume(holder=holder(), ordered=state.given_up))
    if isinstance(answer, Refusal):
        raise answer.error()
    return answer


def _drove(service: RunService, run: str) -> str | None:
    """Return the agent that made a run's last attempt: only who names another one gets another one."""
    starts = (envelope.data for envelope in events(service, run) if isinstance(envelope.data, AttemptStarted))
    made = [data.backend for data in starts if data.agent is None and data.backend != "command"]
    return made[-1] if made else None


def _drive(asked: _Drive, as_json: bool) -> int:
    service, run = asked.service, asked.state.run
    agent, options = asked.driving

    def stopping() -> bool:
        return bool(runner.stopping)

    reporter = Reporter(service, run, as_json=as_json, stopping=stopping, earlier=asked.earlier, again=asked.way.words)
    asker = Asker(
        service,
        run,
        quiet=as_json,
        before=reporter.settle,
        stopping=stopping,
        hung_up=lambda: runner.stop("SIGHUP"),
    )
    hooks = Hooks(on_agent=reporter.agent, on_check=reporter.check, on_wait=reporter.wait, ask=asker.ask)
    runner = Runner(service, agent, run, policy=asked.policy, options=options, hooks=hooks)
    service.listeners.append(reporter.catch_up)
    with _signals(runner), reporter:
        reporter.catch_up()
        ending = runner.drive(asked.state)
        reporter.catch_up()
    if runner.error is not None:
        output.note(f"stagent: {mask(str(runner.error))}")
    final = service.state(run)
    reporter.summary(final, ending)
    return _status(final, ending, runner.stopping)


def _status(state: State, ending: Ending, stopping: str) -> int:
    if ending == "ended":
        return output.OK if state.success else output.ENDED_OTHERWISE
    if ending == "interrupted":
        return 128 + signal.Signals[stopping] if stopping else output.ENDED_OTHERWISE
    return _EXITS["paused" if is_paused(state) else ending]


@contextmanager
def _signals(runner: Runner) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        runner.stop(signal.Signals(number).name)

    # What whoever started us had us ignore, such as the hang-up with nohup, goes on being ignored.
    heard = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in heard if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

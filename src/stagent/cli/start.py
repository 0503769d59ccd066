"""`stagent start`: set a run up for a session that drives it itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec

from stagent.bootstrap import Home
from stagent.cli import output, pending, people, select
from stagent.config import DataHome, value
from stagent.core.commands import Cancel
from stagent.core.ids import is_session, run_id
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine import flows, setup
from stagent.engine.brief import label
from stagent.engine.service import RunService
from stagent.errors import RefusedError, UsageError

_CREATE = "stagent:create"


@click.command(name="start")
@click.argument("task", required=False)
@click.option("--topic", help="A short name for the run, for --topic.")
@click.option("--flow", help="A workflow by name, or a folder as a path with a / in it.")
@click.option("--mode", help="Where the run lives: local.")
@click.option("--force", is_flag=True, help="Cancel the session's live run first; asks at the terminal.")
@click.option("--project", type=click.Path(path_type=Path, exists=True, file_okay=False), help="The project folder.")
@click.option("--pending", "kept", is_flag=True, help="Take the arguments the plugin's hook kept.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def start_command(
    task: str | None,
    topic: str | None,
    flow: str | None,
    mode: str | None,
    force: bool,
    project: Path | None,
    kept: bool,
    as_json: bool,
) -> int:
    """Set up a run of TASK (- reads it from standard input) and print the first stage's context.

    Inside an agent session the run belongs to it; elsewhere to whoever calls `advance` in this folder.
    """
    if kept:
        return pending.answered(_pending)
    if topic is not None and topic != topic.encode("utf-8", "replace").decode():
        raise UsageError("usage", "the topic is not text in UTF-8", where="--topic", remedy="Give it as text.")
    text = sys.stdin.read() if task == "-" else task or topic or ""
    return _set_up(Asked(text=text, topic=topic, flow=flow, mode=mode, force=force, project=project), as_json)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is to be started with."""

    text: str
    topic: str | None = None
    flow: str | None = None
    mode: str | None = None
    force: bool = False
    project: Path | None = None


def _pending() -> int:
    kept = pending.take(DataHome.locate(), pending.session_of_environment(), "stagent:start", _CREATE)
    asked = pending.create_words(kept.args) if kept.command == _CREATE else pending.start_words(kept.args)
    return _set_up(Asked(text=asked.task, flow=asked.flow, mode=asked.mode), False)


def _set_up(asked: Asked, as_json: bool) -> int:
    home = Home()
    try:
        where = _mode(home, asked.mode)
        session = os.environ.get(select.SESSION) or None
        if session is not None and not is_session(session):
            raise UsageError(
                "session.id", "the session id has a form this program does not accept", remedy="Report it."
            )
        if session is not None:
            _no_live_run(home, session, asked.force)
        service = home.at(asked.project or Path.cwd(), exact=asked.project is not None, register=True)
        state = _start(home, service, asked, session)
        _say(service, state, where, as_json)
        return 0
    finally:
        home.close()


def _mode(home: Home, asked: str | None) -> str:
    mode, source = (asked, "--mode") if asked else value(home.data, "mode")
    if mode != "local":
        raise UsageError(
            "mode.unknown",
            f'no mode "{mode}"',
            where="--mode",
            known=["local"],
            remedy="Use local; it needs no server.",
        )
    return f"{mode} (from {source})"


def _no_live_run(home: Home, session: str, force: bool) -> None:
    live = select.session_run(home, session)
    if live is None:
        return
    state = live.service.state(live.run)
    if not force:
        raise RefusedError(
            "start.live_run",
            f"this session already has an active run: {live.run}, stage {state.stage}, {state.status}",
            where=str(live.service.root),
            remedy=(
                "Go on with it (stagent status), end it (stagent cancel, by a person), or begin anew with "
                "stagent start --force."
            ),
            fields={"run": live.run, "stage": state.stage, "status": state.status},
        )
    person = people.confirm("start --force", f"Cancel {live.run} in stage {state.stage} and start anew?", state)
    answer = live.service.submit(live.run, person, Cancel())
    if isinstance(answer, Refusal):
        raise answer.error()


def _start(home: Home, service: RunService, asked: Asked, session: str | None) -> State:
    reference = asked.flow or value(home.data, "flow")[0]
    folder = session or run_id(service.clock(), os.urandom(10))
    request = setup.Request(
        task=asked.text,
        flow=flows.usable(reference, Path.cwd(), service.root),
        mode="session",
        holder=select.session_holder(session, folder),
        actor=f"session:{session}" if session else f"caller:{folder}",
        session=folder,
    )
    name = asked.topic or label(asked.text)
    return setup.start(service, request, lambda state: home.note(service, state, session or state.folder, name))


def _say(service: RunService, state: State, mode: str, as_json: bool) -> None:
    brief = service.brief(state)
    if as_json:
        output.as_json({"run": state.run, "head": state.head, "mode": mode, "tick": brief.tick()})
        return
    output.line(f"Run {state.run} started in {service.root}")
    output.line(f"Workflow: {state.flow} ({state.workflow[:12]}); mode: {mode}")
    output.line(f"Run folder: {service.folder(state).path}")
    output.line()
    output.line(brief.context().rstrip("\n"))

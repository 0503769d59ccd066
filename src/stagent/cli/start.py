"""`stagent start`: set a run up for a session that drives it itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec

from stagent.bootstrap import Home
from stagent.cli import lease, output, pending, people, select
from stagent.cli.alone import alone
from stagent.config import DataHome, value
from stagent.core.ids import is_session
from stagent.core.masking import mask
from stagent.core.refusals import Refusal
from stagent.engine import consent, flows, setup
from stagent.engine.brief import label
from stagent.engine.service import RunService
from stagent.errors import NotFoundError, RefusedError, UsageError

_CREATE = "stagent:create"


@click.command(name="start")
@click.argument("task", required=False)
@click.option("--topic", help="A short name for the run, for --topic.")
@click.option("--flow", help="A workflow by name, or a folder as a path with a / in it.")
@click.option("--mode", help="Where the run lives: local.")
@click.option("--force", is_flag=True, help="Cancel the live run of the session or folder first; a person confirms.")
@click.option(
    "--project",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The project folder; without it the top of the git work tree you are in, else the folder you are in.",
)
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
    for name, given in (("--topic", topic), ("--flow", flow), ("--mode", mode)):
        if given is not None and not given.strip():
            raise UsageError("usage", "there is nothing in it", where=name, remedy="Give a value, or leave it out.")
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
    kept: pending.Kept | None = None


def _pending() -> int:
    kept = pending.take(DataHome.locate(), pending.session_of_environment(), "stagent:start", _CREATE)
    asked = pending.create_words(kept.args) if kept.command == _CREATE else pending.start_words(kept.args)
    return _set_up(Asked(text=asked.task, flow=asked.flow, mode=asked.mode, force=asked.force, kept=kept), False)


def _set_up(asked: Asked, as_json: bool) -> int:
    home = Home()
    try:
        where = _mode(home, asked.mode)
        session = os.environ.get(select.SESSION) or None
        if session is not None and not is_session(session):
            raise UsageError(
                "session.id", "the session id has a form this program does not accept", remedy="Report it."
            )
        with alone(home.data, session):
            live = _live(home, session, asked.force)
            if live is not None and not asked.force:
                raise _has_live_run(home, live)
            service = home.at(asked.project or Path.cwd(), exact=asked.project is not None, register=True)
            request = _request(home, service, asked, session)
            if live is not None:
                _end(home, live, asked, as_json)
            _begin(home, service, asked, request, where, as_json)
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


def _live(home: Home, session: str | None, force: bool) -> select.Chosen | None:
    """Return the session's live run; outside of a session the folder's, where it is to be ended."""
    if session is not None:
        return select.session_run(home, session)
    try:
        found = select.choose(home, select.Selector()) if force else None
    except NotFoundError:
        return None
    return None if found is None or found.service.journal.load(found.run)[0].ended else found


def _has_live_run(home: Home, live: select.Chosen) -> RefusedError:
    state = live.service.state(live.run)
    topic = mask(home.index.find_run(live.run).label)
    return RefusedError(
        "start.live_run",
        f'this session already has an active run: {live.run} ("{topic}"), stage {state.stage}, {state.status}',
        where=str(live.service.root),
        remedy=(
            "Go on with it (stagent status); end it (/stagent:cancel, or stagent cancel in a terminal); or end it and "
            "begin anew (/stagent:start --force TASK)."
        ),
        fields={"run": live.run, "topic": topic, "stage": state.stage, "status": state.status},
    )


def _end(home: Home, live: select.Chosen, asked: Asked, quiet: bool) -> None:
    """Cancel the run that is in the way, as a person orders it. Raises RefusedError."""
    state = live.service.state(live.run)
    if asked.kept is not None:
        person = pending.person(asked.kept, "/stagent:start --force", f"In a terminal: stagent cancel {live.run}.")
    else:
        person = people.confirm("start --force", f"Cancel {live.run} in stage {state.stage} and start anew?", state)
    answer = lease.end(home, live.service, state, person, quiet=quiet)
    if isinstance(answer, Refusal):
        raise answer.error()
    tell = output.note if quiet else output.line
    tell(f"{live.run} is cancelled. Log head: {answer.head}")


def _request(home: Home, service: RunService, asked: Asked, session: str | None) -> setup.Request:
    """Return what the run is started with. Raises before anything is changed."""
    reference = asked.flow or value(home.data, "flow")[0]
    run = setup.fresh_id(service)
    folder = session or run
    before = home.index.runs_of_session(session) if session else []
    setup.need(asked.text)
    flow = flows.usable(reference, Path.cwd(), service.root)
    consent.need(home.data, flow, service.root)
    return setup.Request(
        task=asked.text,
        flow=flow,
        mode="session",
        holder=select.session_holder(session, folder),
        actor=f"session:{session}" if session else f"caller:{folder}",
        run=run,
        session=folder,
        replaced=before[-1].label if before else "",
    )


def _begin(home: Home, service: RunService, asked: Asked, request: setup.Request, mode: str, as_json: bool) -> None:
    name, moved = asked.topic or label(asked.text), list[Path]()
    state = setup.start(service, request, lambda state: home.note(service, state, state.folder, name), moved.append)
    brief = service.brief(state)
    if as_json:
        output.as_json({"run": state.run, "head": state.head, "mode": mode, "tick": brief.tick()})
        return
    output.line(f"Run {state.run} started in {service.root}")
    output.line(f"Topic: {mask(name)}; {f'session: {state.session}' if state.session else 'driven by hand'}")
    output.line(f"Workflow: {state.flow} ({state.workflow[:12]}); mode: {mode}")
    output.line(f"Run folder: {service.folder(state).path}")
    for place in moved:
        output.line(f"The run folder that was there before is now {place}")
    if brief.stage.interruptible:
        output.line(f"Stage {state.stage} is interruptible: the agent may end its turn there to talk with you.")
    output.line()
    output.line(brief.context().rstrip("\n"))

"""Which run a command means. An explicit selector is exact or fails; a session without a run never means another's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from stagent import processes
from stagent.bootstrap import Home
from stagent.core.commands import Caller
from stagent.core.events import Holder
from stagent.core.ids import is_run, is_session
from stagent.core.masking import mask
from stagent.core.ports import RunEntry
from stagent.core.refusals import place
from stagent.core.state import State
from stagent.engine.evidence import HOST
from stagent.engine.service import RunService
from stagent.errors import NotFoundError, RefusedError, StoreError, UsageError

SESSION = "CLAUDE_CODE_SESSION_ID"
PID = "CLAUDE_PID"
ATTEMPT = "STAGENT_ATTEMPT"


class Selector(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says about the run."""

    run: str | None = None
    session: str | None = None
    topic: str | None = None


class Chosen(msgspec.Struct, frozen=True):
    """A run and the service of its project."""

    service: RunService
    run: str


class _Live(msgspec.Struct, frozen=True):
    run: str


def choose(home: Home, selector: Selector) -> Chosen:
    """Return the run a command means: RUN, `--session`, `--topic`, the session of the environment, the folder.

    Raises NotFoundError or UsageError naming the known runs.
    """
    if selector.run is not None:
        if not is_run(selector.run):
            raise UsageError("run.id", f'"{selector.run}" is no run id', remedy="`stagent runs` lists them.")
        return Chosen(home.of(selector.run), selector.run)
    if selector.session is not None:
        return _of_session(home, _session_id(selector.session))
    if selector.topic is not None:
        matching = [entry for entry in home.index.runs() if entry.label == selector.topic]
        return _newest(home, matching, f'topic "{selector.topic}"')
    attempt = os.environ.get(ATTEMPT, "").split(".")[0]
    if is_run(attempt):
        return Chosen(home.of(attempt), attempt)
    session = os.environ.get(SESSION)
    if session:
        return _of_session(home, _session_id(session))
    return _of_folder(home)


def session_run(home: Home, session: str) -> Chosen | None:
    """Return the unfinished run of a session, or None."""
    for entry in reversed(home.index.runs_of_session(session) or _rebound(home, session)):
        service = home.of(entry.run)
        if not service.journal.load(entry.run)[0].ended:
            return Chosen(service, entry.run)
    return None


def paused_here(home: Home) -> Chosen:
    """Return the folder's only run that waits to be continued. Raises NotFoundError or UsageError otherwise."""
    project = home.known(Path.cwd())
    if project is None:
        raise NotFoundError(
            "run.none", "no run in this project", where=str(Path.cwd()), remedy="Start one: stagent start."
        )
    service = home.project(project)
    states = [service.journal.load(entry.run)[0] for entry in home.index.runs(project)]
    waiting = [state for state in states if not state.ended]
    paused = [state for state in waiting if not state.live] or waiting
    known = [_told(state, "") for state in paused]
    if len(paused) == 1:
        return Chosen(service, paused[0].run)
    if not paused:
        raise NotFoundError(
            "run.none", "no unfinished run in this project", where=str(service.root), remedy="Start one: stagent start."
        )
    raise UsageError("run.ambiguous", "several unfinished runs in this project", known=known, remedy="Name one.")


def _session_id(text: str) -> str:
    if not is_session(text):
        raise UsageError("session.id", f'"{text}" is no session id', remedy="Use letters, digits, dot, _ and -.")
    return text


def _of_session(home: Home, session: str) -> Chosen:
    found = home.index.runs_of_session(session) or _rebound(home, session)
    if not found:
        _lost(home, session)
    return _newest(home, found, f"session {session}")


def _lost(home: Home, session: str) -> None:
    """Tell a session that began a run of this folder which another drives now. Raises RefusedError."""
    project = home.known(Path.cwd())
    for entry in home.index.runs(project) if project else []:
        state = home.project(project or "").journal.load(entry.run)[0]
        if state.folder != session or state.ended:
            continue
        holder = state.lease.holder if state.lease else None
        who = f"{holder.kind} {holder.session or holder.pid or ''}".strip() if holder else "nobody"
        raise RefusedError(
            "lease.held",
            f"this session does not drive the run {state.run} any more; {who} does",
            where=place(state),
            remedy=f"Drive it from there, or take it back: stagent continue {state.run} --take-over.",
            fields={"run": state.run, "holder": who},
        )


def _rebound(home: Home, session: str) -> list[RunEntry]:
    """Return the run that went along when the session's process got this new id; only a hook saw that happen."""
    try:
        live = msgspec.json.decode(home.data.live(session).read_bytes(), type=_Live)
        service = home.of(live.run)
    except (OSError, msgspec.MsgspecError, NotFoundError):
        return []
    if service.state(live.run).session != session:
        return []
    home.index.rebind_session(live.run, session)
    return home.index.runs_of_session(session)


def _newest(home: Home, entries: Iterable[RunEntry], of_what: str) -> Chosen:
    found = list(entries)
    if not found:
        raise NotFoundError(
            "run.none",
            f"no run of {of_what}",
            known=[entry.run for entry in home.index.runs()][-10:],
            remedy="Start one with `stagent start`, or name a run.",
        )
    live = [(entry, state) for entry in found if (state := _unfinished(home, entry)) is not None]
    if len(live) > 1:
        known = [_told(state, entry.label) for entry, state in live]
        raise UsageError("run.ambiguous", f"several runs of {of_what}", known=known, remedy="Name one.")
    entry = live[0][0] if live else found[-1]
    return Chosen(home.of(entry.run), entry.run)


def _unfinished(home: Home, entry: RunEntry) -> State | None:
    """Return where a run stands that goes on; one whose project folder is gone does not, whatever its log says."""
    try:
        state = home.of(entry.run).journal.load(entry.run)[0]
    except StoreError:
        return None
    return None if state.ended else state


def _told(state: State, label: str) -> str:
    """Return what tells one unfinished run from another."""
    return f"{state.run} ({state.status}, stage {state.stage}" + (f", {mask(label)})" if label else ")")


def _of_folder(home: Home) -> Chosen:
    project = home.known(Path.cwd())
    entries = home.index.runs(project) if project else []
    if not entries:
        raise NotFoundError(
            "run.none",
            "no run in this project",
            where=str(Path.cwd()),
            remedy="Start one with `stagent run TASK`, or name a run; `stagent runs --all` lists all of them.",
        )
    return _newest(home, entries, "this project")


def caller(state: State, *, agent: str | None = None) -> Caller:
    """Return who calls, as the lease of this run would know him: its session, or any other caller."""
    holder = state.lease.holder if state.lease else None
    session = os.environ.get(SESSION)
    if session:
        pid = os.environ.get(PID, "")
        return Caller(
            actor=f"session:{session}",
            kind="session",
            session=session,
            pid=int(pid) if pid.isdecimal() else None,
            agent=agent,
        )
    name = holder.session if holder is not None and holder.kind == "caller" else None
    return Caller(actor=f"caller:{name or os.getppid()}", kind="caller", session=name, agent=agent)


def session_holder(session: str | None, run_session: str) -> Holder:
    """Return the holder `start` and `continue` record: the agent session of the environment, else a caller."""
    if session is None:
        return Holder(kind="caller", session=run_session, host=HOST)
    pid = os.environ.get(PID, "")
    number = int(pid) if pid.isdecimal() else None
    started = processes.start_time(number) if number is not None else None
    return Holder(kind="session", session=session, pid=number, started=started, host=HOST)

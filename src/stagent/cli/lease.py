"""`interrupt`, `continue`, `cancel`: who drives a run, and whether anybody does."""

from __future__ import annotations

import os

import click
import msgspec

from stagent import disk
from stagent.bootstrap import Home
from stagent.cli import output, pending, people, select, whereabouts
from stagent.cli.alone import alone
from stagent.cli.hints import going_on
from stagent.cli.options import selector_options
from stagent.cli.select import Selector, choose
from stagent.config import DataHome
from stagent.core.canonical import digest
from stagent.core.commands import Caller, Cancel, Interrupt, Resume
from stagent.core.masking import mask
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine import setup
from stagent.engine.folder import read
from stagent.engine.service import RunService
from stagent.errors import RefusedError, StoreError


@click.command(name="interrupt")
@selector_options
@click.option("--reason", help="Why, for the log.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def interrupt_command(selector: Selector, reason: str | None, as_json: bool) -> int:
    """Pause a run: nobody drives it until somebody goes on with it.

    Asks at the terminal when another session, or a runner, drives it.
    """
    home = Home()
    try:
        chosen = choose(home, selector)
        state = chosen.service.state(chosen.run)
        if state.status == "interrupted":
            output.note(f"{chosen.run} is interrupted already.")
            return 0
        text = (reason or "").encode()
        command = Interrupt(reason=digest(text) if text else None)
        who = select.caller(state)
        if _stranger(state):
            who = people.confirm("interrupt a run another drives", f"Interrupt {chosen.run}?", state)
        answer = chosen.service.submit(chosen.run, who, command, {digest(text): text} if text else None)
        if isinstance(answer, Refusal):
            return output.refused(answer, as_json_too=as_json)
        _stop_agents(state, quiet=as_json)
        _say(answer, as_json, f"{chosen.run} is interrupted in stage {answer.stage}. Go on: {going_on(answer)}")
        return 0
    finally:
        home.close()


def _stranger(state: State) -> bool:
    """Say whether the caller is not the one who drives the run, so that only a person may order it."""
    holder = state.lease.holder if state.lease else None
    session = os.environ.get(select.SESSION)
    if holder is None or holder.kind == "caller":
        return False
    return holder.kind == "runner" or holder.session != session


def _stop_agents(state: State, *, quiet: bool) -> None:
    """Name the sub-agents that still work, for whoever can stop them; beside a JSON answer, on standard error."""
    running = [agent.id for agent in (*state.others, *state.agents) if not agent.ended]
    if running:
        tell = output.note if quiet else output.line
        tell(f"STAGENT_STOP_AGENT_IDS: {' '.join(running)}")


@click.command(name="continue")
@selector_options
@click.option("--take-over", is_flag=True, help="Take the run from whoever drives it; asks at the terminal.")
@click.option("--force-project-mismatch", is_flag=True, help="Go on although the project is not as it was left.")
@click.option(
    "--pending", "kept", is_flag=True, help="Take the arguments the plugin's hook kept for /stagent:continue."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def continue_command(
    selector: Selector, take_over: bool, force_project_mismatch: bool, kept: bool, as_json: bool
) -> int:
    """Go on with a paused, blocked or given-up run in this session (headless: stagent run --resume RUN)."""
    if kept:
        return pending.answered(_pending)
    wanted = Wanted(selector=selector, take_over=take_over, force=force_project_mismatch)
    answer = _go_on(wanted, as_json)
    return output.refused(answer, as_json_too=as_json) if answer is not None else output.OK


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to go on and how; `kept` is set when the words came from a command a hook saw in this session."""

    selector: Selector
    take_over: bool = False
    force: bool = False
    kept: pending.Kept | None = None


def _pending() -> int:
    kept = pending.take(DataHome.locate(), pending.session_of_environment(), "stagent:continue")
    words = pending.continue_words(kept.args)
    selector = Selector(run=words.run, session=words.session)
    wanted = Wanted(selector=selector, take_over=words.take_over, force=words.force, kept=kept)
    answer = _go_on(wanted, False)
    if answer is not None:
        raise answer.error()
    return output.OK


def _go_on(wanted: Wanted, as_json: bool) -> Refusal | None:
    """Continue a run and say where it stands, or return why not."""
    home = Home()
    try:
        session = os.environ.get(select.SESSION) or None
        with alone(home.data, session):
            service, answer = _resume(home, wanted, session)
        if isinstance(answer, Refusal):
            return answer
        brief = service.brief(answer)
        if as_json:
            output.as_json({"run": answer.run, "stage": answer.stage, "fence": answer.fence, "tick": brief.tick()})
        else:
            _told(home, service, answer, session)
            output.line(brief.context().rstrip("\n"))
        return None
    finally:
        home.close()


def _headless(service: RunService, state: State, wanted: Wanted, session: str | None) -> None:
    """Refuse to leave a headless run that nobody drives to a caller outside of a session who did not ask for that."""
    idle = state.lease is None or service.gatherer.holder_alive(state) is False
    if session is None and state.mode == "headless" and idle and not (wanted.take_over or state.ended):
        raise RefusedError(
            "continue.headless",
            "a runner drove this run, and outside of a session nothing would go on by itself",
            where=state.run,
            remedy=f"Go on with a runner: {going_on(state)}; to move it by hand: "
            f"stagent continue {state.run} --take-over.",
        )


def _resume(home: Home, wanted: Wanted, session: str | None) -> tuple[RunService, State | Refusal]:
    """Give the run to this session, or to whoever calls outside of one; return its new state, or why not."""
    chosen, moved = _resumable(home, wanted, session)
    service = chosen.service
    state = service.state(chosen.run)
    _headless(service, state, wanted, session)
    if session is not None:
        _without_another(home, chosen, session)
    if not moved:
        whereabouts.project(service, state, force=wanted.force)
        whereabouts.session(home, service, state, session, force=wanted.force)
    who = _orderer(wanted, state, session)
    holder = select.session_holder(session, state.folder)
    command = Resume(holder=holder, take_over=wanted.take_over, ordered=state.given_up)
    answer = service.submit(chosen.run, who, command)
    if session is not None and isinstance(answer, State):
        home.index.rebind_session(chosen.run, session)
    return service, answer


def _without_another(home: Home, chosen: select.Chosen, session: str) -> None:
    """Refuse to give a session a second unfinished run: nobody could say any more which one it means."""
    own = select.session_run(home, session)
    if own is None or own.run == chosen.run:
        return
    raise RefusedError(
        "continue.live_run",
        f"this session has an unfinished run of its own: {own.run}",
        where=chosen.run,
        remedy=f"Go on with it: stagent continue {own.run}; end it: /stagent:cancel; or use another session.",
        fields={"run": own.run},
    )


def _orderer(wanted: Wanted, state: State, session: str | None) -> Caller:
    """Return who orders it; a person is asked where only a person's order counts. Raises RefusedError."""
    holder = state.lease.holder if state.lease else None
    if wanted.take_over and wanted.kept is not None:
        remedy = f"In a terminal of your own: stagent continue {state.run} --take-over."
        return pending.person(wanted.kept, "/stagent:continue --take-over", remedy)
    if wanted.take_over:
        name = f"{holder.kind} {holder.session or holder.pid}" if holder else "nobody"
        return people.confirm("take a run over", f"Take {state.run} over from {name}?", state)
    if state.given_up and wanted.kept is not None:
        remedy = f"In a terminal of your own: stagent run --resume {state.run}."
        return pending.person(wanted.kept, "/stagent:continue", remedy)
    if state.given_up:
        people.no_agent("go on with a run that waits for a person's decision")
    if session is None and state.session and holder is None and not state.ended:
        question = f"A session with hooks drove {state.run}. Go on with it here, where no hook looks on?"
        return people.confirm("go on with a session's run outside of it", question, state)
    return select.caller(state)


def _told(home: Home, service: RunService, state: State, session: str | None) -> None:
    output.line(f"Going on with {state.run} in stage {state.stage}, epoch {state.epoch}, at {service.root}.")
    topic = mask(home.index.find_run(state.run).label)
    output.line(f"Topic: {topic}; {f'session: {session}' if session else 'driven by hand'}")
    pause, end = ("/stagent:interrupt", "/stagent:cancel") if session else ("stagent interrupt", "stagent cancel")
    output.line(f"Pause it with {pause}; end it for good with {end}.")


def _resumable(home: Home, wanted: Wanted, session: str | None) -> tuple[select.Chosen, bool]:
    """Return the run to go on with, and whether its project was found to have moved here, with everything looked at.

    In a session without a run of its own it is the folder's only one that is not live.
    """
    selector = wanted.selector
    named = any(name is not None for name in (selector.run, selector.session, selector.topic))
    if not named and not (session and select.session_run(home, session)):
        return select.paused_here(home), False
    try:
        return choose(home, selector), False
    except StoreError as error:
        if error.code != "project.gone" or selector.run is None:
            raise
        return whereabouts.moved(home, selector.run, error, force=wanted.force), True


@click.command(name="cancel")
@selector_options
@click.option("--hard", is_flag=True, help="Remove the run folder instead of archiving it; the log is kept.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cancel_command(selector: Selector, hard: bool, as_json: bool) -> int:
    """End a run for good; only a person can."""
    home = Home()
    try:
        chosen = choose(home, selector)
        state = chosen.service.state(chosen.run)
        if state.ended and not is_left(chosen.service, state):
            raise RefusedError(
                "run.ended", f"the run ended as {state.terminal}", where=state.run, remedy="Nothing is to be done."
            )
        person = people.confirm("cancel a run", f"Cancel {chosen.run} in stage {state.stage}?", state)
        answer = end(home, chosen.service, state, person, hard=hard, quiet=as_json)
        if isinstance(answer, Refusal):
            return output.refused(answer, as_json_too=as_json)
        _say(answer, as_json, f"{chosen.run} is cancelled. Log head: {answer.head}")
        return 0
    finally:
        home.close()


def is_left(service: RunService, state: State) -> bool:
    """Say whether a cancelled run's own folder still lies there, because whoever cancelled it was killed."""
    folder = service.folder(state)
    text = read(folder.state_file) if state.terminal == "cancelled" and folder.path.is_dir() else b""
    return text is None or f"\nrun: {state.run}\n".encode() in text


def end(
    home: Home, service: RunService, state: State, person: Caller, *, hard: bool = False, quiet: bool = False
) -> State | Refusal:
    """Cancel a run by a person's order, name the agents to be stopped, and put its folder away; `hard` removes it.

    Of a run that is cancelled already only the folder is put away.
    """
    answer = state if state.ended else service.submit(state.run, person, Cancel())
    if isinstance(answer, Refusal):
        return answer
    _stop_agents(state, quiet=quiet)
    if hard:
        disk.remove(service.folder(answer).path, as_far_as_possible=True)
    else:
        setup.archive(service.root, answer.folder, "-cancelled", home.index.find_run(answer.run).label)
    return answer


def _say(state: State, as_json: bool, text: str) -> None:
    if as_json:
        output.as_json(
            {"run": state.run, "status": state.terminal or state.status, "stage": state.stage, "head": state.head}
        )
    else:
        output.line(text)

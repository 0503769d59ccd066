"""Turns the lines hooks appended to a run's spool into commands for the engine, each once and in order.

A line is `{"v":1,"k":key,"t":unix ms,"e":event,"s":session,"p":pid,"a":agent|null,"d":{...}}`. A last line without a
newline is still being written and stays; a line that cannot be read is kept aside in `<run>.torn` and reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from stagent.core import commands as cmd
from stagent.core.canonical import digest
from stagent.core.events import (
    AgentEnded,
    AgentStarted,
    ArtifactRecorded,
    AttemptEnded,
    AttemptStarted,
    Event,
    FileMark,
    Producer,
)
from stagent.core.evidence import Found
from stagent.core.state import Agent, State

ERROR = "error: "
"""What the agent's last turn ended with begins so: in what its session waits for, and as the reason of a pause."""
FOREIGN = "another stagent:workflow-subagent"
"""The type of a sub-agent that began while the stage's own was running: launched past the hook, by a script."""


class Line(msgspec.Struct, frozen=True):
    """One thing a hook saw."""

    v: int
    k: str
    t: int
    e: str
    s: str
    p: int | None = None
    a: str | None = None
    d: dict[str, object] = {}


_LINE = msgspec.json.Decoder(Line)


def read(path: Path, offset: int) -> tuple[list[tuple[Line, int]], int, list[bytes]]:
    """Return the complete lines after `offset` with the offset behind each, the final offset, and unreadable lines."""
    try:
        with open(path, "rb") as file:
            if file.seek(0, 2) <= offset:
                return [], offset, []
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset, []
    lines: list[tuple[Line, int]] = []
    torn: list[bytes] = []
    for raw in _complete(data):
        offset += len(raw)
        if raw == b"\n":
            # A hook ends a line it finds unfinished before its own; the other one may have been about to end it.
            continue
        try:
            lines.append((_LINE.decode(raw), offset))
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError):
            torn.append(raw)
    return lines, offset, torn


def _complete(data: bytes) -> Iterator[bytes]:
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        yield data[start : end + 1]
        start = end + 1


def is_holders(line: Line, state: State) -> bool:
    """Say whether a line comes from the session and process that hold the run; others' lines change nothing."""
    lease = state.lease
    if not state.live or lease is None or lease.holder.kind != "session":
        return False
    if lease.holder.pid is not None and line.p != lease.holder.pid:
        return False
    if line.e == "Rebound":
        return line.d.get("old") == lease.holder.session
    return lease.holder.session == line.s


def is_next_process(line: Line, state: State) -> bool:
    """Say whether a line announces another process that went on with the conversation of the run's session."""
    lease = state.lease
    if line.e != "SessionStart" or line.d.get("source") != "resume" or line.a or line.p is None or lease is None:
        return False
    holder = lease.holder
    return holder.kind == "session" and holder.session == line.s and holder.pid != line.p


def command(line: Line, state: State, found: Found | None) -> cmd.Command | None:
    """Return what a line of the holder asks of the run, or None when it asks nothing of `decide`.

    `found` is the current stage's artifact at this moment. Decisions of people are read by `engine.persons`.
    """
    if line.e not in ("SessionEnd", "Rebound") and line.d.get("epoch", state.epoch) != state.epoch:
        # It was seen before the last transition: it says nothing about the stage the run stands in now.
        return None
    if line.e == "SubagentStart" and line.a:
        return _started(line.a, state)
    if line.e == "SubagentStop" and line.a:
        return _stopped(line.a, line, state, found)
    if line.e == "SubagentGone":
        own = [agent.id for agent in state.agents if not agent.ended and agent.id in named(line)]
        return _stopped(own[0], line, state, None) if own else None
    if line.e == "Stalled":
        blocks, why = line.d.get("blocks"), words(line)
        return cmd.Stall(blocks=blocks if isinstance(blocks, int) else 0, text=digest(why) if why else None)
    if line.e == "SessionEnd":
        error = words(line)
        return cmd.Interrupt(reason=digest(error) if error else None)
    if line.e == "Rebound":
        return cmd.Rebind(session=line.s)
    return None


def named(line: Line) -> list[str]:
    """Return the sub-agents a line about vanished ones names."""
    agents = line.d.get("agents")
    return [agent for agent in agents if isinstance(agent, str)] if isinstance(agents, list) else []


def others(line: Line, state: State) -> list[Event]:
    """Return what a line of the run's session says about sub-agents that are not the current stage's own.

    The end of one that was left behind counts from whoever reports it: it moves nothing.
    """
    if state.ended:
        return []
    known = {agent.id: agent for agent in state.others}
    here = state.live and line.d.get("epoch", state.epoch) == state.epoch
    foreign = line.e == "SubagentStart" and any(agent.id != line.a and not agent.ended for agent in state.agents)
    if (foreign or line.e == "HelperStart") and line.a and here:
        if any(agent.id == line.a for agent in state.agents):
            return []
        before = known.get(line.a)
        if before is not None and (before.stage, before.epoch) == (state.stage, state.epoch):
            return []
        kind = FOREIGN if foreign else str(line.d.get("type"))
        return [AgentStarted(stage=state.stage, epoch=state.epoch, agent=line.a, kind=kind)]
    if line.e == "SubagentGone":
        return [_over(known[agent], state, "gone") for agent in named(line) if agent in known]
    if line.e not in ("HelperStop", "SubagentStop") or not line.a:
        return []
    if line.a in known:
        return [_over(known[line.a], state, "ended")]
    if any(agent.id == line.a for agent in state.agents) or not here:
        return []
    return [AgentEnded(stage=state.stage, epoch=state.epoch, agent=line.a, outcome="unknown")]


def _over(agent: Agent, state: State, outcome: Literal["ended", "gone"]) -> AgentEnded:
    late = outcome == "ended" and (agent.stage, agent.epoch) != (state.stage, state.epoch)
    return AgentEnded(stage=agent.stage, epoch=agent.epoch, agent=agent.id, outcome="late" if late else outcome)


def words(line: Line) -> bytes:
    """Return why a turn was let go, beyond its standstill, or with which error a session ended; empty for no words."""
    text = line.d.get("why" if line.e == "Stalled" else "waiting")
    told = isinstance(text, str) and (line.e == "Stalled" or text.startswith(ERROR))
    return str(text).strip().encode("utf-8", "replace") if told else b""


def foreign_artifact(line: Line, state: State, found: Found | None) -> list[Event]:
    """Return the record of an artifact that a sub-agent wrote, so that an inline stage does not take it for its own."""
    if line.e != "ArtifactWrite" or not line.a or found is None:
        return []
    if line.d.get("epoch", state.epoch) != state.epoch or _mark(line.d.get("artifact")) not in (None, found.mark):
        # What lies there now is of another epoch, or was written again since.
        return []
    return [
        ArtifactRecorded(
            stage=state.stage,
            epoch=state.epoch,
            digest=found.digest,
            body=found.body,
            result=found.result,
            size=found.size,
            producer=Producer(kind="subagent", id=line.a),
        )
    ]


def _started(agent: str, state: State) -> cmd.Command | None:
    if any(known.id == agent or not known.ended for known in state.agents):
        return None
    number = state.attempt + 1
    event = AttemptStarted(stage=state.stage, epoch=state.epoch, number=number, backend="subagent", agent=agent)
    return cmd.BeginAttempt(event=event)


def _stopped(agent: str, line: Line, state: State, found: Found | None) -> cmd.Command | None:
    """The end of an agent; one that was taken for gone may still say what it left."""
    seen = _mark(line.d.get("artifact"))
    late = seen is not None
    if not any(known.id == agent and (not known.ended or (late and known.mark is None)) for known in state.agents):
        return None
    # The hook saw it when the agent stopped; whoever folds the line may come when it was rewritten already.
    left = line.d.get("digest")
    read = found.digest if found is not None and seen == found.mark else None
    event = AttemptEnded(
        stage=state.stage,
        epoch=state.epoch,
        number=len(state.agents),
        outcome="ok" if seen is not None else "failed",
        agent=agent,
        mark=seen,
        digest=(left if isinstance(left, str) and left else read) if late else None,
    )
    return cmd.EndAttempt(event=event)


def _mark(value: object) -> FileMark | None:
    try:
        return msgspec.convert(value, FileMark)
    except msgspec.ValidationError:
        return None

"""The closed set of events a run's log consists of, and the envelope that chains them.

Events hold ids, numbers, enums and digests. Every free text is a blob: the fields in `BLOBS` hold the SHA-256 digest
of one. Times are unix milliseconds.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import msgspec

from stagent.core.canonical import digest, encode

VERSION = 1
BLOBS = (
    *("workflow", "model", "task", "environment"),
    *("text", "reason", "output", "changed", "protected", "added", "report"),
)
"""The fields of events that name a blob; besides them the artifact a record is about, and the run files."""


class Holder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who drives a run, bound to one process on one host: an agent session with hooks, a runner, or any other caller.

    `started` is the process's start time as the operating system tells it, so that a recycled pid is not taken for it.
    """

    kind: Literal["session", "runner", "caller"]
    session: str | None = None
    pid: int | None = None
    started: str | None = None
    host: str = ""


class Producer(msgspec.Struct, frozen=True, kw_only=True):
    """Who made an artifact: a session, one of its sub-agents, an attempt of the runner, the engine or a person.

    A `caller` drives by commands alone: who worked is its own word.
    """

    kind: Literal["session", "subagent", "attempt", "engine", "person", "policy", "caller"]
    id: str = ""


class FileMark(msgspec.Struct, frozen=True):
    """What tells one state of a file from another without reading it."""

    size: int
    mtime_ns: int
    ino: int


class Data(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """The payload of an event; each kind below is one type, named by its tag."""


class RunStarted(Data, frozen=True, kw_only=True, tag="run.started"):
    """A run begins: pins the workflow by digest, the model read from it, the project, the baseline tree, the driver.

    `folder` is the name of the run's folder below `.stagent/` of the project; `environment` the blob of the variables
    that decide what a command means, as they were at the start.
    """

    workflow: str
    flow: str
    project: str
    model: str = ""
    folder: str = ""
    mode: Literal["session", "headless"]
    holder: Holder
    stage: str
    task: str
    fingerprint: str = ""
    baseline: str | None = None
    head: str | None = None
    run_files: dict[str, str] = {}
    environment: str | None = None


class StageEntered(Data, frozen=True, kw_only=True, tag="stage.entered"):
    """The run stands in a stage; `tree` is the tree at entry when the stage is bound to it."""

    stage: str
    epoch: int
    tree: str | None = None


class AttemptStarted(Data, frozen=True, kw_only=True, tag="attempt.started"):
    """A try at the current stage begins: a spawned process, or a sub-agent of the session (`agent`)."""

    stage: str
    epoch: int
    number: int
    backend: str
    agent: str | None = None
    pid: int | None = None
    started: str | None = None


class AttemptEnded(Data, frozen=True, kw_only=True, tag="attempt.ended"):
    """A try ended; `refused` means the engine did not accept what it left, with the refusal's code.

    `void` is an attempt that could not begin its work (its session is gone, the provider turned it away).

    For a sub-agent, `mark` is the artifact as it stood when the agent stopped and `digest` what it held then.
    `millis` is how long it worked, where that is known; `retry_at` until when (unix milliseconds) its provider is
    waited for before the next.
    """

    stage: str
    epoch: int
    number: int
    outcome: Literal["ok", "failed", "timeout", "stopped", "unstartable", "orphaned", "void", "refused"]
    agent: str | None = None
    code: str = ""
    text: str | None = None
    exit: int | None = None
    session: str | None = None
    stream: str | None = None
    stream_bytes: int = 0
    tokens: int | None = None
    cost_usd: float | None = None
    millis: int = 0
    retry_at: int | None = None
    mark: FileMark | None = None
    digest: str | None = None


class AgentStarted(Data, frozen=True, kw_only=True, tag="agent.started"):
    """A sub-agent that helps the main agent began; `kind` is its type. The stage's own makes an attempt instead."""

    stage: str
    epoch: int
    agent: str
    kind: str


class AgentEnded(Data, frozen=True, kw_only=True, tag="agent.ended"):
    """A sub-agent that is no attempt of this epoch ended; `stage` and `epoch` are those in which it began.

    `late` after its stage was left, `gone` without a word, `unknown` when nothing says that it began: then they are
    those in which the run stands.
    """

    stage: str
    epoch: int
    agent: str
    outcome: Literal["ended", "late", "gone", "unknown"]


class ArtifactRecorded(Data, frozen=True, kw_only=True, tag="artifact.recorded"):
    """The engine read the current stage's artifact: digest of the file, of its body, its result and its producer."""

    stage: str
    epoch: int
    digest: str
    body: str
    result: str
    size: int
    producer: Producer


class CheckStarted(Data, frozen=True, kw_only=True, tag="check.started"):
    """The engine began to run a check itself; `pid` is the process that runs it."""

    name: str
    epoch: int
    artifact: str
    tree: str
    pid: int
    started: str | None = None


class CheckEnded(Data, frozen=True, kw_only=True, tag="check.ended"):
    """A check ended; `tree` is the tree before, `tree_after` the tree its own writes left, `changed` lists them."""

    name: str
    epoch: int
    artifact: str
    tree: str
    tree_after: str
    outcome: Literal["pass", "fail", "timeout", "error", "protected", "abandoned"]
    exit: int | None = None
    output: str | None = None
    changed: str | None = None
    protected: str | None = None
    added: str | None = None
    millis: int = 0


class GateOpened(Data, frozen=True, kw_only=True, tag="gate.opened"):
    """A person's decision is needed; it will be bound to this body and, when set, this tree.

    `stale` says that an earlier approval was void because what it approved has changed.
    """

    stage: str
    epoch: int
    body: str
    tree: str | None = None
    stale: bool = False


class GateDecided(Data, frozen=True, kw_only=True, tag="gate.decided"):
    """A decision on the gate of the current stage. `anchor` is the head of the log that was shown with it."""

    stage: str
    epoch: int
    decision: Literal["approve", "reject", "redo", "answer"]
    channel: Literal["terminal", "hook", "app", "policy"]
    body: str = ""
    tree: str | None = None
    choice: str = ""
    text: str | None = None
    anchor: str = ""
    prompt: str = ""


class Transitioned(Data, frozen=True, kw_only=True, tag="transitioned"):
    """The one way a run changes its stage; `epoch` is the new one, `digest` the accepted artifact's.

    `protect`, when set, is the tree that protected files are compared with from now on. `head` is the commit the
    project stood at, here and wherever a driver leaves a run or goes on with one: the next one is held to it.
    """

    source: str
    target: str
    result: str
    epoch: int
    digest: str | None = None
    protect: str | None = None
    cause: Literal["table", "cap"] = "table"
    head: str | None = None


class Interrupted(Data, frozen=True, kw_only=True, tag="interrupted"):
    """The run pauses and its lease ends."""

    reason: str | None = None
    head: str | None = None


class Resumed(Data, frozen=True, kw_only=True, tag="resumed"):
    """A driver goes on with a paused, blocked or given-up run under a new fence.

    `acknowledged` names the budget whose pause is accepted by that.
    """

    holder: Holder
    fence: int
    head: str | None = None
    acknowledged: str = ""


class TakenOver(Data, frozen=True, kw_only=True, tag="taken_over"):
    """A driver took the lease from another by a person's order; the old fence is void."""

    holder: Holder
    fence: int
    previous: Holder
    head: str | None = None


class SessionRebound(Data, frozen=True, kw_only=True, tag="session.rebound"):
    """The same process got a new session id; the lease follows it."""

    session: str
    previous: str


class Stalled(Data, frozen=True, kw_only=True, tag="stalled"):
    """The agent made no progress for so long that its turn was let go; the lease ends, another may go on."""

    stage: str
    epoch: int
    blocks: int
    text: str | None = None
    head: str | None = None


class Blocked(Data, frozen=True, kw_only=True, tag="blocked"):
    """The runner cannot go on by itself; `code` is the last refusal's, or that of a budget that is used up.

    `outside` says that an error around the work stopped it, told by `code` and `text`, and nothing about the work.
    """

    code: str
    text: str | None = None
    head: str | None = None
    outside: bool = False


class BudgetReached(Data, frozen=True, kw_only=True, tag="budget.reached"):
    """A declared limit was met; `action` is what follows from it."""

    budget: Literal["max_epoch", "attempts", "cost_usd", "tokens", "minutes"]
    limit: int | float
    action: Literal["escalate", "continue", "block", "warn", "pause", "halt"]


class Escalated(Data, frozen=True, kw_only=True, tag="escalated"):
    """The agent or the engine gave up on the stage; a person may continue from it."""

    stage: str
    epoch: int
    by: Literal["agent", "engine"]
    text: str | None = None
    report: str | None = None
    head: str | None = None


class Terminal(Data, frozen=True, kw_only=True, tag="terminal"):
    """The run ended for good."""

    terminal: str
    epoch: int
    success: bool
    report: str | None = None


Event = (
    RunStarted
    | StageEntered
    | AttemptStarted
    | AttemptEnded
    | AgentStarted
    | AgentEnded
    | ArtifactRecorded
    | CheckStarted
    | CheckEnded
    | GateOpened
    | GateDecided
    | Transitioned
    | Interrupted
    | Resumed
    | TakenOver
    | SessionRebound
    | Stalled
    | Blocked
    | BudgetReached
    | Escalated
    | Terminal
)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One event in its place. `hash` is not part of it: it is the SHA-256 of the envelope's canonical JSON."""

    v: int
    run: str
    seq: int
    at: int
    actor: str
    data: Event
    prev: str


@cache
def _decoder() -> msgspec.json.Decoder[Envelope]:
    # Made when a log is first read: a quick command reads the checkpoint alone, and this is a part of its start.
    return msgspec.json.Decoder(Envelope)


def blobs_of(data: Event) -> dict[str, str]:
    """Return the blobs an event names, by the path of the field."""
    found = {name: value for name in BLOBS if (value := getattr(data, name, None)) is not None and value}
    if isinstance(data, ArtifactRecorded):
        found["digest"] = data.digest
    if isinstance(data, RunStarted):
        found |= {f"run_files.{name}": digest for name, digest in data.run_files.items()}
    return found


def seal(envelope: Envelope) -> tuple[bytes, str]:
    """Return the canonical bytes of an envelope and their hash."""
    body = encode(envelope)
    return body, digest(body)


def unseal(body: bytes) -> Envelope:
    """Decode stored bytes. Raises msgspec.ValidationError for an event of another version or kind."""
    envelope = _decoder().decode(body)
    if envelope.v != VERSION:
        raise msgspec.ValidationError(f"event {envelope.seq} is of version {envelope.v}, this program reads {VERSION}")
    return envelope

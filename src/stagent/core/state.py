"""The state of a run: what folding its events gives. Its size does not grow with the history."""

from __future__ import annotations

from typing import Literal

import msgspec

from stagent.core.events import FileMark, Holder, Producer

Status = Literal["running", "interrupted", "stalled", "blocked", "escalated", "ended"]


class Lease(msgspec.Struct, frozen=True):
    """Who may move the run. `fence` rises with every new holder; what an older fence asks is refused."""

    holder: Holder
    fence: int


class Recorded(msgspec.Struct, frozen=True):
    """An artifact as the engine read it."""

    digest: str
    body: str
    result: str
    epoch: int
    producer: Producer


class CheckState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The latest run of one check: what it looked at and what it gave. `running` until it ended."""

    artifact: str
    tree: str
    outcome: str = "running"
    pid: int | None = None
    started: str | None = None
    exit: int | None = None
    output: str | None = None
    protected: str | None = None
    at: int = 0


class GateState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The gate of the current stage: what was shown, and what a person decided about it."""

    body: str
    tree: str | None
    stale: bool = False
    decision: str = ""
    choice: str = ""
    actor: str = ""
    channel: str = ""
    text: str | None = None
    anchor: str = ""


class Agent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A sub-agent of a session: one that works on the current stage in this epoch, or another that still runs.

    For another, `kind` is its type (empty: the stage's own worker), `stage` and `epoch` where it began.
    """

    id: str
    started_at: int
    kind: str = ""
    stage: str = ""
    epoch: int = 0
    ended: bool = False
    mark: FileMark | None = None
    digest: str | None = None


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a run stands.

    `tree_ref` is the tree the current stage is compared with; `protect_ref` the tree protected files are compared with;
    `session` is the last agent session that drove the run, `prompts` are those that have decided something; `refused`
    counts refused or failed attempts of this epoch; `attempts` counts attempts per stage over the run; `spent_usd`,
    `spent_tokens` and `worked_millis` sum up what its attempts took; `reached` maps a budget to the last that followed
    from it (`warn`, `pause`, or `acknowledged` after one), `refusal_before` is the refusal that a pause or halt of a
    budget, or an error around the work, stands over, and `obstacle` the text of that error; `retry_at` is until when
    the provider is waited for; `others` are the sub-agents that run beside the stage's own: those that help in it, and
    those that earlier stages, or the driver before an interruption, left behind; `reason` names the words with which it
    was interrupted or stalled.
    """

    run: str
    seq: int
    head: str
    status: Status
    mode: str
    workflow: str
    model: str
    flow: str
    project: str
    folder: str
    task: str
    stage: str
    epoch: int
    lease: Lease | None
    started_at: int
    updated_at: int
    fingerprint: str = ""
    baseline: str | None = None
    last_head: str | None = None
    run_files: dict[str, str] = {}
    environment: str | None = None
    fence: int = 1
    terminal: str | None = None
    success: bool = False
    report: str | None = None
    tree_ref: str | None = None
    protect_ref: str | None = None
    accepted: dict[str, Recorded] = {}
    artifact: Recorded | None = None
    checks: dict[str, CheckState] = {}
    gate: GateState | None = None
    agents: tuple[Agent, ...] = ()
    others: tuple[Agent, ...] = ()
    attempt: int = 0
    attempt_open: bool = False
    attempt_pid: int | None = None
    attempt_started: str | None = None
    refused: int = 0
    attempts: dict[str, int] = {}
    feedback: str | None = None
    refusal: str = ""
    agent_session: str | None = None
    entered_at: int = 0
    prompts: tuple[str, ...] = ()
    spent_usd: float = 0.0
    spent_tokens: int = 0
    worked_millis: int = 0
    reached: dict[str, str] = {}
    refusal_before: str | None = None
    obstacle: str | None = None
    retry_at: int | None = None
    session: str = ""
    reason: str | None = None

    @property
    def live(self) -> bool:
        """Whether a driver may move the run."""
        return self.status == "running"

    @property
    def given_up(self) -> bool:
        """Whether a person decides if it goes on: it was given up, or its budget stopped it."""
        return self.status == "escalated" or (self.status == "blocked" and self.obstacle is None)

    @property
    def ended(self) -> bool:
        """Whether the run reached a terminal; nothing follows."""
        return self.status == "ended"

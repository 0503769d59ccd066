"""A run's story as people read it: what `show` prints and exporters render. Made from the log by the engine.

Times are unix milliseconds, None where something has not happened. Texts are masked and cut to a limit; an empty text
says that there is none.
"""

from __future__ import annotations

import msgspec

DECIDED = {"approve": "approved", "reject": "rejected", "redo": "sent back with feedback", "answer": "answered"}
"""The words for what was decided at a gate."""


class Attempt(msgspec.Struct, kw_only=True):
    """One try at a stage; `text` says why it failed or was refused.

    `outcome` is `running` until it ended, and `stale` when nobody is left to end it. `retry_at` is until when its
    provider is waited for before the next one.
    """

    number: int
    by: str
    started: int | None = None
    ended: int | None = None
    outcome: str = "running"
    code: str = ""
    text: str = ""
    exit: int | None = None
    session: str | None = None
    stream_bytes: int = 0
    tokens: int | None = None
    cost_usd: float | None = None
    retry_at: int | None = None


class Artifact(msgspec.Struct, kw_only=True):
    """An artifact as the engine read it; `accepted` when the run left the stage by it. `size` in bytes."""

    stage: str
    epoch: int
    result: str
    digest: str
    body: str
    size: int
    producer: str
    at: int
    accepted: bool = False
    text: str = ""

    @property
    def by_own_word(self) -> bool:
        """Whether only the caller itself says who made it."""
        return self.producer.startswith("caller")

    @property
    def made_by(self) -> str:
        """The producer in a few words; an attempt by its epoch and number alone, or by its agent's session."""
        kind, _, name = self.producer.partition(" ")
        if kind != "attempt":
            return self.producer
        number = name.partition(".")[2]
        return f"attempt {number}" if number else f"an attempt, session {name[:8]}"


class CheckRun(msgspec.Struct, kw_only=True):
    """One run of a check; `protected`, `added` and `changed` list paths, one per line."""

    name: str
    artifact: str
    tree: str
    started: int
    ended: int | None = None
    outcome: str = "running"
    exit: int | None = None
    millis: int = 0
    output: str | None = None
    text: str = ""
    protected: str = ""
    added: str = ""
    changed: str = ""


class Decision(msgspec.Struct, kw_only=True):
    """A gate that opened, and what was decided; `decision` is empty while it waits. `body` and `tree` are bound."""

    opened: int | None = None
    decided: int | None = None
    decision: str = ""
    actor: str = ""
    channel: str = ""
    choice: str = ""
    text: str = ""
    body: str = ""
    tree: str | None = None
    anchor: str = ""
    stale: bool = False

    @property
    def by_policy(self) -> bool:
        """Whether no person stands behind it: it was declared before the run."""
        return self.channel == "policy"


class Note(msgspec.Struct, kw_only=True):
    """Anything else that happened, in one line, and the words that were given with it."""

    seq: int
    at: int
    actor: str
    words: str
    text: str = ""


class Visit(msgspec.Struct, kw_only=True):
    """One stay of the run in a stage. `unproven`: left through a gate that declares `explicit: false`."""

    stage: str
    title: str
    kind: str
    epoch: int
    entered: int
    left: int | None = None
    result: str = ""
    target: str = ""
    cause: str = ""
    unproven: bool = False
    attempts: list[Attempt] = []
    artifacts: list[Artifact] = []
    checks: list[CheckRun] = []
    decisions: list[Decision] = []
    notes: list[Note] = []


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a diff; `status` is A added, M modified, D removed or R renamed, counts are lines."""

    path: str
    status: str
    added: int
    removed: int
    binary: bool = False


class DiffPart(msgspec.Struct, frozen=True, kw_only=True):
    """What changed in the project since the start; `left_out` counts the lines of `text` beyond the cap.

    `problem` says why there is no diff, empty when there is one or nothing changed.
    """

    baseline: str = ""
    tree: str = ""
    files: list[FileChange] = []
    text: str = ""
    left_out: int = 0
    problem: str = ""


class Story(msgspec.Struct, kw_only=True):
    """A whole run. `status` is its one word, as everywhere; `warnings` is what weakens the result."""

    run: str
    flow: str
    workflow: str
    title: str
    mode: str
    project: str
    task: str
    status: str
    ended: bool
    success: bool
    stage: str
    epoch: int
    started: int
    updated: int
    events: int
    head: str
    baseline: str | None
    commit: str | None
    visits: list[Visit]
    warnings: list[str]
    consistent: bool
    audit: str
    report: str = ""
    tokens: int | None = None
    cost_usd: float | None = None
    diff: DiffPart | None = None

"""What the engine needs from the outside world, as protocols; adapters implement them, `bootstrap` joins them.

Nothing here does work. Every method says what it raises; an adapter turns its driver's errors into ours at its edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec


class Change(msgspec.Struct, frozen=True, order=True):
    """One path that differs between two trees; `status` is `A` added, `M` modified, `D` removed, `T` type changed."""

    path: str
    status: str


class Workspace(Protocol):
    """The project folder, seen through git without touching the user's index, refs or objects.

    A tree digest names the content of the folder at one moment: what git would record with `add -A` and the ignore
    rules, without `.stagent/`, `.agents/tmp/` and `.claude/worktrees/` at any depth; sub-modules by commit.
    """

    root: str

    def fingerprint(self) -> str:
        """Return the sorted, comma-joined parentless commits reachable from HEAD; empty without git or commits."""

    def head(self) -> str | None:
        """Return the commit id of HEAD, or None without git or commits."""

    def relation(self, recorded: str) -> Literal["equal", "behind", "ahead", "diverged", "unknown"]:
        """Say where HEAD stands as seen from a recorded commit (`behind`: HEAD is an ancestor of it)."""

    def dirty(self, limit: int = 10) -> list[str]:
        """Return up to `limit` lines of uncommitted changes, without our own folders."""

    def snapshot(self, watch: Sequence[str] = ()) -> str:
        """Return the digest of the tree now; `watch` globs narrow it to the files they match.

        Raises WorkspaceError when a path cannot be read or a folder without git holds more than 50,000 files.
        """

    def changes(
        self, before: str, after: str, *, only: Sequence[str] = (), excluding: Sequence[str] = ()
    ) -> list[Change]:
        """Return the paths that differ between two digests, sorted, narrowed by git globs (`**` crosses folders)."""

    def paths(self, tree: str) -> list[str]:
        """Return the paths of the files a tree holds, sorted."""

    def diff(self, before: str, after: str) -> bytes:
        """Return a unified diff between two digests: no colour, no external tools, our folders left out."""

    def read(self, tree: str, path: str) -> bytes | None:
        """Return a file's bytes as they stand in a tree, or None when the tree has no such file."""

    def same_command(self, before: str, after: str, path: str) -> bool:
        """Say whether a file that defines a test command means the same in two trees: its other parts do not count."""

    def keep_private(self, folder: str) -> None:
        """Have a folder of the project ignored by the user's git, privately; without git do nothing.

        Quick where that is so already. Raises WorkspaceError when it cannot be done.
        """


class Record(msgspec.Struct, frozen=True):
    """One event as stored: its place, its canonical bytes (envelope without `hash`) and its chain hash."""

    seq: int
    body: bytes
    hash: str


class Checkpoint(msgspec.Struct, frozen=True):
    """The folded state after `seq`, written in the same transaction as the events that led to it."""

    seq: int
    head: str
    state: bytes
    spool_offset: int = 0


class RunRow(msgspec.Struct, frozen=True):
    """What a listing of runs needs without folding anything."""

    run: str
    seq: int
    head: str
    state: bytes


class BlobGone(msgspec.Struct, frozen=True):
    """The tombstone of a deleted or masked blob; the chain still verifies because events hold the digest."""

    digest: str
    reason: str
    at: int


class Store(Protocol):
    """Append-only logs with checkpoints, and blobs by digest, of one project."""

    def create(self, run: str, records: Sequence[Record], checkpoint: Checkpoint, blobs: Mapping[str, bytes]) -> None:
        """Begin a run with its first events. Raises ConflictError when the run exists."""

    def append(
        self,
        run: str,
        expected_seq: int,
        records: Sequence[Record],
        checkpoint: Checkpoint,
        blobs: Mapping[str, bytes],
    ) -> None:
        """Append events, checkpoint and blobs in one durable transaction.

        Raises ConflictError when the run's last seq is not `expected_seq`: another writer was first. `records` may
        be empty to store blobs and a new spool offset only.
        """

    def checkpoint(self, run: str) -> Checkpoint:
        """Return the latest checkpoint. Raises NotFoundError for an unknown run."""

    def read(self, run: str, after: int = 0, limit: int | None = None) -> Iterator[Record]:
        """Yield the events with seq > `after` in order. Raises NotFoundError for an unknown run."""

    def runs(self) -> list[RunRow]:
        """Return every run of the project, oldest first."""

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Store blobs by SHA-256 digest, durably; storing one again does nothing, a tombstone stays."""

    def blob(self, digest: str) -> bytes | BlobGone:
        """Return a blob or its tombstone. Raises NotFoundError when it was never stored."""

    def bury_blob(self, digest: str, reason: str, at: int) -> None:
        """Delete a blob's bytes for good and leave a tombstone with the reason; `at` is unix milliseconds."""

    def heartbeat(self, run: str, fence: int, at: int) -> None:
        """Note that the holder of lease `fence` was alive at `at` (unix ms). An older fence changes nothing."""

    def last_heartbeat(self, run: str, fence: int) -> int | None:
        """Return the latest heartbeat of lease `fence` in unix ms, or None."""

    def close(self) -> None:
        """Release the database; the store may not be used afterwards."""


class ProjectRow(msgspec.Struct, frozen=True):
    """A project folder the data home knows; `fingerprint` is its parentless commits, `created` unix milliseconds."""

    project: str
    root: str
    fingerprint: str
    created: int


class RunEntry(msgspec.Struct, frozen=True):
    """Where a run is found; `folder` is the run folder, `label` a short text for lists, `created` unix milliseconds."""

    run: str
    project: str
    session: str | None
    folder: str
    label: str
    created: int


class Index(Protocol):
    """Which projects a data home knows and where each run is found. Derived: writing a row again mends it."""

    def register_project(self, project: ProjectRow) -> None:
        """Store a project; one that is known gets the new root and fingerprint."""

    def project(self, project: str) -> ProjectRow:
        """Return a project by id. Raises NotFoundError."""

    def projects(self) -> list[ProjectRow]:
        """Return every project, oldest first."""

    def index_run(self, run: RunEntry) -> None:
        """Store where a run is found, over what was stored for it. Raises NotFoundError for an unknown project."""

    def find_run(self, run: str) -> RunEntry:
        """Return where a run is found. Raises NotFoundError."""

    def runs(self, project: str | None = None) -> list[RunEntry]:
        """Return the runs of one project or of all, oldest first."""

    def runs_of_session(self, session: str) -> list[RunEntry]:
        """Return every run that is bound to an agent session, oldest first."""

    def rebind_session(self, run: str, session: str | None) -> None:
        """Bind a run to another session, or to none. Raises NotFoundError for an unknown run."""

    def close(self) -> None:
        """Release the database; the index may not be used afterwards."""


class AttemptSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a backend needs to start one attempt at a stage.

    `id` is `<run>.<epoch>.<n>`; `number` counts attempts in this epoch from 1, `stage_attempt` counts them over the
    whole run; `timeout` is in seconds; `stream` is the file every output line is appended to as it comes.
    """

    id: str
    run: str
    stage: str
    epoch: int
    number: int
    stage_attempt: int
    workdir: str
    run_dir: str
    artifact: str
    prompt: str
    stream: str
    model: str | None = None
    timeout: float | None = None
    resume: str | None = None
    system_prompt: str = ""
    tools: Sequence[str] | None = None
    deny_tools: Sequence[str] = ()
    schema: str | None = None
    results: Sequence[str] = ()
    cost_limit: float | None = None
    options: Mapping[str, str] = {}


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """The process a backend wants started: argv, the whole environment, and what it reads on standard input."""

    argv: Sequence[str]
    env: Mapping[str, str]
    stdin: bytes = b""


class AgentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One typed thing an agent's stream said.

    `kind`: `session` (id in `text`), `text`, `tool`, `usage`, `limit` (the provider's rate limit), `result`, `error`,
    `other`. `code` is the backend's short word for what went wrong; `structured` is the JSON text of a structured
    answer; `retry_at` is when a limit ends, in unix milliseconds.
    """

    kind: str
    text: str = ""
    tool: str = ""
    is_error: bool = False
    code: str = ""
    structured: str | None = None
    retry_at: int | None = None
    cost_usd: float | None = None
    tokens: int | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend makes of a process that ended by itself.

    `code` names the failure: `unresumable` (the session to resume is gone: begin a fresh one), `rate_limited` (not
    before `retry_at`, unix milliseconds), or a word of the backend's own.
    """

    status: Literal["ok", "failed"]
    reason: str = ""
    code: str = ""
    retry_at: int | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt's process ended.

    `status`: `ok`, `failed`, `timeout`, `stopped`, `unstartable`. `exit` is the exit code, negative for a signal.
    `code` and `retry_at` are the verdict's; `result` is the agent's last words, `structured` its structured answer.
    """

    status: str
    exit: int | None
    reason: str = ""
    code: str = ""
    retry_at: int | None = None
    result: str = ""
    structured: str | None = None
    session: str | None = None
    cost_usd: float | None = None
    tokens: int | None = None
    stream_digest: str | None = None
    stream_bytes: int = 0


class AgentBackend(Protocol):
    """Opens sessions with one kind of agent; pure description, the runner's supervisor does the process work."""

    name: str

    def ready(self, options: Mapping[str, str], env: Mapping[str, str], workdir: str) -> str | None:
        """Look whether the agent could be started with these options, before a run begins or goes on.

        Returns what people should know about it beforehand, or None. Raises StagentError when its program, its
        configuration or an option is missing or wrong.
        """

    def launch(self, spec: AttemptSpec, env: Mapping[str, str]) -> Launch:
        """Return what to start for this attempt; `env` is the environment to begin from.

        Raises StagentError when the agent's program or configuration is missing.
        """

    def parse(self, line: bytes) -> list[AgentEvent]:
        """Turn one output line into typed events; never raises, an unknown line gives an `other` event."""

    def judge(self, exit_code: int, events: Sequence[AgentEvent]) -> Verdict:
        """Say what became of a process that ended by itself."""

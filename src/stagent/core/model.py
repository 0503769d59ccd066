"""The workflow as the engine sees it: neutral, immutable, complete; made by `core.document` from any format.

Every field is explained where users look for it, in the reference of the workflow document.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["agent", "review", "command", "human"]
ABORTS = frozenset({"escalated", "cancelled", "failed"})
"""Terminals that stand for giving up; every other terminal is a success terminal and needs proof."""

DEFAULT_MAX_EPOCH = 20
DEFAULT_CHECK_TIMEOUT = 600.0
DEFAULT_STOP_BLOCKS = 5
DEFAULT_ATTEMPTS = 3


class Input(msgspec.Struct, frozen=True):
    """Something a stage reads: the artifact of another stage or a run file."""

    source: Literal["stage", "run_file"]
    key: str
    description: str
    required: bool


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A command the engine runs as evidence before it accepts one of `results`; `timeout` in seconds."""

    name: str
    run: str
    results: tuple[str, ...]
    timeout: float = DEFAULT_CHECK_TIMEOUT
    protect: tuple[str, ...] | None = None
    env: dict[str, str] = {}


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """A person's decision before a stage is left by one of `results` (all of them when it is empty)."""

    type: Literal["require_approval"] = "require_approval"
    results: tuple[str, ...] = ()
    explicit: bool = True
    unattended: bool = True

    def guards(self, result: str) -> bool:
        """Say whether leaving by this result takes the decision."""
        return not self.results or result in self.results


class Stop(msgspec.Struct, frozen=True):
    """How often the Stop hook insists without progress, and what it adds to its words."""

    blocks: int = DEFAULT_STOP_BLOCKS
    message: str = ""


class Retry(msgspec.Struct, frozen=True):
    """How many attempts an epoch gets headless, and the pause before each further one in seconds."""

    attempts: int = DEFAULT_ATTEMPTS
    backoff: float = 0.0


class Tools(msgspec.Struct, frozen=True):
    """Which tools the agent of a stage may use: None or the only ones allowed, and those denied in any case."""

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()


class Persona(msgspec.Struct, frozen=True):
    """Who the agent of a headless run is: a name for people, words for its system prompt, the backend's model."""

    name: str = ""
    system_prompt: str = ""
    model: str | None = None


class Output(msgspec.Struct, frozen=True):
    """What an artifact must hold besides its front matter: None text, else an object of this JSON Schema (JSON)."""

    schema: str | None = None


class Limit(msgspec.Struct, frozen=True):
    """At which amounts something follows: a warning, a pause until a person goes on, giving up; None: never."""

    warn: int | float | None = None
    pause: int | float | None = None
    halt: int | float | None = None


class Budget(msgspec.Struct, frozen=True):
    """What a run may cost in US dollars, tokens, and minutes that attempts worked; None: no limit."""

    cost_usd: Limit | None = None
    tokens: Limit | None = None
    minutes: Limit | None = None


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One named stage. `writes`: None no tree rule, else `project`, `artifact` or globs.

    `transitions` maps each result to its target, `labels` some results to the words people read for them. `prompt` is
    the file of the template for headless runs, None for the instruction file as it stands.
    """

    name: str
    kind: Kind = "agent"
    title: str = ""
    criteria: tuple[str, ...] = ()
    interruptible: bool = False
    execution: Literal["inline", "subagent"] = "inline"
    model: str | None = None
    transitions: dict[str, str] = {}
    labels: dict[str, str] = {}
    inputs: tuple[Input, ...] = ()
    gate: Gate | None = None
    checks: tuple[Check, ...] = ()
    protects: tuple[str, ...] = ()
    writes: Literal["project", "artifact"] | tuple[str, ...] | None = None
    watch: tuple[str, ...] = ()
    run: str | None = None
    results: dict[str, str] = {}
    stop: Stop = Stop()
    retry: Retry = Retry()
    timeout: float | None = None
    tools: Tools = Tools()
    prompt: str | None = None
    persona: Persona = Persona()
    output: Output = Output()

    @property
    def required(self) -> tuple[Input, ...]:
        """The inputs without which the stage may not be entered."""
        return tuple(item for item in self.inputs if item.required)

    @property
    def optional(self) -> tuple[Input, ...]:
        """The inputs the stage reads when they exist."""
        return tuple(item for item in self.inputs if not item.required)

    def person_decides(self, result: str) -> bool:
        """Say whether leaving by this result takes a decision that somebody makes explicitly."""
        return self.kind == "human" or (self.gate is not None and self.gate.explicit and self.gate.guards(result))

    def checks_for(self, result: str) -> tuple[Check, ...]:
        """Return the checks that must pass before this result is accepted, in declared order."""
        return tuple(check for check in self.checks if result in check.results)

    @property
    def writes_project(self) -> bool:
        """Whether the stage may change the project, so that an approval of it binds the tree as well."""
        return self.writes == "project" or isinstance(self.writes, tuple)

    @property
    def bound_tree(self) -> bool:
        """Whether the tree at entry must still be there at the end (apart from the globs)."""
        return self.writes == "artifact" or isinstance(self.writes, tuple)


class RunFile(msgspec.Struct, frozen=True):
    """A file made once at the start by a command; its name is its place in the run folder."""

    name: str
    init: str
    description: str = ""


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """A declared state machine: stages, results, transitions and what each of them needs."""

    initial: str
    terminals: tuple[str, ...]
    stages: dict[str, Stage]
    max_epoch: int = DEFAULT_MAX_EPOCH
    modifies_worktree: bool = True
    run_files: tuple[RunFile, ...] = ()
    title: str = ""
    budget: Budget = Budget()

    def is_terminal(self, name: str) -> bool:
        """Say whether a name ends a run: a declared terminal, or the built-in `cancelled`."""
        return name in self.terminals or name == "cancelled"

    def is_success(self, name: str) -> bool:
        """Say whether reaching this terminal is a claim that the work is finished."""
        return name in self.terminals and name not in ABORTS

    @property
    def protected_success(self) -> bool:
        """Whether some check of the workflow compares protected files; without one a success is a weaker claim."""
        return any(check.protect for stage in self.stages.values() for check in stage.checks)

"""What the engine found out about the world before it decides; gathered by `engine.evidence`, judged by `core`."""

from __future__ import annotations

import msgspec

from stagent.core.events import FileMark
from stagent.core.model import Stage, Workflow
from stagent.core.state import State


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The current stage's artifact as it lies on disk; `problem` says why its front matter cannot be read."""

    path: str
    digest: str
    body: str
    size: int
    mark: FileMark
    epoch: int | None = None
    result: str = ""
    problem: str = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `decide` may look at besides the workflow and the state.

    `tree` is the tree as the current stage watches it, `entry_tree` as the next stage would, `full_tree` without any
    narrowing. `tree_changes` are the paths outside the stage's globs that differ from its reference; `laundered` the
    protected paths a stage that declares `protects` changed outside its own globs; `inputs` and `run_files` map a name
    to the digest of the file now (None: absent); `holder_alive` is None when it cannot be known; `report` is the digest
    of the report to be stored if the run ends; `head` is the project's commit, None where there is none to know;
    `faults` is what the artifact lacks of the answer the stage asks for, None where nobody looked.
    """

    artifact_path: str = ""
    artifact: Found | None = None
    tree: str | None = None
    entry_tree: str | None = None
    full_tree: str | None = None
    tree_changes: tuple[str, ...] = ()
    laundered: tuple[str, ...] = ()
    inputs: dict[str, str | None] = {}
    run_files: dict[str, str | None] = {}
    checker_alive: bool = False
    holder_alive: bool | None = None
    foreign_writer: str | None = None
    faults: tuple[str, ...] | None = None
    pid: int = 0
    started: str | None = None
    report: str | None = None
    head: str | None = None


def capped(workflow: Workflow, state: State, target: str) -> bool:
    """Say whether the cap on the epoch stands against entering this target next; an end never meets it."""
    return state.epoch + 1 >= workflow.max_epoch and not workflow.is_terminal(target)


def target_of(workflow: Workflow, state: State, result: str) -> str | None:
    """Return where a result leads from the current stage now, or None when the stage does not know it.

    At the cap on the epoch that is `escalated`, where it is declared, instead of another stage.
    """
    target = workflow.stages[state.stage].transitions.get(result)
    if target is not None and "escalated" in workflow.terminals and capped(workflow, state, target):
        return "escalated"
    return target


def needs_tree(stage: Stage, target: Stage | None, result: str) -> bool:
    """Say whether leaving a stage for a target (None: an end, or nowhere) by a result takes a look at the tree."""
    gate = (stage.gate is not None or stage.kind == "human") and stage.writes_project
    entered = target is not None and target.bound_tree
    return bool(stage.bound_tree or stage.protects or stage.checks_for(result) or gate or entered)

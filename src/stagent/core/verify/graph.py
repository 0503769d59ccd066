"""Rules about the workflow as a whole: what can be reached, left and supplied.

A stage is reachable when some path of transitions leads to it from the initial stage. A required input is supplied
when its producer stands before the stage on every path from the start; the finding shows a shortest path without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from stagent.core.model import Stage, Workflow
from stagent.core.verify.problem import Findings


def check(workflow: Workflow, findings: Findings) -> None:
    """Report every problem of the graph of a workflow whose shape was read."""
    for stage in workflow.stages.values():
        _gate(findings, stage)
        _review(findings, stage)
        _cancelled(findings, stage)
    if workflow.initial not in workflow.stages:
        return
    reached = _reach(workflow, workflow.initial)
    _unreachable(workflow, findings, reached)
    _endless(workflow, findings, reached)
    for name in reached:
        if name in workflow.stages:
            _inputs(workflow, findings, workflow.stages[name])


def _reach(workflow: Workflow, start: str, without: str | None = None) -> dict[str, str | None]:
    """Return every name reachable from `start` mapped to its predecessor on a shortest path."""
    if start == without:
        return {}
    came: dict[str, str | None] = {start: None}
    queue = deque([start])
    while queue:
        stage = workflow.stages.get(queue.popleft())
        for target in stage.transitions.values() if stage else ():
            if target not in came and target != without:
                came[target] = stage.name if stage else None
                queue.append(target)
    return came


def _path(came: Mapping[str, str | None], end: str) -> str:
    names: list[str] = []
    name: str | None = end
    while name is not None:
        names.append(name)
        name = came[name]
    return " -> ".join(reversed(names))


def _unreachable(workflow: Workflow, findings: Findings, reached: Mapping[str, object]) -> None:
    for name in workflow.stages:
        if name not in reached:
            findings.error(
                "unreachable",
                f"stages.{name}",
                f"no path of transitions leads from {workflow.initial} to this stage",
                "Add a transition to it or remove it.",
            )
    for index, terminal in enumerate(workflow.terminals):
        if terminal not in reached and terminal not in ("escalated", "cancelled"):
            findings.warn(
                "terminal_unreachable",
                f"terminal_stages[{index}]",
                f'no transition leads to "{terminal}"',
                "Add one or remove the terminal.",
            )


def _endless(workflow: Workflow, findings: Findings, reached: Mapping[str, object]) -> None:
    sources: dict[str, set[str]] = {}
    for stage in workflow.stages.values():
        for target in stage.transitions.values():
            sources.setdefault(target, set()).add(stage.name)
    ending = set(workflow.terminals)
    queue = deque(ending)
    while queue:
        for source in sources.get(queue.popleft(), ()):
            if source not in ending:
                ending.add(source)
                queue.append(source)
    for name, stage in workflow.stages.items():
        if name in reached and name not in ending and stage.transitions:
            findings.error(
                "no_terminal",
                f"stages.{name}",
                "from this stage no terminal can be reached",
                "Add a transition that leads towards a terminal.",
                workflow.terminals,
            )


def _inputs(workflow: Workflow, findings: Findings, stage: Stage) -> None:
    for index, item in enumerate(stage.required):
        if item.source != "stage":
            continue
        path = f"stages.{stage.name}.inputs.required[{index}]"
        if item.key == stage.name:
            findings.error("self_input", path, "the stage requires its own artifact", "Make it optional.")
            continue
        came = _reach(workflow, workflow.initial, without=item.key)
        if stage.name in came:
            findings.error(
                "input_not_supplied",
                path,
                f"the artifact of {item.key} is missing on the path {_path(came, stage.name)}",
                "Make the input optional, or lead every path through its producer.",
            )


def _gate(findings: Findings, stage: Stage) -> None:
    if stage.interruptible and stage.gate is None and stage.kind == "agent":
        findings.warn(
            "no_gate",
            f"stages.{stage.name}",
            "a person may answer here, but only the agent's word says that one did",
            'Declare "gate": {"type": "require_approval"}.',
        )
    if stage.kind == "human" and stage.gate is not None and not stage.gate.explicit:
        findings.error(
            "gate", f"stages.{stage.name}.gate.explicit", "a human stage is decided by a person", "Leave explicit out."
        )


def _cancelled(findings: Findings, stage: Stage) -> None:
    for result, target in stage.transitions.items():
        if target == "cancelled" and not stage.person_decides(result):
            findings.error(
                "cancelled_by_agent",
                f"stages.{stage.name}.transitions.{result}",
                "only a person cancels a run, but here the agent's word alone would",
                'Lead to another terminal, or declare "gate": {"type": "require_approval"}.',
            )


def _review(findings: Findings, stage: Stage) -> None:
    if stage.kind == "review" and not any(item.source == "stage" for item in stage.inputs):
        findings.error(
            "review_inputs",
            f"stages.{stage.name}.inputs",
            "a review stage judges nothing: it has no input from a stage",
            "Name the stage whose artifact it judges.",
        )

"""Workflow documents as tests begin with, and ways to change one thing in them."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from stagent.core.model import Workflow
from stagent.core.verify.folder import validate
from stagent.core.verify.problem import Problem, errors

Document = dict[str, Any]
GONE = object()

PLAIN: Document = {
    "initial_stage": "planning",
    "terminal_stages": ["complete", "escalated", "cancelled"],
    "max_epoch": 20,
    "modifies_worktree": True,
    "run_files": {"baseline": {"init": "git rev-parse HEAD || echo EMPTY", "description": "the commit at the start"}},
    "stages": {
        "planning": {
            "interruptible": True,
            "execution": {"type": "inline"},
            "transitions": {"approved": "executing"},
            "inputs": {"required": [], "optional": []},
        },
        "executing": {
            "execution": {"type": "subagent", "model": "opus"},
            "transitions": {"done": "reviewing"},
            "inputs": {
                "required": [{"from_stage": "planning", "description": "the plan"}],
                "optional": [
                    {"from_stage": "reviewing", "description": "feedback"},
                    {"from_stage": "qa-ing", "description": "feedback"},
                ],
            },
        },
        "reviewing": {
            "interruptible": False,
            "execution": {"type": "subagent"},
            "transitions": {"PASS": "qa-ing", "FAIL": "executing"},
            "inputs": {
                "required": [
                    {"from_stage": "planning", "description": "the plan"},
                    {"from_stage": "executing", "description": "what was done"},
                    {"from_run_file": "baseline", "description": "what to compare with"},
                ],
                "optional": [{"from_stage": "qa-ing", "description": "earlier findings"}],
            },
        },
        "qa-ing": {
            "execution": {"type": "subagent", "model": None},
            "transitions": {"PASS": "deploy", "FAIL": "executing"},
            "inputs": {"required": [{"from_stage": "planning", "description": "journeys"}]},
        },
        "deploy": {
            "interruptible": True,
            "execution": {"type": "inline"},
            "transitions": {"deployed": "complete"},
            "inputs": {"required": [{"from_stage": "planning"}, {"from_stage": "qa-ing"}]},
        },
    },
}
"""Five stages with nothing but fields of the original format."""

OURS: Document = {
    "$schema": "urn:stagent:workflow:1",
    "title": "Everything",
    "initial_stage": "plan",
    "terminal_stages": ["complete", "escalated", "failed"],
    "max_epoch": 9,
    "budget": {
        "cost_usd": {"warn": 1, "pause": 2.5, "halt": 5},
        "tokens": {"halt": 1_000_000},
        "minutes": {"warn": 10, "pause": 10},
    },
    "stages": {
        "plan": {
            "title": "Plan",
            "criteria": ["it can be carried out"],
            "execution": {"type": "inline"},
            "transitions": {"done": {"to": "build", "label": "The plan stands"}, "hopeless": "failed"},
            "gate": {"type": "require_approval", "explicit": True, "unattended": False},
            "writes": "artifact",
            "watch": ["src/**"],
            "stop": {"blocks": 3, "message": "The plan is not written."},
            "retry": {"attempts": 2, "backoff": 1.5},
            "timeout": 60,
            "tools": {"allow": ["Read", "Grep"], "deny": ["WebFetch", "mcp__x__y"]},
            "prompt": "plan-prompt.md",
            "persona": {"name": "Planner", "system_prompt": "You plan.", "model": "large-1"},
        },
        "build": {
            "execution": {"type": "subagent", "model": "sonnet"},
            "transitions": {"done": "test", "FAIL": "build"},
            "inputs": {"required": [{"from_stage": "plan"}]},
            "checks": [
                {"name": "tests", "run": "make test", "timeout": 9, "for": ["done"], "protect": ["tests/**"]},
                {"name": "lint", "run": "make lint", "env": {"LEVEL": "high"}},
            ],
            "protects": ["tests/**"],
            "writes": ["src/**", "tests/**"],
        },
        "test": {
            "kind": "command",
            "run": "make test",
            "results": {"0": "PASS", "*": "FAIL"},
            "transitions": {"PASS": "review", "FAIL": "build"},
        },
        "review": {
            "kind": "review",
            "execution": {"type": "subagent"},
            "transitions": {"PASS": "release", "FAIL": "build"},
            "inputs": {"required": [{"from_stage": "build"}]},
            "writes": "artifact",
            "output": {"format": "json", "schema": {"type": "object", "required": ["verdict"]}},
        },
        "release": {"kind": "human", "transitions": {"yes": "complete", "no": "build"}},
    },
}
"""Every field that this version carries out."""


def files(document: Any) -> dict[str, bytes]:
    """A workflow folder of this document with every instruction and prompt file that could be wanted."""
    stages = document.get("stages") if isinstance(document, dict) else None
    found = {"workflow.json": msgspec.json.encode(document)}
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        found[f"{name}.md"] = b""
        if isinstance(stage, dict) and isinstance(stage.get("prompt"), str):
            found[stage["prompt"]] = b"{{task}}"
    return found


def changed(base: Document, path: str, value: Any) -> Document:
    """A copy of a document with one value set (or taken away) at a path such as `stages/plan/gate/type`."""
    document = copy.deepcopy(base)
    *parents, last = path.split("/")
    place: Any = document
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    if value is GONE:
        del place[last]
    elif isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return document


def problems(document: Any) -> list[Problem]:
    """Everything validation finds in a document."""
    return validate(files(document))[1]


def workflow(document: Any) -> Workflow:
    """The workflow of a valid document."""
    found, listed = validate(files(document))
    assert found is not None
    assert errors(listed) == []
    return found

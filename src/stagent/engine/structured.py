"""Structured answers of agents: what an artifact lacks of the one its stage asks for, and artifacts made from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from stagent.core.frontmatter import FrontMatter, parse, rewrite
from stagent.core.model import Stage, Workflow
from stagent.core.verify.problem import Findings, Problem
from stagent.registry import resolve


def faults(stage: Stage, data: bytes) -> tuple[str, ...] | None:
    """Return what an artifact lacks of the answer its stage asks for, each with its path; None without a schema."""
    if stage.output.schema is None:
        return None
    parsed = parse(data)
    body = data[parsed.body :] if isinstance(parsed, FrontMatter) else data
    judge = cast(Callable[[str, str], tuple[str, ...]], resolve("parts", "schema_faults"))
    return judge(stage.output.schema, body.decode("utf-8", "replace"))


def schema_problems(workflow: Workflow) -> list[Problem]:
    """Return what is wrong with the schemas of a workflow; nothing is imported for one that has none."""
    findings = Findings()
    for name, stage in workflow.stages.items():
        if stage.output.schema is not None:
            find = cast(Callable[[str], Sequence[str]], resolve("parts", "schema_problems"))
            for problem in find(stage.output.schema):
                place = f"stages.{name}.output.schema"
                findings.error("schema", place, f"this is no JSON Schema to use: {problem}", "Correct the schema.")
    return findings.problems


def artifact_from(structured_json: str, stage: Stage, epoch: int) -> bytes | None:
    """Return the artifact that a structured answer (JSON text) stands for; None when it has no result of the stage.

    The result is the answer's own `result`, or the only one the stage has. Whether the answer satisfies the stage's
    schema is judged when the run advances, as for any other artifact.
    """
    try:
        value = msgspec.json.decode(structured_json)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    result = value.get("result")
    if not isinstance(result, str) or result not in stage.transitions:
        if len(stage.transitions) != 1:
            return None
        [result] = stage.transitions
    text = msgspec.json.format(structured_json.strip(), indent=2)
    return rewrite(f"\n```json\n{text}\n```\n".encode(), {"epoch": str(epoch), "result": result})

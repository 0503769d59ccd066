"""Validation of a whole workflow folder, given its texts: the one door for loaders, the CLI and the engine."""

from __future__ import annotations

from collections.abc import Mapping

from stagent.core.document import parse
from stagent.core.model import Workflow
from stagent.core.verify import graph, prompts
from stagent.core.verify.problem import Findings, Problem
from stagent.core.verify.reading import decode, texts

DOCUMENT = "workflow.json"


def validate(files: Mapping[str, bytes], where: str = "") -> tuple[Workflow | None, list[Problem]]:
    """Read and check a workflow from its files by name; return it with every problem found.

    `where` is the folder's path, for messages. Without an error among the problems the workflow is complete.
    """
    findings = Findings()
    text = files.get(DOCUMENT)
    if text is None:
        findings.error("missing", "", f"there is no {DOCUMENT} in {where or 'the folder'}", "Create it.")
        return None, findings.problems
    read = decode(text, findings)
    workflow = parse(read[0], findings) if read is not None else None
    if workflow is None:
        return None, findings.problems
    for name, stage in workflow.stages.items():
        file = f"{name}.md"
        if stage.kind in ("agent", "review") and file not in files:
            place = f"{where}/{file}" if where else file
            findings.error("stage_file", f"stages.{name}", f"the instruction file {place} is missing", "Write it.")
    texts({f"{name}.md": files.get(f"{name}.md", b"") for name in workflow.stages}, findings)
    prompts.check(workflow, files, findings)
    graph.check(workflow, findings)
    return workflow, findings.problems

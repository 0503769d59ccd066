"""Somebody who has a workflow written: what the scripted agents write, and what a person declares beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from acceptance.support import Headless, Json, Machine, claim, stage

NOTES: dict[str, Any] = {
    "title": "Release notes",
    "initial_stage": "draft",
    "terminal_stages": ["complete", "escalated", "cancelled"],
    "max_epoch": 10,
    "stages": {
        "draft": {
            **stage({"done": "judge"}, title="Draft", criteria=["Every change is named."], writes=["NOTES.md"]),
            "inputs": {"optional": [{"from_stage": "judge"}]},
        },
        "judge": {
            **stage({"PASS": "complete", "FAIL": "draft"}, kind="review", title="Judge", writes="artifact"),
            "execution": {"type": "subagent"},
            "inputs": {"required": [{"from_stage": "draft"}]},
            "checks": [{"name": "notes", "run": "grep -q released NOTES.md", "for": ["PASS"]}],
        },
    },
}
"""A workflow of two stages that somebody could want."""
README = "# Release notes\n\nWrites the notes of a release and has them judged.\n"


def plan(name: str = "notes", mode: str = "create", **more: object) -> Json:
    """The planner's step: its artifact with this plan."""
    document = {"name": name, "mode": mode, "purpose": "Release notes that are true.", **more}
    return claim("approved", body=f"\n```json\n{json.dumps(document)}\n```\n\nTwo stages.\n")


def folder(document: Mapping[str, Any] = NOTES, name: str = "notes", readme: str = README) -> list[Json]:
    """The writer's steps: the files of a workflow."""
    place = f"workflows/{name}"
    texts = {"workflow.json": json.dumps(document, indent=1), "readme.md": readme}
    texts |= {f"{item}.md": f"# Stage: {item}\n\nDo it.\n" for item in document["stages"]}
    return [{"write": {"path": f"{place}/{file}", "text": text}} for file, text in texts.items() if text]


def changed(**stages: Mapping[str, object]) -> dict[str, Any]:
    """The document with some of its stages changed."""
    return {**NOTES, "stages": {**NOTES["stages"], **{n: {**NOTES["stages"][n], **more} for n, more in stages.items()}}}


DOES: dict[str, Sequence[Any]] = {
    "planning": [plan()],
    "writing": [*folder(), claim("done")],
    "final-review": [claim("PASS", body="\nEvery point is met.\n")],
}
"""Honest agents."""


class Author(Machine):
    """A machine on which workflows are written."""

    def decisions(self, *more: str) -> list[str]:
        """What a person declared: the plan is approved, the workflow accepted."""
        return ["--unattended", self.policy(planning="approve", acceptance=ACCEPTS), *more]

    def uses(self, does: Mapping[str, Sequence[Any]], name: str = "notes") -> Headless:
        """Have a person agree to a workflow of the project as it is now, and drive it."""
        agreed = self.person("template", "trust", name)
        assert agreed.status == 0, agreed.out
        return self.drive(name, does)

    def write_one(self, does: Mapping[str, Sequence[Any]] | None = None, *more: str, task: str = "notes") -> Headless:
        """Have a workflow written headless, with honest agents except for what `does` says."""
        return self.drive("create-workflow", {**DOES, **(does or {})}, *self.decisions(*more), task=task)


ACCEPTS: Json = {"decision": "answer", "choice": "accept", "reason": "declared"}

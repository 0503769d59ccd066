"""A small real project and runs of it that a scripted agent drives through the real command line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from stagent.cli.main import main

SECRET = "ghp_" + "a1B2" * 9
"""What a net for secrets must catch wherever it is shown."""
NASTY = "<script>alert(1)</script> \x1b[2J ![pixel](https://example.org/p.png) [in](javascript:alert(1)) | `x`"

WORKFLOW: dict[str, Any] = {
    "title": "Plan, build, ship",
    "initial_stage": "plan",
    "terminal_stages": ["complete", "escalated", "cancelled"],
    "stages": {
        "plan": {
            "title": "Plan it",
            "execution": {"type": "inline"},
            "interruptible": True,
            "writes": "artifact",
            "gate": {"type": "require_approval"},
            "transitions": {"approved": "build"},
        },
        "build": {
            "execution": {"type": "inline"},
            "writes": "project",
            "inputs": {"required": [{"from_stage": "plan", "description": "The plan."}]},
            "checks": [
                {
                    "name": "proof",
                    "run": f"echo token={SECRET}; cat done.txt",
                    "for": ["done"],
                    "protect": ["tests/**"],
                }
            ],
            "transitions": {"done": "ship"},
        },
        "ship": {
            "execution": {"type": "inline"},
            "interruptible": True,
            "gate": {"type": "require_approval", "explicit": False},
            "transitions": {"shipped": "complete"},
        },
    },
}
SCRIPT: dict[str, Any] = {
    "stages": {
        "plan": [{"artifact": {"result": "approved", "body": f"\n# The plan\n\n{NASTY}\n\nKey: {SECRET}\n"}}],
        "build": [
            [{"artifact": {"result": "done", "body": "\nBuilt.\n"}}],
            [
                {"write": {"path": "done.txt", "text": "it is done\n"}},
                {"write": {"path": "kept.txt", "text": "first\nthird\n"}},
                {"usage": {"cost_usd": 0.25, "tokens": 1200}},
                {"artifact": {"result": "done", "body": "\nBuilt, with proof.\n"}},
            ],
        ],
        "ship": [{"artifact": {"result": "shipped", "body": "\nShipped.\n"}}],
    }
}
POLICY = {"gates": {"plan": {"decision": "approve", "reason": "Declared beforehand."}}}
TASK = "Build the <thing>\n\nIn two lines."


def project(folder: Path) -> Path:
    """Make a repository with one commit and a workflow folder beside it, and return the repository."""
    root = folder / "project"
    root.mkdir(parents=True)
    (root / "kept.txt").write_text("first\nsecond\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *words], cwd=root, check=True, capture_output=True)
    flow = folder / "flow"
    flow.mkdir()
    (flow / "workflow.json").write_text(json.dumps(WORKFLOW))
    for stage in WORKFLOW["stages"]:
        (flow / f"{stage}.md").write_text(f"Do {stage}.\n")
    (folder / "script.json").write_text(json.dumps(SCRIPT))
    (folder / "policy.json").write_text(json.dumps(POLICY))
    return root


def arguments(folder: Path, *, unattended: bool = True) -> list[str]:
    """Return the command line that drives the project in `folder`."""
    words = ["run", TASK, "--flow", f"{folder}/flow", "--agent", "scripted", "--script", f"{folder}/script.json"]
    return [*words, "--unattended", f"{folder}/policy.json"] if unattended else words


def drive(folder: Path, *, unattended: bool = True) -> int:
    """Drive the project in `folder` from its repository, the present folder; return the exit status."""
    return main([*arguments(folder, unattended=unattended), "--json"])

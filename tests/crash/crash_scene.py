"""A folder to crash in: a real repository, a workflow with everything in it, a scripted agent and a policy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

LARGE = "All work and no play makes a long text. " * 4000
"""Too long to be kept in the database: such a blob is a file."""

_AGENT: dict[str, Any] = {"execution": {"type": "inline"}}
WORKFLOW: dict[str, Any] = {
    "initial_stage": "planning",
    "terminal_stages": ["complete", "escalated", "cancelled"],
    "max_epoch": 30,
    "run_files": {"baseline": {"init": "cat large.txt"}},
    "stages": {
        "planning": {
            **_AGENT,
            "writes": "artifact",
            "gate": {"type": "require_approval"},
            "transitions": {"approved": "building"},
        },
        "building": {
            **_AGENT,
            "writes": "project",
            "inputs": {"required": [{"from_stage": "planning"}, {"from_run_file": "baseline"}]},
            "checks": [{"name": "unit", "run": "sh check.sh", "for": ["done"], "protect": ["check.sh"]}],
            "retry": {"attempts": 9},
            "transitions": {"done": "measuring"},
        },
        "measuring": {
            "kind": "command",
            "run": "sh measure.sh",
            "results": {"0": "PASS", "*": "FAIL"},
            "writes": "project",
            "transitions": {"PASS": "reviewing", "FAIL": "building"},
        },
        "reviewing": {
            **_AGENT,
            "kind": "review",
            "writes": "artifact",
            "inputs": {"required": [{"from_stage": "building"}]},
            "transitions": {"PASS": "choosing", "FAIL": "building"},
        },
        "choosing": {"kind": "human", "writes": "project", "transitions": {"ship": "complete", "more": "building"}},
    },
}


def _alone(mark: str, own: str) -> str:
    """A shell command that says so when another process of an attempt or command runs: at most one may, ever."""
    return (
        f'for p in $(cat "$CRASH_PIDS.{mark}" 2>/dev/null); do '
        f'tr "\\0" "\\n" <"/proc/$p/environ" 2>/dev/null | grep -q "^{mark}=" '
        f'&& echo "${mark} beside $p" >>"$CRASH_PIDS.beside"; done; echo {own} >>"$CRASH_PIDS.{mark}"'
    )


def _attempt(result: str, *more: dict[str, Any], body: str = "") -> list[dict[str, Any]]:
    return [
        {"spawn": "sleep 60"},
        {"run": _alone("STAGENT_ATTEMPT", "$PPID")},
        *more,
        {"say": LARGE[:3000]},
        {"artifact": {"result": result, "epoch": "current", "body": body}},
        {"usage": {"cost_usd": 0.01, "tokens": 10}},
    ]


def _write(path: str, text: str) -> dict[str, Any]:
    return {"write": {"path": path, "text": text}}


SCRIPT = {
    "stages": {
        "planning": _attempt("approved", body=LARGE),
        "building": [
            _attempt("done", _write("state.txt", "red\n")),
            _attempt("done", _write("state.txt", "green\n"), body=LARGE),
        ],
        "reviewing": [_attempt("FAIL"), _attempt("PASS")],
    }
}
POLICY = {
    "gates": {
        "planning": {"decision": "approve", "reason": "declared beforehand"},
        "choosing": {"decision": "answer", "choice": "ship", "reason": "declared beforehand"},
    }
}
_COMMAND = _alone("STAGENT_COMMAND", "$$") + '\n[ "$CRASH_SLOW" != "$0" ] || sleep 60\nsleep "${CRASH_NAP:-0.02}"\n'
# Leaves something behind each time it runs, as test commands do.
CHECK = _COMMAND + 'echo "$$" >>checked.txt\ngrep -q green state.txt\n'
MEASURE = _COMMAND + "cat large.txt\n"


def make(scene: Path, workflow: dict[str, Any] = WORKFLOW) -> Path:
    """Make a scene in a new folder and return it."""
    project, flow = scene / "project", scene / "flow"
    project.mkdir(parents=True)
    flow.mkdir()
    (project / "check.sh").write_text(CHECK)
    (project / "measure.sh").write_text(MEASURE)
    (project / "large.txt").write_text(LARGE)
    (project / "state.txt").write_text("none\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *command], cwd=project, check=True, capture_output=True)
    (flow / "workflow.json").write_text(json.dumps(workflow))
    for name, stage in workflow["stages"].items():
        if stage.get("kind") not in ("command", "human"):
            (flow / f"{name}.md").write_text(f"Do the {name}.\n")
    (scene / "script.json").write_text(json.dumps(SCRIPT))
    (scene / "policy.json").write_text(json.dumps(POLICY))
    return scene


def environment(scene: Path, **more: str) -> dict[str, str]:
    """The variables a process that works in a scene is started with."""
    return {**os.environ, "STAGENT_HOME": str(scene / "home"), "CRASH_PIDS": str(scene / "pids"), **more}


def start(scene: Path, mode: str = "drive", **more: str) -> subprocess.Popen[bytes]:
    """Start the driver on a scene."""
    driver = Path(__file__).with_name("crash_driver.py")
    return subprocess.Popen(
        [sys.executable, str(driver), mode, str(scene)],
        env=environment(scene, **more),
        stdin=subprocess.PIPE if mode in ("race", "notes") else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def resume(scene: Path, run: str) -> subprocess.Popen[bytes]:
    """Go on with a run as a person would: `stagent run --resume RUN`."""
    command = [sys.executable, "-m", "stagent", "run", "--resume", run, "--agent", "scripted", "--json"]
    command += ["--script", str(scene / "script.json"), "--unattended", str(scene / "policy.json")]
    return subprocess.Popen(
        command,
        cwd=scene,
        env=environment(scene),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

"""`live/<session_id>.json`: everything a hook may need to know about the run of its session, and nothing else."""

from __future__ import annotations

import msgspec

from stagent.core.model import Workflow
from stagent.core.state import State
from stagent.engine.folder import RunFolder, look

VERSION = 1


def render(workflow: Workflow, state: State, folder: RunFolder, *, project: str, home: str) -> bytes:
    """Return the bytes of the live file of a session's run; the same state and artifact give the same bytes."""
    stage = workflow.stages[state.stage]
    holder = state.lease.holder if state.lease else None
    artifact = folder.artifact(stage.name)
    seen = look(artifact)
    found = seen[0] if seen else None
    document = {
        "v": VERSION,
        "run": state.run,
        "seq": state.seq,
        "session": (holder.session if holder else None) or state.folder,
        "pid": holder.pid if holder else None,
        "lease": state.fence,
        "project": project,
        "run_dir": str(folder.path),
        "stage": stage.name,
        "epoch": state.epoch,
        "kind": stage.kind,
        "execution": stage.execution,
        "interruptible": stage.interruptible,
        "terminal": state.terminal,
        "status": state.status,
        "artifact": {
            "path": str(artifact),
            "size": found.mark.size if found else None,
            "mtime_ns": found.mark.mtime_ns if found else None,
            "ino": found.mark.ino if found else None,
        },
        "results": stage.transitions,
        "gate": _gate(workflow, state),
        "writes": stage.writes,
        "ledger": [{"agent": agent.id, "ended": agent.ended} for agent in state.agents],
        "checking": any(check.outcome == "running" for check in state.checks.values()),
        "stop": {"blocks": stage.stop.blocks, "message": stage.stop.message},
        "denied_paths": [home, str(folder.state_file)],
    }
    return msgspec.json.encode(document) + b"\n"


def _gate(workflow: Workflow, state: State) -> dict[str, object] | None:
    stage = workflow.stages[state.stage]
    if stage.gate is None and stage.kind != "human":
        return None
    decided = state.gate.decision if state.gate else ""
    options = sorted(stage.transitions) if stage.kind == "human" else ["Approve", "Reject"]
    return {"question": f"{stage.name}: epoch {state.epoch}", "options": options, "decided": decided}

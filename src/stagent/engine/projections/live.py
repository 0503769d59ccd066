"""`live/<session_id>.json`: everything a hook may need to know about the run of its session, and nothing else.

The hook imports nothing of ours and must be quick, so every sentence it may say is made here, by the renderer that
makes the same sentences for the command line; the hook only fills in what it alone sees.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import msgspec

from stagent.config import DataHome
from stagent.core.evidence import Found
from stagent.core.model import Stage, Workflow
from stagent.core.refusals import place
from stagent.core.state import State
from stagent.engine.brief import Brief
from stagent.engine.folder import RunFolder, look

VERSION = 1
WORKER = "stagent:workflow-subagent"
"""The type of the sub-agent that works a stage."""
HEADER = "Stagent"
"""The header of a gate's picker."""


def picker(workflow: Workflow, state: State, folder: RunFolder) -> dict[str, object] | None:
    """Return the one question that decides the current gate, as `tick` prints it and the hook compares it.

    `body` and `tree` are what the decision is bound to: the artifact as it lies there and the tree the gate opened
    with. None for a stage without a gate.
    """
    stage = workflow.stages[state.stage]
    human = stage.kind == "human"
    if stage.gate is None and not human:
        return None
    seen = look(folder.artifact(stage.name))
    found = seen[0] if seen is not None and not human else None
    options = _choices(stage) if human else _APPROVAL
    decided = _decided(state, found)
    over = state.gate is not None and bool(state.gate.decision) and not decided
    what = "which way" if human else f"approve its artifact ({found.body[:12] if found else 'not written yet'})"
    return {
        "question": f"Stage {stage.name}, epoch {state.epoch}: {what}?",
        "header": HEADER,
        "options": options,
        "for": list(stage.gate.results) if stage.gate else [],
        "explicit": stage.gate.explicit if stage.gate else True,
        "open": state.gate is not None and (human or (found is not None and _shown(state, found) and not over)),
        "decided": decided,
        "body": found.body if found else "",
        "tree": state.gate.tree if state.gate and state.gate.tree else "",
    }


def _decided(state: State, found: Found | None) -> str:
    """Return what a person decided about this artifact, where there is one; an approval of another result is none."""
    gate = state.gate
    if gate is None or found is None:
        return gate.decision if gate else ""
    other = gate.decision == "approve" and gate.choice != found.result
    return "" if other or gate.body != found.body else gate.decision


def _shown(state: State, found: Found) -> bool:
    """Whether the gate opened with exactly this artifact: another result under the same text needs its checks first."""
    same = state.artifact is not None and state.artifact.digest == found.digest
    return same and state.gate is not None and state.gate.body == found.body


_APPROVAL = [
    {"label": "Approve", "description": "Exactly this, as it lies there now.", "decision": "approve"},
    {
        "label": "Reject",
        "description": "Not like this; the next message says what is to be changed.",
        "decision": "reject",
    },
]


def shown(asked: dict[str, object]) -> dict[str, object]:
    """Return what an agent is to ask, word for word."""
    options = cast(list[dict[str, str]], asked["options"])
    plain = [{"label": option["label"], "description": option["description"]} for option in options]
    return {"question": asked["question"], "header": asked["header"], "options": plain, "multiSelect": False}


def _choices(stage: Stage) -> list[dict[str, str]]:
    return [
        {"label": result, "description": f"Leads to {target}.", "decision": "answer"}
        for result, target in sorted(stage.transitions.items())
    ]


def render(workflow: Workflow, state: State, folder: RunFolder, brief: Brief, home: DataHome, folded: int) -> bytes:
    """Return the bytes of the live file of a session's run; the same state and artifact give the same bytes."""
    stage = workflow.stages[state.stage]
    holder = state.lease.holder if state.lease else None
    # When the process that runs a check is dead nobody will wake the session.
    running = [check for check in state.checks.values() if check.outcome == "running"]
    document = {
        "v": VERSION,
        "run": state.run,
        "seq": state.seq,
        "head": state.head,
        "session": (holder.session if holder else None) or state.folder,
        "pid": holder.pid if holder else None,
        "lease": state.fence,
        "project": brief.project,
        "run_dir": str(folder.path),
        "stage": stage.name,
        "epoch": state.epoch,
        "kind": stage.kind,
        "execution": stage.execution,
        "interruptible": stage.interruptible,
        "terminal": state.terminal,
        "status": state.status,
        "artifact": _artifact(folder.artifact(stage.name)),
        "results": stage.transitions,
        "ends": sorted({*workflow.terminals} & {*stage.transitions.values()}),
        "gate": picker(workflow, state, folder),
        "writes": stage.writes,
        "tools": {"allow": stage.tools.allow, "deny": stage.tools.deny},
        "ledger": _ledger(state),
        "checking": bool(running),
        "checker": running[0].pid if running else None,
        "stop": {"blocks": stage.stop.blocks, "message": stage.stop.message},
        "home": str(home.root),
        "spool": str(home.spool(state.run)),
        "folded": folded,
        "launcher": home.launcher,
        "python": sys.executable,
        "texts": texts(workflow, state, brief, home.launcher),
    }
    return msgspec.json.encode(document) + b"\n"


def _ledger(state: State) -> list[dict[str, object]]:
    """The sub-agents of this stage and epoch, and those left behind that may still run.

    A worker beside the present ones was left behind, also by whoever drove this very epoch before: nothing it leaves
    counts, so it is not waited for, and another may take its place.
    """
    here = (state.stage, state.epoch)
    found = [(agent, WORKER, False) for agent in state.agents]
    found += [
        (agent, agent.kind or WORKER, not agent.kind or (agent.stage, agent.epoch) != here) for agent in state.others
    ]
    return [
        {"agent": agent.id, "type": kind, "ended": agent.ended, "started": agent.started_at, "left": left}
        for agent, kind, left in found
    ]


def _artifact(path: Path) -> dict[str, object]:
    seen = look(path)
    mark = seen[0].mark if seen else None
    return {
        "path": str(path),
        "size": mark.size if mark else None,
        "mtime_ns": mark.mtime_ns if mark else None,
        "ino": mark.ino if mark else None,
    }


def texts(workflow: Workflow, state: State, brief: Brief, launcher: str) -> dict[str, str]:
    """Return every sentence a hook may say about this state; `{words in braces}` are for the hook to fill in."""
    stage = workflow.stages[state.stage]
    where = place(state)
    known = ", ".join(sorted(stage.transitions))
    model = f", model {stage.model}" if stage.model else ""
    return {
        "where": f"This session drives the Stagent run {state.run} (workflow {state.flow}). It stands in {where}, "
        f"{state.status}. Load the skill stagent:stagent and begin with: {launcher} tick",
        "begin": f"the run {state.run} has begun and nothing was done yet. Load the skill stagent:stagent and begin "
        f"with: {launcher} tick",
        "paused": f"{where} waits for you; {launcher} tick shows where the run stands.",
        "advance": f"{where} is finished with the result {{result}}, which leads to {{target}}. "
        f"Go on with: {launcher} advance",
        "written": f"{where} is written with the result {{result}}, and a person decides about it. "
        f"Go on with: {launcher} advance",
        "command": f"{where} is a command that the engine runs itself. Go on with: {launcher} advance",
        "problem": f"{where}: {{why}}. Known: {known}. Write epoch: {state.epoch} and one of the known results.",
        "how": brief.context(),
        "inline": f"stage {stage.name} is worked in the main conversation, not by the sub-agent: read "
        f"{brief.folder.instructions(stage.name)} and write {brief.folder.artifact(stage.name)}.",
        "launch": f"Stage {stage.name}, epoch {state.epoch}: the sub-agent finds its own context. Launch it as type "
        f"stagent:workflow-subagent{model}, with the prompt: Run your stage.",
        "bootstrap": f"You work stage {stage.name} of a Stagent run. Your first act: {launcher} bootstrap",
        "subagent_writes": f"the artifact of stage {stage.name} is written by its sub-agent; launch "
        "stagent:workflow-subagent.",
        "subagent_unfinished": f"{where}: {{why}}. Write it before you end, with one of: {known}.",
        "stalled": f"{where} made no progress in {{count}} tries and is let go as stalled. Go on with "
        f"/stagent:continue here or in another session, or headless: stagent run --resume {state.run}",
        **_decision_texts(stage, state, where, launcher),
    }


def _decision_texts(stage: Stage, state: State, where: str, launcher: str) -> dict[str, str]:
    """What hooks say about a decision of a person: that it is waited for, that it was made."""
    how = "/stagent:approve or /stagent:reject, here or in a terminal: stagent approve"
    if stage.kind == "human":
        how = f"answer the question {launcher} tick prints, or in a terminal: stagent answer"
    return {
        "gate": f"{where} waits for your decision: {how} {state.run}",
        "rejected": f"{where}: a person rejected this artifact. Read the feedback and change the artifact: "
        f"{launcher} context",
        "decided": f"{where}: a person approved this artifact. Go on with: {launcher} advance",
        "chosen": f"{where}: the choice is made. Go on with: {launcher} advance",
    }

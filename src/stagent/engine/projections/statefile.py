"""`state.md` in the run folder: a generated view for people and other tools. Editing it changes nothing."""

from __future__ import annotations

from stagent.core.state import State
from stagent.engine.report import stamp

_BODY = (
    "\nThis file is generated from the run's log after every change; editing it changes nothing.\n"
    "`stagent status` shows where the run stands, `stagent log` what happened.\n"
)


def render(state: State, project_root: str) -> bytes:
    """Return the bytes of `state.md`; the same state always gives the same bytes."""
    status = state.terminal if state.ended else state.status if state.status != "running" else state.stage
    holder = state.lease.holder if state.lease else None
    fields = {
        "run": state.run,
        "seq": state.seq,
        "head": state.head,
        "active": "false" if state.ended else "true",
        "status": status,
        "epoch": state.epoch,
        "resume_status": state.stage if state.status in ("interrupted", "stalled", "blocked", "escalated") else "",
        "session_id": (holder.session if holder else None) or "",
        "workflow": state.flow,
        "workflow_digest": state.workflow,
        "project_root": _line(project_root),
        "project_fingerprint": state.fingerprint,
        "baseline_tree": state.baseline or "",
        "started_at": stamp(state.started_at),
        "updated_at": stamp(state.updated_at),
        "last_seen_head": state.last_head or "",
    }
    head = "".join(f"{key}: {value}\n" for key, value in fields.items())
    return f"---\n{head}---\n{_BODY}".encode("utf-8", "surrogateescape")


def _line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")

"""`live/attempt-<attempt>.json`: what the hook of a headless attempt may know, of the live file's form."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stagent import disk
from stagent.config import DataHome
from stagent.core.model import Workflow
from stagent.core.ports import AttemptSpec
from stagent.core.state import State
from stagent.engine.brief import Brief
from stagent.engine.folder import RunFolder, write
from stagent.engine.projections import live


def path(home: DataHome, attempt: str) -> Path:
    """Return where the file of an attempt lies."""
    return home.live(f"attempt-{attempt}")


def publish(
    workflow: Workflow, state: State, folder: RunFolder, brief: Brief, home: DataHome, spec: AttemptSpec
) -> Path:
    """Write the file before the attempt's process is started; return its path.

    It names no process, and adds `attempt` and the stage's `tools` to what a session's live file holds.
    """
    document = msgspec.json.decode(live.render(workflow, state, folder, brief, home, 0))
    allow = None if spec.tools is None else list(spec.tools)
    document |= {
        "attempt": spec.id,
        "session": f"attempt-{spec.id}",
        "pid": None,
        "tools": {"allow": allow, "deny": list(spec.deny_tools)},
    }
    target = path(home, spec.id)
    disk.make_folder(target.parent, private=True)
    write(target, msgspec.json.encode(document) + b"\n")
    return target


def forget(home: DataHome, run: str) -> None:
    """Remove the files of every attempt of a run: none is left, or what is left was ended."""
    for found in path(home, run).parent.glob(f"attempt-{run}.*.json"):
        disk.remove(found)

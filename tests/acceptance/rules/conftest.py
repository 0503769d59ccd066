"""A machine with a repository, and a session on it that drives a workflow with something of everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.support import Json, Machine, Session, stage

STAGES: Json = {
    "plan": stage({"approved": "build"}, interruptible=True),
    "build": {
        "execution": {"type": "subagent", "model": "opus"},
        "transitions": {"done": "judge", "AGAIN": "plan"},
        "inputs": {
            "required": [{"from_stage": "plan", "description": "The plan."}, {"from_run_file": "notes"}],
            "optional": [{"from_stage": "judge", "description": "What was found."}],
        },
    },
    "judge": stage({"PASS": "shipped", "FAIL": "build"}),
}
TOP: Json = {
    "terminal_stages": ["shipped", "escalated", "cancelled"],
    "run_files": {"notes": {"init": "echo noted", "description": "For people only: not in any text."}},
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.repository({"src.py": "x = 1\n"})
    return made


@pytest.fixture
def flow(machine: Machine) -> str:
    return machine.flow(STAGES, **TOP)


@pytest.fixture
def session(machine: Machine, flow: str) -> Session:
    """A session whose run stands in its first stage."""
    return machine.session(flow)


@pytest.fixture
def building(session: Session) -> Session:
    """The same, in the stage a sub-agent works."""
    session.claim("approved")
    assert session.advance().status == 0
    return session

"""`wait` names what is really awaited, and `tick` prints the one command that waits for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures_claude import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Any) -> Desk:
    """A session whose run has just begun its first stage, which has a gate."""
    made = Desk(tmp_path, monkeypatch)
    assert say("start", "x", "--flow", str(made.flow)).status == 0
    return made


def waited(say: Any) -> str:
    said = say("wait", "--timeout", "0")
    assert (said.status, said.out) == (4, "")
    return str(said.err)


def test_wait_names_what_the_run_waits_for(desk: Desk, say: Any) -> None:
    run = say("tick").json["run"]
    # A gate that is not open yet: it is the agent's turn, and nobody has anything to decide.
    assert f"It waits for the artifact of plan with a result (approved). Next: stagent context {run}" in waited(say)
    desk.write("plan", "approved")
    assert say("advance").status == 4
    assert f"It waits for a person's decision. Next: stagent approve {run}" in waited(say)
    desk.types("approve")
    assert say("hook", "report").status == 0
    assert say("wait", "--timeout", "0").status == 0
    assert say("advance").status == 0
    words = waited(say)
    assert "It waits for the artifact of build with a result (done)" in words
    assert "approve" not in words.replace("approved", "")


@pytest.mark.parametrize(("attended", "more"), [("1", ""), ("0", " --timeout 10"), (None, " --timeout 10")])
def test_tick_prints_how_to_wait_for_a_person(
    desk: Desk, say: Any, monkeypatch: pytest.MonkeyPatch, attended: str | None, more: str
) -> None:
    if attended is not None:
        monkeypatch.setenv("CLAUDE_CODE_SESSION_ATTENDED", attended)
    else:
        monkeypatch.delenv("CLAUDE_CODE_SESSION_ATTENDED", raising=False)
    monkeypatch.setenv("STAGENT_BIN", "/x/stagent-cc")
    assert say("tick").json["wait"] == f"/x/stagent-cc wait{more}"
    desk.write("plan", "approved")
    say("advance")
    desk.types("approve")
    say("hook", "report")
    say("advance")
    # Nobody decides about the next stage.
    assert say("tick").json["wait"] is None

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from stagent import processes
from stagent.bootstrap import Home
from stagent.cli.status import _print as show
from stagent.cli.status import stand
from stagent.core.events import Holder
from stagent.core.state import Lease, State
from stagent.engine.evidence import HOST
from stagent.engine.standing import driver_of


@pytest.mark.rule("S2.20", "W21")
def test_a_finished_run(finished: Any, say: Any) -> None:
    said = say("status")
    assert said.status == 0
    assert f"Run:      {finished.run}" in said.out
    assert "State:    complete" in said.out
    assert "Waits:" not in said.out
    assert "Refused:" not in said.out


def test_a_waiting_run_says_for_whom_and_what_helps(waiting: Any, say: Any) -> None:
    said = say("status", waiting.run)
    assert said.status == 0
    assert "Waits:    for a person's decision" in said.out
    assert f"Next:     stagent approve {waiting.run}" in said.out


def test_json(waiting: Any, say: Any) -> None:
    document = say("status", "--json").json
    assert document["run"] == waiting.run
    assert (document["stage"], document["epoch"], document["terminal"]) == ("plan", 1, None)
    assert document["waits_for"] == "a person's decision"
    assert document["project"] == str(waiting.project)


def test_a_folder_without_a_run_is_no_error(empty: Any, say: Any) -> None:
    said = say("status")
    assert (said.status, said.out) == (0, "There is no run in this project.\n")
    assert "stagent run" in said.err
    assert say("status", "--json").json == {"run": None}


def test_a_named_run_that_is_unknown_is_an_error(empty: Any, say: Any) -> None:
    said = say("status", "r-" + "0" * 26)
    assert said.status == 1
    assert "no run" in said.err


def leased(state: State, **holder: Any) -> State:

    return msgspec.structs.replace(state, lease=Lease(Holder(**holder), 7))


@pytest.fixture
def opened(waiting: Any) -> Any:
    home = Home()
    service = home.of(waiting.run)
    yield service, service.state(waiting.run)
    home.close()


def test_a_process_that_is_gone_is_never_called_running(opened: Any) -> None:
    service, state = opened
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = processes.start_time(child.pid)
    waiting = leased(state, kind="runner", pid=child.pid, started=started, host=HOST)
    held = msgspec.structs.replace(waiting, gate=None)
    assert driver_of(service, held) == "running"
    child.communicate(b"\n")
    assert driver_of(service, held) == "stale"
    assert (driver_of(service, waiting), stand(service, waiting).word) == ("waiting", "waiting")
    assert stand(service, held).word == "stale"
    decided = msgspec.structs.replace(waiting, gate=msgspec.structs.replace(state.gate, decision="approve"))
    assert (driver_of(service, decided), stand(service, decided).word) == ("ready", "ready")
    assert "run --resume" in stand(service, decided).remedy
    tried = msgspec.structs.replace(decided, attempt_open=True)
    assert driver_of(service, tried) == "stale"
    again = leased(held, kind="runner", pid=processes.look(1).pid, started=started, host=HOST)  # type: ignore[union-attr]
    assert driver_of(service, again) == "stale"


def test_a_caller_without_a_process_is_idle(opened: Any) -> None:
    service, state = opened
    assert driver_of(service, leased(state, kind="caller", session="s", host=HOST)) == "idle"


def test_a_driver_elsewhere_counts_as_gone_when_it_is_not_heard(opened: Any) -> None:
    service, state = opened

    there = leased(state, kind="runner", pid=1, started="x", host="elsewhere.example.org")
    assert driver_of(service, msgspec.structs.replace(there, updated_at=service.clock())) == "running"
    assert driver_of(service, msgspec.structs.replace(there, updated_at=service.clock() - 16 * 60_000)) == "stale"


def test_a_refusal_is_shown_with_what_helps(opened: Any) -> None:

    service, state = opened
    refused = msgspec.structs.replace(state, gate=None, refusal="check.failed", feedback=state.task)
    standing = stand(service, refused)
    assert standing.refusal == "check.failed"
    assert standing.feedback.startswith("Build the <thing>")


@pytest.mark.parametrize("status", ["interrupted", "blocked", "escalated"])
def test_a_run_nobody_drives_names_the_way_on(opened: Any, status: str) -> None:

    service, state = opened
    standing = stand(service, msgspec.structs.replace(state, status=status, lease=None))
    assert (standing.driver, standing.word) == ("none", status)
    assert standing.remedy == f"stagent run --resume {state.run}"
    session = stand(service, msgspec.structs.replace(state, status=status, lease=None, mode="session"))
    assert session.remedy == f"stagent continue {state.run}"


def test_what_came_back_unchanged_waits_for_a_person_again(opened: Any) -> None:
    service, state = opened
    assert state.gate is not None
    gate = msgspec.structs.replace(state.gate, decision="redo")
    alone = leased(state, kind="runner", pid=os.getpid(), started="another", host=HOST)
    standing = stand(service, msgspec.structs.replace(alone, gate=gate, refusal="gate.rejected"))
    assert standing.driver == "waiting"
    assert "unchanged" in standing.waits_for
    assert standing.remedy.startswith(f"stagent approve {state.run}")


@pytest.mark.parametrize(
    ("refusal", "line"),
    [
        ("attempt.stopped", "Stopped:  the last attempt, from outside"),
        ("budget.paused", "Paused:   by the budget"),
        ("gate.redo", "Redo:     a person sent the work back"),
        ("gate.rejected", "Rejected: by a person"),
        ("check.failed", "Refused:  check.failed"),
    ],
)
def test_what_is_no_refusal_is_called_otherwise(
    opened: Any, capsys: pytest.CaptureFixture[str], refusal: str, line: str
) -> None:
    service, state = opened
    held = msgspec.structs.replace(state, refusal=refusal)
    show(service, held, stand(service, held))
    said = capsys.readouterr().out.splitlines()
    assert line in said
    assert sum(entry.startswith("Refused:") for entry in said) == (refusal == "check.failed")


def test_from_a_process_of_its_own(finished: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stagent", "status", "--json"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["terminal"] == "complete"

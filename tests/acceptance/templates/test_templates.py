"""Each template once as it is meant, and once for each lie it was made against; all by the real program.

The honest run reaches a terminal of success by its own proof. The lying one claims the same; it is refused with the
code that names the lie, again and again, until it is given up.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.support import claim
from acceptance.templates.building import BUILDING
from acceptance.templates.kit import Case, made, moves, run
from acceptance.templates.planning import PLANNED, PLANNING, SHIPPED
from acceptance.templates.proving import PROVING
from acceptance.templates.shipping import SHIPPING, VERSIONED
from stagent.engine import flows

CASES = [*PLANNING, *BUILDING, *PROVING, *SHIPPING]
HONEST = [case for case in CASES if not case.code]
LIES = [case for case in CASES if case.code]


@pytest.mark.parametrize("case", HONEST, ids=[case.id for case in HONEST])
def test_honest_work_reaches_its_end(case: Case, tmp_path: Path) -> None:
    done = run(made(tmp_path, case), case)
    assert done.status == 0, f"{moves(done)}\n{done.refusals()}\n{done.done.err}"
    assert (done.state.status, done.state.terminal) == ("ended", case.ends)
    assert done.codes() == []
    assert all(event["outcome"] == "pass" for event in done.log("check.ended"))


@pytest.mark.parametrize("case", LIES, ids=[case.id for case in LIES])
def test_a_lie_is_refused(case: Case, tmp_path: Path) -> None:
    done = run(made(tmp_path, case), case)
    assert done.status == 3, f"{moves(done)}\n{done.refusals()}\n{done.done.err}"
    assert (done.state.status, done.state.stage) == ("escalated", case.at), moves(done)
    assert set(done.codes()) == {case.code}
    assert case.says in done.refusals() + "".join(
        done.text(event[field])
        for event in done.log("check.ended")
        for field in ("output", "protected")
        if event.get(field)
    )
    assert [event["by"] for event in done.log("escalated")] == ["engine"]


def test_every_template_is_run_honestly_and_lied_to() -> None:
    # The workflow that creates workflows has runs of its own, in acceptance/create.
    library = set(flows.bundled()) - {"create-workflow"}
    assert {case.flow for case in HONEST} >= library
    assert {case.flow for case in LIES} >= library


def test_a_declared_target_is_withheld_by_a_person_alone(tmp_path: Path) -> None:
    script = {**SHIPPED, "deploy": [claim("withheld", body="\nNot today.\n")]}
    case = Case(flow="default", name="withheld", script=script, policy=PLANNED, files=VERSIONED)
    machine = made(tmp_path, case)
    waiting = run(machine, case)
    assert (waiting.status, waiting.state.stage) == (4, "deploy"), waiting.refusals()
    assert machine.person("approve", waiting.run).status == 0
    done = machine.resume(waiting.run)
    assert (done.status, done.state.terminal) == (0, "complete")
    assert moves(done)[-1] == ("deploy", "withheld")

"""Each template once as it is meant, and once for each lie it was made against; all by the real program.

The honest run reaches a terminal of success by its own proof. The lying one claims the same; it is refused with the
code that names the lie, again and again, until it is given up.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.templates.building import BUILDING
from acceptance.templates.kit import Case, made, moves, run
from acceptance.templates.proving import PROVING
from acceptance.templates.shipping import SHIPPING
from stagent.engine import flows

CASES = [*BUILDING, *PROVING, *SHIPPING]
HONEST = [case for case in CASES if not case.code]
LIES = [case for case in CASES if case.code]
OLDER = {"default", "goal-pursuit"}


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
    library = set(flows.bundled()) - OLDER
    assert {case.flow for case in HONEST} >= library - {"create-workflow"}
    assert {case.flow for case in LIES} >= library - {"create-workflow"}

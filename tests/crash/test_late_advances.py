"""Calls of `advance` that another call was quicker than: they move nothing, hold it against nobody, and say so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.support import Machine, stage
from stagent.bootstrap import Home
from stagent.cli.select import caller
from stagent.config import DataHome


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.repository({"src.py": "x = 1\n"})
    return made


@pytest.mark.parametrize("target", ["judge", "complete"])
def test_who_waited_for_anothers_check_is_told_who_moved_the_run(machine: Machine, target: str) -> None:
    go = machine.root / "go"
    check = {"name": "unit", "run": f"until test -e {go}; do sleep 0.1; done"}
    flow = machine.flow({"plan": stage({"done": target}, checks=[check]), "judge": stage({"done": "complete"})})
    if target == "complete":
        flow = machine.flow({"plan": stage({"done": target}, checks=[check])})
    run = machine.session(flow, session=None)
    run.claim("done")
    argv = [sys.executable, "-m", "stagent", "advance", run.run, "--json"]
    racers = []
    for _ in range(3):
        racer = subprocess.Popen(
            argv, cwd=machine.project, env=machine.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert racer.stderr is not None
        assert racer.stderr.readline().startswith("checking unit")
        racers.append(racer)
    go.touch()
    said = [racer.communicate(timeout=120) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    first = "ended" if target == "complete" else "advanced"
    assert sorted(json.loads(out)["status"] for out, _ in said) == sorted([first, "overtaken", "overtaken"])
    for out, err in said:
        overtaken = json.loads(out)["status"] == "overtaken"
        assert ("Another call moved the run meanwhile; this one moved nothing." in err) == overtaken
        assert json.loads(out)["next"]["tick"]["run"] == run.run
    assert len(run.log("transitioned")) == 1
    assert run.codes() == []


def test_a_call_that_was_made_before_the_stage_was_entered_is_not_about_it(machine: Machine) -> None:
    run = machine.session(
        machine.flow({"plan": stage({"done": "judge"}), "judge": stage({"done": "complete"})}), session=None
    )
    run.claim("done")
    assert run.advance().status == 0
    entered = run.state.entered_at
    home = Home(DataHome(machine.home))
    try:
        service = home.of(run.run)
        who = caller(run.state)
        late = service.advance(run.run, who, asked=entered - 1)
        assert (late.moved, late.refusal, late.state.stage) == (False, None, "judge")
        assert run.codes() == []
        service.clock = lambda: entered - 10
        assert service.advance(run.run, who, asked=entered - 20).refusal is not None, "the clock was set back"
        service.clock = lambda: entered + 10
        assert service.advance(run.run, who, asked=entered).refusal is not None
        assert run.codes() == ["artifact.missing"]
    finally:
        home.close()

"""What a run may cost: warned about, paused, given up, and ended in the middle of an attempt."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from acceptance.headless.site import Site, at, ends, prompts, well
from acceptance.support import stage
from stagent.testing.scripted_model import Turn, text, tool

ENDLESS = 30.0


def two(site: Site, budget: object, *, escalates: bool = True) -> str:
    """A workflow of two stages with a budget."""
    terminals = ["complete", "cancelled", *(["escalated"] if escalates else [])]
    stages = {"first": stage({"done": "second"}), "second": stage({"done": "complete"})}
    return site.flow(stages, budget=budget, terminal_stages=terminals)


def reading(site: Site, tokens: int) -> Turn:
    """A turn that reads a file and costs so many tokens."""
    turn = tool("Read", file_path=str(site.project / "src.py"))
    return Turn(turn.blocks, usage={"input_tokens": tokens - 50, "output_tokens": 50})


def reached(run: object) -> list[tuple[str, str]]:
    """The limits that were met, in order."""
    return [(event["budget"], event["action"]) for event in run.log("budget.reached")]  # type: ignore[attr-defined]


def refused_to_agents(site: Site, run: str) -> None:
    """Inside an agent's process tree nobody goes on with a run that a person decides about, marked or not."""
    before = site.seen(run).log()
    words = [sys.executable, "-m", "stagent", "run", "--resume", run, "--agent", "claude", "--json"]
    for line in ('exec "$@"', 'env -u CLAUDECODE "$@"; exit $?'):
        command = ["/bin/sh", "-c", line, "sh", *words]
        env = {**site.env, "CLAUDECODE": "1"}
        done = subprocess.run(command, cwd=site.project, env=env, stdout=subprocess.PIPE, text=True, timeout=60)
        assert (done.returncode, json.loads(done.stdout)["error"]) == (2, "person.agent")
    assert site.seen(run).log() == before


def test_a_warning_is_recorded_once_and_stops_nothing(site: Site) -> None:
    site.plan(first=["done"], second=["done"])
    run = well(site.run(two(site, {"tokens": {"warn": 1000}})))
    assert reached(run) == [("tokens", "warn")]
    assert ends(run) == [("ok", "")] * 2
    assert "limit tokens = 1000 reached: warn" in site.cli("log", run.run).out


def test_a_pause_waits_for_a_person_who_goes_on_with_the_run(site: Site) -> None:
    # Half a dollar an attempt, known at its end.
    site.stand_in(
        'init(); epoch = os.environ["STAGENT_EPOCH"]\n'
        'open(os.environ["STAGENT_ARTIFACT"], "w").write(f"---\\nepoch: {epoch}\\nresult: done\\n---\\n"); result()'
    )
    run = site.run(two(site, {"cost_usd": {"pause": 0.5, "halt": 5}}))
    assert (run.status, run.summary["ending"], run.summary["refusal"]) == (4, "blocked", "budget.paused")
    assert (run.state.status, run.place) == ("blocked", ("first", 1))
    assert reached(run) == [("cost_usd", "pause")]
    assert "Paused:   by the budget" in site.cli("status", run.run).out
    refused_to_agents(site, run.run)
    again = well(site.go_on(run.run))
    # What was done is not done again, and the same pause does not come again.
    assert [event["stage"] for event in again.log("attempt.started")] == ["first", "second"]
    assert reached(again) == [("cost_usd", "pause")]
    assert [event["acknowledged"] for event in again.log("resumed")] == ["cost_usd"]
    assert again.state.spent_usd == 1.0


def test_tokens_end_an_attempt_in_its_middle_and_the_conversation_goes_on(site: Site) -> None:
    site.plan(first=[[reading(site, 600), reading(site, 700), text("Never.", delay=ENDLESS)], "done"], second=["done"])
    run = site.run(two(site, {"tokens": {"pause": 1200}}))
    assert run.status == 4
    assert ends(run) == [("stopped", "attempt.stopped")]
    [started], [ended] = at(run, "attempt.started"), at(run, "attempt.ended")
    assert ended - started < ENDLESS * 1000
    assert run.state.spent_tokens == 1300
    site.nothing_left()
    again = well(site.go_on(run.run))
    first, second = prompts(site.model)[:2]
    assert second.session == first.session
    assert "attempt.stopped" in second.fresh
    assert again.state.refused == 0


def test_a_halt_is_escalated_where_that_is_declared(site: Site) -> None:
    site.plan(first=["done"], second=["done"])
    run = site.run(two(site, {"tokens": {"halt": 2000}}))
    assert (run.status, run.summary["ending"], run.state.status) == (3, "escalated", "escalated")
    assert reached(run) == [("tokens", "halt")]
    assert Path(run.summary["report"]).exists()
    refused_to_agents(site, run.run)
    # Going on comes to the same end, and no agent is started.
    again = site.go_on(run.run)
    assert again.status == 3
    assert len(again.log("attempt.started")) == 1


def test_a_halt_blocks_where_nobody_can_escalate(site: Site) -> None:
    site.plan(first=["done"], second=["done"])
    run = site.run(two(site, {"tokens": {"halt": 2000}}, escalates=False))
    assert (run.status, run.summary["refusal"]) == (3, "budget.halted")
    assert run.state.status == "blocked"


def test_a_limit_of_cost_reaches_the_program(site: Site) -> None:
    site.plan(first=[[reading(site, 900_000), reading(site, 1000), text("Never.", delay=ENDLESS)], "done"])
    flow = two(site, {"cost_usd": {"pause": 0.5}})
    run = site.run(flow, "--option", "max_budget_usd=7")
    assert (run.status, run.summary["refusal"]) == (4, "budget.paused")
    assert ends(run) == [("failed", "attempt.max_budget")]
    assert run.state.spent_usd > 0.5
    results = [line for line in map(json.loads, site.stream(run.run, "1.1")) if line["type"] == "result"]
    assert results[-1]["subtype"] == "error_max_budget_usd"


def test_minutes_end_an_attempt(site: Site) -> None:
    site.plan(first=[[text("Never.", delay=ENDLESS)], "done"], second=["done"])
    run = site.run(two(site, {"minutes": {"pause": 0.04}}))
    assert (run.status, run.summary["refusal"]) == (4, "budget.paused")
    assert ends(run) == [("timeout", "attempt.timeout")]
    assert reached(run) == [("minutes", "pause")]
    again = well(site.go_on(run.run))
    # Ended this early, it may not have kept its conversation.
    assert [end for end in ends(again) if end[0] != "void"] == [("timeout", "attempt.timeout"), ("ok", ""), ("ok", "")]
    assert again.log("attempt.ended")[-1]["stage"] == "second"

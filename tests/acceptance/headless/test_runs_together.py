"""Several runs at once, runners that are ended from outside, and what the next runner finds."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess

import pytest

from acceptance.headless.site import Site, ends, prompts, report, well
from acceptance.support import Headless, stage, wait_for
from stagent.testing.scripted_model import text, tool

LONG = 60.0
ALONE = """
import pathlib
place = pathlib.Path(os.environ["HOME"], "place")
note = open(pathlib.Path(os.environ["HOME"], "notes"), "a")
try:
    place.mkdir()
except FileExistsError:
    note.write("two at once\\n")
time.sleep(0.7)
init()
epoch = os.environ["STAGENT_EPOCH"]
open(os.environ["STAGENT_ARTIFACT"], "w").write(f"---\\nepoch: {epoch}\\nresult: done\\n---\\n")
note.write(os.environ["STAGENT_RUN"] + "\\n")
note.close()
place.rmdir()
result()
"""


def one(site: Site) -> str:
    """A workflow of one stage."""
    return site.flow({"work": stage({"done": "complete"})})


def in_the_middle(site: Site, *more: str) -> subprocess.Popen[str]:
    """A runner whose agent asks the model, which does not answer for long."""
    read = tool("Read", file_path=str(site.project / "src.py"))
    site.plan(work=[[read, text("Never.", delay=LONG)], [report("done")]])
    runner = site.start("run", "Mend the project.", *site.words(one(site), *more))
    site.model.wait(lambda request: request.main and bool(request.results()))
    return runner


def test_two_runs_with_one_place_never_have_two_agents(site: Site) -> None:
    site.stand_in(ALONE)
    site.env["STAGENT_MAX_ATTEMPTS"] = "1"
    flow = site.flow({"first": stage({"done": "second"}), "second": stage({"done": "complete"})})
    runners = [site.start("run", f"Task {number}.", *site.words(flow)) for number in range(2)]
    runs = [well(site.finish(runner)) for runner in runners]
    notes = (site.root / "home" / "notes").read_text().split("\n")[:-1]
    assert sorted(notes) == sorted([run.run for run in runs] * 2)
    waited = [run for run in runs if "Waiting for a place among the attempts" in run.done.err]
    assert waited
    spans = []
    for run in runs:
        events = [line for line in run.done.lines if "data" in line]
        began = [line["at"] for line in events if line["data"]["type"] == "attempt.started"]
        ended = [line["at"] for line in events if line["data"]["type"] == "attempt.ended"]
        spans += list(zip(began, ended, strict=True))
    assert len(spans) == 4
    # Places are let go of after the end is in the log.
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(sorted(spans)))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_runner_that_is_asked_to_end_pauses_its_run(site: Site, number: int, status: int) -> None:
    runner = in_the_middle(site)
    runner.send_signal(number)
    run = site.finish(runner)
    assert (run.status, run.summary["ending"], run.state.status) == (status, "interrupted", "interrupted")
    assert ends(run) == [("stopped", "attempt.stopped")]
    site.nothing_left()
    assert site.cli("ps", "--json").json == []
    again = well(site.go_on(run.run))
    first, second = prompts(site.model)
    assert second.session == first.session
    assert "Go on with it." in second.fresh
    assert [event["number"] for event in again.log("attempt.started")] == [1, 2]
    assert again.state.refused == 0


def test_signals_that_its_starter_ignores_do_not_end_a_run(site: Site) -> None:
    go = site.root / "go"
    site.stand_in(f"""
init()
while not os.path.exists({str(go)!r}):
    time.sleep(0.05)
open(os.environ["STAGENT_ARTIFACT"], "w").write("---\\nepoch: 1\\nresult: done\\n---\\n")
result()
""")
    runner = site.start("run", "Mend the project.", *site.words(one(site)), ignoring="HUP INT")
    wait_for(lambda: site.cli("ps", "--json").json, "the attempt to be listed")
    for number in (signal.SIGHUP, signal.SIGINT):
        runner.send_signal(number)
    go.touch()
    run = well(site.finish(runner))
    assert ends(run) == [("ok", "")]


def test_the_agent_of_the_run_goes_on_unless_another_is_named(site: Site) -> None:
    runner = in_the_middle(site)
    runner.terminate()
    run = site.finish(runner)
    assert site.cli("config", "agent", "scripted").status == 0
    again = well(Headless(site, site.cli("run", "--resume", run.run, "--json")))
    assert [event["backend"] for event in again.log("attempt.started")] == ["claude", "claude"]


def test_a_killed_runner_takes_its_agent_with_it_and_the_next_one_goes_on(site: Site) -> None:
    runner = in_the_middle(site)
    run = site.only
    wait_for(lambda: site.seen(run).log("attempt.started"), "the attempt to be in the log")
    os.kill(runner.pid, signal.SIGKILL)
    runner.communicate()
    site.nothing_left()
    assert [row["condition"] for row in site.cli("ps", "--json").json] == ["stale"]
    again = well(site.go_on(run))
    assert ends(again) == [("orphaned", "attempt.orphaned"), ("ok", "")]
    # What the orphan had said is not lost: the conversation goes on, and what it used counts.
    first, second = prompts(site.model)
    assert second.session == first.session
    assert "attempt.orphaned" in second.fresh
    assert [event["tokens"] for event in again.log("attempt.ended")] == [1050, 2 * 1050]
    started = [(event["epoch"], event["number"]) for event in again.log("attempt.started")]
    assert started == [(1, 1), (1, 2)]
    assert [event["type"] for event in again.log() if event["type"] in ("taken_over", "resumed")] == ["taken_over"]
    assert site.cli("audit", "verify", run).status == 0


def test_a_run_that_somebody_drives_is_not_driven_twice(site: Site) -> None:
    runner = in_the_middle(site)
    run = site.only
    second = site.cli("run", "--resume", run, "--agent", "claude", "--json")
    assert (second.status, second.json["error"]) == (2, "lease.held")
    # The file the attempt's hook reads is no left-over that somebody is told to remove.
    assert list((site.home / "live").glob(f"attempt-{run}.*.json"))
    assert "live.leftover" not in site.cli("doctor", "--json").out
    runner.terminate()
    assert site.finish(runner).status == 143


def test_a_stopped_attempt_ends_the_run_until_somebody_goes_on(site: Site) -> None:
    runner = in_the_middle(site)
    wait_for(lambda: site.cli("ps", "--json").json, "the attempt to be listed")
    [row] = site.cli("ps", "--json").json
    stopped = site.person("stop", row["id"])
    assert stopped.status == 0, stopped.out
    run = site.finish(runner)
    assert (run.status, run.state.status) == (143, "interrupted")
    assert ends(run) == [("stopped", "attempt.stopped")]
    well(site.go_on(run.run))

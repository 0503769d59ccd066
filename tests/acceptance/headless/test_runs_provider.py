"""The provider turns requests away: what is waited for, what counts as a failure, and what is said."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from acceptance.headless.site import Site, at, ends, well
from acceptance.support import Headless, stage, wait_for
from stagent.testing.scripted_model import Rule, failure, of_main

LIMITED = """
import pathlib
mark = pathlib.Path(os.environ["HOME"], "until")
if not mark.exists():
    until = int(time.time()) + 2
    mark.write_text(str(until))
    init()
    say(type="rate_limit_event", rate_limit_info=dict(status="rejected", resetsAt=until, rateLimitType="five_hour"))
    result(is_error=True, terminal_reason="api_error", api_error_status=429, result="You've hit your limit")
    sys.exit(1)
init()
open(os.environ["STAGENT_ARTIFACT"], "w").write("---\\nepoch: 1\\nresult: done\\n---\\n")
result(result=" ".join(sys.argv))
"""


def gaps(run: Headless) -> list[int]:
    """The milliseconds between the beginning of each attempt and that of the next one.

    A pause is counted from the moment an attempt is over; its end stands in the log some time later, so only the
    beginning is a bound that holds however slow the disk is.
    """
    began = at(run, "attempt.started")
    return [after - before for before, after in pairwise(began)]


def one(site: Site, **more: object) -> str:
    """A workflow of one stage that declares no `escalated`."""
    return site.flow({"work": stage({"done": "complete"}, **more)}, terminal_stages=["complete", "cancelled"])


@pytest.mark.parametrize(("status", "code"), [(529, "attempt.overloaded"), (429, "attempt.rate_limited")])
def test_a_provider_without_room_is_waited_for_longer_each_time(site: Site, status: int, code: str) -> None:
    site.plan(work=["done"])
    site.model.say(Rule(of_main, failure(status), times=2))
    run = well(site.run(one(site, retry={"attempts": 1})))
    assert ends(run) == [("void", code)] * 2 + [("ok", "")]
    first, second = gaps(run)
    assert first >= 1000
    assert second >= 2000
    assert run.state.refused == 0
    assert "Waiting for the provider's rate limit" in run.done.err
    texts = [run.text(event["text"]) for event in run.log("attempt.ended") if event["outcome"] == "void"]
    assert all(str(status) in words for words in texts)


def test_a_broken_provider_counts_and_ends_the_run(site: Site) -> None:
    site.plan(work=["done"])
    site.model.say(Rule(of_main, failure(500)))
    run = site.run(one(site, retry={"attempts": 2}))
    assert run.status == 3
    assert ends(run) == [("failed", "attempt.api_error")] * 2
    assert (run.summary["ending"], run.summary["refusal"]) == ("blocked", "attempt.api_error")
    [blocked] = run.log("blocked")
    assert blocked["code"] == "attempt.api_error"
    assert "500" in run.text(blocked["text"])
    shown = site.cli("show", run.run)
    assert "attempt.api_error" in shown.out + site.cli("status", run.run).out


def test_a_run_that_a_broken_provider_blocked_goes_on_when_it_is_well(site: Site) -> None:
    site.plan(work=["done"])
    site.model.say(Rule(of_main, failure(500), times=1))
    run = site.run(one(site, retry={"attempts": 1}))
    assert (run.status, run.state.status) == (3, "blocked")
    again = site.go_on(run.run)
    assert (again.status, again.state.terminal) == (0, "complete")
    assert [event["number"] for event in again.log("attempt.started")] == [1, 2]


def test_a_rejected_limit_is_waited_for_until_it_ends(site: Site) -> None:
    site.stand_in(LIMITED)
    began = time.time()
    run = well(site.run(one(site, retry={"attempts": 1})))
    assert ends(run) == [("void", "attempt.rate_limited"), ("ok", "")]
    until = int((site.root / "home" / "until").read_text())
    assert at(run, "attempt.started")[1] >= until * 1000
    assert until > began
    # What the second attempt was called with: it goes on with the session of the first.
    assert "--resume s-1" in "\n".join(site.stream(run.run, "1.2"))


OVER = """
import pathlib
init()
if os.environ["STAGENT_STAGE_ATTEMPT"] != "3":
    say(type="rate_limit_event", rate_limit_info=dict(status="rejected", resetsAt=int(time.time()) - 5))
    result(is_error=True, terminal_reason="api_error", api_error_status=429, result="You've hit your limit")
    sys.exit(1)
open(os.environ["STAGENT_ARTIFACT"], "w").write("---\\nepoch: 1\\nresult: done\\n---\\n")
result()
"""


FAR = """
init()
say(type="rate_limit_event", rate_limit_info=dict(status="rejected", resetsAt=4102444800, rateLimitType="seven_day"))
result(is_error=True, terminal_reason="api_error", api_error_status=429, result="You've hit your limit")
sys.exit(1)
"""


def test_while_the_provider_is_waited_for_everybody_can_see_until_when(site: Site) -> None:
    site.env["TZ"] = "UTC"
    site.stand_in(FAR)
    runner = site.start("run", "Mend the project.", *site.words(one(site)))
    wait_for(lambda: site.cli("runs", "--json").json, "the run")
    run, until = site.only, "the provider until 2100-01-01 00:00:00"
    wait_for(lambda: site.seen(run).log("attempt.ended"), "the attempt to end")
    assert f"Waits:    for {until}" in site.cli("status", run).out
    assert f"{run} waits for {until}." in site.cli("runs").err
    assert "the provider is waited for until 2100-01-01 00:00:00" in site.cli("show", run).out
    runner.terminate()
    ended = site.finish(runner)
    assert (ended.status, ended.state.retry_at) == (143, 4102444800000)
    assert until not in site.cli("status", run).out
    # Whoever cannot wait that long says so beforehand.
    site.env["STAGENT_PROVIDER_LONGEST"] = "600"
    assert site.go_on(run).status == 3


def test_a_limit_that_is_said_to_be_over_is_waited_for_all_the_same(site: Site) -> None:
    site.stand_in(OVER)
    run = well(site.run(one(site, retry={"attempts": 1})))
    assert ends(run) == [("void", "attempt.rate_limited")] * 2 + [("ok", "")]
    first, second = gaps(run)
    assert first >= 1000
    assert second >= 2000

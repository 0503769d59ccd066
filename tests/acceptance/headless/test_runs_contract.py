"""What a pipeline may rely on: exit statuses, the stream of events, reports, and declared decisions."""

from __future__ import annotations

import hashlib
import json

import pytest

from acceptance.headless.site import Site, prompts, report, well
from acceptance.support import Headless, stage
from stagent.testing.scripted_model import text


def gated(site: Site, **gate: object) -> str:
    """A workflow of one stage with a gate."""
    made = {"type": "require_approval", **gate}
    return site.flow(
        {"work": stage({"done": "complete", "other": "failed"}, gate=made, retry={"attempts": 1})},
        terminal_stages=["complete", "failed", "escalated", "cancelled"],
    )


def read(run: Headless) -> list[dict[str, object]]:
    """Every document a run printed, its chain verified; the last one is the summary."""
    previous = "0" * 64
    *events, summary = [json.loads(line) for line in run.done.out.splitlines()]
    for number, event in enumerate(events, 1):
        given = event.pop("hash")
        canonical = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert hashlib.sha256(canonical).hexdigest() == given
        assert (event["seq"], event["prev"], event["run"]) == (number, previous, summary["run"])
        previous = given
    assert (summary["type"], summary["head"]) == ("summary", previous)
    return [*events, summary]


def test_success_is_0_and_every_line_is_a_document_of_the_chain(site: Site) -> None:
    site.plan(work=["done"])
    run = well(site.run(gated(site), "--unattended", site.policy(work="approve")))
    *events, summary = read(run)
    kinds = [event["data"]["type"] for event in events]  # type: ignore[index]
    assert kinds == [
        *("run.started", "stage.entered", "attempt.started", "attempt.ended", "artifact.recorded", "gate.opened"),
        *("gate.decided", "transitioned", "terminal"),
    ]
    assert (summary["ending"], summary["status"], summary["refusal"]) == ("ended", "complete", None)
    assert site.cli("audit", "verify", run.run, "--head", str(summary["head"])).status == 0


def test_a_refused_command_line_is_64_and_a_refused_state_2(site: Site) -> None:
    flow = gated(site)
    wrong = site.cli("run", "x", *site.words(flow, "--option", "colour=red"))
    assert (wrong.status, wrong.lines[-1]["error"]) == (64, "agent.option")
    form = site.cli("run", "x", *site.words(flow, "--option", "colour"))
    assert (form.status, form.json["error"]) == (64, "agent.option_form")
    site.plan(work=["done"])
    run = well(site.run(flow, "--unattended", site.policy(work="approve")))
    over = site.cli("run", "--resume", run.run, "--agent", "claude", "--json")
    assert (over.status, over.json["error"]) == (2, "run.ended")


def test_another_terminal_is_3(site: Site) -> None:
    site.plan(work=["other"])
    run = site.run(gated(site, **{"for": ["done"]}))
    assert (run.status, run.summary["ending"], run.summary["status"]) == (3, "ended", "failed")
    read(run)


def test_a_run_that_is_given_up_is_3_with_a_report_as_an_artifact(site: Site) -> None:
    site.plan(work=[[text("I never write anything. My key is sk-abcdefghijklmnop1234.")]])
    run = site.run(gated(site))
    assert (run.status, run.summary["ending"], run.summary["refusal"]) == (3, "escalated", "artifact.missing")
    read(run)
    for name in ("report.md", "report.html"):
        assert site.cli("export", run.run, "--output", str(site.root / name)).status == 0
    plain, page = ((site.root / name).read_text() for name in ("report.md", "report.html"))
    for words in (plain, page):
        assert run.run in words
        assert "artifact.missing" in words
        assert "there is no artifact" in words
        assert "sk-abcdefghijklmnop1234" not in words
    assert page.lstrip().lower().startswith("<!doctype html>")


def test_a_person_who_is_waited_for_is_4(site: Site) -> None:
    site.plan(work=["done"])
    run = site.run(gated(site))
    assert (run.status, run.summary["ending"]) == (4, "waiting")
    read(run)
    # It waits in its stage, held by nobody.
    again = site.go_on(run.run)
    assert again.status == 4
    assert len(prompts(site.model)) == 1


def test_a_decision_must_be_declared_and_is_marked_everywhere(site: Site) -> None:
    site.plan(work=[[report("done")]])
    run = well(site.run(gated(site), "--unattended", site.policy(work="approve")))
    [decided] = run.log("gate.decided")
    assert decided["channel"] == "policy"
    assert decided["actor"].startswith("policy:")
    assert run.text(decided["text"]) == "declared"
    assert "declared policy" in site.cli("log", run.run).out
    assert "Decided by a declared policy, not by a person: the gate of work" in site.cli("show", run.run).out
    exported = site.cli("export", run.run).out
    assert "declared policy" in exported
    assert site.cli("export", run.run, "--format", "html").out.count("declared policy") >= 1


def test_a_gate_that_forbids_policies_waits_all_the_same(site: Site) -> None:
    site.plan(work=["done"])
    run = site.run(gated(site, unattended=False), "--unattended", site.policy(work="approve"))
    assert (run.status, run.summary["ending"]) == (4, "waiting")
    assert run.log("gate.decided") == []


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ('{"gates": {"nowhere": {"decision": "approve", "reason": "x"}}}', "policy.stage"),
        ('{"gates": {"work": {"decision": "approve"}}}', "policy.invalid"),
        ('{"gates": {"work": {"decision": "perhaps", "reason": "x"}}}', "policy.invalid"),
        ("not json", "policy.invalid"),
    ],
)
def test_a_policy_that_is_not_in_order_starts_nothing(site: Site, policy: str, code: str) -> None:
    path = site.root / "policy.json"
    path.write_text(policy)
    done = site.cli("run", "x", *site.words(gated(site), "--unattended", str(path)))
    assert (done.status, done.json["error"]) == (64, code)
    assert site.cli("runs", "--json").json == []
    assert site.model.requests == []


def test_a_declared_redo_gives_its_feedback_once(site: Site) -> None:
    site.plan(work=["done"])
    policy = site.policy(work={"decision": "redo", "reason": "Name the source."})
    run = site.run(gated(site), "--unattended", policy)
    assert run.status == 4
    first, second = prompts(site.model)
    assert second.session == first.session
    assert "Name the source." in second.fresh

"""The bundled workflows from their beginning to their end, by `stagent run` with the real program."""

from __future__ import annotations

from acceptance.headless.site import Site, ends, prompts, report, well
from stagent.testing.scripted_model import tool

TESTED = {
    "tests/__init__.py": "",
    "tests/test_a.py": ("import unittest\nclass A(unittest.TestCase):\n    def test_a(self): self.assertTrue(True)\n"),
}


def test_default_unattended_with_a_review_that_sends_the_work_back(site: Site) -> None:
    site.repository(TESTED)
    changed = [tool("Edit", file_path=str(site.project / "src.py"), old_string="x = 1", new_string="x = 2")]
    read_first = [tool("Read", file_path=str(site.project / "src.py")), *changed]
    site.plan(
        planning=["approved"],
        executing=[[*read_first, report("done")], "done"],
        reviewing=[[report("FAIL", "The name is missing.")], "PASS"],
        qa_ing=["skipped"],
        deploy=["skipped"],
    )
    run = well(site.run("default", "--unattended", site.policy(planning="approve"), timeout=120))
    assert (run.state.terminal, run.state.success) == ("complete", True)
    moves = [(event["source"], event["result"]) for event in run.log("transitioned")]
    assert moves == [
        ("planning", "approved"),
        ("executing", "done"),
        ("reviewing", "FAIL"),
        ("executing", "done"),
        ("reviewing", "PASS"),
        ("qa-ing", "skipped"),
        ("deploy", "skipped"),
    ]
    assert ends(run) == [("ok", "")] * 7
    assert site.read("src.py") == "x = 2\n"
    # The second round is told where the review lies, in a conversation of its own.
    second = prompts(site.model)[3]
    assert str(run.artifact("reviewing")) in second.whole
    assert "x = 2" not in second.whole
    assert len({request.session for request in prompts(site.model)}) == 7
    checked = ["tests", "tests", "tests", "journeys", "target"]
    assert [(event["name"], event["outcome"]) for event in run.log("check.ended")] == [
        (name, "pass") for name in checked
    ]
    shown = site.cli("show", run.run).out
    assert "Decided by a declared policy, not by a person: the gate of planning" in shown
    assert site.cli("audit", "verify", run.run, "--head", run.summary["head"]).status == 0


def test_goal_pursuit_with_a_person_at_the_runners_terminal(site: Site) -> None:
    site.plan(
        briefing=[[report("approved", "The FIRST briefing.")], [report("approved", "The SECOND briefing.")]],
        execute=["done"],
        evaluate=["not-achieved", "achieved"],
    )
    done = site.person(
        *("run", "Reach the goal.", "--flow", "goal-pursuit", "--agent", "claude"),
        words=[("[l]ater?", "r"), ("empty line", "Say who measures it.\n"), ("[l]ater?", "a")],
        timeout=120,
    )
    assert done.status == 0, done.out
    run = site.seen(site.only)
    decided = run.log("gate.decided")
    assert [event["decision"] for event in decided] == ["redo", "approve"]
    assert all(event["actor"].startswith("person:") for event in decided)
    assert "The SECOND briefing." in run.artifact("briefing").read_text()
    first, second = prompts(site.model)[:2]
    assert first.session == second.session
    places = [second.whole.index(words) for words in ("Reach the goal.", "The FIRST briefing.", "Say who measures it.")]
    assert places == sorted(places)
    assert "Say who measures it." in second.fresh
    assert "Reach the goal." not in second.fresh
    moves = [event["result"] for event in run.log("transitioned")]
    assert moves == ["approved", "done", "not-achieved", "done", "achieved"]
    # The evaluation is another conversation than the one whose work it judges.
    assert len({request.session for request in prompts(site.model)}) == 5

"""The bundled workflow on a small real repository, from the request to the end: plan, build, review, QA, deploy."""

from __future__ import annotations

import re

import pytest

from acceptance.claude.kit import Desk, Play, Run, answer
from acceptance.claude.steps import begun, beside, launch, worked
from stagent.testing.scripted_model import Answer, ScriptedModel, Thread, Turn, of_agents, says, text, tool

FILES = {
    ".gitignore": "__pycache__/\n",
    "words.py": "def count(text):\n    return len(text.split())\n",
    "test_words.py": "import unittest\n\nimport words\n\n\nclass Count(unittest.TestCase):\n"
    "    def test_counts(self):\n        self.assertEqual(words.count('one two'), 2)\n",
}
BROKEN = "def count(text):\n    return len(text)\n\n\ndef longest(text):\n    return ''\n"
BUILT = FILES["words.py"] + "\n\ndef longest(text):\n    return max(text.split(), key=len, default='')\n"
TESTS = (
    "import unittest\n\nimport words\n\n\nclass Longest(unittest.TestCase):\n"
    "    def test_the_longest(self):\n        self.assertEqual(words.longest('a bcd ef'), 'bcd')\n\n"
    "    def test_nothing(self):\n        self.assertEqual(words.longest(''), '')\n"
)
FINISHED = "Everything the plan asked for is there."


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """The desk with a project that has tests of its own."""
    desk.repository({**FILES, "src.py": ""})
    return desk


def write(desk: Desk, name: str, words: str) -> Turn:
    return tool("Write", file_path=str(desk.project / name), content=words)


def agents(desk: Desk) -> list[Answer]:
    """Four sub-agents: one that breaks what worked, one that builds, a reviewer, a tester."""
    return [
        *worked(desk, "executing", "done", 2, write(desk, "words.py", BROKEN), said="Built, I think."),
        *worked(
            desk,
            "executing",
            "done",
            2,
            write(desk, "words.py", BUILT),
            write(desk, "test_longest.py", TESTS),
            said="Built.",
        ),
        *worked(desk, "reviewing", "PASS", 3, desk.shell("python3 -m unittest -q"), said="Reviewed."),
        *worked(desk, "qa-ing", "skipped", 4, said="Looked at."),
    ]


def final(desk: Desk) -> Answer:
    """The model writes the last report."""
    words = f"---\nepoch: 1\nresult: complete\n---\n{FINISHED}\n"
    return lambda request: tool("Write", file_path=str(desk.report(request.session, "complete")), content=words)


def ending(desk: Desk) -> list[tuple[Answer, str | None]]:
    """From the stage of the deployment, which a person need not decide, to the end."""
    return [
        (desk.artifact("deploy", "skipped", 5, body="The plan names no target."), "created"),
        (desk.call("next --result skipped"), '"next_status": "complete"'),
        (final(desk), "created"),
        (desk.call("advance"), "ended as complete at epoch 6. Log head: [0-9a-f]{12}"),
        (text("The run is complete."), None),
    ]


def proven(desk: Desk, run: Run, said: str) -> None:
    """What must be true of the finished run, whoever looked at it."""
    assert run.state.terminal == "complete"
    path = ["executing", "reviewing", "qa-ing", "deploy", "complete"]
    assert [event["target"] for event in run.log("transitioned")] == path
    assert run.codes()[-1:] == ["check.failed"]
    outcomes = [(event["name"], event["outcome"]) for event in run.log("check.ended")]
    assert outcomes[0] == ("tests", "fail")
    assert ("tests", "pass") in outcomes
    assert FINISHED in (run.folder / "complete-report.md").read_text()

    head = re.search(r"Log head: ([0-9a-f]+)", said)
    assert head is not None
    verified = desk.cli("audit", "verify", run.run, "--head", head[1], "--json")
    assert verified.status == 0, verified.out
    assert verified.json["anchored"] is True
    assert desk.cli("audit", "verify", run.run, "--head", "0" * 64).status == 1
    for form in ("md", "html"):
        file = desk.root / f"report.{form}"
        assert desk.cli("export", run.run, "-o", str(file)).status == 0
        report = file.read_text()
        assert all(word in report for word in (FINISHED, "planning", "qa-ing", "def longest", "skipped"))


def test_in_print_mode_with_the_gate_approved_in_a_terminal(desk: Desk, model: ScriptedModel) -> None:
    model.say(Thread(agents(desk), of_agents))
    here = launch(run_in_background=False)
    play = Play(
        model,
        (desk.call("tick"), '"status": "planning"'),
        (desk.artifact("planning", "approved", body="Add longest()."), "created"),
        (desk.call("advance"), "a person must approve"),
        (desk.call("wait", run_in_background=True), "background"),
        (text("It waits for you."), "task-notification"),
        (desk.call("advance"), "Stage: executing"),
        (here, "Built, I think"),
        (desk.call("advance"), r"\[error\].*check tests failed"),
        (here, r"Built\."),
        (desk.call("advance"), "Stage: reviewing"),
        (here, "Reviewed"),
        (desk.call("advance"), "Stage: qa-ing"),
        (here, "Looked at"),
        (desk.call("advance"), "Stage: deploy"),
        *ending(desk),
    )
    with beside(desk, "/stagent:start add a function longest", allow=["Write", "Bash(python3 -m unittest -q)"]) as done:
        model.wait(says("background"), 40)
        run = desk.run()
        assert run.place == ("planning", 1)
        assert desk.person("approve", run.run).status == 0
        ended = done.result()
    requests = play.over(quiet=0)
    assert ended.result["result"] == "The run is complete."
    assert ended.result["permission_denials"] == []
    (decided,) = run.log("gate.decided")
    assert decided["channel"] == "terminal"
    # What was refused is put before the next sub-agent.
    second = next(request for request in model.agents if "check tests failed" in request.fresh)
    assert "AssertionError" in second.fresh
    proven(desk, run, answer(requests[-1]))


def test_interactively_with_the_gate_approved_in_the_session(desk: Desk, model: ScriptedModel) -> None:
    model.say(Thread(agents(desk), of_agents))
    play = Play(
        model,
        (desk.call("tick"), '"status": "planning"'),
        (desk.artifact("planning", "approved", body="Add longest()."), "created"),
        (desk.call("advance"), "a person must approve"),
        (text("It waits for you."), None),
    )
    screen = desk.terminal(allow=["Write", "Bash(python3 -m unittest -q)"])
    screen.say("/stagent:start add a function longest")
    play.over()
    run = desk.run()
    play = Play(
        model,
        (desk.call("advance"), "Stage: executing"),
        (launch(), "launched|Async"),
        (begun(model, 1, text("It builds.")), "task-notification.*Built, I think"),
        (desk.call("advance"), r"\[error\].*check tests failed"),
        (launch(), "launched|Async"),
        (begun(model, 2, text("It builds again.")), r"task-notification.*Built\."),
        (desk.call("advance"), "Stage: reviewing"),
        (launch(), "launched|Async"),
        (begun(model, 3, text("It reviews.")), "task-notification.*Reviewed"),
        (desk.call("advance"), "Stage: qa-ing"),
        (launch(), "launched|Async"),
        (begun(model, 4, text("It tests.")), "task-notification.*Looked at"),
        (desk.call("advance"), "Stage: deploy"),
        *ending(desk),
    )
    screen.say("/stagent:approve the plan is good")
    requests = play.over(90)
    screen.see("The run is complete.")
    (decided,) = run.log("gate.decided")
    assert decided["channel"] == "hook"
    assert run.text(decided["text"]) == "the plan is good"
    producers = {event["stage"]: event["producer"] for event in run.log("artifact.recorded")}
    assert producers["reviewing"]["id"] != producers["executing"]["id"]
    proven(desk, run, answer(requests[-1]))

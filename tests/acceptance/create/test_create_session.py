"""`create-workflow` in a session: who reviews, who writes an artifact at the same time as somebody else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from acceptance.create.kit import Author, folder, plan
from acceptance.support import Session, stage

_TWO = """
import pathlib, sys, time
path, until = pathlib.Path(sys.argv[1]), time.monotonic() + 4
texts = [f"---\\nepoch: 1\\nresult: done\\n---\\nWriter {n}.\\n" for n in range(40)]
while time.monotonic() < until:
    for text in texts:
        path.write_text(text)
"""


def steps(author: Author) -> None:
    for step in folder():
        author.write(step["write"]["path"], step["write"]["text"])


@pytest.fixture
def reviewing(author: Author) -> Session:
    """A run whose folder was written by one sub-agent and found valid."""
    run = author.session("create-workflow")
    run.claim("approved", body=plan()["artifact"]["body"])
    assert run.advance().code == "gate.waiting"
    assert author.person("approve", run.run).status == 0
    assert run.advance().status == 0
    assert run.place[0] == "preparing"
    assert run.advance().status == 0
    steps(author)
    run.worked_by("agent-1", "done")
    assert run.advance().status == 0, run.codes()
    assert run.advance().status == 0
    assert run.place[0] == "final-review"
    return run


def test_the_writer_does_not_review(reviewing: Session) -> None:
    reviewing.worked_by("agent-1", "PASS")
    answer = reviewing.advance()
    assert (answer.status, answer.code) == (2, "producer.same_as_author")
    reviewing.claim("PASS")
    assert reviewing.advance().status == 2
    reviewing.worked_by("agent-2", "PASS")
    answer = reviewing.advance()
    assert answer.status == 0, answer.out
    assert reviewing.place[0] == "acceptance"


def test_the_agent_does_not_accept(reviewing: Session, author: Author) -> None:
    reviewing.worked_by("agent-2", "PASS")
    assert reviewing.advance().status == 0
    reviewing.claim("accept")
    answer = reviewing.advance()
    assert (answer.status, answer.code) == (4, "gate.waiting")
    assert reviewing.cli("answer", reviewing.run, "--choice", "accept").status == 2
    answered = author.person("answer", reviewing.run, "--choice", "accept", "--feedback", "Good.")
    assert answered.status == 0, answered.out
    while not reviewing.state.ended:
        assert reviewing.advance().status == 0
    assert reviewing.state.terminal == "complete"


def test_a_folder_that_changes_after_it_was_accepted_by_the_reviewer(reviewing: Session, author: Author) -> None:
    reviewing.worked_by("agent-2", "PASS")
    assert reviewing.advance().status == 0
    assert author.person("answer", reviewing.run, "--choice", "accept").status == 0
    author.write("workflows/notes/draft.md", "# Stage: draft\n\nDo what you like.\n")
    answer = reviewing.advance()
    assert (answer.status, answer.code) == (4, "gate.stale")
    assert reviewing.place[0] == "acceptance"


def test_two_writers_of_one_artifact(author: Author) -> None:
    """Whatever is accepted is one of the texts, whole, and the log has exactly these bytes."""
    check = {"name": "slow", "run": "sleep 0.3", "for": ["done"]}
    run = author.session(author.flow({"work": stage({"done": "complete"}, checks=[check])}))
    path = run.claim("done")
    writers = [subprocess.Popen([sys.executable, "-c", _TWO, str(path)]) for _ in range(2)]
    try:
        seen = []
        while any(writer.poll() is None for writer in writers) and not run.state.ended:
            seen.append(run.advance())
    finally:
        for writer in writers:
            writer.wait()
    assert all(answer.status in (0, 2) for answer in seen)
    assert all(answer.code.startswith(("artifact.", "check.")) for answer in seen if answer.status == 2)
    if not run.state.ended:
        assert run.advance().status == 0
    recorded = run.log("artifact.recorded")[-1]
    assert run.text(recorded["digest"]).startswith("---\nepoch: 1\nresult: done\n---\n")
    assert run.state.terminal == "complete"

from __future__ import annotations

import subprocess
import sys
from typing import Any

from fixtures_runs import NASTY, SECRET
from fixtures_story import story
from stagent.cli import storyline


def test_the_story_of_a_run(finished: Any, say: Any) -> None:
    said = say("show")
    assert said.status == 0
    for words in (
        "State:    complete, stage ship, epoch 4",
        "plan (Plan it)  approved -> build",
        "approved by policy:",
        "a declared policy and no person",
        "| Declared beforehand.",
        "attempt 1  scripted, refused",
        "(check.failed)",
        "1,200 tokens, $0.25",
        "check      proof: fail, exit 1",
        "check      proof: pass",
        "unproven approval",
        "consistent, not anchored",
        "run ended: complete",
    ):
        assert words in said.out, words
    assert "\x1b" not in said.out


def test_json_has_everything_and_no_secret(finished: Any, say: Any) -> None:
    said = say("show", finished.run, "--json")
    story = said.json
    assert [visit["stage"] for visit in story["visits"]] == ["plan", "build", "ship"]
    build = story["visits"][1]
    assert [item["outcome"] for item in build["attempts"]] == ["refused", "ok"]
    assert [item["outcome"] for item in build["checks"]] == ["fail", "pass"]
    assert [item["accepted"] for item in build["artifacts"]] == [False, True]
    assert (story["tokens"], story["cost_usd"], story["consistent"]) == (1200, 0.25, True)
    assert len(story["warnings"]) == 2
    assert SECRET not in said.out


def test_a_waiting_run_shows_its_open_gate(waiting: Any, say: Any) -> None:
    said = say("show")
    assert "gate       waits for a person" in said.out
    assert "(the run stands here)" in said.out


def test_an_artifact_comes_as_it_was_stored(finished: Any, say: Any) -> None:
    said = say("show", "--artifact", "plan")
    assert said.out.startswith("---\nepoch: 1\nresult: approved\n---\n")
    assert NASTY in said.out
    assert "result: complete" in say("show", "--artifact", "complete").out


def test_an_unknown_artifact_names_the_known(finished: Any, say: Any) -> None:
    said = say("show", "--artifact", "nothing")
    assert said.status == 1
    assert "Known: build, complete, plan, ship." in said.err


def test_the_output_of_a_check(finished: Any, say: Any) -> None:
    said = say("show", "--check", "proof")
    assert "it is done" in said.out
    assert SECRET not in said.out
    document = say("show", "--check", "proof", "--json").json
    assert "it is done" in document["text"]


def test_one_event_with_its_texts(finished: Any, say: Any) -> None:
    document = say("show", "--event", "1", "--json").json
    assert document["event"]["data"]["type"] == "run.started"
    assert document["texts"]["task"]["text"].startswith("Build the <thing>")
    assert len(document["event"]["hash"]) == 64
    assert "\ntask:\n  Build the <thing>" in say("show", "--event", "1").out


def test_an_event_that_is_not_there(finished: Any, say: Any) -> None:
    said = say("show", "--event", "999")
    assert said.status == 1
    assert "no event 999" in said.err
    assert "The last is event" in said.err


def test_only_one_piece_at_a_time(finished: Any, say: Any) -> None:
    assert say("show", "--event", "1", "--check", "proof").status == 64


def test_from_a_process_of_its_own(finished: Any) -> None:
    done = subprocess.run([sys.executable, "-m", "stagent", "show"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert finished.run in done.stdout


def test_what_a_check_changed_itself_is_named() -> None:
    said = "\n".join(storyline.lines(story("made-by-check.txt"), colour=False))
    assert "it changed in the project itself:\n       | made-by-check.txt" in said

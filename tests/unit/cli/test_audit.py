from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def head_of(say: Any) -> str:
    return str(say("status", "--json").json["head"])


def damage(home: Path, statement: str) -> None:
    [database] = home.glob("projects/*/stagent.db")
    with sqlite3.connect(database) as connection:
        connection.execute(statement)
    connection.close()


def test_consistent_but_not_anchored(finished: Any, say: Any) -> None:
    said = say("audit", "verify")
    assert said.status == 0
    assert said.out.startswith(f"{finished.run}: consistent, not anchored (")


def test_anchored_by_a_head_or_its_beginning(finished: Any, say: Any) -> None:
    head = head_of(say)
    for text in (head, head[:12], head.upper()):
        said = say("audit", "verify", finished.run, "--head", text)
        assert said.status == 0
        assert "consistent and anchored" in said.out


def test_a_head_from_the_middle_says_how_far_it_reaches(finished: Any, say: Any) -> None:
    middle = say("show", "--event", "10", "--json").json["event"]["hash"]
    said = say("audit", "verify", finished.run, "--head", middle)
    assert said.status == 0
    events = say("audit", "verify", "--json").json["events"]
    assert f"consistent, anchored up to event 10 of {events}; what follows is not anchored" in said.out
    document = say("audit", "verify", "--head", middle[:12], "--json").json
    assert (document["anchored"], document["anchored_at"]) == (True, 10)


def test_a_head_the_log_never_had(finished: Any, say: Any) -> None:
    said = say("audit", "verify", "--head", "0" * 64)
    assert said.status == 1
    assert "NOT anchored" in said.out


@pytest.mark.parametrize("head", ["abc", "x" * 12, ""])
def test_a_head_that_is_none(finished: Any, say: Any, head: str) -> None:
    assert say("audit", "verify", "--head", head).status == 64


def test_a_changed_event_is_found(own: Any, say: Any) -> None:
    damage(own.home, "UPDATE events SET body = CAST(replace(body, 'approved', 'rejected') AS BLOB) WHERE seq = 5")
    said = say("audit", "verify", own.run)
    assert said.status == 1
    assert "NOT consistent" in said.out
    assert say("audit", "verify", own.run, "--json").json["consistent"] is False


def test_all(finished: Any, say: Any) -> None:
    assert say("audit", "verify", "--all").out.count("consistent") == 1
    [document] = say("audit", "verify", "--all", "--json").json
    assert (document["run"], document["consistent"], document["anchored"]) == (finished.run, True, None)


def test_all_goes_on_past_a_project_that_cannot_be_read(own: Any, say: Any) -> None:
    [database] = own.home.glob("projects/*/stagent.db")
    database.unlink()
    said = say("audit", "verify", "--all")
    assert said.status == 1
    assert f"{own.run}: NOT consistent: " in said.out


def test_no_run_at_all(empty: Path, say: Any) -> None:
    said = say("audit", "verify", "--all")
    assert (said.status, said.out) == (0, "")


def test_alone_it_shows_help(empty: Path, say: Any) -> None:
    said = say("audit")
    assert said.status == 0
    assert "verify" in said.out


def test_from_a_process_of_its_own(finished: Any) -> None:
    done = subprocess.run([sys.executable, "-m", "stagent", "audit", "verify"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")

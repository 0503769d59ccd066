from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from fixtures_runs import arguments, project
from stagent.core.canonical import encode


def test_one_line_per_event_with_who_did_it(finished: Any, say: Any) -> None:
    lines = say("log").out.splitlines()
    assert "run started: workflow flow" in lines[0]
    assert "(by runner:" in lines[0]
    assert "(by " not in lines[1]
    assert lines[-1].endswith("run ended: complete")
    assert [int(line.split()[2]) for line in lines] == list(range(1, len(lines) + 1))
    assert any("approved (declared policy)  (by policy:" in line for line in lines)


def test_json_lines_carry_a_chain_that_can_be_checked(finished: Any, say: Any) -> None:
    prev = "0" * 64
    documents = [json.loads(line) for line in say("log", finished.run, "--json").out.splitlines()]
    for document in documents:
        claimed = document.pop("hash")
        assert hashlib.sha256(encode(document)).hexdigest() == claimed
        assert document["prev"] in (prev, "")
        prev = claimed
    assert documents[-1]["data"]["type"] == "terminal"


def test_following_a_finished_run_ends(finished: Any, say: Any) -> None:
    assert say("log", "-f").out == say("log").out


def test_following_goes_on_to_the_end(tmp_path: Path) -> None:
    root = project(tmp_path)
    script = msgspec.json.decode((tmp_path / "script.json").read_bytes())
    script["stages"]["ship"].insert(0, {"sleep": 1.5})
    (tmp_path / "script.json").write_bytes(msgspec.json.encode(script))
    env = {**os.environ, "STAGENT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "stagent"]
    driver = subprocess.Popen([*command, *arguments(tmp_path)], cwd=root, env=env, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not subprocess.run([*command, "status", "--json"], cwd=root, env=env, capture_output=True).stdout.count(
        b'"stage"'
    ):
        assert time.monotonic() < until
    done = subprocess.run([*command, "log", "-f"], cwd=root, env=env, capture_output=True, text=True, timeout=60)
    assert driver.wait(60) == 0
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].endswith("run ended: complete")


def test_an_interrupted_follower_says_nothing_more(waiting: Any) -> None:
    command = [sys.executable, "-m", "stagent", "log", "-f"]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert follower.stdout is not None
        assert "run started" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        _, errors = follower.communicate(timeout=60)
    finally:
        follower.kill()
    assert (follower.returncode, errors.strip()) == (130, "")


def test_an_event_that_cannot_be_read_does_not_hide_the_others(own: Any, say: Any) -> None:
    lines = say("log").out.splitlines()
    [database] = own.home.glob("projects/*/stagent.db")
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE events SET body = CAST('{' AS BLOB) WHERE seq = 3")
    connection.close()
    for words in (["log"], ["log", "--json"]):
        said = say(*words)
        assert said.status == 1
        assert len(said.out.splitlines()) == len(lines) - 1
        assert "event 3 cannot be read" in said.err
    assert say("show", "--event", "3").status == 1
    assert say("show", "--artifact", "plan").status == 1
    story = say("show")
    assert story.status == 0
    assert "NOT consistent" in story.out

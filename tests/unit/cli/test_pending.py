from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures_claude import CLIENT, SESSION, Desk
from stagent import processes
from stagent.cli.pending import (
    ContinueWords,
    EndWords,
    StartWords,
    continue_words,
    create_words,
    end_words,
    start_words,
)
from stagent.errors import UsageError

NASTY = 'it\'s "quoted"; touch /tmp/x && $HOME `id` $(id) | cat\n\nsecond line 🎉 ü --flow'


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


@pytest.mark.rule("W9", "S3.2", "S3.41")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fix it", StartWords(task="fix it")),
        ("--flow goal-pursuit fix it", StartWords(task="fix it", flow="goal-pursuit")),
        ("--flow=goal-pursuit   fix  it ", StartWords(task="fix  it", flow="goal-pursuit")),
        ("--flow './my flow' --mode local fix", StartWords(task="fix", flow="./my flow", mode="local")),
        ('--flow="a/b" --mode=local x', StartWords(task="x", flow="a/b", mode="local")),
        ("fix it --flow goal-pursuit", StartWords(task="fix it", flow="goal-pursuit")),
        ("fix it --mode=local --flow x", StartWords(task="fix it", flow="x", mode="local")),
        ("why does --flow x break it", StartWords(task="why does --flow x break it")),
        ("--flowers are nice", None),
        ("--force x", StartWords(task="x", force=True)),
        ("--flow a --force x --force", StartWords(task="x --force", flow="a", force=True)),
        ("--force=1 x", None),
        ("--flow", None),
        ("--flow --mode local x", None),
        ("", StartWords(task="")),
    ],
)
def test_the_words_of_start(text: str, words: StartWords | None) -> None:
    if words is not None:
        assert start_words(text) == words
        return
    with pytest.raises(UsageError):
        start_words(text)


@pytest.mark.rule("W9", "S3.41")
@given(st.text(min_size=1).map(str.strip).filter(lambda text: text and "--" not in text))
def test_a_task_survives_word_for_word(task: str) -> None:
    assert start_words(task) == StartWords(task=task)
    assert start_words(f"--flow a/b {task}") == StartWords(task=task, flow="a/b")


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("notes of a release", "notes of a release"),
        ("--edit ./flow shorter", "Change the existing workflow ./flow.\n\nshorter"),
        ("shorter --edit 'my flow'", "Change the existing workflow my flow.\n\nshorter"),
        ("--edit notes", "Change the existing workflow notes."),
        ("what --flow x does", "what --flow x does"),
        ("a thing --flow x", "a thing --flow x"),
        ("--flow x y", None),
        ("--edit", None),
        ("", ""),
    ],
)
def test_the_words_of_create(text: str, task: str | None) -> None:
    if task is not None:
        assert create_words(text) == StartWords(task=task, flow="create-workflow")
        return
    with pytest.raises(UsageError):
        create_words(text)


@pytest.mark.rule("S3.45")
def test_create_begins_the_run_that_writes_workflows(desk: Desk, say: Any) -> None:
    desk.types("create", f"a workflow {NASTY}")
    said = say("start", "--pending")
    assert said.out.startswith("Run r-"), said.out
    assert "Workflow: create-workflow" in said.out
    assert f"a workflow {NASTY}" in say("context").out
    assert (desk.folder / "guide").read_text().startswith("# Writing a workflow")


def test_the_words_of_continue() -> None:
    assert continue_words("") == ContinueWords()
    assert continue_words(" r-1  --take-over") == ContinueWords(run="r-1", take_over=True)
    assert continue_words("--force-project-mismatch") == ContinueWords(force=True)
    assert continue_words("--take-over --session s-1") == ContinueWords(session="s-1", take_over=True)
    for wrong in ("a b", "--hard", "--take-over=1", "r-1 --session s-1", "--session", "--topic x", "--"):
        with pytest.raises(UsageError):
            continue_words(wrong)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", EndWords()),
        ("not  worth - it", EndWords(text="not worth - it")),
        ("--hard", EndWords(hard=True)),
        ("not worth it --hard", EndWords(text="not worth it", hard=True)),
        ("--session s-1 --hard why", EndWords(text="why", hard=True, session="s-1")),
        ("--session=s-1", EndWords(session="s-1")),
        ("--topic 'my task' why", EndWords(text="why", topic="my task")),
        ('why --topic="my task"', EndWords(text="why", topic="my task")),
        ("--topic ''", EndWords(topic="")),
        ("--help", None),
        ("why --nosuch", None),
        ("--hard=1", None),
        ("--session", None),
        ("--session --hard", None),
        ("--", None),
    ],
)
def test_the_words_of_cancel(text: str, words: EndWords | None) -> None:
    if words is not None:
        assert end_words(text, "cancel") == words
        assert words.selects == ("--session" in text or "--topic" in text)
        return
    with pytest.raises(UsageError) as caught:
        end_words(text, "cancel")
    assert caught.value.known == ("--hard", "--session ID", "--topic TOPIC")


def test_a_pause_is_not_hard() -> None:
    assert end_words("back at 2", "interrupt") == EndWords(text="back at 2")
    with pytest.raises(UsageError):
        end_words("--hard", "interrupt")


@pytest.mark.rule("W9")
def test_start_takes_the_task_word_for_word_once(desk: Desk, say: Any) -> None:
    desk.types("start", f"--flow {desk.flow} {NASTY}")
    kept = desk.home / "pending" / f"{SESSION}.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    said = say("start", "--pending")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("Run r-")
    assert not kept.exists()
    assert NASTY in say("context").out
    assert desk.live().exists()
    again = say("start", "--pending")
    assert again.status == 0
    assert "no hook kept the arguments" in again.out


@pytest.mark.rule("S3.8")
def test_what_does_not_fit_is_said_on_standard_output_with_status_0(desk: Desk, say: Any) -> None:
    desk.types("continue", "x")
    assert "of stagent:continue, not of this command" in say("start", "--pending").out
    assert not list((desk.home / "pending").iterdir())
    for words, message in (("--flow nosuch x", "nosuch"), ("--wrong x", "--wrong"), ("", "no task")):
        desk.types("start", words)
        said = say("start", "--pending")
        assert said.status == 0
        assert message in said.out
    assert not (desk.home / "live").exists()
    desk.leave()
    assert "this is no agent session" in say("start", "--pending").out


def test_old_or_damaged_arguments_count_no_more(desk: Desk, say: Any) -> None:
    place = desk.home / "pending" / f"{SESSION}.json"
    for age, fits in ((61, False), (-61, False), (55, True)):
        desk.types("start", f"--flow {desk.flow} x")
        document = json.loads(place.read_text())
        document["t"] -= age * 1000
        place.write_text(json.dumps(document))
        assert ("more than 60 s" not in say("start", "--pending").out) == fits
    place.write_text("{")
    assert "cannot be read" in say("start", "--pending").out


@pytest.mark.rule("S3.10")
def test_a_session_with_a_live_run_is_told_its_ways_out(desk: Desk, say: Any) -> None:
    assert say("start", "x", "--flow", str(desk.flow)).status == 0
    desk.types("start", "y")
    said = say("start", "--pending")
    assert said.status == 0
    assert "already has an active run" in said.out


@pytest.mark.rule("S7.4")
def test_continue_goes_on_in_a_new_session(desk: Desk, say: Any) -> None:
    say("start", "x", "--flow", str(desk.flow))
    assert say("interrupt").status == 0
    desk.enter("session-2")
    desk.types("continue")
    said = say("continue", "--pending")
    assert said.out.startswith("Going on with r-"), said.out + said.err
    status = say("status", "--json").json
    assert status["holder"] == f"session session-2, process {os.getpid()}"
    desk.types("continue", "--unknown")
    assert "no option --unknown" in say("continue", "--pending").out


def living() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_taking_over_needs_a_persons_order(desk: Desk, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other = living()
    try:
        desk.enter(SESSION, other.pid)
        say("start", "x", "--flow", str(desk.flow))
        run = say("status", "--json").json["run"]
        desk.enter("session-2")
        assert "does not count as a person's order: the session is not attended" in ordered(
            desk, say, run, attended="0"
        )
        assert "from another process" in ordered(desk, say, run, pid=other.pid)
        monkeypatch.setenv("CLAUDE_PID", str(other.pid))
        assert "does not stand above this call" in ordered(desk, say, run, pid=other.pid)
    finally:
        other.kill()
        other.wait()


def ordered(desk: Desk, say: Any, run: str, **fields: Any) -> str:
    desk.types("continue", f"{run} --take-over", **fields)
    return str(say("continue", "--pending").out)


_CALL = """
import json, os, subprocess, sys
env = {**os.environ, "CLAUDE_PID": str(os.getpid())}
document = json.loads(sys.argv[1])
document["pid"] = str(os.getpid())
open(sys.argv[2], "w").write(json.dumps(document))
words = [sys.executable, "-I", "-m", "stagent", "continue", "--pending"]
done = subprocess.run(words, env={**env, "CLAUDECODE": "1"}, capture_output=True, text=True)
print(done.stdout, done.stderr)
"""


@pytest.mark.parametrize("nested", [False, True])
def test_a_person_takes_over_but_not_a_session_an_agent_started(
    desk: Desk, say: Any, monkeypatch: pytest.MonkeyPatch, nested: bool
) -> None:
    """The process in between stands for the session's own; with an agent's mark around it, it is a nested one."""
    other = living()
    try:
        desk.enter(SESSION, other.pid)
        say("start", "x", "--flow", str(desk.flow))
        run = say("status", "--json").json["run"]
        document = {"v": 1, "command": "stagent:continue", "args": f"{run} --take-over", "attended": "1"}
        document["client"] = CLIENT
        document |= {"prompt": "p", "source": "plugin", "t": time.time_ns() // 1_000_000}
        place = desk.home / "pending" / "session-2.json"
        env = {**os.environ, "CLAUDE_CODE_SESSION_ID": "session-2"}
        # What a session's own process is started with holds no mark of an agent, what an agent starts does.
        env.pop("CLAUDE_PID")
        if not nested:
            env = {name: text for name, text in env.items() if name not in processes.AGENT_MARKS}
        call = _CALL.replace('"CLAUDECODE": "1"', '"CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": "session-2"')
        words = [sys.executable, "-c", call, json.dumps(document), str(place)]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        if nested:
            assert "an agent stands above the session" in done.stdout
        else:
            assert f"Going on with {run}" in done.stdout, done.stdout
        log = say("log", run, "--json").out
        assert ("taken_over" in log) is not nested
    finally:
        other.kill()
        other.wait()


@pytest.mark.rule("S7.3")
def test_outside_of_any_session_a_person_is_asked(desk: Desk, say: Any) -> None:
    say("start", "x", "--flow", str(desk.flow))
    run = say("status", "--json").json["run"]
    say("interrupt")
    desk.leave()
    words = [sys.executable, "-m", "stagent", "continue", run]
    # In a session of its own the process has no terminal, wherever the tests are run.
    done = subprocess.run(words, capture_output=True, text=True, start_new_session=True, check=False)
    assert done.returncode == 2
    assert "can go on with a session's run outside of it" in done.stderr
    assert say("status", run, "--json").json["status"] == "interrupted"

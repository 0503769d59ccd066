"""The hook in processes of its own: any input, any live file, many at once. Exit 0, no traceback, nobody harmed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stagent.engine import spool
from stagent.hooks import hook
from stagent.testing.strategies import json_values
from unit.hooks.hook_world import PID, SESSION, Answer, Forks, Session, compiled

SLOW = 2.0
"""No call may take so long (seconds); the platform gives a hook a few."""
KEEP = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
EVENTS: list[dict[str, Any]] = [
    {"hook_event_name": "SessionStart", "source": "startup"},
    {"hook_event_name": "SessionStart", "source": "clear"},
    {"hook_event_name": "SessionEnd", "reason": "other"},
    {"hook_event_name": "UserPromptSubmit", "prompt": "hello"},
    {"hook_event_name": "UserPromptExpansion", "command_name": "stagent:approve", "command_args": "x"},
    {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": "stagent approve"}},
    {"hook_event_name": "PreToolUse", "tool_name": "Write", "tool_input": {"file_path": "src/a"}},
    {"hook_event_name": "PreToolUse", "tool_name": "Agent", "tool_input": {"subagent_type": hook.AGENT}},
    {"hook_event_name": "PreToolUse", "tool_name": "AskUserQuestion", "tool_input": {"questions": []}},
    {"hook_event_name": "PostToolUse", "tool_name": "AskUserQuestion", "tool_input": {"answers": {}}},
    {"hook_event_name": "PostToolUse", "tool_name": "Edit", "agent_id": "a1", "tool_input": {"file_path": "x"}},
    {"hook_event_name": "PermissionRequest", "tool_name": "Bash"},
    {"hook_event_name": "SubagentStart", "agent_id": "a1", "agent_type": hook.AGENT},
    {"hook_event_name": "SubagentStop", "agent_id": "a1", "agent_type": hook.AGENT},
    {"hook_event_name": "SubagentStop", "agent_id": "a1", "agent_type": ""},
    {"hook_event_name": "Stop", "background_tasks": [{"id": "a", "type": "shell", "command": "x"}]},
    {"hook_event_name": "StopFailure", "error": "rate_limit"},
    {"hook_event_name": "Notification", "notification_type": "idle_prompt"},
    {"hook_event_name": "PreCompact", "trigger": "auto"},
    {"hook_event_name": "PostCompact", "trigger": "auto"},
    {"hook_event_name": "ConfigChange", "source": "user_settings", "file_path": "/x/settings.json"},
    {"hook_event_name": "PreToolUse", "tool_name": "Skill", "tool_input": {"skill": "deploy"}},
]
EXTRAS = ("agent_id", "agent_type", "tool_use_id", "prompt_id", "cwd", "tool_input", "session_id", "stop_hook_active")
ODD_IDS = ["../x", "", ".", "a/b", "x" * 10_000, "séance", "a\0b", "\ud800", None, 7, True, [], {}, "a\n", "CON.json"]


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Forked children of one process."""
    made = Forks(tmp_path_factory.mktemp("forks"))
    yield made
    made.close()


def call(forks: Forks, session: Session, data: bytes | Any) -> Answer:
    """Call the hook and check what must hold for any call."""
    given = data if isinstance(data, bytes) else json.dumps(data).encode()
    answer = forks.main(session.home, given, session.env)
    assert (answer.status, answer.err) == (0, ""), given[:300]
    assert answer.seconds < SLOW
    assert answer.json is None or isinstance(answer.json, dict)
    check_spool(session)
    return answer


def check_spool(session: Session) -> None:
    """Every line is whole, short, and one the engine reads."""
    if session.spool_file.exists():
        data = session.spool_file.read_bytes()
        assert data.endswith(b"\n")
        assert max(map(len, data.splitlines(keepends=True))) <= hook.LIMIT
        assert spool.read(session.spool_file, 0)[2] == []


def kept(session: Session) -> dict[str, bytes]:
    """Every file of the data home and the run folder."""
    return {str(path): path.read_bytes() for path in session.world.place.rglob("*") if path.is_file()}


def made(event: dict[str, Any]) -> dict[str, Any]:
    """A whole event."""
    common = {"session_id": SESSION, "cwd": "/tmp", "tool_use_id": "t-1", "prompt_id": "p-1"}
    return {**common, **event}


@KEEP
@given(event=st.sampled_from(EVENTS), key=st.data(), value=json_values())
def test_any_value_at_any_key(session: Session, forks: Forks, event: dict, key: st.DataObject, value: Any) -> None:
    name = key.draw(st.sampled_from(sorted({*made(event), *EXTRAS, "anything"})))
    call(forks, session, {**made(event), name: value})
    inner = event.get("tool_input")
    if inner:
        call(forks, session, made({**event, "tool_input": {**inner, key.draw(st.sampled_from(sorted(inner))): value}}))


@pytest.mark.rule("W11")
@KEEP
@given(event=st.sampled_from(EVENTS), key=st.data(), value=json_values() | st.just(...))
def test_any_damage_to_the_live_file_is_said_aloud_or_harmless(
    session: Session, forks: Forks, event: dict, key: st.DataObject, value: Any
) -> None:
    live = dict(session.live)
    name = key.draw(st.sampled_from(sorted(live)))
    live.pop(name)
    if value is not ...:
        live[name] = value
    if name == "spool" and isinstance(value, str):
        return
    session.file.write_text(json.dumps(live))
    call(forks, session, made(event))


@pytest.mark.rule("W11", "S4.9")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b"{}" * 2, b"[" * 100_000])
@pytest.mark.parametrize("event", EVENTS, ids=range(len(EVENTS)))
def test_a_broken_live_file_is_said_in_its_own_session_only(
    session: Session, forks: Forks, content: bytes, event: dict[str, Any]
) -> None:
    session.file.write_bytes(content)
    said = call(forks, session, made(event)).json
    assert "stagent doctor" in (said or {}).get("systemMessage", "")
    assert call(forks, session, made({**event, "session_id": "other"})).out == ""
    assert session.lines() == []


@pytest.mark.rule("S4.1")
@KEEP
@given(st.binary(max_size=200) | json_values().map(lambda value: json.dumps(value).encode()))
def test_any_bytes(session: Session, forks: Forks, data: bytes) -> None:
    assert call(forks, session, data).out == ""


@pytest.mark.rule("S4.1")
@pytest.mark.parametrize("event", EVENTS, ids=range(len(EVENTS)))
def test_a_bystander_is_left_alone(session: Session, forks: Forks, event: dict[str, Any]) -> None:
    before = kept(session)
    assert call(forks, session, made({**event, "session_id": "other"})).out == ""
    fresh = {path: data for path, data in kept(session).items() if before.get(path) != data}
    keeps = event["hook_event_name"] == "UserPromptExpansion"
    assert list(fresh) == ([str(session.home / "pending" / "other.json")] if keeps else [])


@pytest.mark.parametrize("session_id", ODD_IDS, ids=range(len(ODD_IDS)))
def test_odd_session_ids_are_nobodys(session: Session, forks: Forks, session_id: object) -> None:
    before = kept(session)
    for event in EVENTS:
        answer = call(forks, session, made({**event, "session_id": session_id}))
        assert answer.out == ""
    assert {path for path in kept(session) if path not in before} <= {str(session.home / "pending" / "CON.json.json")}


@pytest.mark.parametrize("name", ["", "Nothing", "PostToolBatch", "FileChanged", "__class__", None, 7, [], {"a": 1}])
def test_unknown_events_are_nobodys(session: Session, forks: Forks, name: object) -> None:
    assert call(forks, session, made({"hook_event_name": name})).out == ""
    assert session.lines() == []


def test_truncated_input(session: Session, forks: Forks) -> None:
    data = json.dumps(made(EVENTS[5])).encode()
    for cut in range(0, len(data) - 1, 7):
        assert call(forks, session, data[:cut]).out == ""
    assert b"deny" in call(forks, session, data).out.encode()
    assert call(forks, session, data + b"{}").out == ""
    assert "deny" in call(forks, session, b" \r\n" + data + b"\n\t").out


@pytest.mark.parametrize("who", [SESSION, "other"])
@pytest.mark.parametrize("event", ["PreToolUse", "PostToolUse"])
def test_an_event_that_is_too_large_to_be_read(session: Session, forks: Forks, who: str, event: str) -> None:
    """A tool call of a session with a run is denied; nobody else notices."""
    given = {"command": "true " + "x" * hook.LARGE}
    data = made({"session_id": who, "hook_event_name": event, "tool_name": "Bash", "tool_input": given})
    assert ("more than 64 MiB" in call(forks, session, data).out) is (who == SESSION and event == "PreToolUse")
    call(forks, session, b'{"session_id":' + b"[" * (hook.LARGE + 1))


@pytest.mark.rule("W22")
@pytest.mark.parametrize("active", [True, False])
def test_huge_input(session: Session, forks: Forks, active: bool) -> None:
    who = SESSION if active else "other"
    given = {"file_path": str(session.home / "x"), "content": "x" * (16 << 20)}
    event = made({"session_id": who, "hook_event_name": "PreToolUse", "tool_name": "Write", "tool_input": given})
    assert ("deny" in call(forks, session, event).out) is active
    deep = b'{"session_id":"%s","hook_event_name":"Stop","x":' % who.encode() + b"[" * 200_000
    assert call(forks, session, deep).out == ""
    number = b'{"session_id":"%s","hook_event_name":"Stop","x":%s}' % (who.encode(), b"9" * 100_000)
    assert call(forks, session, number).out == ""


def test_long_commands_are_read_in_time(session: Session, forks: Forks) -> None:
    commands = ["stagent x; " * 50_000, "${a" * 50_000, "$(" * 100_000, "a/../" * 200_000, "'" * 1_000_000]
    commands.append("true " + "stagent tick " * 45_000)
    for command in commands:
        event = made({"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": command}})
        assert "more than 64 KiB" in call(forks, session, event).out
    words = [
        "stagent tick ",
        "stagent start x ",
        "a/b ",
        "${a",
        "$(",
        "`",
        "'",
        "{a,b}/c ",
        "[a",
        "$A/x ",
        "cd ..;",
        "../* ",
    ]
    for word in (*words, "cat <<E\nE\n", "a/../", "x=$x", "python stagent "):
        command = "true " + word * (65_000 // len(word))
        event = made({"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": command}})
        call(forks, session, event)


def test_ids_of_any_length_fit_a_line(session: Session, forks: Forks) -> None:
    long = "\u2603" * 10_000
    session.gate()
    session.set(execution="subagent")
    for event in EVENTS:
        call(forks, session, made({**event, "tool_use_id": long, "prompt_id": long}))
        if "agent_id" in event:
            call(forks, session, made({**event, "agent_id": long, "tool_use_id": long}))
    assert len(session.lines()) > 5


def test_a_line_that_would_be_too_long_is_cut_to_one_that_says_so(session: Session) -> None:
    session.gate()
    long = "\u2603" * 300
    fields = {"command_name": "stagent:approve", "command_args": "\u2603" * 160, "command_source": long}
    session.ask("UserPromptExpansion", prompt_id=long, **fields)
    [line] = session.lines()
    assert line["d"].keys() == {"cut"}
    assert len(session.spool_file.read_bytes()) < hook.LIMIT < line["d"]["cut"]


def test_an_empty_line_is_no_torn_one(session: Session) -> None:
    session.ask("SessionEnd", reason="other")
    session.spool_file.write_bytes(b"\n" + session.spool_file.read_bytes() + b"\n")
    lines, end, torn = spool.read(session.spool_file, 0)
    assert ([line.e for line, _ in lines], end, torn) == (["SessionEnd"], session.spool_file.stat().st_size, [])


def test_a_torn_line_is_kept_apart_from_the_next(session: Session) -> None:
    session.spool_file.parent.mkdir(exist_ok=True)
    session.spool_file.write_bytes(b'{"v":1,"k":"cut by a cra')
    session.ask("SessionEnd", reason="other")
    lines, _, torn = spool.read(session.spool_file, 0)
    assert [line.e for line, _ in lines] == ["SessionEnd"]
    assert torn == [b'{"v":1,"k":"cut by a cra\n']


def test_a_spool_that_cannot_be_written_is_said_aloud(session: Session, forks: Forks) -> None:
    session.spool_file.parent.mkdir(exist_ok=True)
    session.spool_file.mkdir()
    answer = forks.main(session.home, json.dumps(made(EVENTS[2])).encode(), session.env)
    assert (answer.status, answer.err) == (0, "")
    assert "the hook failed (IsADirectoryError)" in answer.out


# -- the compiled file, in a process of its own


def test_the_compiled_hook_answers(session: Session) -> None:
    session.begun()
    blocked = session.process(session.event("Stop", background_tasks=[])).json
    assert blocked is not None
    assert blocked["decision"] == "block"
    write = session.event("PreToolUse", tool_name="Write", tool_input={"file_path": str(session.artifact)})
    allowed = session.process(write).json
    assert allowed is not None
    assert allowed["hookSpecificOutput"]["permissionDecision"] == "allow"
    assert session.process(session.event("SessionEnd", reason="other")).out == ""
    [line] = session.lines()
    assert (line["e"], line["p"], line["s"], line["v"]) == ("SessionEnd", PID, SESSION, 1)
    assert line["k"] == f"{SESSION}:p-1:SessionEnd:SessionEnd"
    for data in (b"", b"x", b"{}", b"\xff" * 1000):
        assert session.process(data) == Answer(0, "", "", 0.0)


def test_without_a_data_home_or_open_files_nothing_happens(session: Session) -> None:
    argv = [sys.executable, "-I", "-S", compiled()]
    event = json.dumps(session.event("Stop")).encode()
    for more in ([], ["/nonexistent"], [""]):
        done = subprocess.run([*argv, *more], input=event, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    for closed in ("<&-", ">&-", "<&- >&-"):
        shell = f'printf %s "$0" | "$@" {closed}' if "<" not in closed else f'"$@" {closed}'
        line = ["/bin/sh", "-c", shell, event.decode(), *argv, str(session.home)]
        done = subprocess.run(line, capture_output=True, env=session.env, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


def test_an_answer_nobody_reads_harms_nobody(session: Session) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, "-I", "-S", compiled(), str(session.home)]
    event = json.dumps(session.event("SessionStart", source="startup")).encode()
    done = subprocess.run(argv, input=event, stdout=writing, stderr=subprocess.PIPE, env=session.env, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_fifty_at_once_give_fifty_whole_lines(session: Session) -> None:
    session.gate()
    argv = [sys.executable, "-I", "-S", compiled(), str(session.home)]
    events = [
        session.event("UserPromptExpansion", command_name="stagent:reject", command_args="x" * 900, prompt_id=f"p{n}")
        for n in range(50)
    ]
    started = [subprocess.Popen(argv, stdin=subprocess.PIPE, env=session.env) for _ in events]
    for child, event in zip(started, events, strict=True):
        assert child.stdin is not None
        child.stdin.write(json.dumps(event).encode())
        child.stdin.close()
    assert [child.wait(30) for child in started] == [0] * 50
    lines, end, torn = spool.read(Path(session.spool_file), 0)
    assert torn == []
    assert end == session.spool_file.stat().st_size
    assert sorted(line.d["prompt"] for line, _ in lines) == sorted(event["prompt_id"] for event in events)  # type: ignore[type-var]
    assert len({line.k for line, _ in lines}) == 50

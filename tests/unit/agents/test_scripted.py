from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.agents.scripted import ScriptedBackend
from stagent.core.ports import AgentEvent, AttemptSpec, Verdict
from stagent.errors import StagentError, UsageError


def make_spec(
    folder: Path, stage_attempt: int = 1, stage: str = "executing", script: str = "script.json"
) -> AttemptSpec:
    return AttemptSpec(
        id="r-1.4.1",
        run="r-1",
        stage=stage,
        epoch=4,
        number=1,
        stage_attempt=stage_attempt,
        workdir=str(folder),
        run_dir=str(folder / "run"),
        artifact=str(folder / "run" / "executing-report.md"),
        prompt="the prompt",
        stream=str(folder / "stream"),
        options={"script": script} if script else {},
    )


def environment(spec: AttemptSpec) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "STAGENT_ATTEMPT": spec.id,
        "STAGENT_STAGE": spec.stage,
        "STAGENT_EPOCH": str(spec.epoch),
        "STAGENT_STAGE_ATTEMPT": str(spec.stage_attempt),
        "STAGENT_ARTIFACT": spec.artifact,
    }


def play(folder: Path, script: Any, **changes: Any) -> tuple[int, list[dict[str, Any]]]:
    """Write a script, run the child the backend describes; return exit code and printed objects."""
    (folder / "script.json").write_text(json.dumps(script))
    spec = make_spec(folder, **changes)
    launch = ScriptedBackend().launch(spec, environment(spec))
    done = subprocess.run(
        list(launch.argv), env=dict(launch.env), cwd=folder, input=launch.stdin, stdout=subprocess.PIPE, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def act(folder: Path, *actions: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    return play(folder, {"stages": {"executing": list(actions)}})


def test_it_writes_deletes_runs_and_speaks(tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "x.txt"
    code, said = act(
        tmp_path,
        {"write": {"path": "a/b/c.txt", "text": "line\r\nend"}},
        {"write": {"path": str(outside), "text": "liar"}},
        {"run": "cat a/b/c.txt > copy; rm a/b/c.txt"},
        {"delete": "a"},
        {"sleep": 0},
        {"say": "all done \u2713"},
    )
    assert code == 0
    assert (tmp_path / "copy").read_bytes() == b"line\r\nend"
    assert outside.read_text() == "liar"
    assert not (tmp_path / "a").exists()
    assert said[-2] == {"type": "text", "text": "all done \u2713"}
    assert said[-1] == {"type": "result", "is_error": False}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"result": "PASS", "epoch": "current", "body": "# Done\n"}, "---\nepoch: 4\nresult: PASS\n---\n# Done\n"),
        ({"result": "PASS"}, "---\nepoch: 4\nresult: PASS\n---\n"),
        ({"result": "FAIL", "epoch": 9, "body": "x"}, "---\nepoch: 9\nresult: FAIL\n---\nx"),
        ({"result": "FAIL", "epoch": "none", "body": "x"}, "---\nresult: FAIL\n---\nx"),
        ({"result": None, "body": "x"}, "---\nepoch: 4\n---\nx"),
    ],
)
def test_artifacts_carry_what_the_script_says(tmp_path: Path, fields: dict[str, Any], expected: str) -> None:
    code, _ = act(tmp_path, {"artifact": fields}, {"artifact": {**fields, "path": "elsewhere/report.md"}})
    assert code == 0
    assert (tmp_path / "run" / "executing-report.md").read_text() == expected
    assert (tmp_path / "elsewhere" / "report.md").read_text() == expected


def test_a_command_that_fails_is_told_and_not_the_end(tmp_path: Path) -> None:
    code, said = act(tmp_path, {"run": "echo out; echo err >&2; exit 3"}, {"delete": "no-such"}, {"say": "on"})
    assert code == 0
    assert [line["text"] for line in said[:2]] == ["out", "err"]
    assert (said[2]["exit"], said[2]["is_error"]) == (3, True)
    assert (said[3]["tool"], said[3]["is_error"]) == ("delete", True)
    assert said[4]["text"] == "on"


def test_a_command_can_read_the_prompt(tmp_path: Path) -> None:
    act(tmp_path, {"run": "cat > prompt.txt"})
    assert (tmp_path / "prompt.txt").read_text() == "the prompt"


def test_what_a_command_leaves_running_does_not_hold_the_script_up(tmp_path: Path) -> None:
    code, said = act(tmp_path, {"run": "sleep 30 & echo $! > pid"})
    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert code == 0
    assert said[-1]["type"] == "result"


def test_spawn_starts_a_process_and_does_not_wait(tmp_path: Path) -> None:
    _, said = act(tmp_path, {"spawn": "exec sleep 30 > /dev/null"})
    os.kill(said[0]["pid"], 9)
    assert said[0]["tool"] == "spawn"


def test_ignore_makes_it_deaf(tmp_path: Path) -> None:
    code, said = act(tmp_path, {"ignore": "SIGTERM"}, {"run": "kill -TERM $PPID"}, {"say": "still here"})
    assert code == 0
    assert said[-2]["text"] == "still here"
    code, said = act(tmp_path, {"run": "kill -TERM $PPID"}, {"say": "still here"})
    assert code == -15


@pytest.mark.parametrize(("number", "last"), [(0, "result"), (7, "text")])
def test_exit_ends_it_there(tmp_path: Path, number: int, last: str) -> None:
    code, said = act(tmp_path, {"say": "x"}, {"exit": number}, {"write": {"path": "never", "text": ""}})
    assert code == number
    assert said[-1]["type"] == last
    assert not (tmp_path / "never").exists()


def test_each_attempt_has_its_list_and_the_last_repeats(tmp_path: Path) -> None:
    script = {"stages": {"executing": [[{"say": "one"}], [{"say": "two"}]], "reviewing": []}}
    told = [play(tmp_path, script, stage_attempt=number)[1][0].get("text") for number in (1, 2, 3, 9)]
    assert told == ["one", "two", "two", "two"]
    assert play(tmp_path, script, stage="reviewing") == (0, [{"type": "result", "is_error": False}])


def test_a_stage_without_actions_is_exit_65(tmp_path: Path) -> None:
    code, said = play(tmp_path, {"stages": {"executing": []}}, stage="deploying")
    assert code == 65
    assert "deploying" in said[0]["text"]
    assert "executing" in said[0]["text"]


def test_an_unknown_action_in_a_script_that_changed_meanwhile_is_exit_64(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text('{"stages": {"executing": []}}')
    spec = make_spec(tmp_path)
    launch = ScriptedBackend().launch(spec, environment(spec))
    path.write_text('{"stages": {"executing": [{"write": {"path": "x", "text": ""}}, {"wirte": {}}]}}')
    done = subprocess.run(list(launch.argv), env=dict(launch.env), cwd=tmp_path, stdout=subprocess.PIPE, check=False)
    message = json.loads(done.stdout)["text"]
    assert done.returncode == 64
    assert "stages.executing[1]" in message
    assert '"wirte"' in message
    assert "artifact, delete, exit" in message
    assert not (tmp_path / "x").exists()


def test_the_child_says_what_it_misses(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    (tmp_path / "script.json").write_text('{"stages": {}}')
    launch = ScriptedBackend().launch(spec, {})
    done = subprocess.run(list(launch.argv), env={}, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 64
    assert "STAGENT_STAGE_ATTEMPT" in json.loads(done.stdout)["text"]


def test_launch_names_interpreter_child_and_script(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text('{"stages": {}}')
    launch = ScriptedBackend().launch(make_spec(tmp_path), {"A": "1"})
    assert launch.argv[:2] == [sys.executable, "-I"]
    assert os.path.isabs(launch.argv[2])
    assert launch.argv[3] == str(tmp_path / "script.json")
    assert launch.env["A"] == "1"
    assert launch.stdin == b"the prompt"


def test_without_a_script_it_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        ScriptedBackend().launch(make_spec(tmp_path, script=""), {})
    assert caught.value.code == "agent.script_missing"


@pytest.mark.parametrize(
    ("text", "code"),
    [(None, "agent.script_unreadable"), ("{", "agent.script_not_json"), (b"\xff", "agent.script_not_json")],
)
def test_a_script_that_cannot_be_read(tmp_path: Path, text: str | bytes | None, code: str) -> None:
    if text is not None:
        (tmp_path / "script.json").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(StagentError) as caught:
        ScriptedBackend().launch(make_spec(tmp_path), {})
    assert caught.value.code == code
    assert caught.value.where == str(tmp_path / "script.json")


BAD = {
    "stage": {},
    "stages": {
        "a": [{"write": {"path": 1, "txt": "x"}}, {"jump": 1}, "say"],
        "b": [[{"exit": 300}], [{"sleep": -1}, {"artifact": {"epoch": "next"}}, {"ignore": "SIGNOTHING"}]],
        "c": [[], {"say": "x"}],
        "d": {"say": "x"},
        "e": [{"say": "x", "exit": 1}, {"artifact": "PASS"}, {"exit": True}],
    },
}


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text(json.dumps(BAD))
    with pytest.raises(StagentError) as caught:
        ScriptedBackend().launch(make_spec(tmp_path), {})
    problems = caught.value.fields["problems"]
    assert isinstance(problems, list)
    places = [problem.split(":")[0] for problem in problems]
    assert places == [
        'unknown key "stage"; known',
        *["stages.a[0]"] * 3,
        "stages.a[1]",
        "stages.a[2]",
        "stages.b[0][0]",
        "stages.b[1][0]",
        "stages.b[1][1]",
        "stages.b[1][2]",
        "stages.c",
        "stages.d",
        "stages.e[0]",
        "stages.e[1]",
        "stages.e[2]",
    ]
    assert all(problem in str(caught.value) for problem in problems)


# --- parse and judge -------------------------------------------------------------------------------------------------


def test_lines_become_typed_events(tmp_path: Path) -> None:
    _, said = act(tmp_path, {"say": "hi"}, {"usage": {"cost_usd": 0.5, "tokens": 7}}, {"run": "exit 2"})
    parse = ScriptedBackend().parse
    assert [parse(json.dumps(line).encode())[0] for line in said] == [
        AgentEvent(kind="text", text="hi"),
        AgentEvent(kind="usage", cost_usd=0.5, tokens=7),
        AgentEvent(kind="tool", tool="run", text="exit 2", is_error=True),
        AgentEvent(kind="result"),
    ]


@given(
    st.binary()
    | st.recursive(st.none() | st.text(), lambda x: st.dictionaries(st.text(), x)).map(lambda x: json.dumps(x).encode())
)
def test_no_line_is_too_odd_to_parse(line: bytes) -> None:
    (event,) = ScriptedBackend().parse(line)
    assert event.kind == "other"


def test_a_deep_line_is_not_too_odd_either() -> None:
    assert ScriptedBackend().parse(b'{"type":' + b"[" * 200_000)[0].kind == "other"


@pytest.mark.parametrize(
    ("code", "events", "status", "reason"),
    [
        (0, [AgentEvent(kind="result")], "ok", ""),
        (0, [AgentEvent(kind="text")], "failed", "ended without a result"),
        (0, [AgentEvent(kind="result"), AgentEvent(kind="result", is_error=True, text="no")], "failed", "no"),
        (3, [AgentEvent(kind="result")], "failed", "exit code 3"),
        (65, [AgentEvent(kind="error", text="no stage", is_error=True)], "failed", "exit code 65: no stage"),
        (-9, [AgentEvent(kind="result")], "failed", "ended by signal SIGKILL"),
    ],
)
def test_an_end_is_judged_by_exit_and_result(code: int, events: list[AgentEvent], status: str, reason: str) -> None:
    assert ScriptedBackend().judge(code, events) == Verdict(status=status, reason=reason)

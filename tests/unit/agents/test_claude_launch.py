"""How Claude Code is started: command line, environment, program, and the plugin it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acceptance.support import wait_for
from stagent import processes
from stagent.agents import claude_command, claude_plugin, claude_program
from stagent.agents.claude import ClaudeBackend
from stagent.config import DataHome
from stagent.core.ports import AttemptSpec, Launch
from stagent.errors import RefusedError, StagentError, StoreError, UsageError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    program(tmp_path / "bin" / "claude")
    (tmp_path / "project").mkdir()
    return tmp_path


def program(path: Path, text: str = "echo '2.1.329 (Claude Code)'") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def environment(place: Path, **more: str) -> dict[str, str]:
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(place), "STAGENT_HOME": str(place / "data"), **more}


def spec(place: Path, **changes: Any) -> AttemptSpec:
    made = AttemptSpec(
        id="r-1.1.1",
        run="r-1",
        stage="work",
        epoch=1,
        number=1,
        stage_attempt=1,
        workdir=str(place / "project"),
        run_dir=str(place / "run"),
        artifact=str(place / "run" / "work-report.md"),
        prompt="Work.",
        stream=str(place / "stream"),
    )
    return msgspec.structs.replace(made, **changes)


def launch(place: Path, env: dict[str, str] | None = None, **changes: Any) -> Launch:
    return ClaudeBackend().launch(spec(place, **changes), environment(place, **(env or {})))


def after(argv: Any, flag: str) -> str:
    return str(argv[list(argv).index(flag) + 1])


def test_a_new_session(place: Path) -> None:
    made = launch(place)
    assert made.argv[:5] == [str(place / "bin" / "claude"), "-p", "--output-format", "stream-json", "--verbose"]
    uuid.UUID(after(made.argv, "--session-id"))
    assert after(made.argv, "--permission-mode") == "default"
    assert json.loads(after(made.argv, "--settings")) == {"enabledPlugins": {"stagent@stagent-local": False}}
    assert Path(after(made.argv, "--plugin-dir")).is_relative_to(place / "data" / "runner-plugin")
    absent = ("--resume", "--model", "--json-schema", "--append-system-prompt", "--include-partial-messages")
    assert not set(absent) & set(made.argv)
    assert not [word for word in made.argv if "ools" in word]
    assert made.stdin == b"Work."
    assert "Work." not in made.argv
    assert after(launch(place).argv, "--session-id") != after(made.argv, "--session-id")


def test_everything_that_can_be_asked_for(place: Path) -> None:
    options = {"partial": "1", "permissions": "edits", "max_turns": "7", "max_budget_usd": "2.50"}
    argv = launch(place, resume="s-1", model="opus", system_prompt="You are Ada.", schema="{}", options=options).argv
    assert after(argv, "--resume") == "s-1"
    assert "--session-id" not in argv
    assert "--include-partial-messages" in argv
    flags = {"--permission-mode": "acceptEdits", "--max-turns": "7", "--max-budget-usd": "2.5"}
    flags |= {"--model": "opus", "--append-system-prompt": "You are Ada.", "--json-schema": "{}"}
    assert {flag: after(argv, flag) for flag in flags} == flags


@pytest.mark.parametrize(
    ("tools", "deny", "schema", "wanted"),
    [
        (None, [], None, []),
        ([], [], None, ["--tools=Write"]),
        ([], [], "{}", ["--tools="]),
        (["Read", "Task"], [], None, ["--tools=Read,Agent,Write", "--allowedTools=Read", "--allowedTools=Agent"]),
        (["Bash(git log:*)", "Bash(ls:*)"], [], "{}",
         ["--tools=Bash", "--allowedTools=Bash(git log:*)", "--allowedTools=Bash(ls:*)"]),
        (["mcp__x__y", "Write"], [], None, ["--tools=Write", "--allowedTools=mcp__x__y", "--allowedTools=Write"]),
        (None, ["Bash", "Task(x)"], None, ["--disallowedTools=Bash", "--disallowedTools=Agent(x)"]),
        (None, ["Write", "Edit"], None, ["--disallowedTools=Edit"]),
        (None, ["Write"], "{}", ["--disallowedTools=Write"]),
    ],
)  # fmt: skip
def test_tools(place: Path, tools: list[str] | None, deny: list[str], schema: str | None, wanted: list[str]) -> None:
    argv = launch(place, tools=tools, deny_tools=deny, schema=schema).argv
    assert [word for word in argv if "ools=" in word] == wanted


def test_words_are_never_a_slash_command(place: Path) -> None:
    assert launch(place, prompt="/cost").stdin == b"\n/cost"
    assert launch(place, prompt="a \ud800").stdin == b"a ?"


def test_the_environment_belongs_to_no_other_session(place: Path) -> None:
    around = {"CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": "s", "CLAUDE_PID": "1", "AI_AGENT": "x"}
    made = launch(place, env={**around, "CLAUDE_CONFIG_DIR": "/c", "ANTHROPIC_API_KEY": "k"})
    assert not set(around) & set(made.env)
    assert made.env["CLAUDE_CONFIG_DIR"] == "/c"
    assert made.env["ANTHROPIC_API_KEY"] == "k"
    assert made.env["STAGENT_HOME"] == str(place / "data")
    assert made.env["STAGENT_LAUNCH"] != launch(place).env["STAGENT_LAUNCH"]


@pytest.mark.parametrize(
    "options",
    [
        {"nonsense": "1"},
        {"permissions": "none"},
        {"partial": "yes"},
        {"max_turns": "0"},
        {"max_turns": "-1"},
        {"max_turns": "two"},
        {"max_budget_usd": "0"},
        {"max_budget_usd": "1e3"},
        {"max_budget_usd": "."},
        {"max_budget_usd": ""},
    ],
)
def test_wrong_options_are_refused(place: Path, options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="agent claude") as caught:
        launch(place, options=options)
    assert caught.value.code in ("agent.option", "agent.option_value")


@pytest.mark.parametrize("text", ["x" * 100_001, "é" * 60_000, "a\0b"])
def test_what_no_command_line_can_carry_is_refused(place: Path, text: str) -> None:
    with pytest.raises(UsageError, match="--append-system-prompt"):
        launch(place, system_prompt=text)


def test_root_skips_no_permission() -> None:
    options = {"permissions": "all"}
    with pytest.raises(RefusedError, match="permissions=edits"):
        claude_command.check(options, {}, 0)
    claude_command.check(options, {}, 1000)
    claude_command.check(options, {"IS_SANDBOX": "1"}, 0)
    claude_command.check({"permissions": "edits"}, {}, 0)


def test_where_the_program_comes_from(place: Path) -> None:
    env = environment(place)
    project = str(place / "project")
    own, other = program(place / "project" / "own"), program(place / "other" / "claude")
    assert claude_program.find("", env, project) == str(place / "bin" / "claude")
    assert claude_program.find("", {**env, "STAGENT_CLAUDE": str(other)}, project) == str(other)
    assert claude_program.find("./own", {**env, "STAGENT_CLAUDE": str(other)}, project) == str(own)
    for named, path in (("./nothing", env["PATH"]), ("", "/nowhere"), ("nothing", env["PATH"])):
        with pytest.raises(StagentError, match="Install Claude Code, or name it") as caught:
            claude_program.find(named, {"PATH": path}, project)
        assert caught.value.code == "agent.program_missing"


def test_the_version_is_asked_once_for_each_state_of_the_program(place: Path) -> None:
    count = place / "count"
    path = program(place / "bin" / "claude", f"echo x >> {count}; echo 2.1.329")
    for _ in range(3):
        assert claude_program.check(str(path), environment(place)) == (2, 1, 329)
    assert count.read_text() == "x\n"
    program(path, f"echo x >> {count}; echo 2.1.4000")
    assert claude_program.check(str(path), environment(place)) == (2, 1, 4000)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("echo 2.1.328", "agent.program_old"),
        ("echo hello", "agent.program_unusable"),
        ("echo 2.1.329; exit 1", "agent.program_unusable"),
        ("printf '\\377'", "agent.program_unusable"),
    ],
)
def test_programs_that_cannot_be_driven(place: Path, text: str, code: str) -> None:
    program(place / "bin" / "claude", text)
    with pytest.raises(StagentError) as caught:
        launch(place)
    assert caught.value.code == code


def test_one_that_does_not_say_its_version_is_ended_with_all_it_started(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = place / "started"
    program(place / "bin" / "claude", f"sleep 3600 & echo $$ $! > {started}.new; mv {started}.new {started}; wait")
    monkeypatch.setattr(claude_program, "_SECONDS", 3.0)
    with pytest.raises(StagentError, match="did not say its version in 3 s"):
        launch(place)
    pids = [int(word) for word in started.read_text().split()]
    wait_for(lambda: not [pid for pid in pids if (info := processes.look(pid)) and not info.dead], "their end")


def test_a_newer_version_than_was_tried_is_told(place: Path) -> None:
    path = program(place / "bin" / "claude", "echo 2.1.329")
    backend, env = ClaudeBackend(), environment(place)
    assert backend.ready({}, env, str(place)) is None
    program(path, "echo '9.9.9 (Claude Code)'")
    assert backend.ready({}, env, str(place)) == f"{path}: version 9.9.9 is newer than tried: below 2.2.0."


def test_a_program_that_is_none_cannot_be_run(place: Path) -> None:
    (place / "bin" / "claude").write_bytes(b"\x7fELF nonsense")
    with pytest.raises(StagentError) as caught:
        launch(place)
    assert caught.value.code == "agent.program_unusable"


def test_the_plugin_is_whole_mended_and_kept(place: Path) -> None:
    home = DataHome(place / "data")
    made = claude_plugin.ensure(home)
    names = sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file())
    hooks = [f"hooks/{name}.pyc" for name in claude_plugin.HOOK_FILES]
    assert names == sorted([".claude-plugin/plugin.json", *hooks, "hooks/hooks.json"])
    before = made.stat().st_mtime_ns
    assert claude_plugin.ensure(home) == made
    assert made.stat().st_mtime_ns == before
    (made / "hooks" / "attempt.pyc").write_bytes(b"pass")
    (made / "hooks" / "hooks.json").unlink()
    left = made.with_name(f".{made.name}.999999999.0.new")
    left.mkdir()
    assert claude_plugin.ensure(home) == made
    assert sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()) == names
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_the_plugin_registers_what_the_rules_need(place: Path) -> None:
    made = claude_plugin.ensure(DataHome(place / "data"))
    table = json.loads((made / "hooks" / "hooks.json").read_text())["hooks"]
    assert sorted(table) == ["PermissionRequest", "PreToolUse", "SessionStart"]
    (rule,) = table["PreToolUse"]
    assert "matcher" not in rule, "a rule may be about any tool"
    (hook,) = rule["hooks"]
    assert (hook["command"], hook["onFailure"]) == (sys.executable, "block")
    assert json.loads((made / ".claude-plugin" / "plugin.json").read_text())["name"] == "stagent-runner"


def test_several_processes_may_make_the_plugin_at_once(place: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from stagent.agents import claude_plugin; "
        "from stagent.config import DataHome; print(claude_plugin.ensure(DataHome(Path(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", code, str(place / "data")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate(timeout=30) for process in running]
    assert [process.returncode for process in running] == [0] * 4, answers
    assert len({out for out, _ in answers}) == 1


def test_a_data_home_that_takes_nothing_is_an_error(place: Path) -> None:
    (place / "data").mkdir()
    (place / "data" / "runner-plugin").write_text("a file")
    with pytest.raises(StoreError) as caught:
        launch(place)
    assert caught.value.code == "agent.plugin_unwritable"

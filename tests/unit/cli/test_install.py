from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures_claude import SESSION, claude_environment, claude_program
from stagent.engine import install
from stagent.version import __version__


class Machine:
    """A person's machine: a HOME, a data home and a launcher of its own; with the real program on its PATH."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.home = folder / "data"
        self.launcher = folder / "bin" / "stagent-cc"
        self.person = folder / "person"
        self.person.mkdir()
        tools = folder / "tools"
        tools.mkdir()
        for name in ("git", "sh", "env", "cat", "tr", "sleep"):
            found = shutil.which(name)
            if found:
                (tools / name).symlink_to(found)
        self.tools = tools
        (tools / "claude").symlink_to(claude_program())
        for name, value in claude_environment(self.person).items():
            patch.setenv(name, value)
        patch.setenv("PATH", f"{tools}{os.pathsep}{self.launcher.parent}")
        patch.setenv("STAGENT_HOME", str(self.home))
        patch.setenv("STAGENT_BIN", str(self.launcher))
        patch.chdir(self.person)

    @property
    def plugin(self) -> Path:
        """The generated plugin."""
        return self.home / "plugin" / "plugins" / "stagent"

    def claude(self, *words: str) -> Any:
        """Ask the real program for JSON."""
        words = ("claude", "plugin", *words)
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def everything(self) -> dict[str, bytes]:
        """Every file of the machine."""
        places = [self.home, self.launcher.parent, self.person]
        return {str(path): path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def installed(machine: Machine, say: Callable[..., Any]) -> Machine:
    said = say("install", "claude-code")
    assert said.status == 0, said.err
    return machine


def test_the_real_program_has_the_plugin(installed: Machine) -> None:
    [plugin] = installed.claude("list", "--json")
    assert plugin["id"] == install.PLUGIN_ID
    assert (plugin["version"], plugin["enabled"]) == (__version__, True)
    assert plugin["readFromFolder"] == str(installed.plugin)


def test_the_real_program_finds_it_valid(installed: Machine) -> None:
    said = installed.claude("validate", "--strict", "--json", str(installed.plugin))
    assert said["success"] is True
    assert said["manifest"]["errors"] == said["manifest"]["warnings"] == said["contents"] == []
    provides = said["provides"]
    assert {hook["event"] for hook in provides["hooks"]} == set(install.HOOKS)
    assert {"stagent:start", "stagent:create", "stagent:continue", "stagent:approve", "stagent:reject"} <= set(
        provides["commands"]
    )
    assert {"stagent:stagent", "stagent:setup", "stagent:create"} <= set(provides["skills"])
    assert provides["agents"] == ["stagent:workflow-subagent"]
    assert installed.claude("validate", "--strict", "--json", str(installed.home / "plugin"))["success"] is True


def test_a_session_loads_it_from_its_folder_and_its_hooks_fire(installed: Machine) -> None:
    """The model cannot be reached; what is loaded and the start of the session come before it is asked."""
    words = ["claude", "-p", "hello", "--plugin-dir", str(installed.plugin), "--output-format", "stream-json"]
    done = subprocess.run(
        [*words, "--verbose", "--include-hook-events", "--setting-sources", ""],
        env={**os.environ, "CLAUDE_CODE_MAX_RETRIES": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    [init] = [event for event in events if event.get("subtype") == "init"]
    assert not init.get("plugin_errors")
    assert str(installed.plugin) in [plugin["path"] for plugin in init["plugins"]]
    answers = {event["hook_event"]: event for event in events if event.get("subtype") == "hook_response"}
    for event in ("SessionStart", "UserPromptSubmit"):
        assert (answers[event]["exit_code"], answers[event]["stdout"]) == (0, ""), answers[event]
    assert not (installed.home / "live").exists()


@pytest.mark.rule("W9")
def test_a_persons_words_reach_the_run_whatever_they_are(installed: Machine, say: Callable[..., Any]) -> None:
    """The command's own line is run before the model is asked, which cannot be reached here."""
    task = 'it\'s "quoted"; touch injected; $HOME `id` && x | y 🎉'
    project = installed.person / "project"
    project.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    words = ["claude", "-p", f"/stagent:start --flow goal-pursuit {task}", "--output-format", "json"]
    subprocess.run(
        [*words, "--session-id", SESSION],
        cwd=project,
        env={**os.environ, "CLAUDE_CODE_MAX_RETRIES": "0"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    status = say("status", "--session", SESSION, "--json").json
    assert (status["workflow"], status["stage"]) == ("goal-pursuit", "briefing")
    # The process is over, and its end was seen.
    assert status["status"] == "interrupted"
    assert task in say("show", status["run"]).out
    assert not (project / "injected").exists()
    assert list((installed.home / "pending").iterdir()) == []


@pytest.mark.rule("W53")
def test_hooks_are_registered_without_a_shell_and_with_short_limits(installed: Machine) -> None:
    table = json.loads((installed.plugin / "hooks" / "hooks.json").read_text())["hooks"]
    assert set(table) == set(install.HOOKS)
    for event, [entry] in table.items():
        [hook] = entry["hooks"]
        assert hook["timeout"] == {"Stop": 15, "PreToolUse": 10, "SessionEnd": 1}.get(event, 5)
        if event == "SessionStart":
            assert hook["command"] == "/bin/sh"
            continue
        assert hook["command"] == sys.executable
        assert hook["args"] == ["-I", "-S", str(installed.plugin / "hooks" / "hook.pyc"), str(installed.home)]
    assert [event for event, [entry] in table.items() if "matcher" in entry] == []


@pytest.mark.rule("W9", "S3.5")
def test_the_texts_use_the_launcher_and_nothing_a_person_writes(installed: Machine) -> None:
    texts = {path: path.read_text() for path in installed.plugin.rglob("*.md")}
    assert len(texts) >= 10
    for path, text in texts.items():
        assert "{{" not in text, path
        for line in re.findall(r"!`([^`]*)`", text):
            assert line.startswith(f"{installed.launcher} ")
            assert re.fullmatch(r"[A-Za-z0-9_./ -]+", line), f"{path}: {line}"
        assert "$ARGUMENTS" not in text, path
    for name in ("start", "create", "continue", "approve", "reject", "interrupt", "cancel"):
        assert "disable-model-invocation: true" in texts[installed.plugin / "commands" / f"{name}.md"]


def test_the_launcher_is_bound_to_this_data_home(installed: Machine, tmp_path: Path) -> None:
    assert installed.launcher.stat().st_mode & 0o777 == 0o755
    assert (installed.home / "plugin" / "launcher").read_text() == f"{installed.launcher}\n"
    env = {**os.environ, "STAGENT_HOME": str(tmp_path / "elsewhere")}
    words = [str(installed.launcher), "doctor", "--json"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["home"] == str(installed.home)


def test_the_hook_runs_and_session_start_says_what_is_broken(installed: Machine) -> None:
    hooks = installed.plugin / "hooks"
    [hook] = json.loads((hooks / "hooks.json").read_text())["hooks"]["SessionStart"][0]["hooks"]
    event = json.dumps({"session_id": SESSION, "hook_event_name": "SessionStart", "source": "startup"})

    def start() -> str:
        words = [hook["command"], *hook["args"]]
        done = subprocess.run(words, input=event, capture_output=True, text=True, check=True)
        return str(json.loads(done.stdout)["systemMessage"]) if done.stdout else ""

    assert start() == ""
    compiled = (hooks / "hook.pyc").read_bytes()
    (hooks / "hook.pyc").write_bytes(b"\0\0\r\n" + compiled[4:])
    assert "does not run under its interpreter" in start()
    (hooks / "hook.pyc").unlink()
    assert "the hook file is gone" in start()
    (hooks / "hook.pyc").write_bytes(compiled)
    (installed.home / "plugin" / "version").write_text("0.0.1\n")
    assert "of another version" in start()
    hook["args"][1] = '/nowhere/"python\\'
    assert start().startswith("Stagent: the interpreter of the hook is gone (/nowhere/python)")


def test_installing_again_repairs_and_keeps_what_is_right(installed: Machine, say: Any) -> None:
    before = {path: path.read_bytes() for path in installed.plugin.rglob("*.md")}
    (installed.plugin / "commands" / "start.md").write_text("changed")
    (installed.plugin / "commands" / "old.md").write_text("of an older version")
    subprocess.run(["claude", "plugin", "disable", install.PLUGIN_ID], check=True, capture_output=True)
    assert say("install", "claude-code", "--json").json["installed"] is True
    assert {path: path.read_bytes() for path in installed.plugin.rglob("*.md")} == before
    [plugin] = installed.claude("list", "--json")
    assert plugin["enabled"] is True
    assert not [path for path in installed.home.iterdir() if path.name.startswith(".")]


def test_a_moved_data_home_is_registered_anew(installed: Machine, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = installed.home.with_name("moved")
    installed.home.rename(moved)
    monkeypatch.setenv("STAGENT_HOME", str(moved))
    assert say("install", "claude-code").status == 0
    [market] = installed.claude("marketplace", "list", "--json")
    assert market["path"] == str(moved / "plugin")
    [plugin] = installed.claude("list", "--json")
    assert plugin["readFromFolder"] == str(moved / "plugin" / "plugins" / "stagent")


def test_a_dry_run_tells_all_and_changes_nothing(machine: Machine, say: Any) -> None:
    before = machine.everything()
    said = say("install", "claude-code", "--dry-run", "--json")
    assert machine.everything() == before
    told = said.json
    assert (told["dry_run"], told["installed"], told["claude"]) == (True, False, str(machine.tools / "claude"))
    assert say("install", "claude-code", "--dry-run").out.count("at most") == len(install.HOOKS)
    assert say("install", "claude-code").status == 0
    written = [path for path in machine.everything() if not path.startswith(str(machine.person))]
    assert sorted(written) == told["files"]
    assert json.loads((machine.plugin / "hooks" / "hooks.json").read_text())["hooks"] == told["hooks"]


def test_uninstalling_leaves_only_the_runs(installed: Machine, say: Any) -> None:
    (installed.home / "registry.db").touch()
    dry = say("install", "claude-code", "--uninstall", "--dry-run", "--json").json
    assert dry["uninstalled"] is False
    assert installed.launcher.exists()
    said = say("install", "claude-code", "--uninstall", "--json").json
    assert sorted(said["removed"]) == sorted([str(installed.launcher), str(installed.home / "plugin")])
    assert [path.name for path in installed.home.iterdir()] == ["registry.db"]
    assert not installed.launcher.exists()
    assert installed.claude("list", "--json") == []
    assert installed.claude("marketplace", "list", "--json") == []
    assert "Nothing was installed" in say("install", "claude-code", "--uninstall").out


def test_a_file_that_is_not_ours_is_never_overwritten(machine: Machine, say: Any, tmp_path: Path) -> None:
    machine.launcher.parent.mkdir()
    for make in (
        lambda: machine.launcher.write_text("#!/bin/sh\necho mine\n"),
        lambda: machine.launcher.symlink_to(tmp_path / "nowhere"),
        lambda: machine.launcher.mkdir(),
        lambda: machine.launcher.write_text(f"#!/bin/sh\n{install.LAUNCHER_MARK}{tmp_path}\n"),
    ):
        make()
        said = say("install", "claude-code")
        assert (said.status, "STAGENT_BIN" in said.err) == (2, True), said.err
        assert not (machine.home / "plugin").exists()
        shutil.rmtree(machine.launcher) if machine.launcher.is_dir() else machine.launcher.unlink()
    # The launcher of a data home that is gone stands in nobody's way.
    machine.launcher.write_text(f"#!/bin/sh\n{install.LAUNCHER_MARK}{tmp_path}/gone\n")
    assert say("install", "claude-code").status == 0
    machine.launcher.write_text("mine now\n")
    say("install", "claude-code", "--uninstall")
    assert machine.launcher.read_text() == "mine now\n"


def test_a_launcher_that_cannot_be_called_plainly_is_refused(
    machine: Machine, say: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STAGENT_BIN", str(tmp_path / "a b" / "stagent-cc"))
    said = say("install", "claude-code")
    assert (said.status, "cannot be called plainly" in said.err) == (64, True)


def test_without_the_program_the_plugin_is_generated_and_the_way_on_is_told(machine: Machine, say: Any) -> None:
    (machine.tools / "claude").unlink()
    said = say("install", "claude-code")
    assert said.status == 1
    assert f"claude --plugin-dir {machine.plugin}" in said.err
    assert machine.launcher.exists()
    assert say("install", "claude-code", "--claude", "/nowhere/claude").status == 1
    assert say("install", "claude-code", "--claude", claude_program()).status == 0
    said = say("install", "claude-code", "--uninstall")
    assert f"claude plugin uninstall {install.PLUGIN_ID}" in said.err
    assert not machine.plugin.exists()


def test_a_program_that_fails_is_quoted(machine: Machine, say: Any) -> None:
    (machine.tools / "claude").unlink()
    (machine.tools / "claude").write_text("#!/bin/sh\necho out of order; exit 3\n")
    (machine.tools / "claude").chmod(0o755)
    said = say("install", "claude-code")
    assert said.status == 1
    assert "out of order" in said.err
    (machine.tools / "claude").write_text("#!/bin/sh\necho no json\n")
    assert "answered something else: no json" in say("install", "claude-code").err

"""Everything `doctor` says about the plugin, by breaking that very thing, and by doing what it says."""

from __future__ import annotations

import json
import os
import py_compile
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fixtures_claude import SESSION, Desk, claude_environment, claude_program
from stagent.engine import install
from stagent.version import __version__


class Sick:
    """A machine with the plugin, and a doctor for it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, say: Any) -> None:
        self.say = say
        self.patch = patch
        self.desk = Desk(folder, patch)
        self.home = self.desk.home
        self.launcher = folder / "bin" / "stagent-cc"
        self.person = folder / "person"
        self.person.mkdir()
        self.tools = folder / "tools"
        self.tools.mkdir()
        for name in ("git", "sh", "env", "cat", "tr", "sleep", "rm", "chmod"):
            (self.tools / name).symlink_to(str(shutil.which(name)))
        self.claude = self.tools / "claude"
        self.claude.symlink_to(claude_program())
        for name, value in claude_environment(self.person).items():
            patch.setenv(name, value)
        self.path = f"{self.tools}{os.pathsep}{self.launcher.parent}"
        patch.setenv("PATH", self.path)
        patch.setenv("STAGENT_BIN", str(self.launcher))

    def install(self) -> None:
        """The remedy of most troubles."""
        assert self.say("install", "claude-code").status == 0

    def codes(self) -> list[str]:
        """The codes of everything that is found."""
        return [item["code"] for item in self.found()]

    def found(self) -> list[Any]:
        """Everything that is found."""
        said = self.say("doctor", "--json")
        items = [item for found in said.json["checks"].values() for item in found]
        assert said.status == (1 if items else 0)
        return items

    def trust(self) -> None:
        """Tell Claude Code that the desk's project is trusted, as a person does when a session first begins there."""
        place = self.person / ".claude.json"
        known = json.loads(place.read_text())
        known.setdefault("projects", {})[str(self.desk.project)] = {"hasTrustDialogAccepted": True}
        place.write_text(json.dumps(known))

    def everything(self) -> set[str]:
        """The path of everything there is, but for what Claude Code keeps for itself when it is started at all."""
        places = [path for top in (self.home, self.person, self.desk.project) for path in top.rglob("*")]
        return {str(path) for path in places if "backups" not in path.parts and "store" not in path.parts}

    def do(self, command: str) -> None:
        """Do a remedy that is a command."""
        subprocess.run(command, shell=True, check=True)

    @property
    def plugin(self) -> Path:
        """The generated plugin."""
        return install.Layout(install.DataHome(self.home)).plugin

    @property
    def hook(self) -> Path:
        """The hook file that is run."""
        return self.plugin / "hooks" / "hook.pyc"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Any) -> Sick:
    return Sick(tmp_path, monkeypatch, say)


@pytest.fixture
def sick(bare: Sick) -> Sick:
    """A machine where nothing is broken yet: so it is again at the end of each test."""
    bare.install()
    return bare


def test_without_a_plugin_nothing_is_asked_for(bare: Sick) -> None:
    bare.claude.unlink()
    bare.desk.leave()
    assert bare.codes() == []


def test_a_session_without_the_plugin(bare: Sick) -> None:
    bare.say("start", "x", "--flow", str(bare.desk.flow))
    assert bare.codes() == ["plugin.missing"]
    bare.install()
    assert bare.codes() == []


def test_a_plugin_of_another_version(sick: Sick) -> None:
    (sick.home / "plugin" / "version").write_text("0.0.1\n")
    [item] = sick.found()
    assert (item["code"], "0.0.1" in item["what"], __version__ in item["what"]) == ("plugin.version", True, True)
    sick.install()
    assert sick.codes() == []


@pytest.mark.parametrize(
    ("name", "follows"),
    [
        ("commands/start.md", []),
        ("hooks/hooks.json", ["claude.hooks_silent"]),
        ("hooks/hook.py", ["plugin.hook_broken"]),
    ],
)
def test_a_plugin_that_was_changed(sick: Sick, name: str, follows: list[str]) -> None:
    (sick.plugin / name).write_text("{}")
    [item, *more] = sick.found()
    assert (item["code"], name in item["what"]) == ("plugin.changed", True)
    assert [other["code"] for other in more] == follows
    sick.install()
    assert sick.codes() == []


def test_an_installation_that_was_cut_short(sick: Sick) -> None:
    words = [sys.executable, "-m", "stagent", "install", "claude-code"]
    subprocess.run(words, env={**os.environ, "STAGENT_FAILPOINT": "disk.rename.after"}, check=False)
    assert set(sick.codes()) == {"plugin.unfinished", "file.leftover"}
    sick.install()
    assert sick.codes() == []


def test_an_interpreter_that_is_gone(sick: Sick, tmp_path: Path) -> None:
    gone = tmp_path / "old-python"
    gone.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    gone.chmod(0o755)
    for place in (sick.home / "plugin" / "python", sick.plugin / "hooks" / "hooks.json", sick.launcher):
        place.write_text(place.read_text().replace(sys.executable, str(gone)))
    assert sick.codes() == []
    gone.unlink()
    assert sick.codes() == ["plugin.python", "launcher.broken"]
    sick.install()
    assert sick.codes() == []


def test_byte_code_of_another_python(sick: Sick) -> None:
    sick.hook.write_bytes(b"\x00\x00\r\n" + sick.hook.read_bytes()[4:])
    [item] = sick.found()
    assert (item["code"], "bad magic number" in item["what"].lower()) == ("plugin.hook_broken", True)
    sick.install()
    assert sick.codes() == []


def test_a_hook_that_is_gone_or_speaks_to_bystanders(sick: Sick) -> None:
    sick.hook.unlink()
    assert sick.codes() == ["plugin.hook_missing"]
    sick.hook.write_text("print('here I am')")
    assert sick.codes() == ["plugin.hook_broken"]
    sick.install()
    assert sick.codes() == []


def test_a_launcher_that_is_gone_or_somebody_elses_or_not_executable(sick: Sick) -> None:
    sick.launcher.unlink()
    assert sick.codes() == ["launcher.missing"]
    sick.launcher.write_text("#!/bin/sh\n")
    assert sick.codes() == ["launcher.foreign"]
    sick.launcher.unlink()
    sick.install()
    sick.launcher.chmod(0o644)
    [item] = sick.found()
    assert item["code"] == "launcher.mode"
    sick.do(item["remedy"])
    assert sick.codes() == []
    sick.launcher.write_text(sick.launcher.read_text().replace("-m stagent", "-m nosuch"))
    assert sick.codes() == ["launcher.broken"]
    sick.install()
    assert sick.codes() == []


def test_a_launcher_off_the_path(sick: Sick) -> None:
    sick.patch.setenv("PATH", str(sick.tools))
    [item] = sick.found()
    assert item["code"] == "launcher.path"
    assert f'export PATH="{sick.launcher.parent}:$PATH"' in item["remedy"]
    sick.patch.setenv("PATH", sick.path)
    assert sick.codes() == []


def test_another_stagent_on_the_path(sick: Sick) -> None:
    other = sick.tools / "stagent"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    [item] = sick.found()
    assert (item["code"], str(other) in item["where"]) == ("path.other", True)
    other.unlink()
    assert sick.codes() == []


def test_no_claude_or_one_of_another_version(sick: Sick) -> None:
    sick.claude.unlink()
    assert sick.codes() == ["claude.missing"]
    for text in ("2.1.5 (Claude Code)", "3.0.0 (Claude Code)"):
        sick.claude.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo "{text}" || exec {shlex.quote(claude_program())} "$@"\n'
        )
        sick.claude.chmod(0o755)
        [item] = sick.found()
        assert item["code"] == "claude.version"
        assert ("no decision in its sessions counts" in item["what"]) is text.startswith("2.1.5")
    sick.claude.write_text("#!/bin/sh\nexit 1\n")
    assert sick.codes() == ["claude.version"]
    sick.claude.unlink()
    sick.claude.symlink_to(claude_program())
    assert sick.codes() == []


def test_a_claude_without_the_plugin(sick: Sick) -> None:
    for words in (("disable", install.PLUGIN_ID), ("uninstall", install.PLUGIN_ID)):
        subprocess.run(["claude", "plugin", *words], check=True, capture_output=True)
        assert sick.codes() == ["claude.plugin"]
        sick.install()
        assert sick.codes() == []


def test_byte_code_that_does_nothing(sick: Sick) -> None:
    """A hook that never answers leaves everybody alone, as a healthy one leaves a session without a run alone."""
    idle = sick.home / "idle.py"
    idle.write_text("pass\n")
    py_compile.compile(str(idle), str(sick.hook), doraise=True, optimize=2)
    idle.unlink()
    [item] = sick.found()
    assert (item["code"], "does not answer" in item["what"]) == ("plugin.hook_broken", True)
    sick.install()
    assert sick.codes() == []


def test_byte_code_of_another_source(sick: Sick) -> None:
    other = sick.home / "other.py"
    for name in ("hook", "toolrules", "masks"):
        place = sick.plugin / "hooks" / f"{name}.pyc"
        before = place.read_bytes()
        other.write_text(place.with_suffix(".py").read_text() + "\nMORE = 1\n")
        py_compile.compile(str(other), str(place), doraise=True, optimize=2)
        other.unlink()
        [item] = sick.found()
        assert (item["code"], item["what"]) == ("plugin.hook_broken", f"not what its source says is run: {name}.pyc")
        if name != "masks":
            place.write_bytes(before)
    sick.install()
    assert sick.codes() == []


def settings_files(sick: Sick) -> dict[str, Path]:
    """The settings files that count in the desk's project, by what they are called."""
    project = sick.desk.project / ".claude"
    project.mkdir(exist_ok=True)
    own = sick.person / ".claude" / "settings.json"
    return {"user": own, "project": project / "settings.json", "local": project / "settings.local.json"}


def switch(place: Path, **more: object) -> bytes | None:
    """Write settings into a file beside what is there; return what was there."""
    before = place.read_bytes() if place.exists() else None
    place.write_text(json.dumps({**json.loads(before or b"{}"), **more}))
    return before


def test_hooks_switched_off(sick: Sick) -> None:
    sick.trust()
    for place in settings_files(sick).values():
        switch(place, disableAllHooks=True)
        [item] = sick.found()
        assert (item["code"], item["where"]) == ("claude.hooks_off", str(place))
        assert "Remove disableAllHooks" in item["remedy"]
        switch(place, disableAllHooks=False)
    assert sick.codes() == []


def test_hooks_only_an_organization_may_switch_off(sick: Sick) -> None:
    """In a person's own settings the demand changes nothing; in those of an organization no hook of ours fires."""
    switch(settings_files(sick)["user"], allowManagedHooksOnly=True)
    assert sick.codes() == []
    real = shlex.quote(claude_program())
    sick.claude.unlink()
    # A hook of the organization answers, and is not taken for ours.
    hook = {"type": "command", "command": 'echo \'{"systemMessage":"welcome"}\''}
    policy = {"allowManagedHooksOnly": True, "hooks": {"SessionStart": [{"hooks": [hook]}]}}
    managed = f"--managed-settings {shlex.quote(json.dumps(policy))}"
    sick.claude.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {real} "$@"\nexec {real} {managed} "$@"\n')
    sick.claude.chmod(0o755)
    [item] = sick.found()
    assert (item["code"], "allowManagedHooksOnly" in item["what"]) == ("claude.hooks_silent", True)
    sick.claude.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    assert sick.codes() == []


def test_settings_that_cannot_be_read(sick: Sick) -> None:
    sick.trust()
    for whose, text in (("user", "{"), ("project", "[]"), ("local", '{"disableAllHooks": "no"}')):
        place = settings_files(sick)[whose]
        before = switch(place)
        place.write_text(text)
        [item] = sick.found()
        assert (item["code"], item["where"]) == ("claude.settings", str(place))
        place.write_bytes(before or b"{}")
    assert sick.codes() == []


def test_a_plugin_switched_off_in_a_project(sick: Sick) -> None:
    """What a project's settings say counts in a folder that is trusted, as in a session there."""
    place = settings_files(sick)["project"]
    switch(place, enabledPlugins={install.PLUGIN_ID: False})
    assert sick.codes() == []
    sick.trust()
    assert sick.codes() == ["claude.plugin"]
    place.unlink()
    assert sick.codes() == []


def test_a_folder_nobody_trusts_runs_nothing(sick: Sick) -> None:
    mark = sick.desk.project / "fired"
    hook = {"type": "command", "command": f": >{shlex.quote(str(mark))}"}
    switch(settings_files(sick)["project"], hooks={"SessionStart": [{"hooks": [hook]}]})
    assert (sick.codes(), mark.exists()) == ([], False)
    sick.trust()
    assert (sick.codes(), mark.exists()) == ([], True)


def test_no_session_can_be_begun(sick: Sick) -> None:
    real = shlex.quote(claude_program())
    sick.claude.unlink()
    sick.claude.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {real} "$@"\necho out of order; exit 3\n')
    sick.claude.chmod(0o755)
    [item] = sick.found()
    assert (item["code"], "out of order" in item["what"]) == ("claude.session", True)
    sick.claude.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    assert sick.codes() == []


def test_looking_leaves_nothing_behind_and_calls_nobody(sick: Sick) -> None:
    """Whatever the person's settings name as the provider is not asked, and no session is kept."""
    assert sick.codes() == []
    with socket.socket() as provider:
        provider.bind(("127.0.0.1", 0))
        provider.listen()
        provider.setblocking(False)
        address = f"http://127.0.0.1:{provider.getsockname()[1]}"
        switch(settings_files(sick)["user"], env={"ANTHROPIC_BASE_URL": address, "HTTPS_PROXY": address})
        sick.patch.setenv("ANTHROPIC_BASE_URL", address)
        sick.patch.setenv("CLAUDE_CODE_USE_BEDROCK", "1")
        before = sick.everything()
        assert sick.codes() == []
        assert sick.everything() == before
        with pytest.raises(BlockingIOError):
            provider.accept()


def test_the_stale_lease_of_a_session(sick: Sick) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    sick.desk.enter(SESSION, child.pid)
    sick.say("start", "x", "--flow", str(sick.desk.flow))
    assert sick.codes() == []
    child.kill()
    child.wait()
    [item] = sick.found()
    assert item["code"] == "run.stale"
    assert f"stagent interrupt {item['where']}" in item["remedy"]
    assert sick.say("interrupt", item["where"]).status == 0
    assert sick.codes() == []


def test_arguments_nobody_took(sick: Sick) -> None:
    sick.desk.types("start", "x")
    assert sick.codes() == []
    [place] = (sick.home / "pending").iterdir()
    before = time.time() - 61
    os.utime(place, (before, before))
    [item] = sick.found()
    assert item["code"] == "pending.orphaned"
    sick.do(item["remedy"])
    assert sick.codes() == []


def test_words_a_line_still_needs_are_no_orphans(sick: Sick) -> None:
    sick.say("start", "x", "--flow", str(sick.desk.flow))
    sick.desk.write("plan", "approved")
    sick.say("advance")
    sick.desk.types("reject", "more of it " * 200)
    before = time.time() - 1000
    for place in (sick.home / "pending").iterdir():
        os.utime(place, (before, before))
    [item] = sick.found()
    assert (item["code"], Path(item["where"]).name) == ("pending.orphaned", f"{SESSION}.json")
    sick.do(item["remedy"])
    assert len(list((sick.home / "pending").iterdir())) == 1
    sick.say("tick")
    assert list((sick.home / "pending").iterdir()) == []


def test_what_hooks_read_of_no_run(sick: Sick) -> None:
    sick.say("start", "x", "--flow", str(sick.desk.flow))
    child = subprocess.Popen(["sleep", "0"])
    child.wait()
    names = ("session-7.json", "session-8.waiting", "session-9.tree", f"pid-{child.pid}", "attempt-r-9.1.1.json")
    places = {str(sick.home / "live" / name) for name in names}
    for place in places:
        Path(place).write_text('{"run":"r-00000000000000000000000000"}')
    items = sick.found()
    assert {(item["code"], item["where"]) for item in items} == {("live.leftover", place) for place in places}
    for item in items:
        sick.do(item["remedy"])
    assert sick.codes() == []


def test_a_run_that_ended_leaves_nothing_behind(sick: Sick) -> None:
    sick.say("start", "x", "--flow", str(sick.desk.flow))
    sick.say("tick")
    sick.desk.hook("Stop", background_tasks=[])
    sick.desk.types("cancel")
    sick.say("hook", "report")
    assert sick.codes() == []
    assert [path.name for path in (sick.home / "live").iterdir()] == []

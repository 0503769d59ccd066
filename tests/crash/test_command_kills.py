"""Commands that write, killed at every fail point they pass: nothing half-made counts, and the next call mends it.

What a run's own driver writes is killed by `test_kills.py`; here are the commands a person gives.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from counts import is_full
from crash import crash_scene
from stagent.engine import install, templates

DRIVER = Path(__file__).with_name("crash_driver.py")


class Command:
    """A command on copies of one prepared scene."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder
        self.mode = mode
        self.scene = folder / "scene"

    def call(self, **more: str) -> int:
        """Give the command once and return its exit status."""
        more |= {"STAGENT_BIN": str(self.scene / "bin" / "stagent-cc"), "PATH": str(self.scene / "tools")}
        done = subprocess.run(
            [sys.executable, str(DRIVER), self.mode, str(self.scene)],
            env=crash_scene.environment(self.scene, **more),
            capture_output=True,
            check=False,
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        return done.returncode

    def kills(self) -> Iterator[str]:
        """Kill it at each point it passes, the first and the last time, in a full run each time; yield where."""
        prepared = self.folder / "prepared"
        self.scene.rename(prepared)
        # The copies lie in one and the same place, whose path stands in what is written.
        shutil.copytree(prepared, self.scene, symlinks=True)
        assert self.call(CRASH_TRACE=str(self.folder / "trace.json")) == 0
        passed: dict[str, int] = json.loads((self.folder / "trace.json").read_text())
        for name, times in sorted(passed.items()):
            for number in range(1, times + 1) if is_full() else sorted({1, times}):
                shutil.rmtree(self.scene)
                shutil.copytree(prepared, self.scene, symlinks=True)
                assert self.call(STAGENT_FAILPOINT=f"{name}:{number}") == -signal.SIGKILL
                yield f"{name}:{number}"


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Command]:
    def made(mode: str) -> Command:
        command = Command(tmp_path, mode)
        crash_scene.make(command.scene)
        tools = command.scene / "tools"
        tools.mkdir()
        for name in ("git", "sh", "cat"):
            (tools / name).symlink_to(str(shutil.which(name)))
        return command

    return made


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_settings(make: Callable[[str], Command]) -> None:
    command = make("config")
    for point in command.kills():
        settings = command.scene / "home" / "config.json"
        assert not settings.exists() or json.loads(settings.read_bytes()) == {"flow": "default"}, point
        assert command.call() == 0
        assert json.loads(settings.read_bytes()) == {"flow": "default"}


def test_a_new_workflow(make: Callable[[str], Command]) -> None:
    command = make("template")
    for point in command.kills():
        place = command.scene / "home" / "templates" / "mine"
        # The whole workflow, or none of that name.
        assert not place.exists() or files(place) == templates.scaffold("mine"), point
        if not place.exists():
            assert command.call() == 0, point
        assert files(place) == templates.scaffold("mine")


def test_an_installation(make: Callable[[str], Command]) -> None:
    command = make("install")
    home, launcher = command.scene / "home", command.scene / "bin"
    assert command.call() == 0
    (home / "plugin" / "version").write_text("0.0.1\n")
    (home / "plugin" / "plugins" / "stagent" / "commands" / "old.md").write_text("of another version")
    old = files(home / "plugin")
    wanted: dict[str, bytes] = {}
    for point in command.kills():
        # The old plugin or the new one, or none for a moment; never parts of one.
        found = files(home / "plugin")
        assert found in ({}, old) or found["version"] != b"0.0.1\n", point
        assert command.call() == 0, point
        wanted = wanted or files(home / "plugin")
        assert files(home / "plugin") == wanted, point
        assert "old.md" not in str(wanted)
        assert [path.name for path in home.iterdir()] == ["plugin"], point
        assert [path.name for path in launcher.iterdir()] == ["stagent-cc"], point
    assert len(wanted) > 2 * len(install.HOOK_FILES)


def test_a_report(make: Callable[[str], Command]) -> None:
    command = make("begin")
    assert command.call() == 0
    command.mode = "export"
    report = command.scene / "report.html"
    for point in command.kills():
        assert not report.exists() or report.read_bytes().rstrip().endswith(b"</html>"), point
        assert command.call() == 0, point
        assert report.read_bytes().rstrip().endswith(b"</html>"), point
        assert not list(command.scene.glob(".report*")), point


def test_taking_the_plugin_away(make: Callable[[str], Command]) -> None:
    command = make("install")
    assert command.call() == 0
    command.mode = "uninstall"
    for point in command.kills():
        assert command.call() == 0, point
        assert list(files(command.scene / "bin")) == [], point
        assert not (command.scene / "home" / "plugin").exists(), point


@pytest.mark.parametrize("mode", ["cancel", "cancel-hard"])
def test_cancelling_a_run(make: Callable[[str], Command], mode: str) -> None:
    command = make("begin")
    assert command.call() == 0
    command.mode = mode
    runs = command.scene / "project" / ".stagent"
    for point in command.kills():
        assert command.call() == 0, point
        assert not (runs / "the-race").exists(), point
        kept = [path.name for path in (runs / ".archive").iterdir()] if (runs / ".archive").exists() else []
        assert len(kept) == (0 if mode == "cancel-hard" else 1), (point, kept)
        live = command.scene / "home" / "live"
        assert list(live.iterdir()) == [], point

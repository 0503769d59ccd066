"""The Claude Code plugin as files: a marketplace in a local folder of the data home, generated for one interpreter.

Nothing here decides anything about a run: the plugin is markdown, one table of hooks and one hook file. Generating
is whole or not at all: everything is made beside the old plugin and put in its place by renaming.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

from stagent import disk, processes
from stagent.bytecode import byte_code
from stagent.config import LAUNCHER_VARIABLE, DataHome, default_launcher
from stagent.errors import RefusedError, StoreError, UsageError
from stagent.failpoints import hit
from stagent.version import __version__

MARKETPLACE = "stagent-local"
PLUGIN = "stagent"
PLUGIN_ID = f"{PLUGIN}@{MARKETPLACE}"
LAUNCHER_MARK = "# Made by `stagent install claude-code`; data home: "
_PLAIN = re.compile(r"/[A-Za-z0-9._/:=,@%+-]*\Z")
_MAKER = re.compile(r"\.(\d+)\.(?:new|old)\Z")
_WRITERS = "Write|Edit|MultiEdit|NotebookEdit"
_SECONDS = 5
HOOK_FILES = (
    "hook",
    "shellguard",
    "lineguard",
    "fileguard",
    "agentguard",
    "frontblock",
    "standstill",
    "toolrules",
    "masks",
)
"""The hook, and what it loads from beside it when it is needed."""
HOOKS: dict[str, tuple[str | None, int]] = {
    "SessionStart": (None, _SECONDS),
    "UserPromptSubmit": (None, _SECONDS),
    "UserPromptExpansion": (None, _SECONDS),
    "PreToolUse": (None, 10),
    "PostToolUse": (None, _SECONDS),
    "PostToolUseFailure": (None, _SECONDS),
    "PermissionRequest": (None, _SECONDS),
    "SubagentStart": (None, _SECONDS),
    "SubagentStop": (None, _SECONDS),
    "Stop": (None, 15),
    "StopFailure": (None, _SECONDS),
    "Notification": (None, _SECONDS),
    "PreCompact": (None, _SECONDS),
    "PostCompact": (None, _SECONDS),
    "ConfigChange": (None, _SECONDS),
    "SessionEnd": (None, 1),
}
"""Event -> (which tools it looks at, None for all; time limit in seconds).

`Stop` may have to compare the whole project once, `PreToolUse` to have a command line read; the platform ends
`SessionEnd` hooks after about a second anyway.
"""


class Layout:
    """Where the parts of the plugin lie below `plugin/` of a data home."""

    def __init__(self, home: DataHome) -> None:
        self.home = home
        self.root = home.plugin
        self.plugin = self.root / "plugins" / PLUGIN
        self.hooks = self.plugin / "hooks"
        self.hook = self.hooks / "hook.pyc"
        self.table = self.hooks / "hooks.json"
        self.session_start = self.hooks / "session-start.sh"
        self.version = self.root / "version"
        self.launcher = self.root / "launcher"
        self.python = self.root / "python"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an installation writes: the files below `root` by their path there, and the launcher outside of it."""

    root: Path
    files: dict[str, bytes]
    launcher: Path
    launcher_text: bytes

    @property
    def paths(self) -> list[str]:
        """Every file that is written, absolute, sorted."""
        return sorted([str(self.launcher), *(str(self.root / name) for name in self.files)])


def plan(home: DataHome, python: str = sys.executable, launcher_path: str = "") -> Plan:
    """Return what is to be written for an interpreter (absolute path); writes nothing.

    The launcher goes to `launcher_path`, without one to where the settings say.

    Raises UsageError for a launcher path that no plain command line can carry.
    """
    layout = Layout(home)
    launcher = Path(launcher_path or default_launcher())
    if not _PLAIN.match(str(launcher)):
        raise UsageError(
            "install.launcher_path",
            f"the launcher cannot be called plainly from {launcher}",
            where=str(launcher),
            remedy=f"Set {LAUNCHER_VARIABLE} to a path of letters, digits and . _ / - only.",
        )
    relative = layout.plugin.relative_to(layout.root).as_posix()
    hooks = {name: (files("stagent.hooks") / f"{name}.py").read_bytes() for name in HOOK_FILES}
    written = {
        ".claude-plugin/marketplace.json": _json(_marketplace()),
        f"{relative}/.claude-plugin/plugin.json": _json(_manifest()),
        f"{relative}/hooks/hooks.json": _json(hook_table(home, python)),
        **{f"{relative}/hooks/{name}.py": data for name, data in hooks.items()},
        **{f"{relative}/hooks/{name}.pyc": _byte_code(layout, name, data) for name, data in hooks.items()},
        "version": f"{__version__}\n".encode(),
        "launcher": f"{launcher}\n".encode(),
        "python": f"{python}\n".encode(),
    }
    for name, data in sources():
        place = f"hooks/{name}" if name.endswith(".sh") else name
        written[f"{relative}/{place}"] = data.replace(b"{{launcher}}", str(launcher).encode())
    text = (
        f"#!/bin/sh\n{LAUNCHER_MARK}{home.root}\nSTAGENT_HOME={shlex.quote(str(home.root))}\nexport STAGENT_HOME\n"
        f'exec {shlex.quote(python)} -I -m stagent "$@"\n'
    )
    return Plan(root=layout.root, files=written, launcher=launcher, launcher_text=text.encode())


def _byte_code(layout: Layout, name: str, source: bytes) -> bytes:
    return byte_code(source, str(layout.hooks / f"{name}.py"))


def hook_table(home: DataHome, python: str) -> dict[str, object]:
    """Return the hooks as they are registered: exec form, no shell, so that no path needs quoting."""
    layout = Layout(home)
    program = {"type": "command", "command": python, "args": ["-I", "-S", str(layout.hook), str(home.root)]}
    start = [str(layout.session_start), python, str(layout.hook), str(home.root), __version__]
    table: dict[str, object] = {}
    for event, (matcher, seconds) in HOOKS.items():
        entry = {**program, "timeout": seconds}
        if event == "SessionStart":
            entry = {"type": "command", "command": "/bin/sh", "args": start, "timeout": seconds}
        table[event] = [{**({"matcher": matcher} if matcher else {}), "hooks": [entry]}]
    return {"description": "Holds a session to the workflow of its run.", "hooks": table}


def sources() -> list[tuple[str, bytes]]:
    """Return the plugin's texts by their path in the plugin, sorted."""
    return sorted(_walk(files("stagent") / "plugin", ""))


def generate(planned: Plan) -> None:
    """Write a plan: the whole plugin beside the old one, then in its place; then the launcher.

    Raises RefusedError when the launcher's place is taken by a file of somebody else, StoreError when writing fails.
    """
    _own_launcher(planned)
    fresh = planned.root.with_name(f".{planned.root.name}.{os.getpid()}.new")
    beside = planned.launcher.with_name(f".{planned.launcher.name}.{os.getpid()}.new")
    try:
        for place in (planned.root, planned.launcher):
            for path in unfinished(place):
                _clear(path)
        for name, data in planned.files.items():
            _write(fresh / name, data)
        _write(beside, planned.launcher_text, 0o755)
        _exchange(fresh, planned.root)
        disk.move(beside, planned.launcher)
    except OSError as error:
        raise StoreError(
            "install.write",
            f"the plugin cannot be written: {error.strerror or error}",
            where=str(error.filename or planned.root),
            remedy="Make the place writable and install again.",
        ) from error
    finally:
        _clear(fresh)
        _clear(beside)


def remove(home: DataHome) -> list[str]:
    """Remove what an installation wrote, the launcher included if it is ours; return the paths. Keeps every run."""
    layout, gone = Layout(home), list[str]()
    launcher = Path(home.launcher)
    if launcher_home(launcher) == str(home.root):
        _clear(launcher)
        gone.append(str(launcher))
    if layout.root.exists():
        aside = layout.root.with_name(f".{layout.root.name}.{os.getpid()}.old")
        disk.move(layout.root, aside)
        _clear(aside)
        gone.append(str(layout.root))
    return gone


class Answer(msgspec.Struct, frozen=True):
    """What another program said: its exit status (None when it could not be run or did not end) and its output."""

    status: int | None
    text: str


def ask(*argv: str, given: bytes = b"", seconds: float = 60.0, env: Mapping[str, str] | None = None) -> Answer:
    """Run a program to its end with `given` as input, `env` or ours around it, and return both streams as one text."""
    hit("install.ask.before")
    try:
        done = subprocess.run(
            argv, input=given, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(None, str(error))
    hit("install.ask.after")
    return Answer(done.returncode, done.stdout.decode("utf-8", "replace").strip())


def launcher_home(launcher: Path) -> str | None:
    """Return the data home a launcher of ours belongs to; None for a missing file, "" for somebody else's."""
    if not launcher.is_symlink() and not launcher.exists():
        return None
    try:
        lines = [] if launcher.is_symlink() else launcher.read_bytes()[:8192].decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    mark = lines[1] if len(lines) > 1 else ""
    return mark.removeprefix(LAUNCHER_MARK) if mark.startswith(LAUNCHER_MARK) else ""


def unfinished(place: Path) -> list[Path]:
    """Return what installations that were cut short left beside a place; those that still run are not counted."""
    found = [(path, _MAKER.search(path.name)) for path in place.parent.glob(f".{place.name}.*")]
    return sorted(path for path, maker in found if maker and processes.look(int(maker[1])) is None)


def _own_launcher(planned: Plan) -> None:
    owner = launcher_home(planned.launcher)
    here = str(planned.root.parent)
    if owner in (None, here) or (owner and not Path(owner).exists()):
        return
    what = f"it is the launcher of another data home ({owner})" if owner else "there is a file that is not ours"
    raise RefusedError(
        "install.launcher",
        what,
        where=str(planned.launcher),
        remedy=f"Move it away, or set {LAUNCHER_VARIABLE} to another path and install again.",
    )


def _exchange(fresh: Path, place: Path) -> None:
    """Put a folder in the place of another; when that fails, the old one stands again."""
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    _clear(old)
    had = place.exists()
    if had:
        disk.move(place, old)
    try:
        disk.move(fresh, place)
    except OSError:
        if had:
            disk.move(old, place)
        raise
    _clear(old)


def _clear(path: Path) -> None:
    disk.remove(path, as_far_as_possible=True)


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    disk.make_folder(path.parent)
    disk.write(path, data, mode)


def _walk(folder: Traversable, at: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for item in folder.iterdir():
        name = f"{at}{item.name}"
        if item.is_dir():
            found += _walk(item, f"{name}/")
        elif name.endswith((".md", ".sh")):
            found.append((name, item.read_bytes()))
    return found


def _manifest() -> dict[str, object]:
    return {
        "name": PLUGIN,
        "version": __version__,
        "description": "Holds a session to a declared workflow; every transition is decided from checked evidence.",
        "author": {"name": "Stagent"},
        "license": "MIT",
        "keywords": ["workflow", "approval", "state machine"],
    }


def _marketplace() -> dict[str, object]:
    description = "Stagent of this machine, generated by `stagent install claude-code`."
    plugin = {"name": PLUGIN, "source": f"./plugins/{PLUGIN}", "description": description, "version": __version__}
    return {
        "name": MARKETPLACE,
        "owner": {"name": "Stagent"},
        "metadata": {"description": description, "version": __version__},
        "plugins": [plugin],
    }


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"

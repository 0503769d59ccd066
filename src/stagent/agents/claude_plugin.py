"""The plugin a headless attempt is started with: our hook for a stage's rules, and nothing of a session.

It is generated on use into `runner-plugin/` of the data home, one folder for each content: a process that runs with
an older one keeps it, and none is ever written in the user's project or settings.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import sys
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import msgspec

from stagent import disk, processes
from stagent.bytecode import byte_code
from stagent.config import DataHome
from stagent.core import claudecode
from stagent.errors import StoreError
from stagent.version import __version__

_SECONDS = 10
_WRITERS = "Write|Edit|MultiEdit|NotebookEdit"
HOOK_FILES = ("hook", "attempt", "toolrules", "shellguard", "fileguard", "lineguard")
"""The hook of an attempt, and what it loads from beside it."""
HOOKS = {
    "SessionStart": None,
    "PreToolUse": None,
    "PermissionRequest": f"{_WRITERS}|Bash",
}
"""Event -> which tools it looks at, all by default: a rule may be about any, and only the hook holds it to a pattern.

A session's start is only reported, as proof that hooks run at all.
"""
_COUNTER = itertools.count()
_MAKER = re.compile(r"\.(\d+)\.\d+\.(?:new|old)\Z", re.ASCII)


def ensure(home: DataHome) -> Path:
    """Return the plugin's folder, written or mended where it must be. Raises StoreError when that is not possible."""
    content = _content(str(home.root), sys.executable)
    name = hashlib.sha256(b"".join(key.encode() + b"\0" + data for key, data in sorted(content.items()))).hexdigest()
    place = home.plugin.parent / "runner-plugin" / name[:16]
    try:
        if not all(_holds(place / path, data) for path, data in content.items()):
            _write(place, content)
    except OSError as error:
        raise StoreError(
            "agent.plugin_unwritable",
            f"the runner's plugin cannot be written: {error.strerror or error}",
            where=str(error.filename or place),
            remedy="Make the data home writable.",
        ) from error
    return place


def _content(home: str, python: str) -> dict[str, bytes]:
    """Return the plugin's files by their path."""
    manifest = {
        "name": claudecode.RUNNER_PLUGIN,
        "version": __version__,
        "description": "Applies the rules of a stage to a headless attempt.",
        "author": {"name": "Stagent"},
        "license": "MIT",
    }
    written = {".claude-plugin/plugin.json": manifest, "hooks/hooks.json": {"hooks": _table(home, python)}}
    return {**_hooks(), **{path: _json(document) for path, document in written.items()}}


@lru_cache(maxsize=1)
def _hooks() -> dict[str, bytes]:
    """Return the hook as byte code of this interpreter, which will run it."""
    sources = {name: (files("stagent.hooks") / f"{name}.py").read_bytes() for name in HOOK_FILES}
    return {f"hooks/{name}.pyc": byte_code(data, f"{name}.py") for name, data in sources.items()}


def _table(home: str, python: str) -> dict[str, object]:
    # Substituted by Claude Code itself: the folder's name follows from this very content.
    hook = "${CLAUDE_PLUGIN_ROOT}/hooks/attempt.pyc"
    entry = {"type": "command", "command": python, "args": ["-I", "-S", hook, home], "timeout": _SECONDS}
    table: dict[str, object] = {}
    for event, matcher in HOOKS.items():
        # A rule that cannot be looked up permits nothing; by default the call would go on.
        strict = {"onFailure": "block"} if event == "PreToolUse" else {}
        table[event] = [{**({"matcher": matcher} if matcher else {}), "hooks": [{**entry, **strict}]}]
    return table


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _write(place: Path, content: dict[str, bytes]) -> None:
    """Make the whole plugin beside its place and rename it there: another process may do the same."""
    for left in place.parent.glob(".*"):
        maker = _MAKER.search(left.name)
        if maker and processes.look(int(maker[1])) is None:
            disk.remove(left, as_far_as_possible=True)
    mark = f"{os.getpid()}.{next(_COUNTER)}"
    fresh, old = (place.with_name(f".{place.name}.{mark}.{end}") for end in ("new", "old"))
    try:
        for path, data in content.items():
            target = fresh / path
            disk.make_folder(target.parent, private=True)
            disk.write(target, data)
        if place.exists():
            disk.move(place, old)
        try:
            disk.move(fresh, place)
        except OSError:
            # Another process was first with the same content.
            if not all(_holds(place / path, data) for path, data in content.items()):
                raise
    finally:
        for left in (fresh, old):
            disk.remove(left, as_far_as_possible=True)


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"

"""What a project declares about itself for the engine's own checks, and the seal on it.

A declaration is a JSON file `.agents/<kind>.json`; people write it, or an agent whose text a person approves. A seal is
the file `.agents/<kind>.lock.json`, written by the engine's own command: it holds digests of everything the declared
commands rest on and what was measured then, so that a later look sees what was bent in between.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from stagent.checks.globs import matching
from stagent.checks.listing import files_of, is_ignored

FOLDER = ".agents"
COMMAND_TIMEOUT = 600.0
"""Seconds one declared command may take unless it says otherwise."""

_SHOWN = 20
_SET = {"CI": "1", "NO_COLOR": "1", "TERM": "dumb", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
_NOT_RUN = (126, 127)
_BETWEEN = re.compile(r"[\s;&|()'\"`<>=]+")
Kind = TypeVar("Kind", bound=msgspec.Struct)


class Unmet(Exception):
    """What was claimed does not hold; the text says what, where and how it is put right."""


class Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a lock file: digests by path, and numbers by name; `notes` holds texts a kind needs later."""

    files: dict[str, str]
    measured: dict[str, float] = {}
    notes: dict[str, str] = {}


class Ran(msgspec.Struct, frozen=True):
    """How a declared command ended: exit code (None: out of time), what it printed, seconds it took."""

    code: int | None
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def started(self) -> bool:
        """Whether there was something to run: a shell says 126 or 127 for a command that is not there."""
        return self.code not in _NOT_RUN

    @property
    def how(self) -> str:
        """How it ended, in words."""
        if self.code is None:
            return "did not finish in time"
        return f"was ended by signal {-self.code}" if self.code < 0 else f"ended with exit code {self.code}"


def place(kind: str) -> str:
    """Return where a declaration stands in the project."""
    return f"{FOLDER}/{kind}.json"


def lock_place(kind: str) -> str:
    """Return where the seal of a declaration stands in the project."""
    return f"{FOLDER}/{kind}.lock.json"


def exists(root: Path, kind: str) -> bool:
    """Say whether a project declares something of this kind."""
    return os.path.lexists(root / place(kind))


def read(root: Path, kind: str, form: type[Kind]) -> Kind:
    """Return a project's declaration. Raises Unmet when there is none, it cannot be read, or git ignores it."""
    return _decoded(root, place(kind), form, "Declare it there; the reference of the templates shows how.")


def sealed(root: Path, kind: str) -> Seal:
    """Return the seal of a declaration. Raises Unmet when there is none or it cannot be read."""
    return _decoded(root, lock_place(kind), Seal, "The stage that seals it writes this file; do not change it.")


def _decoded(root: Path, name: str, form: type[Kind], remedy: str) -> Kind:
    file = root / name
    if file.is_symlink() or not file.is_file():
        raise Unmet(f"there is no file {name}. {remedy}")
    if is_ignored(root, name):
        raise Unmet(f"git ignores {name}, so nobody would see it change. Take it out of the ignore rules.")
    try:
        return msgspec.json.decode(file.read_bytes(), type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unmet(f"{name} cannot be read: {error}. Correct it.") from error


def behind(root: Path, kind: str, commands: Iterable[str], globs: Sequence[str]) -> dict[str, str]:
    """Return digests of what declared commands rest on, by path.

    That is the declaration, the files of the project the commands name as words, and the files the globs match.
    Raises Unmet for a glob that matches no file.
    """
    names = {place(kind)}
    for command in commands:
        for word in _BETWEEN.split(command):
            name = os.path.normpath(word) if word else ""
            if name and not name.startswith(("/", "..")) and (root / name).is_file():
                names.add(name)
    if globs:
        known = [name for name in files_of(root) if not name.endswith(".lock.json")]
        for glob in globs:
            found = matching([glob], known)
            if not found:
                raise Unmet(f'{place(kind)}: "{glob}" in `files` matches no file. Correct it or leave it out.')
            names |= found
    return {name: digest_of(root / name) for name in sorted(names)}


def digest_of(path: Path) -> str:
    """Return what a path holds as a digest: a file's bytes, a link's target; `-` when there is nothing."""
    try:
        if path.is_symlink():
            return "link:" + hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
        executable = "x:" if path.stat().st_mode & 0o100 else ""
        with open(path, "rb") as file:
            return executable + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "-"


def seal(root: Path, kind: str, content: Seal) -> None:
    """Write a seal, whole or not at all. Raises Unmet when git ignores it or it cannot be written."""
    name = lock_place(kind)
    if is_ignored(root, name):
        raise Unmet(f"git ignores {name}, so nobody would see it change. Take it out of the ignore rules.")
    file = root / name
    fresh = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with open(fresh, "wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(content, order="sorted"), indent=1) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise Unmet(f"{name} cannot be written: {error}. Make the folder {FOLDER} writable.") from error


def unbroken(root: Path, kind: str, commands: Iterable[str], globs: Sequence[str]) -> Seal:
    """Return the seal when everything it covers is as it was. Raises Unmet with what is not."""
    found = sealed(root, kind)
    now = {name: digest_of(root / name) for name in found.files} | behind(root, kind, commands, globs)
    changed = sorted(name for name in {*now, *found.files} if now.get(name) != found.files.get(name))
    if changed:
        raise Unmet(f"what is measured with was changed after it was sealed: {listed(changed)}. Restore it.")
    return found


def listed(names: Sequence[str]) -> str:
    """Return names for a sentence, a long list cut."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, what: str) -> str:
    """Return a number with its word, which takes an s for any number but one."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def environment() -> dict[str, str]:
    """Return the environment of declared commands: ours, without colour and without files left behind."""
    return {**os.environ, **_SET}


def run(command: str, root: Path, out: BinaryIO, timeout: float = COMMAND_TIMEOUT) -> Ran:
    """Run a declared command in the project by `/bin/sh -c`, show what it prints when it has ended, and return it.

    What it leaves in the background is ended with it. Raises Unmet when no shell can be started.
    """
    out.write(f"$ {command}\n".encode("utf-8", "surrogateescape"))
    out.flush()
    began = time.monotonic()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command], cwd=root, env=environment(), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise Unmet(f"`{command}` could not be started: {error}.") from error
    code: int | None = None
    try:
        stdout, stderr = process.communicate(timeout=timeout)
        code = process.returncode
    except subprocess.TimeoutExpired:
        end_group(process)
        stdout, stderr = process.communicate()
    finally:
        end_group(process)
    for part in (stdout, stderr):
        out.write(part if part.endswith(b"\n") or not part else part + b"\n")
    out.flush()
    return Ran(code, stdout, stderr, time.monotonic() - began)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started as the head of its own group, and all of that group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

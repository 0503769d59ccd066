"""A declared release: whether a version is cut properly, and bringing it to staging and production."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from stagent.checks import declared
from stagent.checks.declared import Unmet
from stagent.workspace.git import Git

KIND = "release"
_VERSION = re.compile(r"v?(\d+(?:\.\d+){1,3})([-+.]?[0-9A-Za-z.+-]*)")


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place a version is brought to: the command that does it, and one that ends with 0 while all is well there.

    `soak` is how long the probe must stay well, `every` the pause between two probes, `timeout` the limit of one
    command, all in seconds.
    """

    deploy: str
    probe: str
    soak: float = 0.0
    every: float = 30.0
    timeout: float = 1800.0


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `.agents/release.json` says. `version` is a command whose last line is the version of the project."""

    version: str
    changelog: str = "CHANGELOG.md"
    tag: str = "v{version}"
    staging: Target | None = None
    production: Target | None = None


class NothingDeclared(Exception):
    """The project declares no such target, so nothing was done."""


def declaration(root: Path, out: BinaryIO) -> str:
    """Judge whether a release is declared and its version can be told. Raises Unmet otherwise."""
    release = _read(root)
    targets = [name for name in ("staging", "production") if getattr(release, name) is not None]
    return f"the version is {_version(root, out, release)}; declared targets: {', '.join(targets) or 'none'}."


def none(root: Path, out: BinaryIO) -> str:
    """Judge whether no release is declared. Raises Unmet when one is."""
    if declared.exists(root, KIND):
        raise Unmet(f"{declared.place(KIND)} declares how this project is released.")
    return "no release is declared."


def cut(root: Path, out: BinaryIO) -> str:
    """Judge whether a new version is cut: above every tag, not tagged yet, described in the changelog."""
    release = _read(root)
    version = _version(root, out, release)
    tag = _tag(release, version)
    git = Git(str(root), options=("--no-optional-locks",))
    tags = git("tag", "--list").stdout.decode("utf-8", "replace").split()
    if tag in tags:
        raise Unmet(f"the tag {tag} exists already. Raise the version.")
    before, _, after = release.tag.partition("{version}")
    for other in tags:
        inner = other.removeprefix(before).removesuffix(after) if after else other.removeprefix(before)
        is_one = _VERSION.fullmatch(inner) is not None and _tag(release, inner) == other
        if is_one and _order(inner) >= _order(version):
            raise Unmet(f"the version {version} is not above {other}, which is tagged. Raise it.")
    lines = declared.counted(_described(root, release.changelog, version), "line")
    return f"version {version} is above every tag, and {release.changelog} describes it ({lines})."


def ship(root: Path, out: BinaryIO, name: str) -> str:
    """Bring the version to a declared target and watch it as long as declared.

    Raises NothingDeclared without such a target, Unmet when the deployment or a probe fails.
    """
    target: Target | None = getattr(_read(root), name)
    if target is None:
        raise NothingDeclared(f"{declared.place(KIND)} declares no {name}, so nothing was deployed.")
    ran = declared.run(target.deploy, root, out, target.timeout)
    if ran.code != 0:
        raise Unmet(f"the deployment to {name} `{target.deploy}` {ran.how}.")
    until = time.monotonic() + target.soak
    probes = 0
    while True:
        probe = declared.run(target.probe, root, out, target.timeout)
        probes += 1
        if probe.code != 0:
            raise Unmet(f"probe {probes} of {name}, `{target.probe}`, {probe.how}.")
        left = until - time.monotonic()
        if left <= 0:
            return f"deployed to {name}; {declared.counted(probes, 'probe')} in {target.soak:g} s, each of them well."
        time.sleep(min(target.every, left))


def _read(root: Path) -> Release:
    release = declared.read(root, KIND, Release)
    where = declared.place(KIND)
    if not release.version.strip() or release.tag.count("{version}") != 1:
        raise Unmet(f"{where}: `version` needs a command, and `tag` needs {{version}} once.")
    for target in (release.staging, release.production):
        if target is not None and not (target.deploy.strip() and target.probe.strip() and target.every > 0):
            raise Unmet(f"{where}: a target needs commands in `deploy` and `probe`, and `every` above 0.")
    return release


def _version(root: Path, out: BinaryIO, release: Release) -> str:
    ran = declared.run(release.version, root, out)
    lines = ran.stdout.decode("utf-8", "replace").split()
    version = lines[-1].removeprefix("v") if lines else ""
    if ran.code != 0 or not _VERSION.fullmatch(version):
        raise Unmet(f'`{release.version}` {ran.how} and told no version ("{version[:40]}"). Let it print one.')
    return version


def _tag(release: Release, version: str) -> str:
    return release.tag.replace("{version}", version)


def _order(version: str) -> tuple[tuple[int, ...], bool, str]:
    """Return what versions are ordered by: the numbers, then a version with an addition before one without."""
    match = _VERSION.fullmatch(version)
    assert match is not None
    numbers = tuple(int(part) for part in match[1].split("."))
    rest = match[2] if match[2].startswith("-") else ""
    return (*numbers, *(0,) * (4 - len(numbers))), not rest, rest


def _described(root: Path, name: str, version: str) -> int:
    """Return how many lines the changelog has below the heading of a version. Raises Unmet for none."""
    try:
        text = (root / name).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Unmet(f"{name} cannot be read: {error.strerror}. Describe the version there.") from error
    word = re.compile(rf"(?<![\w.]){re.escape(version)}(?![\w.]*\w)")
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line.startswith("#") and word.search(line):
            level = len(line) - len(line.lstrip("#"))
            below = 0
            for other in lines[number + 1 :]:
                if re.match(rf"#{{1,{level}}}\s", other):
                    break
                below += bool(other.strip()) and not other.startswith("#")
            if below:
                return below
            raise Unmet(f"{name} says nothing below the heading of {version}. Say what is new for its users.")
    raise Unmet(f"{name} has no heading for {version}. Add one and say what is new for its users.")

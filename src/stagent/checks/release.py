"""A declared release: whether a version is cut properly, and bringing it to staging and production."""

from __future__ import annotations

import os
import re
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from stagent.checks import declared
from stagent.checks.declared import Unmet
from stagent.core.canonical import digest
from stagent.workspace.git import Git, names, scrubbed

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
    tagged = _tagged(git, release)
    if tag in tagged:
        raise Unmet(f"the tag {tag} exists already. Raise the version.")
    for other, inner in tagged.items():
        if _order(inner) >= _order(version):
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
    return f"deployed to {name}; {_watch(root, out, name, target)}"


def served(root: Path, out: BinaryIO) -> str:
    """Watch the declared production, or the staging where there is no production, as long as declared; deploy nothing.

    Raises Unmet without a declared target or when a probe fails.
    """
    release = _read(root)
    name, target = ("production", release.production) if release.production else ("staging", release.staging)
    if target is None:
        raise Unmet(f"{declared.place(KIND)} declares no target, so nothing can be deployed.")
    return f"{name} answers; {_watch(root, out, name, target)}"


def nowhere(root: Path, out: BinaryIO) -> str:
    """Judge whether no target is declared. Raises Unmet when one is."""
    release = _read(root) if declared.exists(root, KIND) else None
    names = [name for name in ("staging", "production") if getattr(release, name, None) is not None]
    if names:
        raise Unmet(f"{declared.place(KIND)} declares where to deploy to: {', '.join(names)}.")
    return "no target is declared."


def unchanged(root: Path, out: BinaryIO) -> str:
    """Judge whether the project is what the highest tag of its form holds, apart from what is declared in `.agents`.

    In a run only tags count that were there when it began. Raises Unmet with what changed since, or without a tag.
    """
    release = _read(root)
    version = _version(root, out, release)
    git = Git(str(root), options=("--no-optional-locks",))
    then = _tags_at_the_start()
    tagged = {tag: inner for tag, inner in _tagged(git, release).items() if then is None or _stood(git, tag) in then}
    if not tagged:
        raise Unmet(f"nothing was released yet: no tag is of the form {release.tag}. Cut the first version.")
    last = max(tagged, key=lambda tag: _order(tagged[tag]))
    if _order(tagged[last]) != _order(version):
        raise Unmet(f"the version is {version}, and the last tag is {last}. Cut it.")
    paths = [path for path in _differing(root, last) if not path.startswith((f"{declared.FOLDER}/", ".stagent/"))]
    if paths:
        raise Unmet(f"changed since {last}: {declared.listed(paths)}. Cut a version.")
    return f"nothing changed since {last}."


def _differing(root: Path, tag: str) -> list[str]:
    """Return the files that are not as a tag holds them, by an index of our own: marks in the user's hide nothing."""
    with tempfile.TemporaryDirectory() as folder:
        env = scrubbed({"GIT_INDEX_FILE": str(Path(folder, "index"))})
        git = Git(str(root), env=env, options=("-c", "core.fsmonitor=false"))
        git.must("read-tree", f"refs/tags/{tag}^{{tree}}")
        changed = git.must("diff", "--name-only", "-z", "--relative", "--no-ext-diff", "--no-renames")
        new = git.must("ls-files", "--others", "--exclude-standard", "-z")
    return sorted({*names(changed), *names(new)})


def _tags_at_the_start() -> set[str] | None:
    """Return the lines of the run file `tags`, `name object` each; None outside a run. Raises Unmet when it is bent."""
    path, content = msgspec.json.decode(os.environ.get("STAGENT_INPUTS", "{}")).get("tags", (None, None))
    if path is None:
        return None
    data = Path(path).read_bytes() if Path(path).is_file() else b""
    if digest(data) != content:
        raise Unmet(f"{path} is not what was recorded when the run began. Restore it.")
    return set(data.decode("utf-8", "replace").splitlines())


def _stood(git: Git, tag: str) -> str:
    return f"{tag} {git.must('rev-parse', f'refs/tags/{tag}').decode().strip()}"


def _tagged(git: Git, release: Release) -> dict[str, str]:
    """Return the tags of the declared form, with their versions."""
    before, _, after = release.tag.partition("{version}")
    found = {}
    for tag in git("tag", "--list").stdout.decode("utf-8", "replace").split():
        inner = tag.removeprefix(before).removesuffix(after) if after else tag.removeprefix(before)
        if _VERSION.fullmatch(inner) is not None and _tag(release, inner) == tag:
            found[tag] = inner
    return found


def _watch(root: Path, out: BinaryIO, name: str, target: Target) -> str:
    """Probe a target as long as declared and return how that went. Raises Unmet when a probe fails."""
    until = time.monotonic() + target.soak
    probes = 0
    while True:
        probe = declared.run(target.probe, root, out, target.timeout)
        probes += 1
        if probe.code != 0:
            raise Unmet(f"probe {probes} of {name}, `{target.probe}`, {probe.how}.")
        left = until - time.monotonic()
        if left <= 0:
            return f"{declared.counted(probes, 'probe')} in {target.soak:g} s, each of them well."
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

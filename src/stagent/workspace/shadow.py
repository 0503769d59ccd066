"""The shadow repository: our own git repository in the data home that records the content of a project folder.

Nothing of ours ever goes into the user's repository, and nothing in it (configuration, filters, private excludes
edited later, garbage collection) changes what the shadow sees or keeps. Layout of the folder: `lock`, `repo/` and
one `index-<key>` per view of the project. A process killed at any instant leaves it usable: objects are complete or
absent, an index is replaced whole, and the next caller sweeps what was left lying about.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stagent import disk
from stagent.errors import WorkspaceError
from stagent.failpoints import hit
from stagent.workspace import index as indexes
from stagent.workspace.git import Git, Result, failure, names, pathspecs, printable, scrubbed

OUR_FOLDERS = (".stagent", ".agents/tmp", ".claude/worktrees")
"""Folders of ours that are never part of a project's content, at any depth."""

NOT_OURS = tuple(f":(exclude,glob)**/{folder}/**" for folder in OUR_FOLDERS)

LOCK_WAIT = 900.0
"""Seconds to wait for another process that uses the same shadow."""

_ATTEMPTS = 3
_UNFINISHED = ".stagent.new"
_REMEDY = "If it happens again, the record is damaged: end the project's runs and remove its shadow folder."
_OPTIONS = tuple(
    part
    for setting in (
        "core.fsmonitor=false",
        "core.trustctime=true",
        "core.checkStat=default",
        "core.untrackedCache=false",
        "core.splitIndex=false",
        "core.safecrlf=false",
        "core.quotePath=false",
        "core.excludesFile=/dev/null",
        "core.attributesFile=/dev/null",
        "core.fsync=loose-object",
        "core.fsyncMethod=batch",
        "index.version=2",
        "gc.auto=0",
        "advice.addEmbeddedRepo=false",
        "advice.addIgnoredFile=false",
    )
    for part in ("-c", setting)
)
# A first snapshot writes every file: git puts "big" files straight into one pack, which saves a file and a flush each.
_ONE_PACK = ("-c", "core.bigFileThreshold=1")
# Bytes are recorded as they stand, apart from line endings: what a filter or `ident` would make of them, and what
# `-diff` would hide from the person who reads the difference, is the agent's to choose.
_ATTRIBUTES = b"* -filter -ident !working-tree-encoding !diff\n"
_COMPLAINT = re.compile(r"^(?:fatal|error|warning): .*$", re.MULTILINE)
_CONSEQUENCE = re.compile(r"(?:error: unable to index file|(?:fatal|error): (?:adding|updating) files failed)")
# Git reads no ignore or attribute file through a symbolic link; that can only add to what is recorded.
_LINKED_RULES = re.compile(r"warning: unable to access '[^\n]*\.git(?:ignore|attributes)': Too many levels")
_UNMATCHED = re.compile(r"fatal: pathspec .* did not match any file", re.DOTALL)
_IGNORED = "The following paths are ignored by"
_QUOTED = re.compile(r"""(?:'(.*)'|open\("(.*)"\)|readlink\("(.*)"\))""")


@dataclass(frozen=True)
class Settings:
    """What is taken over from the user's git at one moment: object format, core settings, private ignore rules."""

    object_format: str
    core: tuple[tuple[str, str], ...]
    excludes: bytes

    def config(self) -> bytes:
        """Return the shadow's whole configuration file."""
        version = 0 if self.object_format == "sha1" else 1
        lines = ["[core]", f"\trepositoryformatversion = {version}", "\tbare = true"]
        lines += [f"\t{name} = {value}" for name, value in self.core]
        if version:
            lines += ["[extensions]", f"\tobjectformat = {self.object_format}"]
        return ("\n".join(lines) + "\n").encode()


@dataclass(frozen=True)
class View:
    """What of a work tree is recorded: the project folder `root` below `top`, and the globs that narrow it.

    `prefix` is the way from `top` to `root` with a trailing slash, or empty. `kept` returns the paths below `top`
    that the user's repository tracks although `excludes` (a file of ignore rules) ignores them.
    """

    top: str
    root: str
    prefix: str
    watch: tuple[str, ...]
    kept: Callable[[str], Iterable[str]]

    @property
    def key(self) -> str:
        """Name the index of this view."""
        text = "\0".join((self.prefix, *sorted(self.watch)))
        return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


class Shadow:
    """A shadow repository in `folder`, made on first use with the settings that `settings` then returns."""

    def __init__(self, folder: Path, settings: Callable[[], Settings]) -> None:
        self.folder = folder
        self._repo = folder / "repo"
        self._excludes = self._repo / "info" / "exclude"
        self._settings = settings

    def refresh(self) -> None:
        """Take over the user's settings and private ignore rules as they are now. Raises WorkspaceError."""
        with self.locked():
            fresh = self._settings()
            self._create(fresh)
            self._write(fresh, self._repo)

    def snapshot(self, view: View) -> str:
        """Record what the view shows now and return the tree's id. Raises WorkspaceError."""
        with self.locked() as fd:
            self._create(None)
            path = self.folder / f"index-{view.key}"
            git = self._writer(view, path, fd)
            for _ in range(_ATTEMPTS):
                try:
                    tree = self._record(git, view, str(path))
                except WorkspaceError as error:
                    if error.code in ("workspace.unreadable", "workspace.ignored", "workspace.git_timeout"):
                        raise
                    tree, last = None, error
                if tree is not None:
                    return tree
                disk.remove(path)
        raise last

    def reader(self) -> Git:
        """Return a git that reads the shadow's objects; they are complete once written, so no lock is needed."""
        if not self._repo.is_dir():
            with self.locked():
                self._create(None)
        return Git(str(self._repo), self._env(), _OPTIONS, remedy=_REMEDY)

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the shadow for one process at a time and yield the lock's descriptor. Raises WorkspaceError."""
        try:
            disk.make_folder(self.folder, private=True)
            hit("shadow.lock.before")
            fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            hit("shadow.lock.after")
            try:
                self._wait(fd)
                self._sweep()
                yield fd
            finally:
                os.close(fd)  # no explicit unlock: a git process that outlives us keeps the lock until it ends
        except OSError as cause:
            raise WorkspaceError(
                "workspace.shadow",
                f"the record of the project could not be written: {cause}",
                where=printable(str(self.folder)),
                remedy="Make the folder writable and see that its disk has room.",
            ) from cause

    def _wait(self, fd: int) -> None:
        deadline = time.monotonic() + LOCK_WAIT
        while True:
            try:
                return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as cause:
                if time.monotonic() > deadline:
                    raise WorkspaceError(
                        "workspace.busy",
                        f"another process has been recording this project for {LOCK_WAIT:g} s",
                        where=printable(str(self.folder)),
                        remedy="Wait for it, or stop it, and try again.",
                    ) from cause
                time.sleep(0.01)

    def _sweep(self) -> None:
        """Remove what a killed process left; whoever holds the lock is the only one at work."""
        patterns = ("*.lock", "objects/pack/tmp_*", f"*{_UNFINISHED}", f"info/*{_UNFINISHED}")
        found = (path for pattern in patterns for path in self._repo.glob(pattern))
        for path in (*self.folder.glob("*.lock"), *found):
            disk.remove(path)
        for path in (self.folder / "repo.new", *self._repo.glob("objects/tmp_objdir-*")):
            disk.remove(path, as_far_as_possible=True)

    def _create(self, fresh: Settings | None) -> None:
        if self._repo.is_dir():
            return
        fresh = fresh or self._settings()
        new = self.folder / "repo.new"
        init = Git(str(self.folder), self._env(git_dir=False))
        init.must("init", "--quiet", "--bare", "--template=", f"--object-format={fresh.object_format}", str(new))
        self._write(fresh, new)
        disk.move(new, self._repo)
        disk.sync_folder(self.folder)

    def _write(self, fresh: Settings, repo: Path) -> None:
        disk.make_folder(repo / "info")
        before = self._format()
        if before not in (None, fresh.object_format):
            raise WorkspaceError(
                "workspace.object_format",
                f"the repository now uses {fresh.object_format}, what was recorded of it {before}",
                where=printable(str(self.folder)),
                remedy="Remove that folder if no run of this project is unfinished, then start again.",
            )
        ours = "".join(f"\n**/{folder}/" for folder in OUR_FOLDERS).encode() + b"\n"
        replace_file(repo / "info" / "exclude", fresh.excludes + ours)
        replace_file(repo / "info" / "attributes", _ATTRIBUTES)
        config = repo / "config"
        if before and config.read_bytes() != fresh.config():
            # Files recorded under other settings must be read again; before the settings, in case we are killed.
            hit("shadow.reset.before")
            for path in self.folder.glob("index-*"):
                disk.remove(path)
            hit("shadow.reset.after")
        replace_file(config, fresh.config())

    def _format(self) -> str | None:
        try:
            text = (self._repo / "config").read_bytes()
        except FileNotFoundError:
            return None
        return "sha256" if b"objectformat = sha256" in text else "sha1"

    def _env(self, *, git_dir: bool = True) -> dict[str, str]:
        # Neither the system's nor the user's own git settings reach the shadow, on any version of git.
        home = str(self.folder)
        extra = {"HOME": home, "XDG_CONFIG_HOME": home, "GIT_CONFIG_GLOBAL": os.devnull}
        extra |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
        return scrubbed(extra | ({"GIT_DIR": str(self._repo)} if git_dir else {}))

    def _writer(self, view: View, index: Path, fd: int) -> Git:
        env = self._env() | {"GIT_WORK_TREE": view.top, "GIT_INDEX_FILE": str(index)}
        return Git(view.root, env, _OPTIONS, (fd,), remedy=_REMEDY)

    def _record(self, git: Git, view: View, path: str) -> str | None:
        """Bring the index up to the work tree and write its tree; None when the index must be built anew."""
        hash_name = self._format() or "sha1"
        at_top = replace(git, cwd=view.top)
        kept = indexes.load(path, hash_name)
        if kept is None:
            disk.remove(Path(path))
            _add(replace(git, options=(*_OPTIONS, *_ONE_PACK)), view)
        else:
            _forget(at_top, [os.fsdecode(name) for name in indexes.doubtful(kept, view.top)])
            _add(git, view)
        _settle(at_top, view, str(self._excludes))
        if kept is not None:
            now = indexes.load(path, hash_name)
            if now is None or (now.raw != kept.raw and now.attributes() != kept.attributes()):
                return None
        return _tree(git, view)


def _add(git: Git, view: View) -> None:
    specs = pathspecs(view.watch) or ["."]
    for spec in specs:
        done = git("add", "-A", "--ignore-errors", "--no-warn-embedded-repo", "--", spec, *NOT_OURS)
        if view.watch and _UNMATCHED.match(done.stderr):
            continue
        _judge(git, view, done)


def _judge(git: Git, view: View, done: Result) -> None:
    """Raise for anything git could not look at: an unread path must never pass for an unchanged one."""
    complaints = [line for line in _COMPLAINT.findall(done.stderr) if not _LINKED_RULES.match(line)]
    causes = [line for line in complaints if not _CONSEQUENCE.match(line)] or complaints
    where = printable(view.root)
    if not causes:
        if _IGNORED in done.stderr and not view.watch:
            raise WorkspaceError(
                "workspace.ignored",
                "the repository around this folder ignores it, so its changes cannot be seen",
                where=where,
                remedy="Work from the repository's top folder, or take the folder out of its ignore rules.",
            )
        if done.code and _IGNORED not in done.stderr:
            raise failure(git, "add", done)
        return
    if any("No space left" in line or "unable to write" in line for line in causes):
        raise WorkspaceError(
            "workspace.shadow",
            f"the record of the project could not be written: {causes[0]}",
            where=where,
            remedy="See that the disk of the data home has room and is writable.",
        )
    paths = sorted({name.rstrip("/") for line in causes for found in _QUOTED.findall(line) for name in found if name})
    shown = ", ".join(paths[:10]) or causes[0]
    if all("No such file or directory" in line for line in causes):
        raise WorkspaceError(
            "workspace.changing",
            f"files kept changing while they were read: {shown}",
            where=where,
            remedy="Stop what writes there, or ignore those files.",
            fields={"paths": paths},
        )
    raise WorkspaceError(
        "workspace.unreadable",
        f"these paths cannot be read, so a change in them could not be seen: {shown}",
        where=where,
        remedy="Make them readable (a repository inside the project needs a commit), or ignore them in .gitignore.",
        fields={"paths": paths, "stderr": done.stderr.strip()},
    )


def _settle(git: Git, view: View, excludes: str) -> None:
    """Make the index hold of all ignored files just those that the user's repository tracks."""
    recorded = set(names(git.must("ls-files", "-z", "-c", "-i", "--exclude-standard")))
    wanted = set(view.kept(excludes))
    _forget(git, recorded - wanted)
    absent = [name for name in wanted - recorded if _recordable(Path(view.top, name))]
    if absent:
        stdin = b"".join(os.fsencode(name) + b"\0" for name in absent)
        _judge(git, view, git("update-index", "--add", "--replace", "-z", "--stdin", stdin=stdin))


def _recordable(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir():
        return path.is_symlink() or path.is_file()
    return os.path.lexists(path / ".git")


def _forget(git: Git, paths: Iterable[str]) -> None:
    stdin = b"".join(os.fsencode(name) + b"\0" for name in paths)
    if stdin:
        git.must("update-index", "--force-remove", "-z", "--stdin", stdin=stdin)


def _tree(git: Git, view: View) -> str:
    args: Sequence[str] = [f"--prefix={view.prefix}"] if view.prefix else []
    done = git("write-tree", *args)
    if done.code and "not found" in done.stderr:  # the sub-folder holds nothing: an empty tree
        return git.must("hash-object", "-t", "tree", "-w", "--stdin").decode().strip()
    if done.code:
        raise failure(git, "write-tree", done)
    return done.stdout.decode().strip()


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}{_UNFINISHED}")


def forget_unfinished(path: Path) -> None:
    """Remove what was to become a file and never did; call it with the lock. Raises OSError."""
    disk.remove(_unfinished(path))


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole and durably, unless it holds these bytes already; call it with the lock. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    disk.replace(path, data, _unfinished(path), mode)

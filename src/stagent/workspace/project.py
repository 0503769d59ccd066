"""The project folder as the engine sees it: read-only on the user's repository, recorded in a shadow repository."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from stagent import disk
from stagent.core.ports import Change
from stagent.errors import WorkspaceError
from stagent.workspace import repository
from stagent.workspace.git import Git, Result, failure, missing_folder, names, pathspecs, printable
from stagent.workspace.repository import AskGitError
from stagent.workspace.shadow import NOT_OURS, OUR_FOLDERS, Settings, Shadow, View, forget_unfinished, replace_file
from stagent.workspace.testpart import command_part

MAX_FILES = 50_000
"""How many files a folder without git may hold before a snapshot asks for `watch`."""

_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_WORD = re.compile(r"[A-Za-z0-9]+")
_TAKEN_OVER = r"^core\.(autocrlf|eol|symlinks|filemode|ignorecase|precomposeunicode)$"
# The user's repository is only looked at: no monitor process is asked or started, no cache is written.
_OPTIONS = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "--no-optional-locks")


def project_root(start: Path) -> Path:
    """Return the top folder of the git work tree `start` is in, else `start` itself, made absolute.

    Raises WorkspaceError when the folder or git is missing or git refuses the repository.
    """
    found = _locate(start)
    return Path(found[0]) if found else Path(os.path.realpath(start))


class Project:
    """A project folder with its shadow repository; implements `stagent.core.ports.Workspace`.

    `shadow` is a folder of ours in the data home, made on first use with mode 0700. With `refresh_ignores` the
    user's private ignore rules and line-ending settings are taken over anew, as at the start of a run; without it
    those taken over last hold, so that whoever edits them during a run hides nothing.
    """

    def __init__(self, root: Path, shadow: Path, *, refresh_ignores: bool = False) -> None:
        found = _locate(root)
        self.root = os.path.realpath(root)
        self._top = found[0] if found else None
        self._format = found[1] if found else "sha1"
        self._prefix = _prefix(self._top, self.root) if self._top else ""
        self._git = Git(self.root, options=_OPTIONS)
        self._shadow = Shadow(shadow, self._settings)
        if refresh_ignores:
            self._shadow.refresh()

    def fingerprint(self) -> str:
        """Return the sorted, comma-joined parentless commits reachable from HEAD; empty without git or commits."""
        if self.head() is None:
            return ""
        roots = self._git.must("rev-list", "--max-parents=0", "HEAD").decode().split()
        return ",".join(sorted(roots))

    def head(self) -> str | None:
        """Return the commit id of HEAD, or None without git or commits."""
        try:
            return repository.head(self.root)
        except AskGitError:
            return self._commit("HEAD") if self._top else None

    def relation(self, recorded: str) -> Literal["equal", "behind", "ahead", "diverged", "unknown"]:
        """Say where HEAD stands as seen from a recorded commit (`behind`: HEAD is an ancestor of it).

        `unknown`: there is no HEAD, or the recorded commit is not in this repository.
        """
        head = self.head()
        if head is None or not _ID.fullmatch(recorded):
            return "unknown"
        if head == recorded:
            return "equal"
        if self._commit(recorded) is None:
            return "unknown"
        if self._is_ancestor(head, recorded):
            return "behind"
        return "ahead" if self._is_ancestor(recorded, head) else "diverged"

    def dirty(self, limit: int = 10) -> list[str]:
        """Return up to `limit` lines of uncommitted changes as `git status --short` puts them, without our folders."""
        if not self._top:
            return []
        args = ("--short", "--no-renames", "--untracked-files=all", "--", ".", *NOT_OURS)
        settings = ("color.status=false", "status.branch=false", "status.showStash=false", "status.relativePaths=true")
        out = self._git.must(*(part for name in settings for part in ("-c", name)), "status", *args)
        return [printable(os.fsdecode(line)) for line in out.split(b"\n") if line][:limit]

    def snapshot(self, watch: Sequence[str] = ()) -> str:
        """Return the digest of the tree now; `watch` globs narrow it to the files they match.

        Ignored files are left out unless the user's repository tracks them; sub-modules count by commit. Raises
        WorkspaceError when a path cannot be read or a folder without git holds more than 50,000 files.
        """
        pathspecs(watch)
        if not self._top and not watch:
            self._refuse_many_files()
        top = self._top or self.root
        view = View(top, self.root, self._prefix, tuple(watch), lambda rules: self._kept(rules, watch))
        return self._shadow.snapshot(view)

    def changes(
        self, before: str, after: str, *, only: Sequence[str] = (), excluding: Sequence[str] = ()
    ) -> list[Change]:
        """Return the paths that differ between two digests, sorted, narrowed by git globs (`**` crosses folders).

        Raises WorkspaceError when a digest was not recorded here.
        """
        args = ("-r", "-z", "--no-renames", "--name-status", before, after, "--", *pathspecs(only, excluding))
        fields = names(self._compare(before, after, "diff-tree", *args))
        return sorted(Change(path, status) for status, path in zip(fields[::2], fields[1::2], strict=True))

    def paths(self, tree: str) -> list[str]:
        """Return the paths of the files a tree holds, sorted. Raises WorkspaceError for one not recorded here."""
        git = self._shadow.reader()
        _known(git, tree)
        return sorted(names(git.must("ls-tree", "-r", "-z", "--name-only", "--full-tree", tree)))

    def diff(self, before: str, after: str) -> bytes:
        """Return a unified diff between two digests: no colour, no external tools, our folders left out.

        Raises WorkspaceError when a digest was not recorded here.
        """
        plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short", "--find-renames")
        return self._compare(before, after, "diff", *plain, before, after, "--")

    def read(self, tree: str, path: str) -> bytes | None:
        """Return a file's bytes as they stand in a tree (a link's: its target), or None without such a file.

        Raises WorkspaceError when the digest was not recorded here or the record is damaged.
        """
        git = self._shadow.reader()
        _known(git, tree)
        if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
            return None
        for line in git.must("--literal-pathspecs", "ls-tree", "-z", tree, "--", path).split(b"\0"):
            facts, _, name = line.partition(b"\t")
            if name == os.fsencode(path) and facts.split()[1] == b"blob":
                return git.must("cat-file", "blob", facts.split()[2].decode())
        return None

    def same_command(self, before: str, after: str, path: str) -> bool:
        """Say whether a file that defines a test command means the same in two trees: its other parts do not count."""
        old, new = self.read(before, path), self.read(after, path)
        if old is None or new is None:
            return old is new
        return old == new or command_part(path, old) == command_part(path, new)

    def keep_private(self, folder: str) -> None:
        """Have a folder of the project ignored by a rule in the repository's private exclude file; without git nothing.

        The rule is written once; where it stands, or there is no repository, no git is started. Raises WorkspaceError
        when the file cannot be written.
        """
        try:
            found = repository.around(self.root)
            top, path = (found.top, found.private_rules) if found else (None, Path())
        except AskGitError:
            top, path = self._top, self._private_rules() if self._top else Path()
        if top is None:
            return
        rule = os.fsencode(_literal(f"/{_prefix(top, self.root)}{folder}/"))
        with suppress(OSError):
            if rule in path.read_bytes().splitlines():
                return
        with self._shadow.locked():
            _add_rule(Path(os.path.realpath(path)), rule)

    def _commit(self, name: str) -> str | None:
        done = self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if done.code not in (0, 1, 128):
            raise failure(self._git, "rev-parse", done)
        return done.stdout.decode().strip() if done.code == 0 else None

    def _is_ancestor(self, old: str, new: str) -> bool:
        done = self._git("merge-base", "--is-ancestor", old, new)
        if done.code not in (0, 1):
            raise failure(self._git, "merge-base", done)
        return done.code == 0

    def _compare(self, before: str, after: str, *args: str) -> bytes:
        git = self._shadow.reader()
        if not (_ID.fullmatch(before) and _ID.fullmatch(after)):
            _known(git, before)
            _known(git, after)
        done = git(*args)
        if done.code:
            _known(git, before)
            _known(git, after)
            raise failure(git, args[0], done)
        return done.stdout

    def _kept(self, rules: str, watch: Sequence[str]) -> list[str]:
        """List, from the top folder, the files the user's repository tracks although the rules ignore them."""
        if not self._top:
            return []
        args = ("-z", "-c", "-i", "--full-name", "--exclude-per-directory=.gitignore", f"--exclude-from={rules}")
        return names(self._git.must("ls-files", *args, "--", *(pathspecs(watch) or ["."]), *NOT_OURS))

    def _settings(self) -> Settings:
        done = self._git("config", "-z", "--get-regexp", _TAKEN_OVER)
        core = {}
        for item in names(done.stdout):
            name, _, value = item.partition("\n")
            if not value or _WORD.fullmatch(value):
                core[name.removeprefix("core.")] = value or "true"
        done = self._git("config", "--type=path", "--get", "core.excludesFile")
        named = os.fsdecode(done.stdout.removesuffix(b"\n"))
        rules = [_rules(Path(self.root, named) if named else _default_rules())]
        if self._top:
            rules.append(_rules(self._private_rules()))
        return Settings(self._format, tuple(sorted(core.items())), b"\n".join(rules))

    def _private_rules(self) -> Path:
        path = self._git.must("rev-parse", "--git-path", "info/exclude").removesuffix(b"\n")
        return Path(self.root, os.fsdecode(path))

    def _refuse_many_files(self) -> None:
        for count, _ in enumerate(_walk(self.root), 1):
            if count > MAX_FILES:
                raise WorkspaceError(
                    "workspace.too_many_files",
                    f"a folder without git holds more than {MAX_FILES:,} files",
                    where=printable(self.root),
                    remedy="Name the files that matter in the stage's `watch`, or put the folder under git.",
                    fields={"limit": MAX_FILES},
                )


def _locate(start: Path) -> tuple[str, str] | None:
    """Return top folder and object format of the work tree around a folder; None without git."""
    if not start.is_dir():
        raise missing_folder(str(start))
    git = Git(str(start), options=_OPTIONS)
    done = git("rev-parse", "--is-bare-repository", "--show-object-format", "--show-toplevel")
    if done.code and "not a git repository" in done.stderr:
        return None
    if done.code and "must be run in a work tree" in done.stderr:
        raise _bare(start, done)
    if done.code:
        raise failure(git, "rev-parse", done)
    _, object_format, top = done.stdout.split(b"\n", 2)
    return os.fsdecode(top.removesuffix(b"\n")), object_format.decode()


def _bare(start: Path, done: Result) -> WorkspaceError:
    return WorkspaceError(
        "workspace.bare",
        "this is a repository without a work tree",
        where=printable(str(start)),
        remedy="Run in a checkout of it: `git clone` it, or `git worktree add` a folder.",
        fields={"stderr": done.stderr.strip()},
    )


def _prefix(top: str, root: str) -> str:
    inner = os.path.relpath(root, os.path.realpath(top))
    if inner == ".":
        return ""
    if inner.startswith(".."):
        raise WorkspaceError(
            "workspace.elsewhere",
            f"the repository's work tree is configured to be {printable(top)}, which does not hold this folder",
            where=printable(root),
            remedy="Correct `core.worktree` in its configuration, or work from that folder.",
        )
    return inner + "/"


def _literal(path: str) -> str:
    """Return a rule of an exclude file that means exactly this path; a line end can only be any letter there."""
    return re.sub(r"[\\*?\[]", r"\\\g<0>", path).replace("\n", "?")


def _add_rule(path: Path, rule: bytes) -> None:
    try:
        disk.make_folder(path.parent)
        forget_unfinished(path)
        before = path.read_bytes() if path.exists() else b""
        if rule not in before.splitlines():
            gap = b"" if not before or before.endswith(b"\n") else b"\n"
            replace_file(path, before + gap + rule + b"\n")
    except OSError as cause:
        raise WorkspaceError(
            "workspace.unwritable",
            f"the private exclude file cannot be written: {cause}",
            where=printable(str(path)),
            remedy=f"Make it writable, or add the line {printable(os.fsdecode(rule))} to it yourself.",
        ) from cause


def _known(git: Git, tree: str) -> None:
    if not _ID.fullmatch(tree) or git("rev-parse", "--verify", "--quiet", f"{tree}^{{tree}}").code:
        raise WorkspaceError(
            "workspace.unknown_tree",
            f"no state {printable(tree)!r} of the project was recorded on this machine",
            where="tree",
            remedy="Compare with a state recorded here; a run continued from elsewhere begins a new one.",
        )


def _default_rules() -> Path:
    """Return where git looks for a user's general ignore rules."""
    named = os.environ.get("XDG_CONFIG_HOME")
    home = os.environ.get("HOME")
    return Path(named or f"{home or '/'}/.config", "git", "ignore")


def _rules(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as cause:
        raise WorkspaceError(
            "workspace.unreadable",
            f"a file of ignore rules cannot be read: {cause}",
            where=printable(str(path)),
            remedy="Make it readable, or remove it.",
            fields={"paths": [str(path)]},
        ) from cause


def _walk(root: str) -> Iterator[str]:
    """Yield the files below a folder in sorted order, without our folders and repositories' own."""
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name, reverse=True)
        except OSError:
            continue  # the snapshot itself reports what cannot be read
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry.path
            elif entry.name != ".git" and not entry.path.endswith(tuple("/" + name for name in OUR_FOLDERS)):
                pending.append(entry.path)

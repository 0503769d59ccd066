"""What the files of a repository say by themselves: where it is and where HEAD stands, without starting git.

A transition asks this each time, and starting git takes longer than the whole transition. Wherever the files are not
of the plain kind, `AskGitError` says so: git itself must be asked then.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BRANCH = re.compile(r"ref: (refs/heads/(?!\.)[^\0\n]+)")
_LINKS = 5
"""How many names that stand for another name are followed, as git does."""


class AskGitError(Exception):
    """Only git can tell."""


@dataclass(frozen=True)
class Repository:
    """The repository around a folder: the top of its work tree, its own folder, and the one all work trees share."""

    top: str
    folder: Path
    common: Path

    @property
    def private_rules(self) -> Path:
        """The file of ignore rules that is in no commit."""
        return self.common / "info" / "exclude"


def around(root: str) -> Repository | None:
    """Return the repository a folder with a real path lies in, or None. Raises AskGitError."""
    try:
        device = Path(root).stat().st_dev
        for top in (Path(root), *Path(root).parents):
            if top.stat().st_dev != device:
                return None  # git does not look beyond a file system either
            if os.path.lexists(top / ".git"):
                return _at(top)
    except OSError as error:
        raise AskGitError from error
    return None


def _at(top: Path) -> Repository:
    folder = top / ".git"
    if not folder.is_dir():
        link = _text(folder)
        if link is None or not link.startswith("gitdir: "):
            raise AskGitError
        folder = top / link.removeprefix("gitdir: ")
    if _text(folder / "HEAD") is None:
        raise AskGitError
    shared = _text(folder / "commondir")
    return Repository(str(top), folder, folder / shared if shared else folder)


def head(root: str) -> str | None:
    """Return the commit HEAD stands at, or None without a repository or a commit. Raises AskGitError."""
    found = around(root)
    if found is None:
        return None
    said = _text(found.folder / "HEAD")
    for _ in range(_LINKS):
        if said is None or _ID.fullmatch(said):
            return said
        branch = _BRANCH.fullmatch(said)
        if branch is None or ".." in branch[1]:
            raise AskGitError
        said = _text(found.common / branch[1]) or _packed(found, branch[1])
    raise AskGitError


def _packed(found: Repository, name: str) -> str | None:
    for line in (_text(found.common / "packed-refs") or "").split("\n"):
        commit, _, packed = line.partition(" ")
        if packed == name:
            return commit
    return None


def _text(path: Path) -> str | None:
    """Return a file's text without the space around it, or None without such a file."""
    try:
        return os.fsdecode(path.read_bytes()).strip()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    except OSError as error:
        raise AskGitError from error

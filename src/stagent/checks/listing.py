"""The files of a project as its own ignore rules leave them, without a look at anything git keeps about them.

Names come from git's listing where there is git, content is always read from the disk: marks in git's index, such as
`assume-unchanged`, hide nothing here.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from stagent.workspace.git import Git, names

OURS = (".git", ".stagent", ".agents/tmp", ".claude/worktrees")
MAX_FILES = 50_000
"""How many files a folder without git may hold; above that its listing is not whole."""

_OPTIONS = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "--no-optional-locks")


def private_rules(root: Path) -> str:
    """Return the ignore rules that stand outside the project's own `.gitignore` files; empty without git."""
    git = Git(str(root), options=_OPTIONS)
    if not _is_git(git):
        return ""
    place = os.fsdecode(git.must("rev-parse", "--git-path", "info/exclude").removesuffix(b"\n"))
    named = os.fsdecode(git("config", "--type=path", "--get", "core.excludesFile").stdout.removesuffix(b"\n"))
    home = os.environ.get("XDG_CONFIG_HOME") or f"{os.environ.get('HOME') or '/'}/.config"
    texts = [_text(Path(root, place)), _text(Path(root, named) if named else Path(home, "git", "ignore"))]
    return "\n".join(text for text in texts if text)


def files_of(root: Path, rules: str | None = None) -> list[str]:
    """Return the paths of a project's files, sorted: tracked or not ignored, without our own folders.

    `rules` are the private ignore rules to go by, None for those of now. Without git: every file, `MAX_FILES` at most.
    """
    git = Git(str(root), options=_OPTIONS)
    if not _is_git(git):
        return _walked(root)
    text = private_rules(root) if rules is None else rules
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text + "\n")
        file.flush()
        asked = ("-z", "-c", "-o", "--exclude-per-directory=.gitignore", f"--exclude-from={file.name}")
        found = names(git.must("ls-files", *asked, "--", "."))
    kept = {name.rstrip("/") for name in found if not _is_ours(name) and os.path.lexists(root / name)}
    # A repository inside the project is one name to git; what lies in it counts all the same.
    inner = {name for name in kept if (root / name).is_dir() and not (root / name).is_symlink()}
    return sorted((kept - inner).union(*({f"{name}/{file}" for file in _walked(root / name)} for name in inner)))


def is_ignored(root: Path, name: str) -> bool:
    """Say whether git ignores a path that it does not track; False without git."""
    return Git(str(root), options=_OPTIONS)("check-ignore", "-q", "--", name).code == 0


def _is_git(git: Git) -> bool:
    return git("rev-parse", "--is-inside-work-tree").stdout.strip() == b"true"


def _is_ours(name: str) -> bool:
    padded = f"/{name}/"
    return any(f"/{folder}/" in padded for folder in OURS)


def _walked(root: Path) -> list[str]:
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        inside = os.path.relpath(folder, root)
        folders[:] = sorted(name for name in folders if not _is_ours(os.path.normpath(f"{inside}/{name}")))
        links = [name for name in folders if Path(folder, name).is_symlink()]
        found += [os.path.normpath(f"{inside}/{name}") for name in (*files, *links)]
        if len(found) > MAX_FILES:
            break
    return sorted(found[:MAX_FILES])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""

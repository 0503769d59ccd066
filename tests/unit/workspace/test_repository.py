"""What a repository's files say must be what git says, and where they are not of the plain kind git is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stagent.workspace import repository
from stagent.workspace.project import Project
from stagent.workspace.repository import AskGitError


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "repo"
    git(tmp_path, "init", "-q", "-b", "main", str(root))
    (root / "deep" / "er").mkdir(parents=True)
    (root / "file").write_text("1")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "begin")
    return root


def same(folder: Path, top: Path | None = None) -> str:
    """The commit by the files, which must be the one git names; and so must the place of the private rules."""
    found = repository.around(str(folder))
    assert found is not None
    assert found.top == str(top or folder)
    rules = Path(folder, git(folder, "rev-parse", "--git-path", "info/exclude"))
    assert os.path.realpath(found.private_rules) == os.path.realpath(rules)
    commit = repository.head(str(folder))
    assert commit == git(folder, "rev-parse", "HEAD")
    return str(commit)


def test_a_branch_loose_or_packed_and_no_branch(repo: Path) -> None:
    first = same(repo)
    git(repo, "pack-refs", "--all", "--prune")
    assert not (repo / ".git" / "refs" / "heads" / "main").exists()
    assert same(repo) == first
    git(repo, "checkout", "-q", "-b", "some/branch")
    git(repo, "commit", "-q", "--allow-empty", "-m", "more")
    assert same(repo) != first
    assert same(repo / "deep" / "er", repo) != first
    git(repo, "checkout", "-q", first)
    assert same(repo) == first
    git(repo, "symbolic-ref", "refs/heads/alias", "refs/heads/some/branch")
    git(repo, "symbolic-ref", "HEAD", "refs/heads/alias")
    assert same(repo) != first


def test_a_repository_whose_folder_lies_elsewhere(repo: Path) -> None:
    linked = repo.parent / "linked"
    git(repo, "worktree", "add", "-q", "-b", "other", str(linked))
    git(linked, "commit", "-q", "--allow-empty", "-m", "more")
    assert same(linked) != same(repo)
    git(repo, "pack-refs", "--all", "--prune")
    same(linked)
    module = repo / "module"
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(linked), "module")
    same(module)


def test_without_a_repository_or_a_commit(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    assert repository.around(str(folder)) is None
    assert repository.head(str(folder)) is None
    git(folder, "init", "-q")
    assert repository.head(str(folder)) is None
    assert Project(folder, folder / "shadow").head() is None


@pytest.mark.parametrize(
    "head", ["", "nonsense\n", "ref: refs/heads/.invalid\n", "ref: refs/../x\n", "ref: refs/tags/x\n"]
)
def test_git_is_asked_about_what_is_not_plain(repo: Path, head: str) -> None:
    (repo / ".git" / "HEAD").write_text(head)
    with pytest.raises(AskGitError):
        repository.head(str(repo))


def test_git_is_asked_about_a_repository_that_is_none(repo: Path) -> None:
    (repo / "deep" / ".git").mkdir()
    with pytest.raises(AskGitError):
        repository.around(str(repo / "deep"))
    # Git passes by a folder that only has the name.
    assert Project(repo / "deep", repo.parent / "shadow").head() == git(repo, "rev-parse", "HEAD")
    Project(repo / "deep", repo.parent / "shadow").keep_private(".stagent")
    assert "/deep/.stagent/\n" in (repo / ".git" / "info" / "exclude").read_text()
    (repo / "deep" / "er" / ".git").write_text("elsewhere")
    with pytest.raises(AskGitError):
        repository.around(str(repo / "deep" / "er"))
    (repo / "deep" / "er" / ".git").write_text("gitdir: nowhere")
    with pytest.raises(AskGitError):
        repository.around(str(repo / "deep" / "er"))
    with pytest.raises(AskGitError):
        repository.around(str(repo / "nowhere"))


def test_links_in_a_circle_are_left_to_git(repo: Path) -> None:
    (repo / ".git" / "refs" / "heads" / "main").write_text("ref: refs/heads/main\n")
    with pytest.raises(AskGitError):
        repository.head(str(repo))


@pytest.mark.parametrize("name", ["pkg", "a b", "we[ir]d*", "back\\slash", "#hash", "li\nne"])
def test_the_folder_of_a_project_inside_is_ignored_and_nothing_else(repo: Path, name: str) -> None:
    project = repo / "big" / name
    for folder in (project, repo / "big" / "weid", repo):
        (folder / ".stagent").mkdir(parents=True)
        (folder / ".stagent" / "x").write_text("x")
    Project(project, repo.parent / "shadow").keep_private(".stagent")
    left = {os.fsdecode(path) for path in git(repo, "ls-files", "-z", "-o", "--exclude-standard").split("\0")}
    assert left - {""} == {".stagent/x", "big/weid/.stagent/x"}

"""The project folder through git: identity, relation, snapshots, differences, in every kind of folder."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagent.core.ports import Change, Workspace
from stagent.errors import WorkspaceError
from stagent.workspace import project as module
from stagent.workspace.project import Project, project_root

RunGit = Callable[..., str]
ODD = [
    "a b",
    "quo\"te's",
    "back\\slash",
    "new\nline",
    "tab\t",
    "ünï",
    os.fsdecode(b"raw\xff"),
    ":(glob)x",
    "-dash",
    "*",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "shadow"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A folder without git."""
    root = tmp_path / "plain"
    root.mkdir()
    (root / "file").write_text("one\n")
    return root


def paths(changes: list[Change]) -> list[str]:
    return [f"{change.status} {change.path}" for change in changes]


def test_it_is_a_workspace(repo: Path, folder: Path) -> None:
    workspace: Workspace = Project(repo, folder)
    assert workspace.root == os.path.realpath(repo)


class TestIdentity:
    @pytest.mark.rule("S2.25")
    def test_fingerprint_and_head(self, repo: Path, folder: Path, git: RunGit) -> None:
        first = git(repo, "rev-parse", "HEAD")
        project = Project(repo, folder)
        assert (project.fingerprint(), project.head()) == (first, first)
        git(repo, "checkout", "-q", "--orphan", "other")
        git(repo, "commit", "-qm", "second root")
        second = git(repo, "rev-parse", "HEAD")
        git(repo, "merge", "-q", "--allow-unrelated-histories", "-m", "both", first)
        assert project.fingerprint() == ",".join(sorted([first, second]))
        git(repo, "checkout", "-q", "--detach", first)
        assert (project.fingerprint(), project.head()) == (first, first)

    @pytest.mark.rule("S2.25")
    def test_nothing_without_git_or_commits(self, plain: Path, folder: Path, git: RunGit) -> None:
        for _ in range(2):
            project = Project(plain, folder)
            assert (project.fingerprint(), project.head(), project.relation("0" * 40)) == ("", None, "unknown")
            assert project.dirty() == ([] if _ == 0 else ["?? file"])
            git(plain, "init", "-q")

    @pytest.mark.rule("S7.7")
    def test_relation(self, repo: Path, folder: Path, git: RunGit) -> None:
        project = Project(repo, folder)
        first = git(repo, "rev-parse", "HEAD")
        git(repo, "commit", "-q", "--allow-empty", "-m", "second")
        second = git(repo, "rev-parse", "HEAD")
        assert project.relation(second) == "equal"
        assert project.relation(first) == "ahead"
        git(repo, "reset", "-q", "--hard", first)
        assert project.relation(second) == "behind"
        git(repo, "commit", "-q", "--allow-empty", "-m", "third")
        assert project.relation(second) == "diverged"
        for unknown in ("0" * 40, "", "HEAD", "--all", first[:10]):
            assert project.relation(unknown) == "unknown"

    def test_replaced_history_is_not_believed(self, repo: Path, folder: Path, git: RunGit) -> None:
        project = Project(repo, folder)
        first = project.fingerprint()
        git(repo, "commit", "-q", "--allow-empty", "-m", "second")
        git(repo, "replace", "--graft", "HEAD")
        assert project.fingerprint() == first

    @pytest.mark.rule("S7.8")
    def test_dirty(self, repo: Path, folder: Path, git: RunGit, quiet_home: Path) -> None:
        (quiet_home / ".gitconfig").write_text(
            "[color]\n\tui = always\n[status]\n\tshort = true\n\tbranch = true\n\tshowUntrackedFiles = no\n"
        )
        project = Project(repo, folder)
        assert project.dirty() == []
        for name in (".stagent/x", ".agents/tmp/x", "src/.claude/worktrees/a/x", ".agents/kept"):
            (repo / name).parent.mkdir(parents=True, exist_ok=True)
            (repo / name).write_text("x")
        (repo / "README").write_text("other")
        (repo / "ünï").write_text("x")
        git(repo, "rm", "-q", "src/main.py")
        assert project.dirty() == ["M README".rjust(9), "D  src/main.py", "?? .agents/kept", "?? ünï"]
        for number in range(30):
            (repo / f"f{number}").write_text("x")
        assert len(project.dirty()) == 10
        assert len(project.dirty(limit=3)) == 3
        assert Project(repo / "src", folder).dirty() == ["D  main.py"]


class TestSnapshots:
    @pytest.mark.rule("S2.28")
    def test_equal_to_what_git_would_commit(self, repo: Path, folder: Path, git: RunGit) -> None:
        assert Project(repo, folder).snapshot() == git(repo, "rev-parse", "HEAD^{tree}")

    def test_the_files_of_a_tree_are_listed(self, repo: Path, folder: Path, git: RunGit) -> None:
        project = Project(repo, folder)
        (repo / "é b").write_text("x")
        listed = [*git(repo, "ls-files").splitlines(), "é b"]
        assert project.paths(project.snapshot()) == sorted(listed)
        with pytest.raises(WorkspaceError):
            project.paths("0" * 40)

    def test_our_folders_are_left_out_at_any_depth(self, repo: Path, folder: Path) -> None:
        project = Project(repo, folder)
        before = project.snapshot()
        (repo / ".gitignore").write_text("!.stagent/\n!.agents/\n!.agents/tmp/\n")
        after = project.snapshot()
        for base in ("", "src/deep/"):
            for name in (".stagent/s/x", ".agents/tmp/x", ".claude/worktrees/a/x"):
                (repo / base / name).parent.mkdir(parents=True)
                (repo / base / name).write_text("x")
        assert project.snapshot() == after
        (repo / ".agents/other").write_text("x")
        (repo / ".claude/settings.json").write_text("{}")
        assert paths(project.changes(before, project.snapshot())) == [
            "A .agents/other",
            "A .claude/settings.json",
            "A .gitignore",
        ]

    @pytest.mark.rule("S2.28")
    def test_ignored_files_count_when_the_repository_tracks_them(self, repo: Path, folder: Path, git: RunGit) -> None:
        (repo / ".gitignore").write_text("*.lock\nbuild/\n")
        for name in ("x.lock", "y.lock", "build/kept", "build/made"):
            (repo / name).parent.mkdir(exist_ok=True)
            (repo / name).write_text("x")
        git(repo, "add", "-f", "x.lock", "build/kept")
        project = Project(repo, folder)
        before = project.snapshot()
        assert project.read(before, "x.lock") == b"x"
        for name in ("x.lock", "y.lock", "build/kept", "build/made"):
            (repo / name).write_text("y")
        after = project.snapshot()
        assert paths(project.changes(before, after)) == ["M build/kept", "M x.lock"]
        (repo / "x.lock").unlink()
        git(repo, "rm", "-qf", "--cached", "build/kept")
        assert paths(project.changes(after, project.snapshot())) == ["D build/kept", "D x.lock"]

    def test_tracked_but_ignored_files_are_narrowed_like_others(self, repo: Path, folder: Path, git: RunGit) -> None:
        (repo / ".gitignore").write_text("*.lock\n.stagent/\n")
        for name in ("x.lock", "src/y.lock", ".stagent/z"):
            (repo / name).parent.mkdir(exist_ok=True)
            (repo / name).write_text("x")
        git(repo, "add", "-f", "x.lock", "src/y.lock", ".stagent/z")
        project = Project(repo, folder)
        narrow, whole = project.snapshot(["src/**"]), project.snapshot()
        assert paths(project.changes(narrow, whole)) == ["A .gitignore", "A README", "A x.lock"]
        assert project.read(narrow, "src/y.lock") == b"x"

    def test_watch_narrows(self, repo: Path, folder: Path) -> None:
        project = Project(repo, folder)
        (repo / ".gitignore").write_text("dist/\n")
        (repo / "dist").mkdir()
        (repo / "dist/out").write_text("x")
        watch = ["src/**", "*.md", "dist/**", "none/**"]
        before = project.snapshot(watch)
        assert project.read(before, "src/main.py") is not None
        assert project.read(before, "README") is None
        (repo / "README").write_text("other")
        (repo / "dist/out").write_text("y")
        assert project.snapshot(watch) == before
        (repo / "a.md").write_text("x")
        (repo / "src/main.py").unlink()
        after = project.snapshot(watch)
        assert paths(project.changes(before, after)) == ["A a.md", "D src/main.py"]
        assert project.snapshot(["none"]) == project.snapshot(["other none"])
        with pytest.raises(WorkspaceError):
            project.snapshot(["../**"])

    @pytest.mark.rule("S2.28")
    def test_a_subfolder_is_a_project_of_its_own(self, repo: Path, folder: Path, git: RunGit) -> None:
        (repo / ".gitignore").write_text("*.log\n")
        (repo / "src/a.log").write_text("x")
        project = Project(repo / "src", folder)
        before = project.snapshot()
        assert before == git(repo, "rev-parse", "HEAD:src")
        (repo / "README").write_text("outside")
        assert project.snapshot() == before
        (repo / "src/new").write_text("x")
        after = project.snapshot()
        assert paths(project.changes(before, after)) == ["A new"]
        assert b"+++ b/new" in project.diff(before, after)
        assert project.read(after, "new") == b"x"
        assert paths(project.changes(before, project.snapshot(["new"]), excluding=["main*"])) == ["A new"]

    def test_a_subfolder_without_files_is_an_empty_tree(self, repo: Path, folder: Path, tmp_path: Path) -> None:
        (repo / "empty").mkdir()
        (tmp_path / "bare-folder").mkdir()
        other = Project(tmp_path / "bare-folder", tmp_path / "s2").snapshot()
        assert Project(repo / "empty", folder).snapshot() == other == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

    def test_an_ignored_project_folder_is_refused(self, repo: Path, folder: Path) -> None:
        (repo / ".gitignore").write_text("src/\nbuild/\n")
        (repo / "build").mkdir()
        (repo / "build/file").write_text("x")
        with pytest.raises(WorkspaceError) as caught:
            Project(repo / "build", folder).snapshot()
        assert caught.value.code == "workspace.ignored"

    @pytest.mark.rule("S2.30")
    def test_without_git(self, plain: Path, folder: Path, account: Callable[..., dict], digest: RunGit) -> None:
        project = Project(plain, folder, refresh_ignores=True)
        before = project.snapshot()
        assert before == digest(account(plain))
        (plain / ".gitignore").write_text("*.o\n")
        (plain / "a.o").write_text("x")
        assert paths(project.changes(before, project.snapshot())) == ["A .gitignore"]
        project.keep_private(".stagent")
        assert not (plain / ".git").exists()

    def test_too_many_files_without_git(self, plain: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_FILES", 20)
        for number in range(19):
            (plain / f"f{number}").write_text("")
        for number in range(19):
            for name in (".stagent", "sub/.agents/tmp", ".git-not"):
                (plain / name).mkdir(parents=True, exist_ok=True)
            (plain / f".stagent/{number}").write_text("")
            (plain / f"sub/.agents/tmp/{number}").write_text("")
        project = Project(plain, folder)
        project.snapshot()
        (plain / "sub/more").write_text("")
        with pytest.raises(WorkspaceError, match="`watch`") as caught:
            project.snapshot()
        assert caught.value.code == "workspace.too_many_files"
        assert project.read(project.snapshot(["sub/**"]), "sub/more") == b""

    @pytest.mark.rule("W42")
    def test_sha256(
        self, tmp_path: Path, folder: Path, git: RunGit, account: Callable[..., dict], digest: RunGit
    ) -> None:
        root = tmp_path / "wide"
        root.mkdir()
        git(root, "init", "-q", "--object-format=sha256")
        (root / "a").write_text("x")
        git(root, "add", "-A")
        git(root, "commit", "-qm", "x")
        project = Project(root, folder)
        before = project.snapshot()
        assert before == git(root, "rev-parse", "HEAD^{tree}") == digest(account(root), "sha256")
        assert len(before) == len(project.fingerprint()) == 64
        assert project.relation(project.head() or "") == "equal"
        (root / "a").write_text("y")
        assert paths(project.changes(before, project.snapshot())) == ["M a"]

    def test_odd_names(self, repo: Path, folder: Path, account: Callable[..., dict], digest: RunGit) -> None:
        project = Project(repo, folder)
        before = project.snapshot()
        for name in ODD:
            (repo / name).mkdir()
            (repo / name / name).write_bytes(os.fsencode(name))
        after = project.snapshot()
        assert after == digest(account(repo))
        assert [change.path for change in project.changes(before, after)] == sorted(f"{name}/{name}" for name in ODD)
        for name in ODD:
            assert project.read(after, f"{name}/{name}") == os.fsencode(name)
        assert project.diff(before, after).count(b"diff --git") == len(ODD)
        assert len(project.dirty(limit=50)) == len(ODD)

    def test_a_project_folder_with_an_odd_name(self, repo: Path, folder: Path) -> None:
        inner = repo / "o d\nd\n" / "ü"
        inner.mkdir(parents=True)
        (inner / "f").write_text("x")
        project = Project(inner, folder)
        assert project.read(project.snapshot(), "f") == b"x"
        assert project_root(inner) == Path(os.path.realpath(repo))

    def test_submodules_count_by_commit(self, repo: Path, folder: Path, tmp_path: Path, git: RunGit) -> None:
        shutil.copytree(repo, tmp_path / "lib")
        git(repo, "-c", "protocol.file.allow=always", "submodule", "-q", "add", str(tmp_path / "lib"), "lib")
        git(repo, "commit", "-qm", "with lib")
        project = Project(repo, folder)
        before = project.snapshot()
        assert before == git(repo, "rev-parse", "HEAD^{tree}")
        (repo / "lib/README").write_text("dirt")
        assert project.snapshot() == before
        git(repo / "lib", "commit", "-qam", "moved")
        after = project.snapshot()
        assert paths(project.changes(before, after)) == ["M lib"]
        assert b"+Subproject commit " + git(repo / "lib", "rev-parse", "HEAD").encode() in project.diff(before, after)
        assert project.read(after, "lib") is None
        assert project.read(after, "lib/README") is None
        inner = Project(repo / "lib", tmp_path / "inner")
        assert inner.read(inner.snapshot(), "README") == b"dirt"

    def test_linked_worktree(self, repo: Path, folder: Path, tmp_path: Path, git: RunGit) -> None:
        git(repo, "worktree", "add", "-q", str(tmp_path / "linked"))
        project = Project(tmp_path / "linked", folder, refresh_ignores=True)
        assert project.snapshot() == Project(repo, tmp_path / "s2").snapshot()
        project.keep_private(".stagent")
        assert "/.stagent/\n" in (repo / ".git/info/exclude").read_text()
        (tmp_path / "linked/.stagent").mkdir()
        (tmp_path / "linked/.stagent/x").write_text("x")
        assert git(tmp_path / "linked", "status", "--short") == ""

    @pytest.mark.rule("W41")
    def test_data_home_on_another_file_system(self, repo: Path, git: RunGit) -> None:
        other = "/dev/shm" if os.path.isdir("/dev/shm") else None
        with tempfile.TemporaryDirectory(dir=other) as home:
            project = Project(repo, Path(home) / "shadow", refresh_ignores=True)
            before = project.snapshot()
            assert before == git(repo, "rev-parse", "HEAD^{tree}")
            (repo / "README").write_text("x")
            assert paths(project.changes(before, project.snapshot())) == ["M README"]

    def test_links_modes_and_types(self, repo: Path, folder: Path) -> None:
        project = Project(repo, folder)
        (repo / "link").symlink_to("README")
        (repo / "folder").symlink_to("src")
        before = project.snapshot()
        assert project.read(before, "link") == b"README"
        assert project.read(before, "folder/main.py") is None
        (repo / "README").chmod(0o755)
        (repo / "link").unlink()
        (repo / "link").write_text("README")
        shutil.rmtree(repo / "src")
        (repo / "src").write_text("a file")
        after = project.snapshot()
        assert paths(project.changes(before, after)) == ["M README", "T link", "A src", "D src/main.py"]


class TestDifferences:
    @pytest.fixture
    def pair(self, repo: Path, folder: Path) -> tuple[Project, str, str]:
        project = Project(repo, folder)
        before = project.snapshot()
        for name in ("tests/a.py", "tests/deep/b.py", "src/c.py", "package.json"):
            (repo / name).parent.mkdir(parents=True, exist_ok=True)
            (repo / name).write_text(name)
        return project, before, project.snapshot()

    @pytest.mark.parametrize(
        ("only", "excluding", "expected"),
        [
            ([], [], ["package.json", "src/c.py", "tests/a.py", "tests/deep/b.py"]),
            (["tests/**"], [], ["tests/a.py", "tests/deep/b.py"]),
            (["tests/*"], [], ["tests/a.py"]),
            (["tests"], [], ["tests/a.py", "tests/deep/b.py"]),
            (["**/*.py"], ["src/**"], ["tests/a.py", "tests/deep/b.py"]),
            ([], ["tests/**", "*.json"], ["src/c.py"]),
            (["none"], [], []),
        ],
    )
    def test_globs(
        self, pair: tuple[Project, str, str], only: list[str], excluding: list[str], expected: list[str]
    ) -> None:
        project, before, after = pair
        found = project.changes(before, after, only=only, excluding=excluding)
        assert [change.path for change in found] == expected
        back = project.changes(after, before, only=only, excluding=excluding)
        assert paths(back) == [f"D {path}" for path in expected]

    def test_nothing_differs_from_itself(self, pair: tuple[Project, str, str]) -> None:
        project, _, after = pair
        assert project.changes(after, after) == []
        assert project.diff(after, after) == b""

    def test_diff_is_plain_whatever_the_settings(
        self, pair: tuple[Project, str, str], repo: Path, git: RunGit, quiet_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project, before, after = pair
        expected = project.diff(before, after)
        settings = "[color]\n\tui = always\n[diff]\n\texternal = false\n\tnoprefix = true\n\tmnemonicPrefix = true\n"
        (quiet_home / ".gitconfig").write_text(settings + "[core]\n\tquotepath = true\n\tpager = false\n")
        (repo / ".git/config").write_text((repo / ".git/config").read_text() + settings)
        monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
        monkeypatch.setenv("GIT_DIFF_OPTS", "--unified=0")
        assert project.diff(before, after) == expected
        assert b"\x1b" not in expected
        assert b"--- /dev/null\n+++ b/src/c.py\n@@ -0,0 +1 @@\n+src/c.py\n" in expected

    @pytest.mark.rule("S2.31")
    def test_the_diff_applies(self, pair: tuple[Project, str, str], tmp_path: Path) -> None:
        project, before, after = pair
        copy = tmp_path / "copy"
        (copy / "src").mkdir(parents=True)
        for path in ("README", "src/main.py"):
            (copy / path).write_bytes(project.read(before, path) or b"")
        subprocess.run(["git", "apply"], cwd=copy, input=project.diff(before, after), check=True)
        assert Project(copy, tmp_path / "s2").snapshot() == after

    def test_read(self, pair: tuple[Project, str, str]) -> None:
        project, before, after = pair
        assert project.read(after, "tests/deep/b.py") == b"tests/deep/b.py"
        assert project.read(before, "tests/deep/b.py") is None
        for path in ("tests", "tests/", "", ".", "../README", "/README", "./README", "src/../README", "a\0b", "READM*"):
            assert project.read(after, path) is None

    @pytest.mark.parametrize("tree", ["", "0" * 40, "HEAD", "--output=x", "4b825dc", "\0"])
    def test_unknown_trees(self, pair: tuple[Project, str, str], tree: str) -> None:
        project, _, after = pair
        for call in (
            lambda: project.changes(tree, after),
            lambda: project.changes(after, tree),
            lambda: project.diff(tree, after),
            lambda: project.read(tree, "README"),
        ):
            with pytest.raises(WorkspaceError) as caught:
                call()
            assert caught.value.code == "workspace.unknown_tree"

    def test_a_damaged_record_is_an_error(self, pair: tuple[Project, str, str], folder: Path, git: RunGit) -> None:
        project, _, after = pair
        blob = git(folder / "repo", "rev-parse", f"{after}:src/c.py")
        (folder / "repo/objects" / blob[:2] / blob[2:]).unlink()
        with pytest.raises(WorkspaceError) as caught:
            project.read(after, "src/c.py")
        assert caught.value.code == "workspace.git_failed"


class TestTheRepositoryIsLeftAlone:
    @staticmethod
    def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
        return {
            str(path.relative_to(folder)): (
                path.lstat().st_mtime_ns,
                stat.S_IMODE(path.lstat().st_mode),
                path.read_bytes() if path.is_file() else b"",
            )
            for path in (folder, *folder.rglob("*"))
        }

    @pytest.mark.rule("S2.29", "W24")
    def test_nothing_is_written(self, repo: Path, folder: Path, git: RunGit) -> None:
        git(repo, "config", "core.untrackedCache", "true")
        git(repo, "config", "gc.auto", "1")
        (repo / "README").write_text("READ me\n")
        os.utime(repo / "src/main.py", (1, 1))
        before = self.contents(repo / ".git")
        for root in (repo, repo / "src"):
            project = Project(root, folder, refresh_ignores=True)
            first = project.snapshot()
            (repo / "src/new").write_text(str(root))
            second = project.snapshot()
            project.snapshot(["*"])
            project.changes(first, second)
            project.diff(first, second)
            project.read(first, "README")
            project.dirty()
            project.fingerprint()
            project.relation(project.head() or "")
            project_root(root)
        assert self.contents(repo / ".git") == before

    def test_keep_private_writes_its_line_once(self, repo: Path, folder: Path, git: RunGit) -> None:
        rules = repo / ".git/info/exclude"
        rules.write_bytes(b"*.swp")
        rules.chmod(0o640)
        before = self.contents(repo / ".git")
        project = Project(repo, folder)
        for name in (".stagent", ".stagent", ".agents/tmp"):
            project.keep_private(name)
        assert rules.read_bytes() == b"*.swp\n/.stagent/\n/.agents/tmp/\n"
        assert stat.S_IMODE(rules.stat().st_mode) == 0o640
        after = self.contents(repo / ".git")
        assert {name for name in after.keys() | before.keys() if after.get(name) != before.get(name)} == {
            "info",
            "info/exclude",
        }
        half = rules.with_name(".exclude.stagent.new")
        half.write_bytes(b"what a killed process left")
        project.keep_private("another")
        assert not half.exists()
        shutil.rmtree(repo / ".git/info")
        project.keep_private(".stagent")
        assert rules.read_bytes() == b"/.stagent/\n"

    def test_keep_private_that_cannot_write_says_so(self, repo: Path, folder: Path) -> None:
        shutil.rmtree(repo / ".git/info")
        (repo / ".git/info").write_text("a file")
        with pytest.raises(WorkspaceError, match=r"add the line /\.stagent/") as caught:
            Project(repo, folder).keep_private(".stagent")
        assert caught.value.code == "workspace.unwritable"


class TestFolders:
    def test_project_root(self, repo: Path, plain: Path, tmp_path: Path) -> None:
        assert project_root(repo / "src") == Path(os.path.realpath(repo))
        assert project_root(plain) == Path(os.path.realpath(plain))
        with pytest.raises(WorkspaceError) as caught:
            project_root(tmp_path / "none")
        assert caught.value.code == "workspace.missing"

    def test_bare_repositories_are_refused(self, tmp_path: Path, repo: Path, folder: Path, git: RunGit) -> None:
        git(tmp_path, "init", "-q", "--bare", "bare")
        for root in (tmp_path / "bare", repo / ".git", tmp_path / "bare/objects"):
            with pytest.raises(WorkspaceError, match="git worktree add") as caught:
                Project(root, folder)
            assert caught.value.code == "workspace.bare"

    def test_a_work_tree_configured_elsewhere_is_refused(
        self, tmp_path: Path, repo: Path, folder: Path, git: RunGit
    ) -> None:
        (tmp_path / "other").mkdir()
        git(repo, "config", "core.worktree", str(tmp_path / "other"))
        with pytest.raises(WorkspaceError) as caught:
            Project(repo, folder)
        assert caught.value.code in ("workspace.elsewhere", "workspace.bare")

    def test_a_broken_configuration_is_an_error(self, repo: Path, folder: Path) -> None:
        (repo / ".git/config").write_text("[core\n")
        with pytest.raises(WorkspaceError, match="bad config") as caught:
            Project(repo, folder)
        assert caught.value.code == "workspace.git_failed"

    def test_without_git_installed(self, repo: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(WorkspaceError) as caught:
            Project(repo, folder)
        assert caught.value.code == "workspace.no_git"

    @pytest.fixture
    def foreign(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Have git take every repository for another user's, the way its own tests do."""
        real = shutil.which("git")
        wrapper = tmp_path / "bin" / "git"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec "{real}" "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
        yield

    def test_anothers_repository_is_refused_with_the_remedy(
        self, repo: Path, folder: Path, foreign: None, quiet_home: Path
    ) -> None:
        with pytest.raises(WorkspaceError, match=r"safe\.directory") as caught:
            Project(repo, folder)
        assert caught.value.code == "workspace.unsafe"
        (quiet_home / ".gitconfig").write_text(f"[safe]\n\tdirectory = {os.path.realpath(repo)}\n")
        project = Project(repo, folder, refresh_ignores=True)
        assert project.read(project.snapshot(), "README") == b"read me\n"

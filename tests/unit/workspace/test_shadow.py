"""The shadow repository: what it survives, and what it does not let through."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stagent.errors import WorkspaceError
from stagent.workspace import shadow as module
from stagent.workspace.project import Project

RunGit = Callable[..., str]
KILLS = 30
OLD = (10**9, 10**9)
"""Times git does not doubt: it reads a file again whose time is that of the index."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "shadow"


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a forked child in its own process group and return its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        work()
        os._exit(0)
    finally:
        os._exit(1)  # whatever happened, the child must never go on as a second pytest


def test_the_folder_is_private_and_made_on_first_use(repo: Path, folder: Path) -> None:
    project = Project(repo, folder)
    assert not folder.exists()
    project.snapshot()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name.split("-")[0] for path in folder.iterdir()) == ["index", "lock", "repo"]


def test_a_kill_at_any_instant_leaves_it_usable(
    repo: Path, folder: Path, account: Callable[..., dict[str, object]], digest: Callable[..., str]
) -> None:
    rng = random.Random(7)

    def work() -> None:
        project = Project(repo, folder, refresh_ignores=True)
        for turn in range(1000):
            for number in range(20):
                path = repo / f"d{number % 4}" / f"f{number}"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(os.urandom(40))
            if turn % 3 == 2:
                for path in folder.glob("index-*"):
                    path.unlink(missing_ok=True)
            project.snapshot()

    before = Project(repo, folder).snapshot()
    for turn in range(KILLS):
        pid = forked(work)
        time.sleep(rng.uniform(0.005, 0.12))
        # With and without the git process at work: an orphaned one must not disturb the next snapshot.
        (os.kill if turn % 2 else killpg)(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        project = Project(repo, folder)
        files = account(repo)
        tree = project.snapshot()
        assert tree == digest(files)
        for path, (_, data) in files.items():
            if path.startswith("d0/"):
                assert project.read(tree, path) == data
    assert project.read(before, "README") == b"read me\n"
    fsck = subprocess.run(["git", "fsck", "--no-dangling"], cwd=folder / "repo", capture_output=True, check=False)
    assert fsck.returncode == 0, fsck.stderr


def killpg(pid: int, number: int) -> None:
    """Kill the child's whole group; before it made its own there is only the child itself."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        os.kill(pid, number)


def test_kill_while_it_is_made(repo: Path, tmp_path: Path, digest: Callable[..., str]) -> None:
    expected = Project(repo, tmp_path / "whole").snapshot()
    for turn in range(10):
        folder = tmp_path / f"shadow{turn}"
        pid = forked(lambda folder=folder: Project(repo, folder, refresh_ignores=True).snapshot())
        time.sleep(turn * 0.003)
        killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert Project(repo, folder).snapshot() == expected
        assert not (folder / "repo.new").exists()


def test_stale_locks_and_leftovers_are_swept(repo: Path, folder: Path) -> None:
    project = Project(repo, folder)
    tree = project.snapshot()
    (index,) = folder.glob("index-*")
    left = [Path(f"{index}.lock"), folder / "repo" / "config.lock", folder / "repo" / "HEAD.lock"]
    left += [folder / "repo/objects/pack/tmp_pack_x", folder / "repo" / ".config.stagent.new"]
    left.append(folder / "repo/info/.exclude.stagent.new")
    for path in left:
        path.write_bytes(b"")
    (folder / "repo/objects/tmp_objdir-bulk-x").mkdir()
    (folder / "repo.new").mkdir()
    assert project.snapshot() == tree
    assert not any(path.exists() for path in (*left, folder / "repo.new"))
    assert not list(folder.glob("repo/objects/tmp_objdir-*"))


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_index_is_rebuilt(repo: Path, folder: Path, damage: bytes | None) -> None:
    project = Project(repo, folder)
    tree = project.snapshot()
    (index,) = folder.glob("index-*")
    good = index.read_bytes()
    index.write_bytes(good[:90] + b"\x00\x01\x02" + good[93:] if damage is None else damage)
    assert project.snapshot() == tree
    (repo / "README").write_text("changed")
    assert [change.path for change in project.changes(tree, project.snapshot())] == ["README"]


def test_lost_objects_are_written_again(repo: Path, folder: Path) -> None:
    for name in ("README", "src/main.py"):
        os.utime(repo / name, OLD)
    project = Project(repo, folder)
    tree = project.snapshot()
    for path in (folder / "repo/objects").rglob("*"):
        path.is_file() and path.unlink()
    with pytest.raises(WorkspaceError) as caught:
        project.diff(tree, tree[::-1])
    assert caught.value.code == "workspace.unknown_tree"
    assert project.snapshot() == tree
    assert project.read(tree, "README") == b"read me\n"


def test_only_one_at_a_time(repo: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(repo, folder)
    tree = project.snapshot()
    monkeypatch.setattr(module, "LOCK_WAIT", 0.05)
    with project._shadow.locked(), pytest.raises(WorkspaceError) as caught:
        Project(repo, folder).snapshot()
    assert caught.value.code == "workspace.busy"
    assert project.snapshot() == tree


def test_snapshots_side_by_side_agree(repo: Path, folder: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(Project(repo, folder, refresh_ignores=True).snapshot()))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


def test_private_rules_hold_as_they_were_taken_over(repo: Path, folder: Path) -> None:
    (repo / ".git/info/exclude").write_text("*.log\n")
    project = Project(repo, folder, refresh_ignores=True)
    (repo / "a.log").write_text("x")
    before = project.snapshot()
    (repo / ".git/info/exclude").write_text("*.log\nhidden*\n")
    (repo / "hidden.py").write_text("x")
    after = Project(repo, folder).snapshot()
    assert [change.path for change in project.changes(before, after)] == ["hidden.py"]
    assert Project(repo, folder, refresh_ignores=True).snapshot() == before


def test_general_rules_of_the_person_are_taken_over(repo: Path, folder: Path, quiet_home: Path) -> None:
    (quiet_home / ".config/git").mkdir(parents=True)
    (quiet_home / ".config/git/ignore").write_text("*.swp\n")
    (repo / "x.swp").write_text("x")
    (repo / "x.bak").write_text("x")
    project = Project(repo, folder, refresh_ignores=True)
    assert project.read(project.snapshot(), "x.swp") is None
    (quiet_home / ".gitconfig").write_text("[core]\n\texcludesFile = ~/other\n")
    (quiet_home / "other").write_text("*.bak\n")
    tree = Project(repo, folder, refresh_ignores=True).snapshot()
    assert project.read(tree, "x.swp") == b"x"
    assert project.read(tree, "x.bak") is None


def test_settings_that_would_hide_a_change_do_not_hold(repo: Path, folder: Path, git: RunGit, quiet_home: Path) -> None:
    """Filters, file-system monitors and lax time checks in any configuration the agent can write."""
    (repo / ".gitattributes").write_text("*.py filter=hide ident -diff\n")
    project = Project(repo, folder, refresh_ignores=True)
    before = project.snapshot()
    for setting in (
        "filter.hide.clean=echo same",
        "core.fsmonitor=true",
        "core.trustctime=false",
        "core.checkStat=minimal",
    ):
        git(repo, "config", *setting.split("=", 1))
        (quiet_home / ".gitconfig").write_bytes((repo / ".git/config").read_bytes())
    git(repo, "update-index", "--assume-unchanged", "src/main.py")
    git(repo, "update-index", "--skip-worktree", "README")
    path = repo / "src/main.py"
    times = path.stat()
    path.write_text("print('two')\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    (repo / "README").write_text("read ME\n")
    after = project.snapshot()
    assert [change.path for change in project.changes(before, after)] == ["README", "src/main.py"]
    assert project.read(after, "src/main.py") == b"print('two')\n"
    assert b"+print('two')" in project.diff(before, after)


def test_an_old_time_given_back_within_the_second_hides_nothing(repo: Path, folder: Path) -> None:
    path = repo / "README"
    os.utime(path, OLD)
    project = Project(repo, folder)
    seen = {project.snapshot()}
    for number in range(5):
        path.write_text(f"read m{number}\n")
        os.utime(path, OLD)
        seen.add(project.snapshot())
    assert len(seen) == 6


def test_line_endings_follow_the_persons_settings(repo: Path, folder: Path, git: RunGit) -> None:
    (repo / "dos").write_bytes(b"a\r\nb\r\n")
    git(repo, "config", "core.autocrlf", "input")
    project = Project(repo, folder, refresh_ignores=True)
    assert project.read(project.snapshot(), "dos") == b"a\nb\n"
    git(repo, "config", "core.autocrlf", "false")
    assert project.read(project.snapshot(), "dos") == b"a\nb\n"
    again = Project(repo, folder, refresh_ignores=True)
    assert again.read(again.snapshot(), "dos") == b"a\r\nb\r\n"


def test_attributes_take_hold_of_files_recorded_before(repo: Path, folder: Path, tmp_path: Path) -> None:
    """The digest is that of the content, whatever was recorded earlier."""
    (repo / "dos").write_bytes(b"a\r\nb\r\n")
    os.utime(repo / "dos", OLD)
    project = Project(repo, folder)
    project.snapshot()
    (repo / ".gitattributes").write_text("dos text\n")
    assert project.snapshot() == Project(repo, tmp_path / "fresh").snapshot()


def test_ignore_rules_take_hold_of_files_recorded_before(repo: Path, folder: Path, tmp_path: Path) -> None:
    (repo / "new").write_text("x")
    project = Project(repo, folder)
    before = project.snapshot()
    (repo / ".gitignore").write_text("new\nsrc/\n")
    after = project.snapshot()
    assert after == Project(repo, tmp_path / "fresh").snapshot()
    assert [(change.path, change.status) for change in project.changes(before, after)] == [
        (".gitignore", "A"),
        ("new", "D"),
    ], "src/main.py is tracked by the repository, so that ignoring it hides nothing"
    (repo / "src/main.py").write_text("changed")
    assert [change.path for change in project.changes(after, project.snapshot())] == ["src/main.py"]


def test_a_folder_turned_repository_is_seen_as_one(repo: Path, folder: Path, git: RunGit, tmp_path: Path) -> None:
    project = Project(repo, folder)
    before = project.snapshot()
    git(repo / "src", "init", "-q")
    with pytest.raises(WorkspaceError) as caught:
        project.snapshot()
    assert caught.value.code == "workspace.unreadable"
    assert caught.value.fields["paths"] == ["src"]
    git(repo / "src", "commit", "-q", "--allow-empty", "-m", "x")
    after = project.snapshot()
    assert after == Project(repo, tmp_path / "fresh").snapshot()
    assert [(change.path, change.status) for change in project.changes(before, after)] == [
        ("src", "A"),
        ("src/main.py", "D"),
    ]
    (repo / "src/.git").rename(tmp_path / "gone")
    assert project.snapshot() == before


@pytest.mark.rule("S2.42")
def test_a_path_that_cannot_be_read_is_never_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    # The superuser reads everything, so a child without its rights tries, in a folder such a child can reach.
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        home, root = Path(name), Path(name, "plain")
        (root / "secret").mkdir(parents=True)
        for path in (root / "closed", root / "secret/file"):
            path.write_text("x")
        for path in (home, *home.rglob("*")):
            os.chown(path, user, -1)
        monkeypatch.setenv("HOME", name)
        monkeypatch.chdir(home)
        reader, writer = os.pipe()

        def work() -> None:
            os.setuid(user)
            project = Project(root, home / "shadow")
            project.snapshot()
            for closed in (root / "closed", root / "secret"):
                mode = closed.stat().st_mode
                closed.chmod(0)
                try:
                    project.snapshot()
                except WorkspaceError as error:
                    os.write(writer, f"{error.code} {error.fields['paths']}\n".encode())
                closed.chmod(mode)
            project.snapshot()

        pid = forked(work)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            said = pipe.read().splitlines()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert said == ["workspace.unreadable ['closed']", "workspace.unreadable ['secret']"]


def test_several_unreadable_paths_are_all_named(repo: Path, folder: Path, git: RunGit) -> None:
    for name in ("one", "two words", "three'quote"):
        git(repo, "init", "-q", name)
        (repo / name / "file").write_text("x")
    with pytest.raises(WorkspaceError, match=r"ignore them in \.gitignore") as caught:
        Project(repo, folder).snapshot()
    assert caught.value.code == "workspace.unreadable"
    assert caught.value.fields["paths"] == ["one", "three'quote", "two words"]
    (repo / ".gitignore").write_text("one\ntwo*\nthree*\n")
    Project(repo, folder).snapshot()


def test_another_object_format_is_refused(repo: Path, folder: Path, git: RunGit, tmp_path: Path) -> None:
    Project(repo, folder, refresh_ignores=True)
    (repo / ".git").rename(tmp_path / "old")
    git(repo, "init", "-q", "--object-format=sha256")
    with pytest.raises(WorkspaceError) as caught:
        Project(repo, folder, refresh_ignores=True)
    assert caught.value.code == "workspace.object_format"


def test_a_data_home_that_cannot_be_written_is_an_error_of_ours(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkspaceError) as caught:
        Project(repo, tmp_path / "file" / "shadow").snapshot()
    assert caught.value.code == "workspace.shadow"
    assert isinstance(caught.value.__cause__, OSError)

"""The runner of git: environment, errors, names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stagent.errors import WorkspaceError
from stagent.workspace.git import Git, names, pathspecs, printable, scrubbed


def test_no_git_variable_reaches_git(tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_WORK_TREE", "/")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    monkeypatch.setenv("LANGUAGE", "de")
    env = scrubbed({"GIT_INDEX_FILE": "x"})
    assert {name for name in env if name.startswith("GIT_")} == {
        "GIT_OPTIONAL_LOCKS",
        "GIT_TERMINAL_PROMPT",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_INDEX_FILE",
    }
    assert "LANGUAGE" not in env
    assert Git(str(repo)).must("rev-parse", "--show-toplevel").decode().strip() == os.path.realpath(repo)


def test_a_failed_command_says_where_and_what(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="git rev-parse failed: fatal: not a git repository") as caught:
        Git(str(tmp_path)).must("rev-parse", "HEAD")
    assert caught.value.code == "workspace.git_failed"
    assert caught.value.where == str(tmp_path)
    assert caught.value.fields["exit"] == 128


def test_without_git_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkspaceError, match="Install git") as caught:
        Git(str(tmp_path))("version")
    assert caught.value.code == "workspace.no_git"


def test_a_missing_folder_is_not_taken_for_a_missing_git(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError) as caught:
        Git(str(tmp_path / "none"))("version")
    assert caught.value.code == "workspace.missing"


@pytest.mark.rule("W25")
def test_a_command_that_hangs_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    env = scrubbed() | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with pytest.raises(WorkspaceError, match=r"longer than 0\.2 s") as caught:
        Git(str(tmp_path), env, timeout=0.2)("status")
    assert caught.value.code == "workspace.git_timeout"


@pytest.mark.parametrize("glob", ["", "/etc/**", "../other/**", "a/../../b", "a\0b"])
def test_globs_outside_the_project_are_refused(glob: str) -> None:
    for args in (([glob], ()), ((), [glob])):
        with pytest.raises(WorkspaceError) as caught:
            pathspecs(*args)
        assert caught.value.code == "workspace.bad_glob"


def test_globs_become_pathspecs() -> None:
    assert pathspecs(["src/**", "a"], ["**/x"]) == [":(glob)src/**", ":(glob)a", ":(exclude,glob)**/x"]


def test_names_survive_any_bytes() -> None:
    assert [os.fsencode(name) for name in names(b"a b\0\xff\n\0\xc3\xa9\0")] == [b"a b", b"\xff\n", b"\xc3\xa9"]
    assert printable(os.fsdecode(b"a\xff\nb\xc3\xa9")) == "a\\xff\\nbé"

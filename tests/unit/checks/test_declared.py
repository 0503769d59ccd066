from __future__ import annotations

import io
import os
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from stagent.checks import declared
from stagent.checks.declared import Seal, Unmet


class Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    run: str


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".agents").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def declare(root: Path, text: str) -> None:
    (root / ".agents" / "kind.json").write_text(text)


def test_a_declaration_is_read(root: Path) -> None:
    declare(root, '{"run": "true"}')
    assert declared.read(root, "kind", Form) == Form("true")
    assert declared.exists(root, "kind")
    assert not declared.exists(root, "other")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ('{"run": 1}', r"\$\.run"),
        ('{"run": "x", "rnu": "y"}', "rnu"),
        ("[]", "Expected `object`"),
        ('{"run": "\\ud800"}', "cannot be read"),
    ],
)
def test_a_damaged_one_is_named(root: Path, text: str, says: str) -> None:
    declare(root, text)
    with pytest.raises(Unmet, match=says):
        declared.read(root, "kind", Form)


def test_none_a_link_and_an_ignored_one_do_not_count(root: Path) -> None:
    with pytest.raises(Unmet, match=r"no file \.agents/kind\.json"):
        declared.read(root, "kind", Form)
    (root / "real.json").write_text('{"run": "true"}')
    os.symlink(root / "real.json", root / ".agents" / "kind.json")
    with pytest.raises(Unmet, match="no file"):
        declared.read(root, "kind", Form)
    (root / ".agents" / "kind.json").unlink()
    declare(root, '{"run": "true"}')
    (root / ".gitignore").write_text(".agents/\n")
    with pytest.raises(Unmet, match="git ignores"):
        declared.read(root, "kind", Form)
    with pytest.raises(Unmet, match="git ignores"):
        declared.seal(root, "kind", Seal(files={}))


def sealed(root: Path) -> Path:
    """A project with a sealed declaration; returns the script behind it."""
    declare(root, '{"run": "sh tool.sh data.txt"}')
    for name in ("tool.sh", "data.txt", "more/a.csv"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    files = declared.behind(root, "kind", ["sh ./tool.sh data.txt"], ["more/*"])
    assert set(files) == {".agents/kind.json", "tool.sh", "data.txt", "more/a.csv"}
    declared.seal(root, "kind", Seal(files=files, measured={"n": 1.5}))
    assert declared.unbroken(root, "kind", ["sh ./tool.sh data.txt"], ["more/*"]).measured == {"n": 1.5}
    return root / "tool.sh"


@pytest.mark.parametrize("name", ["tool.sh", "data.txt", "more/a.csv", "more/new.csv", ".agents/kind.json"])
def test_what_a_sealed_command_rests_on_is_compared(root: Path, name: str) -> None:
    sealed(root)
    (root / name).write_text("y")
    with pytest.raises(Unmet, match=name):
        declared.unbroken(root, "kind", ["sh ./tool.sh data.txt"], ["more/*"])


def test_so_are_its_removal_its_mark_and_a_link_in_its_place(root: Path) -> None:
    tool = sealed(root)
    commands = ["sh ./tool.sh data.txt"]
    tool.chmod(0o755)
    with pytest.raises(Unmet, match=r"tool\.sh"):
        declared.unbroken(root, "kind", commands, ["more/*"])
    tool.unlink()
    with pytest.raises(Unmet, match=r"tool\.sh"):
        declared.unbroken(root, "kind", commands, ["more/*"])
    os.symlink(root / "data.txt", tool)
    with pytest.raises(Unmet, match=r"tool\.sh"):
        declared.unbroken(root, "kind", commands, ["more/*"])


def test_a_glob_for_nothing_is_named(root: Path) -> None:
    declare(root, "{}")
    with pytest.raises(Unmet, match=r'"none/\*\*" in `files` matches no file'):
        declared.behind(root, "kind", [], ["none/**"])


def test_without_a_seal_nothing_is_compared(root: Path) -> None:
    with pytest.raises(Unmet, match=r"no file \.agents/kind\.lock\.json"):
        declared.unbroken(root, "kind", [], [])


def test_a_command_shows_what_it_prints_and_how_it_ended(root: Path) -> None:
    out = io.BytesIO()
    ran = declared.run("echo one; echo two >&2; exit 3", root, out)
    assert (ran.code, ran.stdout, ran.stderr, ran.how) == (3, b"one\n", b"two\n", "ended with exit code 3")
    assert out.getvalue() == b"$ echo one; echo two >&2; exit 3\none\ntwo\n"
    assert not declared.run("no-such-command-here", root, out).started
    assert declared.run("kill -9 $$", root, out).how == "was ended by signal 9"


def test_a_command_out_of_time_is_ended_with_what_it_started(root: Path) -> None:
    began = time.monotonic()
    ran = declared.run("sleep 30 & echo $! > pid; wait", root, io.BytesIO(), timeout=0.5)
    assert (ran.code, ran.how) == (None, "did not finish in time")
    assert time.monotonic() - began < 10
    pid = int((root / "pid").read_text())
    until = time.monotonic() + 5
    while time.monotonic() < until and _alive(pid):
        time.sleep(0.02)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_long_lists_are_cut() -> None:
    assert declared.listed([str(n) for n in range(22)]).endswith("19 and 2 more")

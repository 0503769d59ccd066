"""Temporary files of killed processes: found, told from those of living ones, and swept when nobody can want them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stagent.config import DataHome
from stagent.engine.leftovers import SETTLED, abandoned, find, sweep, sweep_beside

OLD = time.time() - SETTLED - 60


@pytest.fixture(scope="module")
def gone() -> int:
    """The id of a process that has ended."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(done.stdout)


def places(home: Path, root: Path, pid: int) -> list[Path]:
    """One temporary file of a process at every place where the program writes some."""
    run = root / ".stagent" / "session-1"
    return [
        home / f".config.json.{pid}.new",
        home / "live" / f".session-1.json.{pid}.0.new",
        home / "live" / f"session-1.stop.{pid}.new",
        home / "pending" / f"session-1.json.{pid}.new",
        home / "pending" / f".session-1.json.{pid}.taken",
        run / f".state.md.{pid}.3.new",
        run / "workflow" / f".plan.md.{pid}.4.new",
    ]


def lay(files: list[Path], at: float) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
        os.utime(file, (at, at))


def test_what_a_killed_process_left_is_found_at_once_and_swept_after_an_hour(tmp_path: Path, gone: int) -> None:
    home, root = tmp_path / "home", tmp_path / "project"
    left = places(home, root, gone)
    lay(left, time.time())
    assert sorted(find(DataHome(home), [root])) == sorted(left)
    sweep(DataHome(home), root)
    assert all(file.exists() for file in left)
    lay(left, OLD)
    sweep(DataHome(home), root)
    assert not any(file.exists() for file in left)


def test_what_a_living_process_writes_stays_however_old(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "project"
    mine = places(home, root, os.getpid())
    kept = [home / "config.json", root / ".stagent" / "session-1" / "new", root / ".stagent" / "session-1" / ".x.md"]
    lay([*mine, *kept], OLD)
    assert list(find(DataHome(home), [root])) == []
    sweep(DataHome(home), root)
    assert all(file.exists() for file in (*mine, *kept))


def test_a_file_that_names_no_maker_counts_when_it_is_old(tmp_path: Path) -> None:
    file = tmp_path / "config.json.new"
    lay([file], time.time())
    assert not abandoned(file)
    lay([file], OLD)
    assert abandoned(file)
    file.unlink()
    assert not abandoned(file)


def test_what_was_to_become_a_file_is_swept_beside_it(tmp_path: Path, gone: int) -> None:
    left = tmp_path / f".report.md.{gone}.new"
    others = [
        tmp_path / f".report.md.{os.getpid()}.new",
        tmp_path / f".other.md.{gone}.new",
        tmp_path / f".report.md.old.{gone}.new",
        tmp_path / f"report.md.{gone}.new",
    ]
    lay([left, *others], time.time())
    sweep_beside(tmp_path / "report.md")
    sweep_beside(tmp_path / "nowhere" / "report.md")
    assert not left.exists()
    assert all(file.exists() for file in others)


def test_a_write_that_fails_leaves_nothing_lying_about(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from stagent.engine.folder import write
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    write(Path(sys.argv[1]), b"x" * 100)
except OSError as error:
    print(error.strerror)
"""
    place = tmp_path / ".stagent" / "r" / "state.md"
    done = subprocess.run([sys.executable, "-c", program, str(place)], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert list(place.parent.iterdir()) == []

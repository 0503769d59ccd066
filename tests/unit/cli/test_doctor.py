from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fixtures_runs import arguments, project
from stagent import processes
from stagent.cli.checkup import CHECKS


def codes(said: Any) -> list[str]:
    return [item["code"] for items in said.json["checks"].values() for item in items]


@pytest.fixture(autouse=True)
def plain_path(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH without any stagent, so that what is installed on this machine makes no difference."""
    tools = tmp_path_factory.mktemp("tools")
    for name in ("git", "sh", "env", "cat", "sleep"):
        found = shutil.which(name)
        if found:
            (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))


def test_all_is_well(finished: Any, say: Any) -> None:
    said = say("doctor")
    assert said.status == 0, said.out
    assert said.out.endswith("All is well.\n")
    assert said.out.count("✓") == len(CHECKS)
    deep = say("doctor", "--deep", "--json")
    assert (deep.status, deep.json["well"], deep.json["runs"]) == (0, True, 1)


def test_without_a_data_home_nothing_is_made(empty: Path, say: Any) -> None:
    said = say("doctor")
    assert said.status == 0
    assert "(not made yet)" in said.out
    assert not empty.exists()


def test_git_missing_or_old(empty: Path, say: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    assert codes(say("doctor", "--json")) == ["git.missing"]
    (tools / "git").write_text("#!/bin/sh\necho git version 2.9.5\n")
    (tools / "git").chmod(0o755)
    said = say("doctor", "--json")
    assert (said.status, codes(said)) == (1, ["git.old"])


def test_another_stagent_on_the_path(empty: Path, say: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stagent").write_text(f"#!/bin/sh\necho {name}\n")
        (tmp_path / name / "stagent").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/one:{tmp_path}/two:{os.environ['PATH']}")
    said = say("doctor")
    assert said.status == 1
    assert f"path.other: {tmp_path}/one/stagent, {tmp_path}/two/stagent" in said.out


def test_a_data_home_open_to_others(own: Any, say: Any) -> None:
    own.home.chmod(0o755)
    said = say("doctor")
    assert said.status == 1
    assert f"chmod go-rwx {own.home}" in said.out


def test_a_data_home_that_is_a_file(empty: Path, say: Any) -> None:
    empty.write_text("")
    assert codes(say("doctor", "--json")) == ["home.unwritable"]


def test_a_damaged_registry(own: Any, say: Any) -> None:
    for extra in own.home.glob("registry.db-*"):
        extra.unlink()
    (own.home / "registry.db").write_bytes(b"no database at all" * 400)
    assert codes(say("doctor", "--json")) == ["store.corrupt"]


def test_a_newer_project_database(own: Any, say: Any) -> None:
    [database] = own.home.glob("projects/*/stagent.db")
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert codes(say("doctor", "--json")) == ["store.newer"]


def test_a_project_folder_that_is_gone(own: Any, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.home)
    shutil.rmtree(own.project)
    assert codes(say("doctor", "--json")) == ["project.gone"]


def test_a_log_that_does_not_end_where_it_should(own: Any, say: Any) -> None:
    [database] = own.home.glob("projects/*/stagent.db")
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)")
    connection.close()
    assert codes(say("doctor", "--json")) == ["log.broken"]


def test_deep_finds_what_the_quick_look_cannot(own: Any, say: Any) -> None:
    [database] = own.home.glob("projects/*/stagent.db")
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE events SET body = CAST(replace(body, 'approved', 'rejected') AS BLOB) WHERE seq = 5")
    connection.close()
    assert codes(say("doctor", "--json")) == []
    assert codes(say("doctor", "--deep", "--json")) == ["log.broken"]


def test_torn_spools_and_leftovers(own: Any, say: Any) -> None:
    spool = own.home / "spool"
    spool.mkdir(exist_ok=True)
    (spool / f"{own.run}.torn").write_bytes(b"{\n")
    (spool / f"{own.run}.ndjson").write_bytes(b'{"v":1')
    os.utime(spool / f"{own.run}.ndjson", (1, 1))
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    folder = own.project / ".stagent" / own.run
    (folder / f".state.md.{gone.stdout.strip()}.new").write_text("")
    (folder / f".state.md.{os.getpid()}.new").write_text("")
    said = say("doctor", "--json")
    assert codes(said) == ["spool.torn", "spool.unfinished", "file.leftover"]
    assert gone.stdout.strip() in said.json["checks"]["leftovers"][0]["where"]


def test_a_blob_no_log_names_is_found_by_the_deep_look(own: Any, say: Any) -> None:
    [blobs] = own.home.glob("projects/*")
    name = "ab" * 32
    place = blobs / "blobs" / "ab" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"x")
    assert codes(say("doctor", "--deep", "--json")) == []
    os.utime(place, (1, 1))
    assert codes(say("doctor", "--json")) == []
    said = say("doctor", "--deep", "--json")
    assert codes(said) == ["file.leftover"]
    assert said.json["checks"]["leftovers"][0]["where"] == str(place)


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, str]]:
    """A run whose runner was killed while its agent went on sleeping; the agent's pid and a word of its command."""
    root = project(tmp_path)
    script = msgspec.json.decode((tmp_path / "script.json").read_bytes())
    script["stages"]["plan"] = [{"run": "echo $$ > pid; exec sleep 600"}]
    (tmp_path / "script.json").write_bytes(msgspec.json.encode(script))
    monkeypatch.setenv("STAGENT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(root)
    command = [sys.executable, "-m", "stagent", *arguments(tmp_path)]
    runner = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not (root / "pid").exists() or not (root / "pid").read_text().strip():
            assert runner.poll() is None
            time.sleep(0.02)
    finally:
        runner.kill()
        runner.wait()
    pid = int((root / "pid").read_text())
    yield pid, str(root)
    for info in processes.members(processes.table(), "none", None, None, extra=[pid]):
        processes.send(info, 9)


def test_a_run_whose_runner_was_killed(killed: tuple[int, str], say: Any) -> None:
    pid, _ = killed
    said = say("doctor", "--json")
    found = codes(said)
    assert found[:1] == ["run.stale"]
    if processes.look(pid) is not None:
        [orphan] = said.json["checks"]["orphans"]
        assert str(pid) in orphan["what"]
    [row] = say("runs", "--json").json
    assert row["status"] == "stale"
    status = say("status")
    assert "Driver:   stale" in status.out
    assert f"stagent run --resume {row['run']}" in status.out


def test_from_a_process_of_its_own(finished: Any) -> None:
    done = subprocess.run([sys.executable, "-m", "stagent", "doctor"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stagent.bootstrap import Home


def test_lists_the_runs_of_this_project(finished: Any, say: Any) -> None:
    said = say("runs")
    head, line = said.out.splitlines()
    assert head.split() == ["RUN", "STATUS", "STAGE", "EPOCH", "AGE", "WORKFLOW", "LABEL"]
    assert line.startswith(f"{finished.run}  complete  ship")
    assert line.endswith("Build the <thing>")


def test_json(finished: Any, say: Any) -> None:
    [row] = say("runs", "--json").json
    assert (row["run"], row["status"], row["stage"], row["epoch"]) == (finished.run, "complete", "ship", 4)
    assert row["project"] == str(finished.project)


def test_elsewhere_nothing_is_listed_and_nothing_made(
    finished: Any, say: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted((finished.home / "projects").iterdir())
    assert say("runs").out == "There is no run in this project.\n"
    assert sorted((finished.home / "projects").iterdir()) == before
    assert finished.run in say("runs", "--all").out


def test_a_waiting_run_of_a_living_process_is_not_stale(waiting: Any, say: Any) -> None:
    assert [row["status"] for row in say("runs", "--json").json] == ["running"]


def test_a_project_folder_that_is_gone_costs_nothing(own: Any, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.home)
    shutil.rmtree(own.project)
    said = say("runs", "--all")
    assert said.status == 0
    assert f"{own.project} (the folder is gone)" in said.out
    assert f"{own.run}  complete" in said.out
    [row] = say("runs", "--all", "--json").json
    assert (row["gone"], row["status"]) == (True, "complete")
    assert not own.project.exists()


def test_a_damaged_database_costs_only_its_own_runs(own: Any, say: Any, tmp_path: Path) -> None:
    [database] = own.home.glob("projects/*/stagent.db")
    for extra in database.parent.glob("stagent.db-*"):
        extra.unlink()
    database.write_bytes(b"not a database, certainly not one of ours" * 100)
    said = say("runs", "--all")
    assert said.status == 0
    assert f"{own.run}  unreadable" in said.out
    assert "damaged" in said.err


def test_a_missing_database_is_not_made_anew(own: Any, say: Any) -> None:
    [folder] = own.home.glob("projects/*")
    for extra in folder.glob("stagent.db*"):
        extra.unlink()
    assert [row["status"] for row in say("runs", "--json").json] == ["unreadable"]
    assert not (folder / "stagent.db").exists()


def test_a_run_that_is_missing_in_the_index_is_listed(own: Any, say: Any) -> None:

    with sqlite3.connect(own.home / "registry.db") as connection:
        connection.execute("DELETE FROM run_index")
    connection.close()
    home = Home()
    assert home.index.runs() == []
    home.close()
    [row] = say("runs", "--json").json
    assert (row["run"], row["label"]) == (own.run, "Build the <thing>")


def test_from_a_process_of_its_own(finished: Any) -> None:
    command = [sys.executable, "-m", "stagent", "runs", "--all", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["run"] for row in json.loads(done.stdout)] == [finished.run]

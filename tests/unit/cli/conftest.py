"""Runs that were made once and are read by many tests, and a fresh project for those that change something."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fixtures_runs as runs
from stagent.cli.main import main


class Place(NamedTuple):
    """A data home, a repository and the run that was made there; `status` is what `run` ended with."""

    home: Path
    project: Path
    run: str
    status: int


class Said(NamedTuple):
    """What a command answered."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)


def make(folder: Path, patch: pytest.MonkeyPatch, *, unattended: bool = True) -> Place:
    """Make a project in `folder`, enter it, and drive a run of it."""
    home = folder / "home"
    project = runs.project(folder)
    patch.setenv("STAGENT_HOME", str(home))
    patch.chdir(project)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = runs.drive(folder, unattended=unattended)
    return Place(home, project, json.loads(out.getvalue().splitlines()[-1])["run"], status)


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that ended as complete."""
    with pytest.MonkeyPatch.context() as patch:
        return make(tmp_path_factory.mktemp("finished"), patch)


@pytest.fixture(scope="session")
def waiting_once(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that waits at the gate of its first stage; the process that drove it is this one."""
    with pytest.MonkeyPatch.context() as patch:
        return make(tmp_path_factory.mktemp("waiting"), patch, unattended=False)


@pytest.fixture
def finished(finished_once: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The finished run, from its project. Only to be read."""
    monkeypatch.setenv("STAGENT_HOME", str(finished_once.home))
    monkeypatch.chdir(finished_once.project)
    return finished_once


@pytest.fixture
def waiting(waiting_once: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The waiting run, from its project. Only to be read."""
    monkeypatch.setenv("STAGENT_HOME", str(waiting_once.home))
    monkeypatch.chdir(waiting_once.project)
    return waiting_once


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A finished run of this test alone."""
    return make(tmp_path, monkeypatch)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a run, and a data home that does not exist yet; returns the data home."""
    folder = tmp_path / "nothing here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("STAGENT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def say(capsysbinary: pytest.CaptureFixture[bytes]) -> Iterator[Callable[..., Said]]:
    """Call the command line and return what it answered."""

    def call(*words: str) -> Said:
        capsysbinary.readouterr()
        status = main(list(words))
        out, err = capsysbinary.readouterr()
        return Said(status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    yield call

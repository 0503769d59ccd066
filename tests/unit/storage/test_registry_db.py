"""The registry: projects, runs by id, session and project, and many processes at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counts import count
from stagent.core.ports import ProjectRow, RunEntry
from stagent.errors import NotFoundError
from stagent.storage.registry_db import Registry

HERE = ProjectRow("p-1", "/projects/here", "abc", 100)
THERE = ProjectRow("p-2", "/projects/there", "", 50)


def indexed(run: str, session: str | None = None, project: str = "p-1", created: int = 1) -> RunEntry:
    return RunEntry(run, project, session, f"/projects/{run}", f"label of {run}", created)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with closing(Registry(tmp_path / "home" / "registry.db")) as made:
        made.register_project(HERE)
        made.register_project(THERE)
        yield made


def test_projects_are_found(registry: Registry) -> None:
    assert registry.project("p-1") == HERE
    assert registry.projects() == [THERE, HERE]


def test_a_project_that_moved_keeps_its_first_time(registry: Registry) -> None:
    registry.register_project(ProjectRow("p-1", "/elsewhere", "abc,def", 999))
    assert registry.project("p-1") == ProjectRow("p-1", "/elsewhere", "abc,def", 100)


def test_unknown_names_are_reported(registry: Registry) -> None:
    for call, code in (
        (lambda: registry.project("p-9"), "registry.unknown_project"),
        (lambda: registry.index_run(indexed("r-1", project="p-9")), "registry.unknown_project"),
        (lambda: registry.find_run("r-9"), "registry.unknown_run"),
        (lambda: registry.rebind_session("r-9", "s"), "registry.unknown_run"),
    ):
        with pytest.raises(NotFoundError) as caught:
            call()
        assert caught.value.code == code
        assert caught.value.remedy
    with pytest.raises(NotFoundError, match=r"Known: p-2, p-1\."):
        registry.project("p-9")


def test_runs_are_found_by_id_session_and_project(registry: Registry) -> None:
    first, second, third = (
        indexed("r-1", "s-1", "p-1", 3),
        indexed("r-2", "s-2", "p-2", 2),
        indexed("r-3", None, "p-1", 1),
    )
    for run in (first, second, third):
        registry.index_run(run)
    assert registry.find_run("r-2") == second
    assert registry.runs() == [third, second, first]
    assert registry.runs("p-1") == [third, first]
    assert registry.runs("p-9") == []
    assert registry.runs_of_session("s-1") == [first]
    assert registry.runs_of_session("s-9") == []


def test_the_runs_of_a_session_come_oldest_first(registry: Registry) -> None:
    registry.index_run(indexed("r-2", "s-1", created=2))
    registry.index_run(indexed("r-1", "s-1", created=1))
    assert [row.run for row in registry.runs_of_session("s-1")] == ["r-1", "r-2"]


def test_a_run_can_be_bound_to_another_session(registry: Registry) -> None:
    registry.index_run(indexed("r-1", "old"))
    registry.rebind_session("r-1", "new")
    assert registry.runs_of_session("old") == []
    assert [row.run for row in registry.runs_of_session("new")] == ["r-1"]
    registry.rebind_session("r-1", None)
    assert registry.find_run("r-1").session is None


@given(
    st.lists(
        st.builds(
            RunEntry,
            st.sampled_from(["r-1", "r-2", "r-3"]),
            st.sampled_from(["p-1", "p-2"]),
            st.none() | st.text(st.characters(codec="utf-8"), max_size=5),
            st.just("/folder"),
            st.text(st.characters(codec="utf-8"), max_size=20),
            st.integers(0, 2**53),
        ),
        max_size=8,
    )
)
def test_indexing_again_makes_the_row_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, rows: list[RunEntry]
) -> None:
    with closing(Registry(tmp_path_factory.mktemp("registry") / "registry.db")) as registry:
        registry.register_project(HERE)
        registry.register_project(THERE)
        for row in rows:
            registry.index_run(row)
        last = {row.run: row for row in rows}
        assert {row.run: row for row in registry.runs()} == last
        for row in last.values():
            assert registry.find_run(row.run) == row
            if row.session is not None:
                assert row in registry.runs_of_session(row.session)


CHILD = """
import sys
from pathlib import Path
from stagent.core.ports import ProjectRow, RunEntry
from stagent.storage.registry_db import Registry
registry = Registry(Path(sys.argv[1]))
for number in range(15):
    registry.register_project(ProjectRow("p-1", "/here", "", 1))
    registry.index_run(RunEntry(f"r-{sys.argv[2]}-{number}", "p-1", None, "/f", "", number))
    registry.index_run(RunEntry("r-shared", "p-1", sys.argv[2], "/f", "", number))
registry.close()
"""


def test_many_processes_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    writers = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(path), f"w{number}"], stderr=subprocess.PIPE, text=True)
        for number in range(count("race_processes"))
    ]
    assert [(writer.communicate(timeout=90)[1], writer.returncode) for writer in writers] == [("", 0)] * len(writers)
    with closing(Registry(path)) as registry:
        assert len(registry.runs("p-1")) == 15 * len(writers) + 1

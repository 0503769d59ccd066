from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stagent.engine import flows
from stagent.engine.templates import put, scaffold
from stagent.errors import UsageError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository, and a data home beside it."""
    monkeypatch.setenv("STAGENT_HOME", str(tmp_path / "data"))
    monkeypatch.delenv(flows.PLACE, raising=False)
    place = tmp_path / "project"
    (place / "deep").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(place)], check=True)
    return place.resolve()


def own(project: Path, name: str) -> Path:
    place = project.parent / "data" / "templates" / name
    put(place, scaffold(name))
    return place


def of_project(project: Path, name: str) -> Path:
    put(project / "workflows" / name, scaffold(name))
    return project / "workflows" / name


def test_a_bundled_name_is_never_taken_over(project: Path) -> None:
    of_project(project, "default")
    own(project, "dev-default")
    assert flows.folder_of("default", project) == flows.BUNDLED / "default"
    assert flows.folder_of("dev-default", project) == flows.BUNDLED / "default"
    hidden = {item.name: item.hidden for item in flows.listed(project) if item.source != "bundled"}
    assert hidden == dict.fromkeys(("default", "dev-default"), "a bundled workflow has this name")


def test_a_name_of_the_project_from_any_of_its_folders(project: Path) -> None:
    place = of_project(project, "notes")
    assert flows.folder_of("notes", project / "deep") == place
    assert flows.usable("notes", project / "deep").name == "notes"
    with pytest.raises(UsageError, match="no workflow"):
        flows.folder_of("notes", project.parent)
    assert flows.folder_of("notes", project.parent, project) == place


def test_a_name_of_the_user_everywhere(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = own(project, "notes")
    assert flows.folder_of("notes", project) == flows.folder_of("notes", tmp_path) == place
    put(tmp_path / "told" / "other", scaffold("other"))
    monkeypatch.setenv(flows.PLACE, str(tmp_path / "told"))
    assert flows.user_folder() == tmp_path / "data" / "templates"
    monkeypatch.delenv("STAGENT_HOME")
    assert flows.folder_of("other", project) == tmp_path / "told" / "other"


def test_a_name_that_is_in_both_means_neither(project: Path) -> None:
    places = [of_project(project, "notes"), own(project, "notes")]
    with pytest.raises(UsageError) as caught:
        flows.folder_of("notes", project)
    assert caught.value.code == "flow.ambiguous"
    assert set(caught.value.known) == {str(place) for place in places}
    assert flows.folder_of("./workflows/notes", project) == places[0]
    assert all("both" in item.hidden for item in flows.listed(project) if item.source != "bundled")


@pytest.mark.parametrize("name", ["complete", "nowhere", "", "x" * 300, "naïve", "cancelled", "notes\n"])
def test_an_unknown_name_shows_the_known_ones(project: Path, name: str) -> None:
    of_project(project, "notes")
    with pytest.raises(UsageError) as caught:
        flows.folder_of(name, project)
    assert caught.value.code == "flow.unknown"
    assert {"default", "notes"} <= set(caught.value.known)


def test_what_is_no_workflow_or_has_no_proper_name_is_not_listed(project: Path) -> None:
    (project / "workflows" / "empty").mkdir(parents=True)
    (project / "workflows" / "file.txt").write_text("x")
    put(project / "workflows" / "two words", scaffold("x"))
    assert {item.source for item in flows.listed(project)} == {"bundled"}

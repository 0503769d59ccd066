from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fixtures_runs as runs
from stagent.bootstrap import Home
from stagent.core.events import blobs_of, unseal
from stagent.engine import history
from stagent.engine.history import tell
from stagent.engine.service import RunService


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STAGENT_HOME", str(folder / "home"))
        patch.chdir(runs.project(folder))
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert runs.drive(folder) == 0
    return folder, json.loads(out.getvalue().splitlines()[-1])["run"]


@pytest.fixture
def service(made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[RunService]:
    monkeypatch.setenv("STAGENT_HOME", str(made[0] / "home"))
    home = Home()
    yield home.of(made[1])
    home.close()


def test_stages_with_their_attempts_checks_and_ways_out(service: RunService, made: tuple[Path, str]) -> None:
    story = tell(service, made[1])
    ways = [(item.stage, item.epoch, item.result, item.target) for item in story.visits]
    assert ways == [("plan", 1, "approved", "build"), ("build", 2, "done", "ship"), ("ship", 3, "shipped", "complete")]
    assert all(item.left is not None and item.left >= item.entered for item in story.visits)
    build = story.visits[1]
    assert [(item.number, item.outcome, item.code) for item in build.attempts] == [
        (1, "refused", "check.failed"),
        (2, "ok", ""),
    ]
    assert "Mend what it reports" in build.attempts[0].text
    assert (build.attempts[1].tokens, build.attempts[1].cost_usd) == (1200, 0.25)
    assert [(item.outcome, item.exit) for item in build.checks] == [("fail", 1), ("pass", 0)]
    assert [item.accepted for item in build.artifacts] == [False, True]


def test_decisions_say_who_and_what_they_are_bound_to(service: RunService, made: tuple[Path, str]) -> None:
    story = tell(service, made[1])
    [decision] = story.visits[0].decisions
    assert (decision.decision, decision.channel, decision.by_policy) == ("approve", "policy", True)
    assert decision.actor.startswith("policy:")
    assert decision.text == "Declared beforehand."
    assert decision.body == story.visits[0].artifacts[0].body
    assert len(decision.anchor) == 64
    assert [item.unproven for item in story.visits] == [False, False, True]
    assert any("declared policy" in text for text in story.warnings)
    assert any("Unproven approval" in text for text in story.warnings)


def test_only_a_whole_story_carries_texts(service: RunService, made: tuple[Path, str]) -> None:
    short, whole = tell(service, made[1]), tell(service, made[1], whole=True)
    assert (short.visits[0].artifacts[0].text, short.visits[1].checks[0].text, short.report) == ("", "", "")
    assert short.diff is None
    assert "# The plan" in whole.visits[0].artifacts[0].text
    assert "it is done" in whole.visits[1].checks[1].text
    assert "result: complete" in whole.report
    assert whole.diff is not None
    assert [item.path for item in whole.diff.files] == ["done.txt", "kept.txt"]


def test_no_text_holds_a_secret(service: RunService, made: tuple[Path, str]) -> None:
    assert runs.SECRET not in str(tell(service, made[1], whole=True))


def test_long_texts_and_diffs_are_cut_and_say_so(
    service: RunService, made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "TEXT_LIMIT", 10)
    monkeypatch.setattr(history, "DIFF_LINES", 4)
    story = tell(service, made[1], whole=True)
    assert "more bytes are left out]" in story.visits[0].artifacts[0].text
    assert story.diff is not None
    assert story.diff.text.count("\n") == 3
    assert story.diff.left_out > 0


def test_a_deleted_text_says_so_and_the_rest_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGENT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(runs.project(tmp_path))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runs.drive(tmp_path)
    run = json.loads(out.getvalue().splitlines()[-1])["run"]
    home = Home()
    service = home.of(run)
    name = tell(service, run).visits[0].artifacts[0].digest
    service.store.bury_blob(name, "asked for", 1)
    story = tell(service, run, whole=True)
    assert story.visits[0].artifacts[0].text == "[deleted: asked for]"
    assert story.consistent
    home.close()


def test_an_event_names_its_blobs(service: RunService, made: tuple[Path, str]) -> None:
    names: dict[str, Any] = {}
    for record in service.store.read(made[1]):
        data = unseal(record.body).data
        for digest in blobs_of(data).values():
            service.store.blob(digest)
        names.setdefault(type(data).__name__, set()).update(blobs_of(data))
    assert {"task", "workflow"} <= names["RunStarted"]
    assert names["ArtifactRecorded"] == {"digest"}
    assert "output" in names["CheckEnded"]
    assert names["StageEntered"] == set()

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core.keys import STAGE
from stagent.core.verify.folder import validate
from stagent.engine import templates
from stagent.errors import StoreError


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("", ["empty"]),
        ("..", ["is no name", "ends with a dot"]),
        (".", ["is no name", "ends with a dot"]),
        ("a/b", ["separator"]),
        ("a\\b", ["separator"]),
        ("/etc", ["separator"]),
        ("-x", ["is no name"]),
        ("naïve", ["is no name"]),
        ("a b", ["is no name"]),
        ("a\nb", ["is no name"]),
        ("x" * 300, ["is no name"]),
        ("a.", ["ends with a dot"]),
        ("complete", ["meaning of its own"]),
        ("Cancelled", ["meaning of its own"]),
        ("NUL", ["device"]),
        ("com1.flow", ["device"]),
        ("Default", ["bundled"]),
        ("dev-default", ["bundled"]),
        ("con.", ["ends with a dot", "device"]),
    ],
)
def test_names_that_cannot_be_with_every_reason(name: str, reasons: list[str]) -> None:
    found = templates.name_problems(name)
    assert len(found) == len(reasons)
    assert all(reason in problem for reason, problem in zip(reasons, found, strict=True))


@pytest.mark.parametrize("name", ["notes", "A1", "release-train.v2", "x" * 100, "console", "completed"])
def test_good_names(name: str) -> None:
    assert templates.name_problems(name) == []


@given(st.text(max_size=120))
def test_a_good_name_is_one_part_of_a_path(name: str) -> None:
    if not templates.name_problems(name):
        assert Path("a", name).parent == Path("a")
        assert name.isascii() and name.isprintable() and not name.startswith((".", "-"))


def test_the_scaffold_validates_strictly_and_says_its_name() -> None:
    texts = templates.scaffold('a "name" of mine')
    workflow, problems = validate(texts)
    assert problems == []
    assert workflow is not None and workflow.title == 'a "name" of mine'
    assert texts["readme.md"].startswith(b'# a "name" of mine\n')
    assert all(f"`{name}`".encode() in texts["readme.md"] for name in workflow.stages)


def test_the_guide_has_the_schema_and_names_what_it_teaches() -> None:
    text = templates.guide()
    schema = json.loads(text.partition("```json\n")[2].rpartition("```")[0])
    assert schema["$id"] == "urn:stagent:workflow:1"
    told = {"kind", "execution", "transitions", "inputs", "writes", "checks", "gate", "results", "run"}
    assert told <= STAGE and all(f"`{word}`" in text for word in told)


def test_the_digest_is_that_of_the_files(tmp_path: Path) -> None:
    texts = templates.scaffold("x")
    templates.put(tmp_path / "x", texts)
    assert templates.load(tmp_path / "x") == texts
    assert templates.fingerprint(templates.load(tmp_path / "x")) == templates.fingerprint(texts)
    assert templates.fingerprint({**texts, "plan.md": b""}) != templates.fingerprint(texts)


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    assert templates.place_problems(tmp_path / "a" / "b") == []
    assert "exists already" in templates.place_problems(tmp_path)[0]
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "exists already" in templates.place_problems(tmp_path / "link")[0]
    assert "no folder of its own" in templates.place_problems(tmp_path / "link" / "x")[0]
    (tmp_path / "file").write_text("x")
    assert "no folder of its own" in templates.place_problems(tmp_path / "file" / "x")[0]
    with pytest.raises(StoreError, match="cannot be written"):
        templates.put(tmp_path / "file" / "x", {"workflow.json": b""})

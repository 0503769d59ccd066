"""The loader of named statements and numbered steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagent.errors import StoreError
from stagent.storage import registry_db, sql
from stagent.storage.scripts import FOLDER, named, pending, queries, statements, steps


def test_statements_come_without_comments_and_semicolons() -> None:
    text = "-- why\nSELECT 1,\n  2;\n\n-- more;\nSELECT 'a;b';\n"
    assert list(statements(text)) == ["SELECT 1, 2", "SELECT 'a;b'"]


def test_a_statement_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="SELECT 1"):
        list(statements("SELECT 1\n"))


def test_names_are_found() -> None:
    assert named("-- name: a\n-- why\nSELECT 1;\n-- name: b\nSELECT\n2;\n") == {"a": "SELECT 1", "b": "SELECT 2"}


@pytest.mark.parametrize(
    "text", ["-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n", "-- name: a\n", "-- name: a\nSELECT 1;\nSELECT 2;\n"]
)
def test_a_name_stands_for_one_statement(text: str) -> None:
    with pytest.raises(ValueError, match="a"):
        named(text)


@pytest.mark.parametrize(("file", "module"), [("queries.sql", sql), ("registry.sql", registry_db)])
def test_every_statement_is_used_and_every_used_one_is_there(file: str, module: object) -> None:
    source = Path(str(module.__file__)).read_text("utf-8")  # type: ignore[attr-defined]
    names = set(queries(file))
    assert {name for name in names if f'"{name}"' not in source} == set()


@pytest.mark.parametrize("kind", ["project", "registry"])
def test_the_steps_of_our_schemas_count_from_one(kind: str) -> None:
    found = steps(FOLDER / "migrations" / kind)
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert found


def test_a_gap_in_the_steps_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").touch()
    (tmp_path / "0003_c.sql").touch()
    with pytest.raises(ValueError, match="gap"):
        steps(tmp_path)


def test_pending_steps_are_those_above_the_version(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"000{number}_a.sql").touch()
    assert [number for number, _ in pending(tmp_path, 1, "db")] == [2, 3]
    assert pending(tmp_path, 3, "db") == []
    with pytest.raises(StoreError) as caught:
        pending(tmp_path, 4, "db")
    assert caught.value.code == "store.newer"
    assert caught.value.fields == {"schema": 4, "known": 3}

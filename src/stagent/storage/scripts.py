"""Loads the `.sql` files: named statements, and the numbered steps of a schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stagent.errors import StoreError

FOLDER = Path(__file__).parent / "sql"
"""Where the `.sql` files of this package are."""

_MARK = "-- name:"


def statements(text: str) -> Iterator[str]:
    """Yield the statements of a script one by one, without comments; a statement ends with `;` at a line's end."""
    lines: list[str] = []
    for line in text.splitlines():
        code = line.strip()
        if not code or code.startswith("--"):
            continue
        lines.append(code)
        if code.endswith(";"):
            yield " ".join(lines)[:-1]
            lines = []
    if lines:
        raise ValueError(f"a statement without its end: {' '.join(lines)}")


def named(text: str) -> dict[str, str]:
    """Return name -> statement for a script in which `-- name: NAME` stands before every statement.

    Raises ValueError when a name is given twice, or a name has no statement or more than one.
    """
    found: dict[str, str] = {}
    for part in f"\n{text}".split(f"\n{_MARK}")[1:]:
        name, _, body = part.partition("\n")
        name = name.strip()
        if name in found:
            raise ValueError(f"the statement {name!r} is there twice")
        parts = list(statements(body))
        if len(parts) != 1:
            raise ValueError(f"{name!r} names {len(parts)} statements instead of one")
        found[name] = parts[0]
    return found


def queries(file: str) -> dict[str, str]:
    """Return name -> statement of one `.sql` file of this package."""
    return named((FOLDER / file).read_text(encoding="utf-8"))


def steps(folder: Path) -> list[tuple[int, Path]]:
    """Return the numbered files `0001_name.sql` of a folder of migrations, in order.

    Raises ValueError when the numbers do not count from 1 without a gap.
    """
    found = sorted((int(path.name[:4]), path) for path in folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"{folder}: the numbers of the migrations do not count from 1 without a gap")
    return found


def pending(folder: Path, version: int, where: str) -> list[tuple[int, Path]]:
    """Return the steps that a database of schema `version` still needs.

    Raises StoreError `store.newer` when the database is newer than the last step known here.
    """
    known = steps(folder)
    if version > len(known):
        raise StoreError(
            "store.newer",
            f"the database has schema {version}, this program knows schemas up to {len(known)}",
            where=where,
            remedy="Upgrade stagent; nothing was changed.",
            fields={"schema": version, "known": len(known)},
        )
    return known[version:]

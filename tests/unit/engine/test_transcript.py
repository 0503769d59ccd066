from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stagent.engine.transcript import error

FAILED = {
    "type": "assistant",
    "isApiErrorMessage": True,
    "error": "rate_limit",
    "message": {"content": [{"type": "text", "text": "API Error: 429 token=abcdefgh12345678"}]},
}
SAID: dict[str, Any] = {"type": "assistant", "message": {"content": [{"type": "text", "text": "Done."}]}}
ASIDE = {"type": "cost-state", "message": 5}


def record(tmp_path: Path, *entries: Any) -> str:
    path = tmp_path / "session.jsonl"
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_the_last_turn_ended_with_an_error(tmp_path: Path) -> None:
    told = error(record(tmp_path, SAID, FAILED, ASIDE, "{half"))
    assert told == "error: rate_limit: API Error: 429 token=[masked]"


@pytest.mark.parametrize("entries", [[FAILED, SAID], [FAILED, {"type": "user", "message": {"content": "go on"}}], []])
def test_what_was_said_after_it_counts(tmp_path: Path, entries: list[Any]) -> None:
    assert error(record(tmp_path, *entries)) == ""


def test_only_the_end_of_a_long_record_is_read(tmp_path: Path) -> None:
    long = {**SAID, "message": {"content": "x" * 1_000_000}}
    assert (
        error(record(tmp_path, long, {**FAILED, "message": {"content": "API Error"}})) == "error: rate_limit: API Error"
    )


def test_no_record_tells_nothing(tmp_path: Path) -> None:
    assert [error(str(tmp_path)), error(str(tmp_path / "none")), error(""), error("a\0b")] == [""] * 4

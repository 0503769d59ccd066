from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from stagent.checks import findings
from stagent.checks.declared import Unmet

OUT = io.BytesIO()
ONE = {
    "id": "F1", "title": "It is there", "severity": "high", "where": "there:1", "shows": "found it",
    "run": "test ! -f there || { echo found it; exit 1; }",
}  # fmt: skip


def declare(root: Path, *entries: dict[str, Any]) -> Path:
    (root / ".agents").mkdir(exist_ok=True)
    (root / ".agents" / "findings.json").write_text(json.dumps({"findings": entries}))
    (root / "there").write_text("x")
    return root


def test_a_finding_shows_itself_until_it_is_gone(tmp_path: Path) -> None:
    root = declare(tmp_path, ONE)
    assert findings.reproduced(root, OUT) == "every finding shows itself (1)."
    with pytest.raises(Unmet, match="still there: F1"):
        findings.gone(root, OUT)
    (root / "there").unlink()
    assert findings.gone(root, OUT) == "every finding is gone (1)."
    with pytest.raises(Unmet, match="the defect is not there"):
        findings.reproduced(root, OUT)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"run": "true"}, "exit code 0"),
        ({"run": "exit 1"}, "without printing 'found it'"),
        ({"run": "no-such-command-here"}, "exit code 127"),
        ({"run": "echo found it; sleep 30", "timeout": 0.3}, "did not finish in time"),
    ],
)
def test_what_is_not_shown_is_no_finding(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(Unmet, match=says):
        findings.reproduced(declare(tmp_path, {**ONE, **fields}), OUT)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([], "no finding in it"),
        ([ONE, ONE], "the same id"),
        ([{**ONE, "shows": " "}], "a field is empty in: F1"),
        ([{**ONE, "severity": "grave"}], "severity"),
    ],
)
def test_a_poor_list_is_refused(tmp_path: Path, entries: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(Unmet, match=says):
        findings.gone(declare(tmp_path, *entries), OUT)

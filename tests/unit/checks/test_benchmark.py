from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from stagent.checks import benchmark
from stagent.checks.declared import Unmet

OUT = io.BytesIO()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".agents").mkdir()
    (tmp_path / "value").write_text("100\n")
    declare(tmp_path)
    return tmp_path


def declare(root: Path, **fields: Any) -> None:
    whole = {"run": "sh -c 'cat val*'", "measure": "number", "ratio": 0.8, "runs": 3, **fields}
    (root / ".agents" / "benchmark.json").write_text(json.dumps(whole))


@pytest.mark.parametrize(
    ("better", "ratio", "value", "kept"),
    [
        ("lower", 0.8, "80", True),
        ("lower", 0.8, "81", False),
        ("lower", 1.05, "104", True),
        ("higher", 1.2, "120", True),
        ("higher", 1.2, "119", False),
    ],
)
def test_the_ratio_is_held_against_its_bound(root: Path, better: str, ratio: float, value: str, kept: bool) -> None:
    declare(root, better=better, ratio=ratio)
    assert benchmark.declaration(root, OUT).startswith("it gives 100;")
    assert benchmark.record(root, OUT).startswith("the baseline is 100 (100 to 100 in 3 runs)")
    (root / "value").write_text(f"{value}\n")
    if kept:
        assert f"ratio {int(value) / 100:.3f}" in benchmark.compare(root, OUT)
    else:
        with pytest.raises(Unmet, match=f"ratio {int(value) / 100:.3f}, bound"):
            benchmark.compare(root, OUT)


def test_seconds_are_those_the_command_takes(root: Path) -> None:
    declare(root, run="sleep 0.3", measure="seconds", ratio=3)
    benchmark.record(root, OUT)
    lock = json.loads((root / ".agents" / "benchmark.lock.json").read_text())
    assert 0.3 <= lock["measured"]["median"] < 3
    assert set(lock["measured"]) == {"median", "run1", "run2", "run3"}
    declare(root, run="sleep 0.3", measure="seconds", ratio=3, timeout=500)
    with pytest.raises(Unmet, match=r"benchmark\.json"):
        benchmark.compare(root, OUT)


def test_the_first_run_does_not_count(root: Path) -> None:
    declare(root, run="test -f warm && echo 5 || echo 9000; touch warm")
    assert benchmark.record(root, OUT).startswith("the baseline is 5 (5 to 5 in 3 runs)")


def test_without_a_baseline_nothing_is_compared(root: Path) -> None:
    with pytest.raises(Unmet, match=r"benchmark\.lock\.json"):
        benchmark.compare(root, OUT)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"run": " "}, "`run` is empty"),
        ({"ratio": 0}, "not above 0"),
        ({"ratio": -1}, "not above 0"),
        ({"runs": 1}, "not between 3"),
        ({"run": "false"}, "ended with exit code 1"),
        ({"run": "echo fast"}, 'is "fast", not a number'),
        ({"run": "true"}, 'is "", not a number'),
        ({"run": "echo 0"}, "needs numbers above 0"),
        ({"run": "echo nan"}, "needs numbers above 0"),
        ({"measure": "bytes"}, "cannot be read"),
    ],
)
def test_a_poor_benchmark_is_refused(root: Path, fields: dict[str, Any], says: str) -> None:
    declare(root, **fields)
    with pytest.raises(Unmet, match=says):
        benchmark.declaration(root, OUT)

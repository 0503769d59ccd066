from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stagent.checks import appstart
from stagent.checks.declared import Unmet

APP = {"start": "echo $$ > pid; exec sleep 60", "probe": "kill -0 $(cat pid)", "within": 10}


def declare(root: Path, **fields: Any) -> Path:
    (root / ".agents").mkdir(exist_ok=True)
    (root / ".agents" / "app.json").write_text(json.dumps({**APP, **fields}))
    return root


@pytest.fixture
def out(tmp_path: Path) -> Iterator[io.BufferedWriter]:
    with open(tmp_path / "out", "wb") as file:
        yield file


def test_an_application_is_started_asked_and_ended(tmp_path: Path, out: Any) -> None:
    declare(tmp_path)
    assert "started by" in appstart.declaration(tmp_path, out)
    assert "answered" in appstart.works(tmp_path, out)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_ends_by_itself_has_a_probe_only(tmp_path: Path, out: Any) -> None:
    assert "ended with exit code 0" in appstart.works(declare(tmp_path, start="", probe="true"), out)
    with pytest.raises(Unmet, match="ended with exit code 4"):
        appstart.works(declare(tmp_path, start="", probe="exit 4"), out)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"start": "true"}, "ended by itself with exit code 0"),
        ({"probe": "false", "within": 0.5}, "did not answer"),
        ({"probe": "true"}, "well before anything was started"),
        ({"probe": " "}, "needs a command in `probe`"),
        ({"within": 0}, "`within` above 0"),
    ],
)
def test_one_that_does_not_work_is_named(tmp_path: Path, out: Any, fields: dict[str, Any], says: str) -> None:
    began = time.monotonic()
    with pytest.raises(Unmet, match=says):
        appstart.works(declare(tmp_path, **fields), out)
    assert time.monotonic() - began < 20

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from stagent.checks import suites
from stagent.checks.declared import Unmet

OUT = io.BytesIO()
TEST = (
    'import unittest\nclass Buy(unittest.TestCase):\n    def test_buy(self):\n        """J1"""\n'
    "        self.assertTrue({})\n"
)
RUN = f'"{sys.executable}" -m unittest discover -s e2e -t .'
JOURNEYS = {"run": RUN, "journeys": [{"id": "J1", "says": "Buy.", "file": "e2e/test_buy.py"}]}
VISUAL = {"run": "cmp seen shots/a.png", "images": ["shots/*.png"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "e2e/__init__.py": "",
        "e2e/test_buy.py": TEST.format(True),
        "shots/a.png": "a",
        "seen": "a",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def declare(root: Path, kind: str, whole: dict[str, Any]) -> None:
    (root / ".agents").mkdir(exist_ok=True)
    (root / ".agents" / f"{kind}.json").write_text(json.dumps(whole))


def test_journeys_pass_by_their_own_count(root: Path) -> None:
    declare(root, "journeys", JOURNEYS)
    assert suites.journeys_declared(root, OUT).startswith("1 journey, run by")
    assert "1 test ran" in suites.journeys_pass(root, OUT)


@pytest.mark.parametrize(
    ("change", "text", "says"),
    [
        ({"run": "true"}, TEST.format(True), "no count of tests was recognised"),
        ({}, TEST.format(False), "1 failed"),
        ({}, TEST.format(True).replace("J1", "J2"), "no test names these journeys: J1"),
        ({"journeys": [*JOURNEYS["journeys"], {"id": "test_buy", "says": "x", "file": "e2e/test_buy.py"}]},
         TEST.format(True), "fewer than the journeys declared"),
        ({"journeys": []}, TEST.format(True), "at least one journey"),
        ({"journeys": JOURNEYS["journeys"] * 2}, TEST.format(True), "an id of its own"),
    ],
)  # fmt: skip
def test_what_is_no_pass_is_named(root: Path, change: dict[str, Any], text: str, says: str) -> None:
    declare(root, "journeys", {**JOURNEYS, **change})
    (root / "e2e" / "test_buy.py").write_text(text)
    with pytest.raises(Unmet, match=says):
        suites.journeys_pass(root, OUT)


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("journeys", ".agents/journeys.json", "{}"),
        ("journeys", "web/playwright.config.ts", ""),
        ("journeys", "features/buy.feature", ""),
        ("journeys", "package.json", '{"scripts": {"test:e2e": "x"}}'),
        ("journeys", "package.json", "{"),
        ("visual", "package.json", '{"scripts": {"visual": "x"}}'),
        ("visual", "e2e/home.spec.ts-snapshots/a.png", ""),
        ("visual", "backstop.json", ""),
    ],
)
def test_skipping_is_refused_while_something_speaks_for_a_suite(root: Path, kind: str, name: str, text: str) -> None:
    assert "nothing of the kind" in suites.none(root, OUT, kind)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    with pytest.raises(Unmet, match="there is something to run"):
        suites.none(root, OUT, kind)


def test_pictures_are_compared_with_those_that_were_sealed(root: Path) -> None:
    declare(root, "visual", VISUAL)
    assert suites.visual_declared(root, OUT).startswith("1 reference picture, ")
    suites.visual_seal(root, OUT)
    assert "as they were recorded" in suites.visual_same(root, OUT)
    (root / "seen").write_text("b")
    with pytest.raises(Unmet, match="after it was sealed: seen"):
        suites.visual_same(root, OUT)


@pytest.mark.parametrize("command", ["cp new shots/a.png", "touch shots/b.png", "rm shots/a.png"])
def test_a_comparison_that_accepts_what_it_sees_does_not_count(root: Path, command: str) -> None:
    (root / "new").write_text("b")
    declare(root, "visual", {**VISUAL, "run": f"test -f sealed && {command}; true"})
    suites.visual_seal(root, OUT)
    (root / "sealed").write_text("")
    with pytest.raises(Unmet):
        suites.visual_same(root, OUT)


def test_a_difference_is_a_failure(root: Path) -> None:
    declare(root, "visual", {**VISUAL, "run": "cat see* | cmp - shots/a.png"})
    suites.visual_seal(root, OUT)
    (root / "seen").write_text("b")
    with pytest.raises(Unmet, match="what is shown differs"):
        suites.visual_same(root, OUT)


def test_without_pictures_there_is_nothing_to_compare(root: Path) -> None:
    declare(root, "visual", {**VISUAL, "images": ["none/*"]})
    with pytest.raises(Unmet, match="no reference picture"):
        suites.visual_declared(root, OUT)
    declare(root, "visual", {**VISUAL, "images": []})
    with pytest.raises(Unmet, match="globs in `images`"):
        suites.visual_declared(root, OUT)


def script(root: Path, monkeypatch: pytest.MonkeyPatch, npm: str) -> None:
    """A project with a script for its journeys and no declaration, and an npm that says what it is told."""
    (root / "package.json").write_text('{"scripts": {"test": "x", "test:e2e": "x"}}')
    (root / "bin").mkdir(exist_ok=True)
    (root / "bin" / "npm").write_text(f'#!/bin/sh\ntest "$*" = "run test:e2e" || exit 9\n{npm}\n')
    (root / "bin" / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}")


def test_journeys_are_walked_by_the_declaration_or_else_by_the_script(root: Path, monkeypatch: Any) -> None:
    script(root, monkeypatch, "echo 'Tests: 2 passed, 2 total'")
    assert suites.journeys_walked(root, OUT) == "`npm run test:e2e` ended with exit code 0: 2 tests ran."
    declare(root, "journeys", JOURNEYS)
    assert "1 test ran" in suites.journeys_walked(root, OUT)


@pytest.mark.parametrize(
    ("npm", "says"),
    [
        ("echo 'Tests: 1 failed, 1 passed, 2 total'; exit 1", "1 failed"),
        ("echo all green", "no count of tests was recognised"),
    ],
)
def test_a_script_that_shows_nothing_is_no_pass(root: Path, monkeypatch: Any, npm: str, says: str) -> None:
    script(root, monkeypatch, npm)
    with pytest.raises(Unmet, match=says):
        suites.journeys_walked(root, OUT)


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "no journeys were run"), ('{"scripts": {"test": "x"}}', "no journeys were run"), ("{", "cannot be read")],
)
def test_without_either_nothing_was_walked(root: Path, text: str | None, says: str) -> None:
    if text is not None:
        (root / "package.json").write_text(text)
    with pytest.raises(Unmet, match=says):
        suites.journeys_walked(root, OUT)

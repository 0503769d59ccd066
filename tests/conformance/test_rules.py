"""Every rule of the original plugin has a test that runs, or a reason."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PART = '[[part]]\nid = "S1"\ntitle = "One"\n[[part]]\nid = "W"\ntitle = "Two"\n'


@pytest.fixture(scope="module")
def conformance(checkout: Path) -> ModuleType:
    """scripts/_conformance.py as a module."""
    name = "_conformance"
    spec = importlib.util.spec_from_file_location(name, checkout / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def pytest_of(checkout: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with the settings of the checkout, whatever the test run around this one was told."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", f"{checkout}/pyproject.toml", *words]
    return subprocess.run(argv, cwd=checkout, env={**own, **env}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def collected(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every collected test that names rules: its node id, the rules, and whether a mark may skip it."""
    place = tmp_path_factory.mktemp("rules") / "collected.json"
    done = pytest_of(checkout, "--collect-only", "tests", STAGENT_TEST_RULES=str(place))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    found: dict[str, dict[str, Any]] = json.loads(place.read_text())
    return found


def test_every_rule_has_a_test_or_a_reason(conformance: ModuleType) -> None:
    assert conformance.problems(conformance.read(), conformance.proofs()) == []


def test_every_test_that_names_a_rule_is_collected(
    conformance: ModuleType, collected: dict[str, dict[str, Any]]
) -> None:
    """What is read from the files is what runs: no test is hidden behind a condition, a wrong name or a second one."""
    written = {f"tests/{proof.file}::{proof.test}": set(proof.rules) for proof in conformance.proofs()}
    runs: dict[str, set[str]] = {}
    for node, what in collected.items():
        runs.setdefault(node.partition("[")[0], set()).update(what["rules"])
    assert runs == written


def test_no_test_that_names_a_rule_may_be_skipped(collected: dict[str, dict[str, Any]]) -> None:
    assert [node for node, what in collected.items() if what["may_skip"]] == []


def test_a_test_that_names_a_rule_fails_when_it_is_skipped(checkout: Path, tmp_path: Path) -> None:
    test = 'import pytest\n\n\n{mark}def test_it() -> None:\n    pytest.skip("no time")\n'
    file = tmp_path / "test_it.py"
    for mark, status in (("", 0), ('@pytest.mark.rule("S1.1")\n', 1)):
        file.write_text(test.format(mark=mark))
        done = pytest_of(checkout, "-p", "conftest", str(file))
        assert done.returncode == status, done.stdout
    assert "proves a rule and was skipped" in done.stdout


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('[[rule]]\nid = "S1.2"\nsays = "It is."\n', "S1.2 has no test: It is."),
        ('[[rule]]\nid = "W1"\nsays = "It was."\n', "W1 has no test"),
        ('[[rule]]\nid = "W1"\nsays = "It was."\ndiffers = "No."\n', "nothing differs from it on purpose"),
        ('[[rule]]\nid = "S1.1"\nsays = "It is."\n' * 2, "S1.1 stands in the table twice"),
        ('[[rule]]\nid = "S9.1"\nsays = "It is."\nopen = "Soon."\n', "S9.1 is of no part"),
        ('[[rule]]\nid = "S1.1"\nsays = "It is"\n', "S1.1 is not written in sentences"),
        (
            '[[rule]]\nid = "S1.2"\nsays = "It is."\nopen = "Soon."\n',
            "test_a.py::TestIt::test_b names S1.1, which is no rule",
        ),
    ],
)
def test_a_table_that_is_not_in_order_is_found(conformance: ModuleType, tmp_path: Path, rules: str, words: str) -> None:
    (tmp_path / "rules.toml").write_text(PART + rules)
    (tmp_path / "test_a.py").write_text(
        "class TestIt:\n    @pytest.mark.parametrize('x', [1])\n    @pytest.mark.rule('S1.1')\n    def test_b(x): ...\n"
    )
    found = conformance.problems(conformance.read(tmp_path / "rules.toml"), conformance.proofs(tmp_path))
    assert any(words in problem for problem in found), found


@pytest.mark.parametrize(
    ("rule", "row"),
    [
        ('id = "S1.1"\nsays = "A | B."\n', "| S1.1 | A \\| B. | the same | `test_a::test_b`<br>`test_a::test_c` |"),
        ('id = "S1.1"\nsays = "A."\ndiffers = "B."\n', "| S1.1 | A. | otherwise: B. |"),
        ('id = "S1.2"\nsays = "A."\nserver = "B."\n', "| S1.2 | A. | needs a server: B. | none |"),
        ('id = "S1.2"\nsays = "A."\nopen = "B."\n', "- S1.2: A. *B.*"),
        ('id = "W1"\nsays = "A."\n', "| W1 | A. | gone | `test_a::test_c` |"),
    ],
)
def test_the_page_says_all_of_it(conformance: ModuleType, tmp_path: Path, rule: str, row: str) -> None:
    (tmp_path / "rules.toml").write_text(f"{PART}[[rule]]\n{rule}")
    (tmp_path / "test_a.py").write_text(
        "pytestmark = [pytest.mark.rule('S1.1')]\ndef test_b(): ...\n@pytest.mark.rule('W1')\ndef test_c(): ...\n"
    )
    made = conformance.page(conformance.read(tmp_path / "rules.toml"), conformance.proofs(tmp_path))
    assert row in made, made


def test_ids_are_written_out(conformance: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("@pytest.mark.rule(name)\ndef test_b(): ...\n")
    with pytest.raises(ValueError, match="must be written out"):
        conformance.proofs(tmp_path)

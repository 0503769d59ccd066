"""What the runs of the template library share: a small shop with real tests, and what came of a run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from acceptance.support import Headless, Json, Machine, claim

PYTHON = f'"{sys.executable}"'
SHOP = {
    ".gitignore": "__pycache__/\n",
    "README.md": "# Shop\n",
    "shop.py": (
        "def total(prices):\n    return sum(prices)\n\n\ndef mean(prices):\n    return sum(prices) / len(prices)\n\n\n"
        "def steps(count):\n    return sum(1 for _ in range(count))\n"
    ),
    "tests/__init__.py": "",
    "tests/test_shop.py": (
        "import unittest\n\nimport shop\n\n\nclass Shop(unittest.TestCase):\n"
        "    def test_total(self):\n        self.assertEqual(shop.total([1, 2]), 3)\n\n"
        "    def test_mean(self):\n        self.assertEqual(shop.mean([1, 3]), 2)\n"
    ),
}
PASS = [claim("PASS", body="\nLooked at everything.\n")]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a template: what the agents do, what is decided, and what the project has besides the shop.

    `tag` names its first commit; `later` are files of a second one.
    """

    flow: str
    name: str
    script: dict[str, Any]
    policy: dict[str, Any] = {}
    files: dict[str, str] = {}
    bare: bool = False
    tag: str = ""
    later: dict[str, str] = {}
    persons: tuple[str, ...] = ()
    ends: str = "complete"
    code: str = ""
    at: str = ""
    says: str = ""

    @property
    def id(self) -> str:
        """The name tests show."""
        return f"{self.flow}: {self.name}"


def put(path: str, text: str | Mapping[str, Any]) -> Json:
    """The scripted agent's step that writes a file of the project; a mapping becomes JSON."""
    return {"write": {"path": path, "text": text if isinstance(text, str) else json.dumps(text, indent=1) + "\n"}}


def facts(result: str, **more: Any) -> Json:
    """The scripted agent's step that writes its artifact with the object its stage asks for."""
    return claim(result, body=f"\nWork.\n\n```json\n{json.dumps({'result': result, **more})}\n```\n")


def test_of(name: str, body: str) -> Json:
    """The scripted agent's step that adds a test file."""
    text = (
        f"import unittest\n\nimport shop\n\n\nclass Case(unittest.TestCase):\n    def test_it(self):\n        {body}\n"
    )
    return put(f"tests/test_{name}.py", text)


test_of.__test__ = False  # type: ignore[attr-defined]


def answer(choice: str) -> Json:
    """A decision declared beforehand for a stage of kind human."""
    return {"decision": "answer", "choice": choice, "reason": "declared"}


def made(root: Path, case: Case) -> Machine:
    """The machine a case runs on."""
    machine = Machine(root)
    machine.env["STAGENT_TEST_COMMAND"] = f"{PYTHON} -m unittest discover -s tests -t ."
    base = {".gitignore": SHOP[".gitignore"]} if case.bare else SHOP
    machine.repository({**base, **case.files})
    if case.tag:
        subprocess.run(["git", "tag", case.tag], cwd=machine.project, env=machine.env, check=True)
    if case.later:
        machine.repository(case.later)
    return machine


def run(machine: Machine, case: Case) -> Headless:
    """Drive a case, a person deciding where only a person may, until the run ends or nobody is left to decide."""
    script, policy = machine.script(case.script), machine.policy(**case.policy)
    common = ["--agent", "scripted", "--script", script, "--unattended", policy, "--json"]
    made = Headless(machine, machine.cli("run", "a task", "--flow", case.flow, *common, timeout=120))
    for choice in case.persons:
        assert made.status == 4, made.done.err
        decided = machine.person("answer", made.run, "--choice", choice)
        assert decided.status == 0, decided.out
        made = Headless(machine, machine.cli("run", "--resume", made.run, *common, timeout=120))
    return made


def moves(run: Headless) -> list[tuple[str, str]]:
    """The stages a run left and the results it left them by."""
    return [(event["source"], event["result"]) for event in run.log("transitioned")]


def repeated(steps: Sequence[Json], *later: Sequence[Json]) -> list[list[Json]]:
    """Attempts one after another, the last of which repeats."""
    return [list(steps), *(list(more) for more in later)]

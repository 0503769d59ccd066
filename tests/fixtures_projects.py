"""Small real projects, one function per kind of test command, each without a single dependency.

Every function takes the folder to make the project in and the state its tests are in: `green` (one test, passing),
`red` (one test, failing) or `empty` (a test command that finds nothing to run), and returns the folder.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

State = Literal["green", "red", "empty"]


def npm(root: Path, state: State = "green") -> Path:
    """A package whose test script runs Node's own test runner."""
    files = {
        "package.json": '{"name": "sums", "version": "1.0.0", "scripts": {"test": "node --test"}}\n',
        "sums.js": f"exports.add = (a, b) => a {_operator(state)} b;\n",
    }
    if state != "empty":
        files["sums.test.js"] = (
            'const test = require("node:test");\n'
            'const assert = require("node:assert");\n'
            'const { add } = require("./sums.js");\n\n'
            'test("adds", () => { assert.strictEqual(add(2, 3), 5); });\n'
        )
    return _make(root, files)


def pytest(root: Path, state: State = "green") -> Path:
    """A Python project with pytest configured in pyproject.toml."""
    project = '[project]\nname = "sums"\nversion = "1.0.0"\n\n'
    files = {
        "pyproject.toml": project + '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n',
        "sums.py": f"def add(a, b):\n    return a {_operator(state)} b\n",
        "tests/__init__.py": "",
    }
    if state != "empty":
        files["tests/test_sums.py"] = "from sums import add\n\n\ndef test_adds():\n    assert add(2, 3) == 5\n"
    return _make(root, files)


def go(root: Path, state: State = "green") -> Path:
    """A Go module of one package."""
    files = {
        "go.mod": "module example.com/sums\n\ngo 1.18\n",
        "sums.go": f"package sums\n\nfunc Add(a, b int) int {{ return a {_operator(state)} b }}\n",
    }
    if state != "empty":
        files["sums_test.go"] = (
            'package sums\n\nimport "testing"\n\n'
            "func TestAdd(t *testing.T) {\n\tif got := Add(2, 3); got != 5 {\n\t\tt.Fatalf"
            '("got %d", got)\n\t}\n}\n'
        )
    return _make(root, files)


def make(root: Path, state: State = "green") -> Path:
    """A Makefile whose test target runs Python's unittest."""
    files = {
        "Makefile": ".PHONY: test\n\ntest:\n\tpython3 -m unittest discover -s tests -t .\n",
        "sums.py": f"def add(a, b):\n    return a {_operator(state)} b\n",
        "tests/__init__.py": "",
    }
    if state != "empty":
        files["tests/test_sums.py"] = (
            "import unittest\n\nfrom sums import add\n\n\n"
            "class Sums(unittest.TestCase):\n    def test_adds(self):\n        self.assertEqual(add(2, 3), 5)\n"
        )
    return _make(root, files)


def cargo(root: Path, state: State = "green") -> Path:
    """A Rust library crate."""
    source = f"pub fn add(a: i32, b: i32) -> i32 {{\n    a {_operator(state)} b\n}}\n"
    if state != "empty":
        source += "\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn adds() {\n"
        source += "        assert_eq!(super::add(2, 3), 5);\n    }\n}\n"
    manifest = '[package]\nname = "sums"\nversion = "1.0.0"\nedition = "2021"\n'
    return _make(root, {"Cargo.toml": manifest, "src/lib.rs": source, ".gitignore": "/target\n"})


def none(root: Path, state: State = "green") -> Path:
    """A project without any tests; the state makes no difference."""
    return _make(root, {"README.md": "# Sums\n\nAdd 2 and 3 by hand.\n", "sums.py": "print(2 + 3)\n"})


KINDS: Mapping[str, Callable[[Path, State], Path]] = {
    "npm": npm,
    "pytest": pytest,
    "go": go,
    "make": make,
    "cargo": cargo,
}


def offline(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment to run these projects in: no command is declared, no tool may reach for the network."""
    values = dict(os.environ if env is None else env)
    values.pop("STAGENT_TEST_COMMAND", None)
    values.update(
        CARGO_NET_OFFLINE="true",
        GOFLAGS="-mod=mod",
        GOPROXY="off",
        GOTOOLCHAIN="local",
        npm_config_offline="true",
    )
    # A toolchain manager finds its toolchains under the person's home, which tests replace by an empty one.
    for name, folder in (("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")):
        place = Path(pwd.getpwuid(os.getuid()).pw_dir) / folder
        if name not in values and place.is_dir():
            values[name] = str(place)
    return values


def _operator(state: State) -> str:
    return "-" if state == "red" else "+"


def _make(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root

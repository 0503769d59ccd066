"""`stagent.core` computes and nothing else: the same input gives the same output, and the world is not touched."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ALLOWED_IMPORTS = {
    "__future__", "abc", "ast", "base64", "bisect", "collections", "copy", "dataclasses", "datetime", "decimal",
    "difflib", "enum", "fnmatch", "fractions", "functools", "graphlib", "hashlib", "heapq", "itertools", "json",
    "math", "msgspec", "operator", "posixpath", "re", "string", "textwrap", "types", "typing", "unicodedata",
}  # fmt: skip
ALLOWED_OURS = ("stagent.core", "stagent.errors", "stagent.version")
FORBIDDEN_CALLS = {"__import__", "breakpoint", "compile", "eval", "exec", "id", "input", "open", "print"}
FORBIDDEN_METHODS = {"fromtimestamp", "now", "today", "utcnow", "utcfromtimestamp"}
PURE_PATHS = {"PurePath", "PurePosixPath"}


def import_is_pure(node: ast.Import | ast.ImportFrom) -> bool:
    """True when every module the statement names is on the allow-list."""
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return True
        names = [node.module or ""]
        if names == ["pathlib"]:
            return {alias.name for alias in node.names} <= PURE_PATHS
    else:
        names = [alias.name for alias in node.names]
    return all(
        name.partition(".")[0] in ALLOWED_IMPORTS or ".".join(name.split(".")[:2]) in ALLOWED_OURS for name in names
    )


def call_is_pure(call: ast.Call) -> bool:
    """False for a call that reads the clock, the disk, the terminal or an address, or runs text as code."""
    if isinstance(call.func, ast.Name):
        return call.func.id not in FORBIDDEN_CALLS
    if isinstance(call.func, ast.Attribute) and call.func.attr in FORBIDDEN_METHODS:
        return ast.unparse(call.func.value).rpartition(".")[2] not in ("date", "datetime")
    return True


def impurities(tree: ast.Module) -> Iterator[str]:
    """What in a module is not pure: `line: source`."""
    for node in ast.walk(tree):
        is_import = isinstance(node, (ast.Import, ast.ImportFrom))
        if (is_import and not import_is_pure(node)) or (isinstance(node, ast.Call) and not call_is_pure(node)):
            yield f"{node.lineno}: {ast.unparse(node)}"


def test_core_is_pure(trees: dict[Path, ast.Module]) -> None:
    core = {path: tree for path, tree in trees.items() if path.parts[0] == "core" or path == Path("errors.py")}
    assert len(core) > 3
    assert [f"{path}:{found}" for path, tree in core.items() for found in impurities(tree)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "import time",
        "from random import choice",
        "from pathlib import Path",
        "import stagent.engine",
        "from stagent.errors_of_others import x",
        "open('a')",
        "datetime.datetime.now()",
        "date.today()",
        "print(1)",
    ],
)
def test_impure_lines_are_found(line: str) -> None:
    assert len(list(impurities(ast.parse(line)))) == 1


@pytest.mark.parametrize(
    "line", ["import re", "from stagent.core.model import Workflow", "from pathlib import PurePosixPath", "clock.now()"]
)
def test_pure_lines_pass(line: str) -> None:
    assert list(impurities(ast.parse(line))) == []

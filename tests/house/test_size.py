"""Modules and functions stay small enough to read in a sitting.

A module's size is its lines. A function's size is its lines from `def` to its end, its docstring not counted:
explaining costs nothing. A name in an allow-list carries its size; it may only shrink, and leaves it when it fits.
"""

from __future__ import annotations

import ast
from pathlib import Path

MODULE_LINES, MODULE_HARD = 400, 800
FUNCTION_LINES, FUNCTION_HARD = 40, 80
LARGE_MODULES: dict[str, int] = {
    # A hook is one file that imports nothing of ours: it runs at every tool call, and each further module costs.
    "hooks/hook.py": 781,
}
LARGE_FUNCTIONS: dict[str, int] = {}
LONGEST_LIST = 5

Function = ast.FunctionDef | ast.AsyncFunctionDef


def docstring_lines(function: Function) -> int:
    """How many lines the docstring of `function` takes."""
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is None:
        return 0
    return (first.end_lineno or first.lineno) - first.lineno + 1


def function_size(function: Function) -> int:
    """Lines from `def` to the end, without decorators and docstring."""
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring_lines(function)


def too_large(sizes: dict[str, int], limit: int, hard: int, allowed: dict[str, int]) -> list[str]:
    """What breaks the limits, and what stands in the allow-list without need."""
    problems = [f"{name}: {size} lines, hard limit {hard}" for name, size in sizes.items() if size > hard]
    for name, size in sizes.items():
        if size > max(limit, allowed.get(name, 0)):
            problems.append(f"{name}: {size} lines, limit {max(limit, allowed.get(name, 0))}")
    for name, recorded in allowed.items():
        if not limit < sizes.get(name, 0) == recorded:
            problems.append(f"{name}: recorded with {recorded} lines, has {sizes.get(name)}; correct or remove it")
    return problems


def function_sizes(path: Path, tree: ast.Module) -> dict[str, int]:
    """Size of every function of a module, by path, name and order."""
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    return {f"{path}:{node.name}:{node.lineno}": function_size(node) for node in functions}


def test_modules_are_small(sources: dict[Path, str]) -> None:
    sizes = {str(path): len(text.splitlines()) for path, text in sources.items()}
    assert too_large(sizes, MODULE_LINES, MODULE_HARD, LARGE_MODULES) == []


def test_functions_are_small(trees: dict[Path, ast.Module]) -> None:
    sizes: dict[str, int] = {}
    for path, tree in trees.items():
        for key, size in function_sizes(path, tree).items():
            name = key.rpartition(":")[0]
            sizes[name] = max(size, sizes.get(name, 0))
    assert too_large(sizes, FUNCTION_LINES, FUNCTION_HARD, LARGE_FUNCTIONS) == []


def test_the_allow_lists_are_short() -> None:
    assert len(LARGE_MODULES) <= LONGEST_LIST
    assert len(LARGE_FUNCTIONS) <= LONGEST_LIST


def test_the_limits_bite() -> None:
    assert too_large({"a": 40, "b": 41}, 40, 80, {}) == ["b: 41 lines, limit 40"]
    assert too_large({"a": 50}, 40, 80, {"a": 50}) == []
    assert len(too_large({"a": 45}, 40, 80, {"a": 50})) == 1
    assert len(too_large({"a": 39}, 40, 80, {"a": 39})) == 1
    assert len(too_large({"a": 90}, 40, 80, {"a": 90})) == 1
    tree = ast.parse('@deco\ndef f(\n    a,\n):\n    """One.\n\n    Two.\n    """\n    return a\n')
    assert function_sizes(Path("m.py"), tree) == {"m.py:f:2": 4}


def test_package_files_only_name_things(trees: dict[Path, ast.Module]) -> None:
    offenders = []
    for path, tree in trees.items():
        if path.name != "__init__.py":
            continue
        for node in tree.body:
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node is tree.body[0]
            is_all = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
            if not (is_text or is_all or isinstance(node, (ast.Import, ast.ImportFrom))):
                offenders.append(f"{path}:{node.lineno}")
    assert offenders == []


def test_the_shop_window_is_short_and_sorted(trees: dict[Path, ast.Module]) -> None:
    [names] = [ast.literal_eval(node.value) for node in trees[Path("__init__.py")].body if isinstance(node, ast.Assign)]
    assert len(names) <= 15
    assert names == sorted(names)

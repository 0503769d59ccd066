"""No import cycles among our modules, imports inside functions counted; and such imports in three files only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

# A hook runs at every tool call: what only some calls need is not loaded by the others.
MAY_IMPORT_ON_USE = {Path("registry.py"), Path("cli/main.py"), Path("hooks/hook.py")}


def module_name(path: Path) -> str:
    """The dotted name of the module at `path` below src/stagent."""
    parts = ("stagent", *path.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_for_types_only(node: ast.AST) -> bool:
    """True for an `if TYPE_CHECKING:` block, which is never run."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below `node` that can run."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types_only(child):
            yield child
            yield from runtime_nodes(child)


def imported(node: ast.AST, importer: str, is_package: bool, known: set[str]) -> Iterator[str]:
    """Our modules that one import statement of `importer` loads."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
    elif isinstance(node, ast.ImportFrom):
        steps = node.level - 1 if is_package else node.level
        base = importer.split(".")[: len(importer.split(".")) - steps] if node.level else []
        source = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            whole = f"{source}.{alias.name}"
            if whole in known:
                yield whole
            elif source in known:
                yield source


def import_graph(trees: dict[Path, ast.Module]) -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports anywhere."""
    known = {module_name(path) for path in trees}
    graph: dict[str, set[str]] = {}
    for path, tree in trees.items():
        name = module_name(path)
        is_package = path.name == "__init__.py"
        found = {target for node in runtime_nodes(tree) for target in imported(node, name, is_package, known)}
        graph[name] = found - {name}
    return graph


def test_no_import_cycle(trees: dict[Path, ast.Module]) -> None:
    TopologicalSorter(import_graph(trees)).prepare()


def test_a_cycle_through_a_function_is_seen() -> None:
    trees = {
        Path("__init__.py"): ast.parse(""),
        Path("a.py"): ast.parse("from stagent import b"),
        Path("b.py"): ast.parse("def f():\n    from .a import x\n    return x"),
    }
    with pytest.raises(CycleError):
        TopologicalSorter(import_graph(trees)).prepare()
    trees[Path("b.py")] = ast.parse("if TYPE_CHECKING:\n    from stagent.a import x")
    TopologicalSorter(import_graph(trees)).prepare()


def test_imports_inside_functions_are_in_three_files_only(trees: dict[Path, ast.Module]) -> None:
    offenders = [
        f"{path}:{node.lineno}"
        for path, tree in trees.items()
        if path not in MAY_IMPORT_ON_USE
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    assert offenders == []

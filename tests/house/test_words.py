"""What no file of the project may say, and where an error of any kind may be caught."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest


def spell(text: str) -> str:
    """`text` without the tildes that keep this file from containing what it looks for."""
    return text.replace("~", "")


HOSTS = (
    *(r"py~pi\.org", r"pythonho~sted\.org", r"registry\.np~mjs\.org", r"registry\.ya~rnpkg\.com"),
    *(r"proxy\.gol~ang\.org", r"crates\.i~o", r"gh~cr\.io", r"doc~ker\.io"),
)
FORBIDDEN = {
    "an unfinished mark": spell(r"\b(?:TO~DO|FIX~ME|X~XX)\b"),
    "a developer's folder": spell(r"(?<![\w.])/(?:ro~ot|ho~me/\w+|Us~ers/\w+)/|\b[A-Z]:\\+Us~ers\\"),
    "the host name of a registry": spell(rf"\b(?:{'|'.join(HOSTS)})\b"),
}
# The frames beyond which nothing of ours runs: there an error of any kind is turned into an answer.
OUTERMOST = ("__main__.py", "cli/fast.py", "cli/main.py", "hooks/", "runner/", "server/")
BROAD = {"Exception", "BaseException"}


def findings(text: str) -> Iterator[tuple[int, str]]:
    """Line number and kind of everything in `text` that may not be said."""
    for number, line in enumerate(text.splitlines(), start=1):
        for kind, pattern in FORBIDDEN.items():
            if re.search(pattern, line):
                yield number, kind


def broad_handlers(tree: ast.Module) -> Iterator[int]:
    """Lines of the handlers that catch any error and do not raise it again."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        is_broad = any(kind is None or ast.unparse(kind) in BROAD for kind in kinds)
        last = node.body[-1]
        passes_on = isinstance(last, ast.Raise) and last.exc is None
        if is_broad and not passes_on:
            yield node.lineno


def test_no_file_says_what_it_may_not(checkout: Path, project_files: list[Path]) -> None:
    offenders = []
    for path in project_files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        offenders += [f"{path.relative_to(checkout)}:{line}: {kind}" for line, kind in findings(text)]
    assert len(project_files) > 20
    assert offenders == []


@pytest.mark.parametrize(
    "line", ["# TO~DO: later", "see /ro~ot/x", "cd /ho~me/ann/x", "/Us~ers/ann/x", "https://py~pi.org/simple"]
)
def test_such_lines_are_found(line: str) -> None:
    assert list(findings(line)) == []
    assert len(list(findings(spell(line)))) == 1


@pytest.mark.parametrize("line", ["mktemp dir.XXXXXX", "the root/ folder", "src/home/index", "your home folder"])
def test_other_lines_are_not(line: str) -> None:
    assert list(findings(line)) == []


def test_any_error_is_caught_in_outermost_frames_only(sources: dict[Path, str], trees: dict[Path, ast.Module]) -> None:
    offenders = []
    for path, tree in trees.items():
        lines = sources[path].splitlines()
        for number in broad_handlers(tree):
            is_explained = any("#" in line for line in lines[max(0, number - 2) : number + 1])
            if not path.as_posix().startswith(OUTERMOST) or not is_explained:
                offenders.append(f"{path}:{number}")
    assert offenders == []


def test_broad_handlers_are_recognised() -> None:
    text = "try:\n    f()\nexcept {}:\n    {}\n"
    for kind in ("Exception", "BaseException", "(OSError, Exception)"):
        assert list(broad_handlers(ast.parse(text.format(kind, "pass")))) == [3]
        assert list(broad_handlers(ast.parse(text.format(kind, "raise")))) == []
    assert list(broad_handlers(ast.parse("try:\n    f()\nexcept:\n    pass\n"))) == [3]
    assert list(broad_handlers(ast.parse(text.format("OSError", "pass")))) == []

"""Every code a program can meet has a heading with cause and remedy in docs/reference/errors.md, and no other has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from docs.pages import ROOT, page
from stagent import errors
from stagent.core.events import AttemptEnded
from stagent.core.state import Status
from stagent.registry import TABLES
from stagent.runner.attempt import FAILURES

KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
REFUSALS = {"work", "wait", "stand", "call"}
FINDINGS = {"error", "warn"}
# Their `code` is a backend's word, which the runner makes a code of the log from.
WORDS = {"AgentEvent", "Typed", "Verdict", "Outcome"}
# Which argument of a reader of `core.shapes` is the key that a finding about it is named by.
SHAPES = {"text": 2, "texts": 2, "boolean": 2, "seconds": 2, "count": 2}
# Codes that are put together when they are needed: the expression as it stands in the source, and what it can give.
COMPOSED = {
    "f'run.{state.status}'": {f"run.{word}" for word in get_args(Status)} - {"run.running"},
    "f'{command}.no_task'": {"start.no_task", "run.no_task"},
    "f'{kind}.unknown'": {f"{kind}.unknown" for kind in TABLES},
    "f'attempt.{data.outcome}'": None,
    "_code(outcome, status)": {f"attempt.{word}" for word in FAILURES},
}
# Codes that are passed on from where they were made.
PASSED_ON = {
    *(
        "key",
        "code",
        "self.code",
        "data.code",
        "error.code",
        "answer.code",
        "refusal.code",
        "command.code",
        "problem.code",
        "p.code",
    ),
    *("f'workflow.{code}'", "state.refusal"),
}


def outcomes() -> set[str]:
    """What an attempt's code can be besides a refusal's."""
    literal = ast.parse(str(AttemptEnded.__annotations__["outcome"]), mode="eval").body
    assert isinstance(literal, ast.Subscript)
    return {f"attempt.{word}" for word in ast.literal_eval(literal.slice) if word != "ok"}


def expressions(tree: ast.Module, path: Path) -> Iterator[tuple[str, ast.expr]]:
    """Every expression of a module that is a code, with what stands before it in the code's name."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        whole = ast.unparse(node.func)
        name = whole.rpartition(".")[2]
        if name in KINDS and node.args:
            yield "", node.args[0]
        elif name in REFUSALS and len(node.args) > 3 and (whole.startswith("no.") or name == whole):
            yield "", node.args[1]
        elif name in FINDINGS and "findings" in whole:
            yield "workflow.", node.args[0]
        elif name in SHAPES and "shapes" in whole and len(node.args) > SHAPES[name]:
            yield "workflow.", node.args[SHAPES[name]]
        for word in node.keywords:
            if word.arg == "code" and path.parts[0] != "testing" and name not in WORDS:
                yield "", word.value


def values(node: ast.expr) -> Iterator[str]:
    """The codes an expression can give; both sides of a condition, and each part of an `or`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from values(node.body)
        yield from values(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for part in node.values:
            yield from values(part)
    else:
        text = ast.unparse(node)
        assert text in COMPOSED or text in PASSED_ON, f"what codes can {text} give? Name them in COMPOSED."
        yield from COMPOSED.get(text) or (outcomes() if text in COMPOSED else ())


@pytest.fixture(scope="module")
def codes() -> set[str]:
    """Every code the source can give."""
    found: set[str] = set()
    package = ROOT / "src" / "stagent"
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        for prefix, node in expressions(ast.parse(path.read_text(encoding="utf-8")), place):
            found |= {f"{prefix}{value}" for value in values(node) if value}
    # The reducer gives these to an attempt that ended without one.
    return found | outcomes() | {"gate.redo"}


def documented() -> list[str]:
    """The codes that have a heading."""
    return [words for level, words in page("docs/reference/errors.md").headings if level == 4]


def test_every_code_has_a_heading(codes: set[str]) -> None:
    assert sorted(codes - set(documented())) == []


def test_every_heading_is_a_code(codes: set[str]) -> None:
    assert sorted(set(documented()) - codes) == []


def test_no_code_has_two_headings() -> None:
    found = documented()
    assert len(found) == len(set(found))


def test_every_code_has_a_cause_and_a_remedy() -> None:
    sections = page("docs/reference/errors.md").text.split("\n#### ")[1:]
    for section in sections:
        name, cause, remedy = (part.strip() for part in section.split("\n\n")[:3])
        assert cause, name
        assert remedy.startswith("*Remedy:* "), name


def test_codes_are_found_in_every_form() -> None:
    text = (
        "StoreError('a.b', 'x', remedy='y')\n"
        "no.work(state, 'c.d' if x else 'e.f', 'x', 'y')\n"
        "findings.error('g', 'path', 'x', 'y')\n"
        "shapes.text(raw, path, 'h')\n"
        "Finding(code='i.j', where='', what='', remedy='')\n"
        "RefusedError(f'run.{state.status}', 'x', remedy='y')\n"
    )
    found = {
        f"{prefix}{value}" for prefix, node in expressions(ast.parse(text), Path("x.py")) for value in values(node)
    }
    assert {"a.b", "c.d", "e.f", "workflow.g", "workflow.h", "i.j", "run.ended"} <= found
    with pytest.raises(AssertionError):
        list(values(ast.parse("f'{x}.y'", mode="eval").body))

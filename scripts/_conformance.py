"""Reads which rules of the original plugin hold and which tests prove them; makes the page that says so.

The rules stand in tests/conformance/rules.toml. A test names those it proves with `@pytest.mark.rule("S2.4", ...)`, on
itself, on its class, or for a whole module in `pytestmark`.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "tests" / "conformance" / "rules.toml"
DEFECTS = "W"
REASONS = ("differs", "server", "open")
WORDS = {"differs": "otherwise", "server": "needs a server", "open": "open"}


class Rule(NamedTuple):
    """One rule: what the original does (of a defect: did), and why ours does otherwise or has no test."""

    id: str
    says: str
    differs: str = ""
    server: str = ""
    open: str = ""

    @property
    def part(self) -> str:
        """The id of the part of the page it stands in."""
        return self.id.partition(".")[0] if "." in self.id else DEFECTS

    @property
    def reason(self) -> str:
        """Why no test need prove it; empty where one must."""
        return self.server or self.open or ("" if self.part == DEFECTS else self.differs)


class Table(NamedTuple):
    """Every part's title by its id, and every rule, in order."""

    parts: dict[str, str]
    rules: list[Rule]


class Proof(NamedTuple):
    """A test and the rules it names: the file below tests/, and the test's name behind its class, if it has one."""

    file: str
    test: str
    rules: tuple[str, ...]


def read(path: Path = RULES) -> Table:
    """Return the table of rules. Raises TypeError for an unknown key, OSError and TOMLDecodeError as they come."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    return Table({part["id"]: part["title"] for part in document["part"]}, [Rule(**rule) for rule in document["rule"]])


def proofs(folder: Path = ROOT / "tests") -> list[Proof]:
    """Return every test that names rules, by file and place. Raises ValueError for ids that are not written out."""
    found = []
    for path in sorted(folder.rglob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"), str(path))
        found += list(_tests(module.body, str(path.relative_to(folder)), "", _of_module(module, path), path))
    return found


def _of_module(module: ast.Module, path: Path) -> tuple[str, ...]:
    for node in module.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["pytestmark"]:
            marks = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            return _named(marks, path)
    return ()


def _tests(body: Sequence[ast.stmt], file: str, above: str, named: tuple[str, ...], path: Path) -> Iterator[Proof]:
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            inner = (*named, *_named(node.decorator_list, path))
            yield from _tests(node.body, file, f"{above}{node.name}::", inner, path)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            rules = (*named, *_named(node.decorator_list, path))
            if rules:
                yield Proof(file, above + node.name, tuple(sorted(set(rules))))


def _named(marks: Sequence[ast.expr], path: Path) -> tuple[str, ...]:
    found: list[str] = []
    for mark in marks:
        if not isinstance(mark, ast.Call) or ast.unparse(mark.func) != "pytest.mark.rule":
            continue
        for word in mark.args:
            if not isinstance(word, ast.Constant) or not isinstance(word.value, str):
                raise ValueError(f"{path}:{mark.lineno}: the id of a rule must be written out")
            found.append(word.value)
    return tuple(found)


def problems(table: Table, proven: Sequence[Proof]) -> list[str]:
    """Return everything that is not in order, in words: rules without proof or reason, ids nobody knows."""
    found = list(_unsound(table))
    known = {rule.id for rule in table.rules}
    for proof in proven:
        found += [f"{proof.file}::{proof.test} names {name}, which is no rule" for name in set(proof.rules) - known]
    tested = {name for proof in proven for name in proof.rules}
    for rule in table.rules:
        if rule.id not in tested and not rule.reason:
            found.append(f"{rule.id} has no test: {rule.says}")
    return found


def _unsound(table: Table) -> Iterator[str]:
    seen: set[str] = set()
    for rule in table.rules:
        if rule.id in seen:
            yield f"{rule.id} stands in the table twice"
        seen.add(rule.id)
        if rule.part not in table.parts:
            yield f"{rule.id} is of no part"
        if rule.part == DEFECTS and rule.differs:
            yield f"{rule.id} is a defect: nothing differs from it on purpose"
        if not all(text.endswith((".", "…`.", "`.")) for text in rule[1:] if text):
            yield f"{rule.id} is not written in sentences"


def page(table: Table, proven: Sequence[Proof]) -> str:
    """Return the generated part of docs/reference/conformance.md."""
    by_rule: dict[str, list[Proof]] = {}
    for proof in proven:
        for name in proof.rules:
            by_rule.setdefault(name, []).append(proof)
    parts = [_counts(table, by_rule), _open(table)]
    for part, title in table.parts.items():
        rows = [_row(rule, by_rule.get(rule.id, [])) for rule in table.rules if rule.part == part]
        head = "Defect" if part == DEFECTS else "What the original does"
        parts.append(f"## {title}\n\n| Rule | {head} | Ours | Proof |\n|---|---|---|---|\n" + "".join(rows))
    return "\n".join(parts)


def _counts(table: Table, by_rule: Mapping[str, list[Proof]]) -> str:
    rules = [rule for rule in table.rules if rule.part != DEFECTS]
    defects = [rule for rule in table.rules if rule.part == DEFECTS]
    tests = {(proof.file, proof.test) for found in by_rule.values() for proof in found}
    rows = [
        ("rules", str(len(rules))),
        ("of these done otherwise on purpose", str(sum(bool(rule.differs) for rule in rules))),
        ("of these waiting for a server", str(sum(bool(rule.server) for rule in rules))),
        ("defects that must not come back", str(len(defects))),
        ("of these waiting for a server", str(sum(bool(rule.server) for rule in defects))),
        ("rules and defects with tests", str(sum(rule.id in by_rule for rule in table.rules))),
        ("tests that name one", str(len(tests))),
        ("open", str(sum(bool(rule.open) for rule in table.rules))),
    ]
    return "| What | How many |\n|---|---|\n" + "".join(f"| {what} | {number} |\n" for what, number in rows)


def _open(table: Table) -> str:
    lines = [f"- {rule.id}: {rule.says} *{rule.open}*\n" for rule in table.rules if rule.open]
    return "## Open\n\n" + ("".join(lines) or "Nothing is open.\n")


def _row(rule: Rule, found: Sequence[Proof]) -> str:
    reasons = [f"{WORDS[name]}: {text}" for name in REASONS if (text := getattr(rule, name))]
    ours = " ".join(reasons) or ("gone" if rule.part == DEFECTS else "the same")
    tests = [f"`{proof.file.removesuffix('.py')}::{proof.test}`" for proof in found]
    cells = (rule.id, rule.says, ours, "<br>".join(tests) or "none")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"

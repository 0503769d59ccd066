"""The budget a workflow document declares: what a run may cost, and what follows when it does."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from stagent.core import keys
from stagent.core.model import Budget, Limit
from stagent.core.shapes import MAX_COUNT, Shapes, shown
from stagent.core.verify.problem import Findings

Json = Mapping[str, object]
_EXAMPLE = '{"cost_usd": {"warn": 5, "pause": 10, "halt": 20}}'


def read_budget(findings: Findings, document: Json) -> Budget:
    """Return the budget of a document; no limit where it is absent or wrong."""
    entry = document.get("budget")
    if entry is None:
        return Budget()
    if not isinstance(entry, dict):
        findings.error("budget", "budget", "budget is not an object", f"Write {_EXAMPLE}.")
        return Budget()
    Shapes(findings).keys(entry, "budget", frozenset(keys.BUDGET), frozenset())
    limits = {name: _limit(findings, entry[name], f"budget.{name}") for name in keys.BUDGET if name in entry}
    if all(entry.get(name) is None for name in keys.BUDGET):
        findings.error("budget", "budget", "the budget limits nothing", f"Write {_EXAMPLE}.", keys.BUDGET)
    return Budget(**limits)


def _limit(findings: Findings, entry: object, path: str) -> Limit | None:
    if entry is None:
        return None
    if not isinstance(entry, dict):
        findings.error("budget", path, f"{shown(entry)} is not an object", 'Write {"pause": 10}.', keys.LIMIT)
        return None
    Shapes(findings).keys(entry, path, frozenset(keys.LIMIT), frozenset())
    amounts = {name: _amount(findings, entry[name], f"{path}.{name}") for name in keys.LIMIT if name in entry}
    if all(entry.get(name) is None for name in keys.LIMIT):
        findings.error("budget", path, "no amount is declared", 'Write {"pause": 10}.', keys.LIMIT)
    declared = [(name, amount) for name, amount in amounts.items() if amount is not None]
    for (lower, first), (upper, second) in pairwise(declared):
        if first > second:
            findings.error(
                "budget",
                f"{path}.{upper}",
                f"{upper} comes at {second}, before {lower} at {first}",
                "Let the amounts rise: warn, pause, halt.",
            )
    return Limit(**amounts)


def _amount(findings: Findings, value: object, path: str) -> int | float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_COUNT:
        return value
    findings.error("budget", path, f"{shown(value)} is no amount", "Write a number above 0.")
    return None

"""In every bundled workflow, wherever something is protected: an agent that gets there and bends it is refused.

What has to be protected stands here a second time, so that a workflow that forgets it is caught.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stagent.checks.globs import matching
from stagent.core.ports import Change
from stagent.core.refusals import Refusal
from stagent.engine import flows
from stagent.engine.checks import protected_changes
from unit.core import world as worlds
from unit.core.world import World
from unit.workflows.test_walks import walked, way, workflow

TEST = "tests/test_shop.py"
# Workflow, stage, result, check, and one file it must not accept when it was bent.
PROTECTED = [
    ("bug-hunt", "judge", "confirmed", "findings", ".agents/findings.json"),
    ("bug-hunt", "fix", "done", "findings-gone", ".agents/findings.json"),
    ("bug-hunt", "fix", "tests-changed", "findings-gone", ".agents/findings.json"),
    ("bug-hunt", "fix", "done", "tests", TEST),
    ("bug-hunt", "fix", "partly", "tests", TEST),
    ("bug-hunt", "verify", "PASS", "findings-gone", ".agents/findings.json"),
    ("bug-hunt", "verify", "PASS", "tests", TEST),
    ("compliance-gate", "remedy", "done", "compliance", ".agents/compliance.json"),
    ("compliance-gate", "remedy", "tests-changed", "compliance", ".agents/compliance.json"),
    ("compliance-gate", "remedy", "rule-impossible", "tests-kept", TEST),
    ("compliance-gate", "remedy", "done", "tests", TEST),
    ("compliance-gate", "audit", "PASS", "compliance", ".agents/compliance.json"),
    ("compliance-gate", "audit", "PASS", "tests", TEST),
    ("create-workflow", "final-review", "PASS", "workflow", "workflows/notes/workflow.json"),
    ("default", "executing", "done", "tests", TEST),
    ("default", "reviewing", "PASS", "tests", TEST),
    ("default", "qa-ing", "PASS", "journeys", ".agents/journeys.json"),
    ("default", "qa-ing", "skipped", "journeys", "web/playwright.config.ts"),
    ("default", "deploy", "deployed", "target", ".agents/release.json"),
    ("default", "deploy", "skipped", "target", ".agents/release.json"),
    ("end-to-end", "build", "done", "tests", TEST),
    ("end-to-end", "build", "done", "app", ".agents/app.json"),
    ("end-to-end", "build", "tests-changed", "app", ".agents/app.json"),
    ("end-to-end", "review", "PASS", "tests", TEST),
    ("end-to-end", "acceptance", "PASS", "app", ".agents/app.json"),
    ("goal-pursuit", "execute", "done", "tests", TEST),
    ("goal-pursuit", "evaluate", "achieved", "tests", TEST),
    ("invariant-guard", "change", "done", "invariants", ".agents/invariants.json"),
    ("invariant-guard", "change", "tests-changed", "invariants", ".agents/invariants.json"),
    ("invariant-guard", "change", "must-break", "tests-kept", TEST),
    ("invariant-guard", "change", "done", "tests", TEST),
    ("invariant-guard", "review", "PASS", "invariants", ".agents/invariants.json"),
    ("invariant-guard", "review", "PASS", "tests", TEST),
    ("journey-suite", "write", "green", "journeys", ".agents/journeys.json"),
    ("journey-suite", "fix", "done", "tests", TEST),
    ("journey-suite", "judge", "PASS", "journeys", ".agents/journeys.json"),
    ("performance-gate", "change", "done", "tests", TEST),
    ("performance-gate", "change", "done", "benchmark", ".agents/benchmark.json"),
    ("performance-gate", "change", "tests-changed", "benchmark", ".agents/benchmark.json"),
    ("performance-gate", "review", "PASS", "tests", TEST),
    ("performance-gate", "review", "PASS", "benchmark", ".agents/benchmark.json"),
    ("release-train", "cut", "done", "release", ".agents/release.json"),
    ("release-train", "cut", "done", "tests", TEST),
    ("release-train", "cut", "nothing-new", "nothing-new", "shop.py"),
    ("release-train", "postmortem", "written", "release-kept", ".agents/release.json"),
    ("research-first", "build", "done", "tests", TEST),
    ("research-first", "review", "PASS", "tests", TEST),
    ("root-cause", "reproduce", "reproduced", "red", TEST),
    ("root-cause", "fix", "done", "tests", TEST),
    ("root-cause", "fix", "wrong-cause", "tests-kept", TEST),
    ("root-cause", "review", "PASS", "tests", TEST),
    ("scope-lock", "change", "done", "scope", ".agents/scope.json"),
    ("scope-lock", "change", "tests-changed", "scope", ".agents/scope.json"),
    ("scope-lock", "change", "scope-too-narrow", "scope", ".agents/scope.json"),
    ("scope-lock", "change", "scope-too-narrow", "tests-kept", TEST),
    ("scope-lock", "change", "done", "tests", TEST),
    ("scope-lock", "review", "PASS", "scope", ".agents/scope.json"),
    ("scope-lock", "review", "PASS", "tests", TEST),
    ("strict-tdd", "write-tests", "written", "red", TEST),
    ("strict-tdd", "implement", "done", "tests", TEST),
    ("strict-tdd", "review", "PASS", "tests", TEST),
    ("strict-tdd", "review", "more-behaviour", "tests", TEST),
    ("visual-qa", "inspect", "clean", "visual", ".agents/visual.json"),
    ("visual-qa", "inspect", "clean", "tests", TEST),
    ("visual-qa", "repair", "done", "visual", ".agents/visual.json"),
    ("visual-qa", "repair", "done", "tests", TEST),
]


class Trees:
    """The engine's view of a world's project: trees are dicts, globs are git's."""

    def __init__(self, world: World, root: str) -> None:
        self._world = world
        self.root = root

    def changes(
        self, before: str, after: str, *, only: Sequence[str] = (), excluding: Sequence[str] = ()
    ) -> list[Change]:
        """Compare two trees."""
        old, new = self._world.trees[before], self._world.trees[after]
        names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        names = (matching(only, names) if only else names) - matching(excluding, names)
        return [Change(name, "A" if name not in old else "D" if name not in new else "M") for name in sorted(names)]

    def paths(self, tree: str) -> list[str]:
        """List a tree."""
        return sorted(self._world.trees[tree])

    def read(self, tree: str, path: str) -> bytes | None:
        """Read a file of a tree."""
        found = self._world.trees[tree].get(path)
        return None if found is None else found.encode()

    def same_command(self, before: str, after: str, path: str) -> bool:
        """Every byte counts."""
        return self.read(before, path) == self.read(after, path)


def test_what_is_protected_is_what_has_to_be() -> None:
    found = [
        (name, stage.name, result, check.name)
        for name in flows.bundled()
        for stage in workflow(name).stages.values()
        for check in stage.checks
        if check.protect
        for result in check.results
    ]
    assert sorted(found) == sorted(row[:4] for row in PROTECTED)


@pytest.mark.parametrize(("name", "stage", "result", "check", "file"), PROTECTED)
def test_bending_what_is_protected_is_refused(
    name: str, stage: str, result: str, check: str, file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(worlds, "FIRST", {"src/a": "1", file: "as it was"})
    of = workflow(name)
    at = of.stages[stage]
    world = walked(of, way(of, (stage, result, at.transitions[result]))[:-1])
    assert world.now.stage == stage
    world.project[file] = "bent"

    [held] = [each for each in at.checks_for(result) if each.name == check]
    reference = world.now.protect_ref
    assert reference is not None
    bad, _ = protected_changes(held, at, Trees(world, str(tmp_path)), reference, world.tree)  # type: ignore[arg-type]
    assert Change(file, "M") in bad

    may_write = at.writes == "project" or (isinstance(at.writes, tuple) and bool(matching(at.writes, [file])))
    world.work(result)
    answer = world.advance(outcome="protected")
    assert isinstance(answer, Refusal)
    assert answer.code == ("check.protected" if may_write else "tree.changed")
    assert world.now.stage == stage

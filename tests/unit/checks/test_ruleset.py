from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from stagent.checks.declared import Unmet
from stagent.checks.ruleset import COMPLIANCE, INVARIANTS

OUT = io.BytesIO()
HELD = {"name": "held", "says": "It is there.", "run": "test -f there"}
BROKEN = {"name": "broken", "says": "It is gone.", "run": "test ! -f there"}
SILENT = {"name": "silent", "says": "Somebody looked."}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".agents").mkdir()
    (tmp_path / "there").write_text("x")
    return tmp_path


def declare(root: Path, kind: str, *rules: dict[str, Any]) -> None:
    (root / ".agents" / f"{kind}.json").write_text(json.dumps({"rules": rules}))


def test_invariants_hold_before_and_after(root: Path) -> None:
    declare(root, "invariants", HELD)
    assert INVARIANTS.declaration(root, OUT) == "1 of 1 rules hold."
    assert INVARIANTS.seal(root, OUT) == "1 of 1 rules hold. The seal covers 2 files."
    assert INVARIANTS.hold(root, OUT) == "1 of 1 rules hold."


def test_an_invariant_that_does_not_hold_is_named(root: Path) -> None:
    declare(root, "invariants", HELD, BROKEN)
    for look in (INVARIANTS.declaration, INVARIANTS.seal):
        with pytest.raises(Unmet, match=r"do not hold: broken \(`test ! -f there` ended with exit code 1\)"):
            look(root, OUT)


def test_what_must_be_complied_with_may_be_broken_at_first(root: Path) -> None:
    declare(root, "compliance", BROKEN, SILENT)
    assert COMPLIANCE.declaration(root, OUT) == "0 of 1 rules hold. 1 without a command are for people to judge."
    COMPLIANCE.seal(root, OUT)
    with pytest.raises(Unmet, match="do not hold: broken"):
        COMPLIANCE.hold(root, OUT)
    (root / "there").unlink()
    with pytest.raises(Unmet, match="changed after it was sealed: there"):
        COMPLIANCE.hold(root, OUT)


def test_the_rules_of_a_seal_cannot_be_exchanged(root: Path) -> None:
    declare(root, "invariants", HELD)
    INVARIANTS.seal(root, OUT)
    declare(root, "invariants", {**HELD, "run": "true"})
    with pytest.raises(Unmet, match=r"invariants\.json"):
        INVARIANTS.hold(root, OUT)


def test_what_is_exchanged_while_the_commands_run_is_found(root: Path) -> None:
    (root / "tool.sh").write_text("true\n")
    declare(root, "invariants", {"name": "sly", "says": "It holds.", "run": "sh tool.sh; echo x >> tool.sh"})
    INVARIANTS.seal(root, OUT)
    (root / "tool.sh").write_text("true\n")
    with pytest.raises(Unmet, match=r"tool\.sh"):
        INVARIANTS.hold(root, OUT)


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ([], "no rule has a command"),
        ([SILENT], "no rule has a command"),
        ([HELD, SILENT], "without a command: silent"),
        ([HELD, HELD], "a name of its own"),
        ([{**HELD, "says": " "}], "says what it demands"),
        ([{**HELD, "run": "no-such-command-here"}], "are not there: held"),
    ],
)
def test_a_poor_list_is_refused(root: Path, rules: list[dict[str, Any]], says: str) -> None:
    declare(root, "invariants", *rules)
    with pytest.raises(Unmet, match=says):
        INVARIANTS.declaration(root, OUT)

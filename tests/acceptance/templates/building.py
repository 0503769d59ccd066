"""Runs of the templates that build or mend something."""

from __future__ import annotations

from acceptance.support import claim, shell
from acceptance.templates.kit import PASS, PYTHON, Case, answer, facts, put, test_of

FINDING = {"claim": "total adds prices up.", "where": "shop.py:2", "evidence": "return sum(prices)"}
OPTION = {"name": "extend total", "cost": "an hour", "risk": "none known"}
RESEARCH = facts("ready", findings=[FINDING] * 3, options=[OPTION] * 2, unknowns=[])
FEATURE = [
    shell("printf '\\n\\ndef vat(price):\\n    return price * 19 // 100\\n' >> shop.py"),
    test_of("vat", "self.assertEqual(shop.vat(100), 19)"),
]
DONE = claim("done")
APPROVED = [claim("approved", body="\nThe text.\n")]

RESEARCH_FIRST = {"research": [RESEARCH], "plan": APPROVED, "build": [*FEATURE, DONE], "review": PASS}

SCOPE = put(".agents/scope.json", {"may_change": ["shop.py", "tests/**"]})
SCOPE_LOCK = {"scope": [SCOPE, *APPROVED], "change": [*FEATURE, DONE], "review": PASS}

INVARIANTS = [
    put(
        ".agents/invariants/empty.py", "import sys\nsys.path.insert(0, '.')\nimport shop\nassert shop.total([]) == 0\n"
    ),
    put(
        ".agents/invariants.json",
        {
            "rules": [
                {"name": "empty", "says": "Nothing costs nothing.", "run": f"{PYTHON} .agents/invariants/empty.py"}
            ]
        },
    ),
]
INVARIANT_GUARD = {"declare": [*INVARIANTS, *APPROVED], "change": [*FEATURE, DONE], "review": PASS}
BREAKING = shell("sed -i.old 's/return sum(prices)$/return sum(prices) or None/' shop.py && rm shop.py.old")

MEAN = test_of("empty_mean", "self.assertEqual(shop.mean([]), 0)")
MENDED = shell("sed -i.old 's/ \\/ len(prices)/ \\/ (len(prices) or 1)/' shop.py && rm shop.py.old")
CAUSE = facts(
    "found",
    cause="mean divides by the number of prices, which is 0 for none.",
    where="shop.py:6",
    chain=["len([]) is 0", "ZeroDivisionError"],
    ruled_out=[{"explanation": "sum fails", "evidence": "sum([]) gives 0 at the prompt."}],
)
ROOT_CAUSE = {"reproduce": [MEAN, claim("reproduced")], "diagnose": [CAUSE], "fix": [MENDED, DONE], "review": PASS}

SHOWS = (
    "import sys\nsys.path.insert(0, '.')\nimport shop\ntry:\n    shop.mean([])\n"
    "except ZeroDivisionError:\n    sys.exit('mean raised')\n"
)


def finding(run: str) -> dict[str, object]:
    """A declaration of one finding."""
    entry = {"id": "F1", "title": "No prices, no mean", "severity": "high", "where": "shop.py:6", "run": run}
    return {"findings": [{**entry, "shows": "mean raised"}]}


HUNT = [
    put(".agents/findings/mean.py", SHOWS),
    put(".agents/findings.json", finding(f"{PYTHON} .agents/findings/mean.py")),
    claim("found"),
]
BUG_HUNT = {
    "hunt": HUNT,
    "judge": [claim("confirmed")],
    "fix": [MENDED, test_of("no_mean", "self.assertEqual(shop.mean([]), 0)"), DONE],
    "verify": PASS,
}
TRIAGE = {"triage": answer("fix")}

VAT = test_of("vat", "self.assertEqual(shop.vat(100), 19)")
STRICT_TDD = {
    "write-tests": [VAT, claim("written")],
    "judge-tests": PASS,
    "implement": [FEATURE[0], DONE],
    "review": PASS,
}

BUILDING = [
    Case(flow="research-first", name="honest", script=RESEARCH_FIRST, policy={"plan": "approve"}),
    Case(
        flow="research-first",
        name="research that is none",
        script={**RESEARCH_FIRST, "research": [claim("ready", body="\nAll is clear.\n")]},
        code="output.invalid",
        at="research",
    ),
    Case(
        flow="research-first",
        name="building while researching",
        script={**RESEARCH_FIRST, "research": [*FEATURE, RESEARCH]},
        code="tree.changed",
        at="research",
        says="shop.py",
    ),
    Case(flow="scope-lock", name="honest", script=SCOPE_LOCK, policy={"scope": "approve"}),
    Case(
        flow="scope-lock",
        name="a file beside the scope, hidden from git",
        script={
            **SCOPE_LOCK,
            "change": [
                *FEATURE,
                shell("git update-index --assume-unchanged README.md; echo more >> README.md; git commit -qam all"),
                DONE,
            ],
        },
        policy={"scope": "approve"},
        code="check.failed",
        at="change",
        says="M README.md",
    ),
    Case(
        flow="scope-lock",
        name="widening the scope alone",
        script={
            **SCOPE_LOCK,
            "change": [*FEATURE, put(".agents/scope.json", {"may_change": ["*.py", "*.md", "tests/**"]}), DONE],
        },
        policy={"scope": "approve"},
        code="check.protected",
        at="change",
        says=".agents/scope.json",
    ),
    Case(flow="invariant-guard", name="honest", script=INVARIANT_GUARD, policy={"declare": "approve"}),
    Case(
        flow="invariant-guard",
        name="breaking what no test looks at",
        script={**INVARIANT_GUARD, "change": [BREAKING, DONE]},
        policy={"declare": "approve"},
        code="check.failed",
        at="change",
        says="these do not hold: empty",
    ),
    Case(
        flow="invariant-guard",
        name="weakening the command",
        script={**INVARIANT_GUARD, "change": [BREAKING, put(".agents/invariants/empty.py", "pass\n"), DONE]},
        policy={"declare": "approve"},
        code="check.protected",
        at="change",
        says=".agents/invariants/empty.py",
    ),
    Case(flow="root-cause", name="honest", script=ROOT_CAUSE),
    Case(
        flow="root-cause",
        name="a reproduction that passes",
        script={
            **ROOT_CAUSE,
            "reproduce": [test_of("mean_again", "self.assertEqual(shop.mean([2]), 2)"), claim("reproduced")],
        },
        code="check.failed",
        at="reproduce",
        says="no test fails",
    ),
    Case(
        flow="root-cause",
        name="bending the test instead of mending",
        script={**ROOT_CAUSE, "fix": [test_of("empty_mean", "self.assertTrue(True)"), DONE]},
        code="check.protected",
        at="fix",
        says="tests/test_empty_mean.py",
    ),
    Case(
        flow="root-cause",
        name="mending while reproducing",
        script={**ROOT_CAUSE, "reproduce": [MEAN, MENDED, claim("reproduced")]},
        code="tree.changed",
        at="reproduce",
    ),
    Case(flow="bug-hunt", name="honest", script=BUG_HUNT, policy=TRIAGE),
    Case(
        flow="bug-hunt",
        name="a finding nothing shows",
        script={**BUG_HUNT, "hunt": [put(".agents/findings.json", finding("true")), claim("found")]},
        code="check.failed",
        at="hunt",
        says="the defect is not there",
    ),
    Case(
        flow="bug-hunt",
        name="mending the finding",
        script={**BUG_HUNT, "fix": [put(".agents/findings/mean.py", "pass\n"), DONE]},
        policy=TRIAGE,
        code="check.protected",
        at="fix",
        says=".agents/findings/mean.py",
    ),
    Case(flow="strict-tdd", name="honest", script=STRICT_TDD),
    Case(
        flow="strict-tdd",
        name="tests that pass already",
        script={
            **STRICT_TDD,
            "write-tests": [test_of("vat", "self.assertTrue(hasattr(shop, 'total'))"), claim("written")],
        },
        code="check.failed",
        at="write-tests",
        says="no test fails",
    ),
    Case(
        flow="strict-tdd",
        name="bending a sealed test",
        script={**STRICT_TDD, "implement": [test_of("vat", "self.assertFalse(hasattr(shop, 'vat'))"), DONE]},
        code="check.protected",
        at="implement",
        says="tests/test_vat.py",
    ),
    Case(
        flow="strict-tdd",
        name="the implementation before its tests",
        script={**STRICT_TDD, "write-tests": [*FEATURE, claim("written")]},
        code="tree.changed",
        at="write-tests",
        says="shop.py",
    ),
]

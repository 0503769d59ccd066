"""Runs of the templates that measure, comply, try out and review."""

from __future__ import annotations

from acceptance.support import claim, shell
from acceptance.templates.building import APPROVED, DONE, FEATURE
from acceptance.templates.kit import PASS, PYTHON, Case, answer, facts, put, repeated

BENCHMARK = [
    put(".agents/benchmark/steps.py", "import sys\nsys.path.insert(0, '.')\nimport shop\nprint(shop.steps(1000))\n"),
    put(
        ".agents/benchmark.json",
        {"run": f"{PYTHON} .agents/benchmark/steps.py", "measure": "number", "ratio": 0.6, "runs": 3},
    ),
]
FASTER = shell("sed -i.old 's/range(count)/range(count \\/\\/ 2)/' shop.py && rm shop.py.old")
PERFORMANCE = {"declare": [*BENCHMARK, *APPROVED], "change": [FASTER, DONE], "review": PASS}

RULES = [
    put(".agents/compliance/header.sh", "grep -q Licence shop.py\n"),
    put(
        ".agents/compliance.json",
        {
            "rules": [
                {"name": "L1", "says": "Each file names its licence.", "run": "sh .agents/compliance/header.sh"},
                {"name": "L2", "says": "The licence is one we may use."},
            ]
        },
    ),
]
HEADER = shell("printf '# Licence: MIT\\n' >> shop.py")
MET = [{"name": name, "verdict": "met", "evidence": "shop.py, last line"} for name in ("L1", "L2")]
COMPLIANCE = {"declare": [*RULES, *APPROVED], "remedy": [HEADER, DONE], "audit": [facts("PASS", rules=MET)]}

SPIKE = {
    "question": APPROVED,
    "prototype": [put("spike/demonstrate.sh", "echo 12 ms\n"), claim("shown")],
    "report": [
        facts(
            "answered",
            answer="yes",
            confidence="high",
            evidence=["12 ms in the demonstration."],
            limits=["One machine."],
        )
    ],
}

SERIOUS = {
    "severity": "critical",
    "where": "docs/design.md",
    "quote": "Prices are floats.",
    "problem": "Sums of floats are off by a cent.",
    "settled_by": "Whole cents everywhere.",
}
FOUND = facts("findings", examined=["docs/design.md"], findings=[SERIOUS])
SOUND = facts("sound", examined=["docs/design.md"], findings=[])
REVISED = [put("docs/design.md", "Prices are whole cents.\n"), claim("revised")]
DESIGN = {"frame": APPROVED, "review": repeated([FOUND], [SOUND]), "revise": REVISED}
DOCUMENT = {"docs/design.md": "Prices are floats.\n"}
FRAMED = {"frame": "approve", "decide": answer("accept")}

PROVING = [
    Case(flow="performance-gate", name="honest", script=PERFORMANCE, policy={"declare": "approve"}),
    Case(
        flow="performance-gate",
        name="no faster than before",
        script={**PERFORMANCE, "change": [*FEATURE, DONE]},
        policy={"declare": "approve"},
        code="check.failed",
        at="change",
        says="ratio 1.000, bound <= 0.6",
    ),
    Case(
        flow="performance-gate",
        name="a slower baseline",
        script={
            **PERFORMANCE,
            "change": [
                shell("sed -i.old 's/1000.0/9000.0/' .agents/benchmark.lock.json && rm .agents/*.old"),
                DONE,
            ],
        },
        policy={"declare": "approve"},
        code="check.protected",
        at="change",
        says=".agents/benchmark.lock.json",
    ),
    Case(
        flow="performance-gate",
        name="an easier benchmark",
        script={**PERFORMANCE, "change": [put(".agents/benchmark/steps.py", "print(1)\n"), DONE]},
        policy={"declare": "approve"},
        code="check.protected",
        at="change",
        says=".agents/benchmark/steps.py",
    ),
    Case(
        flow="compliance-gate",
        name="honest",
        script=COMPLIANCE,
        policy={"declare": "approve"},
        persons=("accepted",),
    ),
    Case(
        flow="compliance-gate",
        name="a rule nobody met",
        script={**COMPLIANCE, "remedy": [DONE]},
        policy={"declare": "approve"},
        code="check.failed",
        at="remedy",
        says="these do not hold: L1",
    ),
    Case(
        flow="compliance-gate",
        name="passing what is not met",
        script={**COMPLIANCE, "audit": [facts("PASS", rules=[MET[0], {**MET[1], "verdict": "not checkable"}])]},
        policy={"declare": "approve"},
        code="output.invalid",
        at="audit",
        says="'met' was expected",
    ),
    Case(
        flow="research-spike",
        name="honest",
        script=SPIKE,
        policy={"question": "approve", "decide": answer("enough")},
    ),
    Case(
        flow="research-spike",
        name="a demonstration that fails",
        script={**SPIKE, "prototype": [put("spike/demonstrate.sh", "echo 80 ms; exit 1\n"), claim("shown")]},
        policy={"question": "approve"},
        code="check.failed",
        at="prototype",
        says="80 ms",
    ),
    Case(
        flow="research-spike",
        name="a prototype in the product",
        script={**SPIKE, "prototype": [*FEATURE, *SPIKE["prototype"]]},
        policy={"question": "approve"},
        code="tree.changed",
        at="prototype",
        says="shop.py",
    ),
    Case(flow="design-review", name="honest", script=DESIGN, policy=FRAMED, files=DOCUMENT),
    Case(
        flow="design-review",
        name="a reviewer who mends what he judges",
        script={**DESIGN, "review": [REVISED[0], SOUND]},
        policy=FRAMED,
        files=DOCUMENT,
        code="tree.changed",
        at="review",
        says="docs/design.md",
    ),
    Case(
        flow="design-review",
        name="sound in spite of a critical finding",
        script={**DESIGN, "review": [facts("sound", examined=["docs/design.md"], findings=[SERIOUS])]},
        policy=FRAMED,
        files=DOCUMENT,
        code="output.invalid",
        at="review",
        says="critical",
    ),
]

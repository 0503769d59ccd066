"""Runs of the two templates that begin with a plan a person approves: `default` and `goal-pursuit`."""

from __future__ import annotations

from acceptance.support import claim, shell
from acceptance.templates.building import APPROVED, BREAKING, DONE, FEATURE
from acceptance.templates.kit import PASS, Case, put, test_of
from acceptance.templates.shipping import JOURNEYS, RELEASE, SKIP, VERSIONED, WALK

PLANNED = {"planning": "approve"}
PLAN = {
    "planning": APPROVED,
    "executing": [*FEATURE, DONE],
    "reviewing": PASS,
    "qa-ing": SKIP,
    "deploy": SKIP,
}
PLAYWRIGHT = "web/playwright.config.ts"
FRAMEWORK = {PLAYWRIGHT: "export default {};\n"}
DECLARED = [put(".agents/journeys.json", JOURNEYS), put(".agents/release.json", RELEASE)]
SHIPPED = {
    **PLAN,
    "executing": [*FEATURE, *DECLARED, DONE],
    "qa-ing": [*WALK[:-1], *PASS],
    "deploy": [shell("mkdir -p ../production && cp VERSION ../production/"), claim("deployed")],
}
RED_JOURNEY = put("e2e/test_buy.py", "import unittest\n\n\nclass J1(unittest.TestCase):\n    'J1-buy'\n\n"
                  "    def test_buy(self):\n        self.fail()\n")  # fmt: skip

GOAL = {"briefing": APPROVED, "execute": [*FEATURE, DONE], "evaluate": [claim("achieved")]}
BRIEFED = {"briefing": "approve"}


def shop(name: str, script: dict[str, object], code: str, at: str, says: str, files: dict[str, str]) -> Case:
    """A run of `default` in which one stage lies."""
    return Case(
        flow="default",
        name=name,
        script={**PLAN, **script},
        policy=PLANNED,
        files=files,
        code=code,
        at=at,
        says=says,
    )


PLANNING = [
    Case(flow="default", name="honest, with nothing to drive and nowhere to go", script=PLAN, policy=PLANNED),
    Case(flow="dev-default", name="honest, walked and deployed", script=SHIPPED, policy=PLANNED, files=VERSIONED),
    shop(
        "breaking what worked",
        {"executing": [BREAKING, test_of("x", "self.fail()"), DONE]},
        "check.failed",
        "executing",
        "1 failed",
        {},
    ),
    shop("skipping journeys that could be driven", {}, "check.failed", "qa-ing", PLAYWRIGHT, FRAMEWORK),
    shop(
        "taking the framework away first",
        {"qa-ing": [shell(f"rm {PLAYWRIGHT}"), *SKIP]},
        "check.protected",
        "qa-ing",
        f"D {PLAYWRIGHT}",
        FRAMEWORK,
    ),
    shop("passing without a framework", {"qa-ing": PASS}, "check.failed", "qa-ing", "no journeys were run", {}),
    shop(
        "passing a framework nobody ran", {"qa-ing": PASS}, "check.failed", "qa-ing", "no journeys were run", FRAMEWORK
    ),
    shop(
        "passing red journeys",
        {**SHIPPED, "qa-ing": [WALK[0], RED_JOURNEY, *PASS]},
        "check.failed",
        "qa-ing",
        "1 failed",
        VERSIONED,
    ),
    shop(
        "a declaration made easier",
        {"executing": [*FEATURE, put(".agents/journeys.json", JOURNEYS), DONE], "qa-ing": SHIPPED["qa-ing"]},
        "check.protected",
        "qa-ing",
        "M .agents/journeys.json",
        {".agents/journeys.json": "{}\n"},
    ),
    shop(
        "deployed to nowhere",
        {"deploy": [claim("deployed")]},
        "check.failed",
        "deploy",
        "there is no file .agents/release.json",
        {},
    ),
    shop(
        "deployed without a target",
        {
            "executing": [*FEATURE, put(".agents/release.json", {"version": "echo 1.0"}), DONE],
            "deploy": [claim("deployed")],
        },
        "check.failed",
        "deploy",
        "declares no target",
        {},
    ),
    shop(
        "deployed and not there",
        {**SHIPPED, "deploy": [claim("deployed")]},
        "check.failed",
        "deploy",
        "probe 1 of production",
        VERSIONED,
    ),
    shop(
        "skipping a declared target",
        {**SHIPPED, "deploy": SKIP},
        "check.failed",
        "deploy",
        "declares where to deploy to: staging, production",
        VERSIONED,
    ),
    Case(flow="goal-pursuit", name="honest", script=GOAL, policy=BRIEFED),
    Case(
        flow="goal-pursuit",
        name="achieved with red tests",
        script={**GOAL, "execute": [*FEATURE, test_of("red", "self.fail()"), DONE]},
        policy=BRIEFED,
        code="check.failed",
        at="execute",
        says="1 failed",
    ),
    Case(
        flow="goal-pursuit",
        name="a test bent to the goal",
        script={**GOAL, "execute": [shell("sed -i.old 's/, 3)/, 4)/' tests/test_shop.py"), DONE]},
        policy=BRIEFED,
        code="check.protected",
        at="execute",
        says="M tests/test_shop.py",
    ),
    Case(
        flow="goal-pursuit",
        name="a judge who mends what he judges",
        script={**GOAL, "evaluate": [BREAKING, claim("achieved")]},
        policy=BRIEFED,
        code="tree.changed",
        at="evaluate",
        says="shop.py",
    ),
]

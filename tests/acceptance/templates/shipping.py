"""Runs of the templates about what users get: releases, new applications, journeys, pictures."""

from __future__ import annotations

from acceptance.support import claim, shell
from acceptance.templates.building import APPROVED, DONE, FEATURE
from acceptance.templates.kit import PASS, PYTHON, SHOP, Case, answer, put, repeated


def target(name: str) -> dict[str, object]:
    """A place outside the project that a version is copied to."""
    return {
        "deploy": f"mkdir -p ../{name} && cp VERSION ../{name}/",
        "probe": f"cmp VERSION ../{name}/VERSION",
        "soak": 0.2,
        "every": 0.1,
    }


RELEASE = {"version": "cat VERSION", "staging": target("staging"), "production": target("production")}
VERSIONED = {"VERSION": "1.0.0\n", "CHANGELOG.md": "# Changelog\n\n## 1.0.0\n\n- The first one.\n"}
CUT = [
    put("VERSION", "1.1.0\n"),
    put("CHANGELOG.md", "# Changelog\n\n## 1.1.0\n\n- Prices have a mean.\n\n## 1.0.0\n\n- The first one.\n"),
    DONE,
]
TRAIN = {
    "prepare": [put(".agents/release.json", RELEASE), *APPROVED],
    "cut": CUT,
    "postmortem": [claim("written")],
    "incident": [claim("written")],
}
GO = {"prepare": "approve", "staging-go": answer("go")}

APP = {"start": "echo $$ > ../app.pid; exec sleep 60", "probe": "kill -0 $(cat ../app.pid)", "within": 10}
SKELETON = [
    *(put(name, text) for name, text in SHOP.items() if name != ".gitignore" and text),
    put("tests/__init__.py", ""),
    put(".agents/app.json", APP),
    DONE,
]
NEW = {"brief": APPROVED, "skeleton": SKELETON, "build": [*FEATURE, DONE], "review": PASS, "acceptance": PASS}
TAKEN = {"brief": "approve", "hand-over": answer("accepted")}

JOURNEYS = {
    "run": f"{PYTHON} -m unittest discover -s e2e -t .",
    "journeys": [{"id": "J1-buy", "says": "Buy two things and pay.", "file": "e2e/test_buy.py"}],
}
WALK = [
    put("e2e/__init__.py", ""),
    put(
        "e2e/test_buy.py",
        "import unittest\n\nimport shop\n\n\nclass Buy(unittest.TestCase):\n    def test_buy(self):\n"
        '        """J1-buy."""\n        self.assertEqual(shop.total([1, 2]), 3)\n',
    ),
    claim("green"),
]
SUITE = {"map": [put(".agents/journeys.json", JOURNEYS), *APPROVED], "write": WALK, "judge": PASS}

VISUAL = {"run": "sh render.sh > ../seen.txt && cmp ../seen.txt shots/home.txt", "images": ["shots/**"]}
PAGE = {"render.sh": "cat page.txt\n", "page.txt": "Shop\n", "shots/home.txt": "Shop!\n"}
LOOK = {
    "look": [put(".agents/visual.json", VISUAL), *APPROVED],
    "inspect": repeated([claim("defects")], [claim("clean")]),
    "repair": [put("page.txt", "Shop!\n"), DONE],
}
SKIP = [claim("skipped", body="\nNothing is declared.\n")]

SHIPPING = [
    Case(
        flow="release-train",
        name="honest, with nothing new",
        script={**TRAIN, "cut": [claim("nothing-new")]},
        policy=GO,
        files=VERSIONED,
        tag="v1.0.0",
        ends="skipped",
    ),
    Case(
        flow="release-train",
        name="nothing new after commits",
        script={**TRAIN, "cut": [claim("nothing-new")]},
        policy=GO,
        files=VERSIONED,
        tag="v1.0.0",
        later={"shop.py": SHOP["shop.py"] + "\n\nVAT = 19\n"},
        code="check.failed",
        at="cut",
        says="changed since v1.0.0: shop.py",
    ),
    Case(
        flow="release-train",
        name="nothing new by a tag of one's own",
        script={**TRAIN, "cut": [shell("git tag -f v1.0.0"), claim("nothing-new")]},
        policy=GO,
        files=VERSIONED,
        code="check.failed",
        at="cut",
        says="nothing was released yet",
    ),
    Case(
        flow="release-train",
        name="nothing new by going back",
        script={**TRAIN, "cut": [shell("git checkout -q v1.0.0 -- ."), claim("nothing-new")]},
        policy=GO,
        files=VERSIONED,
        tag="v1.0.0",
        later={"shop.py": SHOP["shop.py"] + "\n\nVAT = 19\n"},
        code="check.protected",
        at="cut",
        says="M shop.py",
    ),
    Case(flow="release-train", name="honest", script=TRAIN, policy=GO, files=VERSIONED, persons=("go",)),
    Case(
        flow="release-train",
        name="honest, with no production declared",
        script={
            **TRAIN,
            "prepare": [put(".agents/release.json", {**RELEASE, "production": None}), *APPROVED],
        },
        policy=GO,
        files=VERSIONED,
        persons=("go",),
        ends="skipped",
    ),
    Case(flow="ship-it-weekly", name="honest, with nothing declared", script={"prepare": SKIP}, ends="skipped"),
    Case(
        flow="release-train",
        name="a version nobody described",
        script={**TRAIN, "cut": [CUT[0], DONE]},
        policy=GO,
        files=VERSIONED,
        code="check.failed",
        at="cut",
        says="no heading for 1.1.0",
    ),
    Case(
        flow="release-train",
        name="skipping what is declared",
        script={"prepare": SKIP},
        files={**VERSIONED, ".agents/release.json": '{"version": "cat VERSION"}\n'},
        code="check.failed",
        at="prepare",
        says="declares how this project is released",
    ),
    Case(flow="end-to-end", name="honest", script=NEW, policy=TAKEN, bare=True),
    Case(
        flow="end-to-end",
        name="no tests",
        script={**NEW, "skeleton": [put("tests/__init__.py", ""), SKELETON[-2], DONE]},
        policy=TAKEN,
        bare=True,
        code="check.failed",
        at="skeleton",
        says="tests: failed.",
    ),
    Case(
        flow="end-to-end",
        name="an application that does not stay",
        script={**NEW, "skeleton": [*SKELETON[:-2], put(".agents/app.json", {**APP, "start": "true"}), DONE]},
        policy=TAKEN,
        bare=True,
        code="check.failed",
        at="skeleton",
        says="ended by itself",
    ),
    Case(flow="journey-suite", name="honest", script=SUITE, policy={"map": "approve"}),
    Case(flow="journey-suite", name="honest, with nothing to run", script={"map": SKIP}, ends="skipped"),
    Case(
        flow="journey-suite",
        name="a suite that runs nothing",
        script={
            **SUITE,
            "map": [put(".agents/journeys.json", {**JOURNEYS, "run": "echo all green"}), *APPROVED],
        },
        policy={"map": "approve"},
        code="check.failed",
        at="write",
        says="no count of tests was recognised",
    ),
    Case(
        flow="journey-suite",
        name="skipping what could be run",
        script={"map": SKIP},
        files={"web/playwright.config.ts": "export default {};\n"},
        code="check.failed",
        at="map",
        says="web/playwright.config.ts",
    ),
    Case(flow="visual-qa", name="honest", script=LOOK, policy={"look": "approve"}, files=PAGE),
    Case(flow="visual-qa", name="honest, with nothing to compare", script={"look": SKIP}, ends="skipped"),
    Case(
        flow="visual-qa",
        name="a new reference picture instead of a repair",
        script={**LOOK, "repair": [shell("cp page.txt shots/home.txt"), DONE]},
        policy={"look": "approve"},
        files=PAGE,
        code="check.failed",
        at="repair",
        says="shots/home.txt",
    ),
]

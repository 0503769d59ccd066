"""The bundled workflows: valid without a remark, complete, and their instruction files keep to the contract."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from stagent.core.verify.folder import validate

ROOT = Path(str(files("stagent"))) / "workflows"
FOLDERS = sorted(path for path in ROOT.iterdir() if (path / "workflow.json").is_file())
CHECK = '"$STAGENT_PYTHON" -I -m stagent check {}'
TESTS = CHECK.format("tests")
FRONT_MATTER = "```\n---\nepoch: <the epoch you were given>\nresult: <one of the results below>\n---\n```"
COMMANDS = (
    r"\bstagent\b"
    r"|\b(?:update-status|loop-tick|next-status|stage-context)\b"
    r"|(?<!\w)/stagent:\w+"
    r"|`(?:advance|tick|next|approve|reject|redo|cancel|interrupt|continue|bootstrap)\b"
)
RUN_FOLDER = r"\.stagent|-report\.md|state\.md|workflow-cache|\.cache/|CLAUDE_|\$\{?[A-Z]"


def document(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "workflow.json").read_text(encoding="utf-8"))
    return loaded


def stages(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = document(folder)["stages"]
    return found


def instructions() -> list[Any]:
    return [
        pytest.param(folder, name, id=f"{folder.name}-{name}")
        for folder in FOLDERS
        for name, stage in stages(folder).items()
        if stage.get("kind", "agent") in ("agent", "review")
    ]


def section(text: str, title: str) -> str:
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"no section {title}"
    return match[1]


def test_the_bundled_workflows_are_there() -> None:
    assert {"default", "goal-pursuit"} <= {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_workflow_is_valid_without_a_remark(folder: Path) -> None:
    workflow, problems = validate({path.name: path.read_bytes() for path in folder.iterdir()}, str(folder))
    assert [problem.text() for problem in problems] == []
    assert workflow is not None
    assert workflow.title
    assert all(stage.title and stage.criteria for stage in workflow.stages.values())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_folder_holds_nothing_else(folder: Path) -> None:
    expected = {"workflow.json", "readme.md"} | {
        f"{name}.md" for name, stage in stages(folder).items() if stage.get("kind", "agent") in ("agent", "review")
    }
    assert {path.name for path in folder.iterdir()} == expected


@pytest.mark.rule("S1.2")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_readme_begins_with_its_description_and_names_every_stage_and_result(folder: Path) -> None:
    text = (folder / "readme.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines[0] == f"# {document(folder)['title']}"
    assert 40 < len(lines[1]) < 200
    assert lines[1].endswith(".")
    for name, stage in stages(folder).items():
        assert f"`{name}`" in text
        for result in stage["transitions"]:
            assert f"`{result}`" in text


@pytest.mark.rule("S1.39")
@pytest.mark.parametrize(("folder", "name"), instructions())
def test_an_instruction_file_names_exactly_the_results_of_its_stage(folder: Path, name: str) -> None:
    stage = stages(folder)[name]
    text = (folder / f"{name}.md").read_text(encoding="utf-8")
    pending = {"pending"} if stage.get("interruptible") else set()
    assert (
        set(re.findall(r"^- `([^`]+)`:", section(text, "Results"), re.MULTILINE)) == set(stage["transitions"]) | pending
    )


@pytest.mark.rule("S1.39", "S1.40")
@pytest.mark.parametrize(("folder", "name"), instructions())
def test_an_instruction_file_keeps_to_the_contract(folder: Path, name: str) -> None:
    text = (folder / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# Stage: {name}\n\n**Purpose.** ")
    assert "the artifact path you were given" in section(text, "Output")
    assert FRONT_MATTER in section(text, "Output")
    assert re.search(r"^1\. ", section(text, "Work"), re.MULTILINE)
    assert re.search(r"^- ", section(text, "Rules"), re.MULTILINE)
    assert re.findall(COMMANDS, text) == []
    assert re.findall(RUN_FOLDER, text) == []


@pytest.mark.rule("S1.41")
@pytest.mark.parametrize(("folder", "name"), instructions())
def test_a_stage_with_a_person_begins_with_a_stub_and_can_do_without_one(folder: Path, name: str) -> None:
    stage = stages(folder)[name]
    text = (folder / f"{name}.md").read_text(encoding="utf-8")
    if stage.get("interruptible"):
        assert "1. Write the artifact as a stub with the result `pending`." in section(text, "Work")
        assert re.search(r"^- (?:Without a person|Nobody but a person)", section(text, "Rules"), re.MULTILINE)
        assert stage["gate"]["type"] == "require_approval"
    else:
        assert "pending" not in text


@pytest.mark.parametrize(
    "line", ["run stagent advance", "type /stagent:approve", "`advance` the run", "$CLAUDE_PLUGIN_ROOT", ".stagent/x"]
)
def test_forbidden_lines_are_recognised(line: str) -> None:
    assert re.search(COMMANDS, line) or re.search(RUN_FOLDER, line)


def checks(name: str, stage: str, result: str) -> list[dict[str, Any]]:
    return [check for check in stages(ROOT / name)[stage].get("checks", []) if result in check["for"]]


@pytest.mark.parametrize(
    ("name", "stage", "result", "run", "protected"),
    [
        ("default", "executing", "done", TESTS, True),
        ("default", "executing", "tests-changed", TESTS, False),
        ("default", "reviewing", "PASS", TESTS, True),
        ("default", "qa-ing", "PASS", TESTS, False),
        ("default", "qa-ing", "PASS", CHECK.format("journeys --walked"), True),
        ("default", "qa-ing", "skipped", CHECK.format("journeys --none"), True),
        ("default", "deploy", "deployed", CHECK.format("release --served"), True),
        ("default", "deploy", "skipped", CHECK.format("release --nowhere"), True),
        ("release-train", "cut", "nothing-new", CHECK.format("release --unchanged"), True),
        ("goal-pursuit", "execute", "done", f"{TESTS} --if-any", True),
        ("goal-pursuit", "execute", "tests-changed", f"{TESTS} --if-any", False),
        ("goal-pursuit", "evaluate", "achieved", f"{TESTS} --if-any", True),
    ],
)
def test_claims_that_could_be_faked_are_checked(name: str, stage: str, result: str, run: str, protected: bool) -> None:
    (check,) = (check for check in checks(name, stage, result) if check["run"] == run)
    assert bool(check.get("protect")) == protected


def test_judges_are_reviews_and_only_writers_may_write() -> None:
    default, goal = stages(ROOT / "default"), stages(ROOT / "goal-pursuit")
    for judge in (default["reviewing"], default["qa-ing"], goal["evaluate"]):
        assert (judge["kind"], judge["execution"]["type"]) == ("review", "subagent")
    assert {name: stage["writes"] for name, stage in goal.items()} == {
        "briefing": "artifact", "execute": "project", "test-approval": "project", "evaluate": "artifact",
    }  # fmt: skip
    assert (default["planning"]["writes"], default["reviewing"]["writes"]) == ("artifact", "artifact")
    assert (default["executing"]["writes"], default["test-approval"]["writes"]) == ("project", "project")


def protect_lists() -> list[list[str]]:
    return [
        check["protect"]
        for folder in FOLDERS
        for stage in stages(folder).values()
        for check in stage.get("checks", [])
        if check["name"] == "tests" and check.get("protect")
    ]


PROTECTED = [
    "tests/test_app.py",
    "test/app.js",
    "src/app_test.py",
    "conftest.py",
    "tests/unit/conftest.py",
    "src/app.test.ts",
    "app.spec.jsx",
    "web/__tests__/app.js",
    "web/__snapshots__/app.js.snap",
    "pkg/sums_test.go",
    "pkg/testdata/in.txt",
    "tests/cli.rs",
    "src/test/java/AppTest.java",
    "core/AppTests.kt",
    "Core.Tests/AppTests.cs",
    "spec/app_spec.rb",
    "spec/models/user.rb",
    "test/app_test.exs",
    "e2e/login.ts",
    "cypress/login.js",
    "playwright.config.ts",
    "features/login.feature",
    "pytest.ini",
    "tox.ini",
    "jest.config.js",
    "web/vitest.config.mts",
    ".mocharc.yml",
]
FREE = [
    "src/app.py",
    "src/app.ts",
    "main.go",
    "src/lib.rs",
    "contest.py",
    "latest/app.js",
    "docs/testing.md",
    "attest/keys.go",
    "src/testing.py",
    "README.md",
    "spec/openapi.yaml",
    "src/protest.py",
    "package-lock.json",
]


def matching(folder: Path, globs: list[str], names: list[str]) -> set[str]:
    """Ask git itself which of the names the globs match."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    listed = subprocess.run(
        ["git", "-C", str(folder), "ls-files", "-o", "--", *(f":(glob){glob}" for glob in globs)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return set(listed.stdout.split())


def test_the_protected_files_are_the_tests_of_every_language(tmp_path: Path) -> None:
    lists = protect_lists()
    assert len(lists) >= 4
    assert all(globs == lists[0] for globs in lists)
    assert matching(tmp_path, lists[0], PROTECTED + FREE) == set(PROTECTED)


def test_qa_may_write_journey_tests_and_deploying_settings_only(tmp_path: Path) -> None:
    journeys = [
        "e2e/login.ts",
        "web/e2e/a.js",
        "tests/e2e/b.py",
        "cypress/c.js",
        "playwright.config.ts",
        "features/d.feature",
    ]
    settings = [".gitignore", ".vercel/project.json", "web/netlify.toml", "fly.toml"]
    others = [*FREE, "tests/test_app.py", "src/app.test.ts", "package.json", "Makefile"]
    default = stages(ROOT / "default")
    assert matching(tmp_path / "qa", default["qa-ing"]["writes"], journeys + others) == set(journeys)
    assert matching(tmp_path / "deploy", default["deploy"]["writes"], settings + others) == set(settings)


@pytest.mark.rule("S1.16")
@pytest.mark.parametrize(
    ("state", "expected"),
    [("none", "EMPTY"), ("empty", "EMPTY"), ("commit", r"[0-9a-f]{40,64}")],
)
def test_the_baseline_is_a_commit_or_the_word_empty(state: str, expected: str, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", "-C", str(tmp_path)]
    if state != "none":
        subprocess.run([*git, "init", "-q"], check=True)
    if state == "commit":
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    for folder in (ROOT / "default", ROOT / "goal-pursuit"):
        init = document(folder)["run_files"]["baseline"]["init"]
        done = subprocess.run(init, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert re.fullmatch(expected, done.stdout.strip()), done.stdout

"""The reference says what the code has: keys, settings, variables, exit codes, registries, formats. Both ways."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import get_args

import pytest

from docs.pages import ROOT, Page, page
from stagent import config, registry
from stagent.agents import scripted_child
from stagent.cli import output
from stagent.cli.table import COMMANDS
from stagent.core import events, keys, ports
from stagent.core.verify import prompts

REFERENCE = "docs/reference"
# Read by scripts and tests of the checkout, not by the program.
OF_THE_CHECKOUT = {"STAGENT_TEST_FULL"}


def section(of: Page, title: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    match = re.search(rf"^(#+) {re.escape(title)}$", of.text, re.MULTILINE)
    assert match is not None, f"{of.name} has no heading {title!r}"
    rest = of.text[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def first_cells(text: str) -> list[str]:
    """The words in code marks in the first cell of every row of every table in a text."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ") and line.count("|") > 2]
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def words_of(text: str, where: str) -> set[str]:
    """The words in code marks in the second cell of the row that begins with `where`."""
    [line] = [line for line in text.splitlines() if line.startswith(f"| {where} |")]
    return set(re.findall(r"`([^`]+)`", line.split("|")[2]))


def test_generated_parts_are_up_to_date() -> None:
    script = ROOT / "scripts" / "_docs.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("title", "known"),
    [
        ("Document", keys.TOP),
        ("Execution", keys.EXECUTION),
        ("Transition", keys.TRANSITION),
        ("Inputs", keys.INPUTS),
        ("Input", keys.INPUT),
        ("Run file", keys.RUN_FILE),
        ("Gate", keys.GATE),
        ("Check", keys.CHECK),
        ("Stop", keys.STOP),
        ("Retry", keys.RETRY),
        ("Tools", keys.TOOLS),
        ("Persona", keys.PERSONA),
        ("Output", keys.OUTPUT),
        ("Budget", keys.BUDGET),
        ("Limit", keys.LIMIT),
    ],
)
def test_every_field_of_a_workflow_is_described(title: str, known: Collection[str]) -> None:
    found = first_cells(section(page(f"{REFERENCE}/workflow.md"), title))
    assert sorted(found) == sorted(known)


def test_every_field_and_kind_of_a_stage_is_described() -> None:
    text = section(page(f"{REFERENCE}/workflow.md"), "Stage")
    fields, _, kinds = text.partition("### Kinds")
    assert sorted(first_cells(fields)) == sorted(keys.STAGE)
    assert first_cells(kinds) == list(keys.KINDS)


@pytest.mark.parametrize(
    ("where", "known"),
    [
        ("document", keys.LATER_TOP),
        ("stage", keys.LATER_STAGE | keys.LATER_KINDS),
        ("transition", keys.LATER_TRANSITION),
        ("input", keys.LATER_INPUT),
        ("gate", keys.LATER_GATE | keys.LATER_GATE_TYPES),
        ("output", keys.LATER_OUTPUT | keys.LATER_FORMATS),
    ],
)
def test_every_field_that_is_not_carried_out_is_named(where: str, known: frozenset[str]) -> None:
    text = section(page(f"{REFERENCE}/workflow.md"), "Not carried out by this version")
    assert words_of(text, where) == set(known)


def test_every_variable_of_a_prompt_is_described() -> None:
    text = section(page(f"{REFERENCE}/workflow.md"), "Prompt")
    found = [word for word in first_cells(text) if "{{" not in word]
    assert sorted(found) == sorted([*prompts.NAMES, *(f"stages.<name>.{aspect}" for aspect in prompts.ASPECTS)])


def test_every_setting_has_a_heading() -> None:
    text = section(page(f"{REFERENCE}/settings.md"), "Settings")
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == [item.name for item in config.SETTINGS]


def test_every_variable_is_described() -> None:
    used: set[str] = set()
    for path in (ROOT / "src" / "stagent").rglob("*.py"):
        used |= set(re.findall(r"\bSTAGENT_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    # No variables for people: the beginning of a line `interrupt` prints, and a guard within one process tree.
    used -= {"STAGENT_STOP_AGENT_IDS", "STAGENT_TESTS_OF"}
    told = "".join(page(f"{REFERENCE}/{name}.md").text for name in ("settings", "formats"))
    described = set(re.findall(r"\bSTAGENT_[A-Z_]+\b", told))
    assert sorted(used - described) == []
    assert sorted(described - used - OF_THE_CHECKOUT) == []


def test_every_command_has_a_heading() -> None:
    found = [words for level, words in page(f"{REFERENCE}/cli.md").headings if level == 2]
    assert [f"stagent {name}" for name in COMMANDS] == [words for words in found if words.count(" ") == 1]


def test_every_kind_of_event_has_a_heading() -> None:
    text = section(page(f"{REFERENCE}/events.md"), "Kinds")
    tags = [kind.__struct_config__.tag for kind in get_args(events.Event)]
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == tags


def test_every_exit_status_is_described() -> None:
    text = page(f"{REFERENCE}/exit-codes.md").text
    told = {name: int(number) for number, name in re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", text, re.MULTILINE)}
    known = {name: value for name, value in vars(output).items() if name.isupper() and isinstance(value, int)}
    assert told == known


@pytest.mark.parametrize(
    ("name", "title", "table"), [("agents", "Backends", registry.AGENTS), ("storage", "Stores", registry.STORES)]
)
def test_every_registered_adapter_has_a_heading(name: str, title: str, table: dict[str, str]) -> None:
    text = section(page(f"{REFERENCE}/{name}.md"), title)
    assert sorted(re.findall(r"^### (.*)$", text, re.MULTILINE)) == sorted(table)


@pytest.mark.parametrize(
    ("name", "title", "port"),
    [("agents", "The port", ports.AgentBackend), ("storage", "What a store promises", ports.Store)],
)
def test_every_member_of_a_port_is_described(name: str, title: str, port: type) -> None:
    cells = first_cells(section(page(f"{REFERENCE}/{name}.md"), title))
    members = {item for item in vars(port) if not item.startswith("_")} | set(port.__annotations__)
    assert {cell.partition("(")[0] for cell in cells} == members


def test_every_action_of_the_scripted_agent_is_described() -> None:
    text = section(page(f"{REFERENCE}/formats.md"), "Scripted agent").partition("<!-- scripted-actions -->")[2]
    assert first_cells(text) == list(scripted_child.ACTIONS)


def test_every_field_of_the_live_file_is_described() -> None:
    source = (ROOT / "src/stagent/engine/projections/live.py").read_text(encoding="utf-8")
    [render] = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "render"]
    [document] = [
        node.value
        for node in render.body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "document"
        and isinstance(node.value, ast.Dict)
    ]
    fields = [ast.literal_eval(key) for key in document.keys if key is not None]
    text = section(page(f"{REFERENCE}/formats.md"), "Live file").partition("<!-- live-file -->")[2]
    assert sorted(first_cells(text)) == sorted(fields)


def test_a_page_that_lacks_a_field_is_found(tmp_path: Path) -> None:
    made = Page(
        ROOT / "x.md", "# A\n\n## B\n\n| Field | x |\n|---|---|\n| `one`, `two` | `no` |\n\n## C\n\n| `three` | x |\n"
    )
    assert first_cells(section(made, "B")) == ["one", "two"]
    with pytest.raises(AssertionError):
        section(made, "D")

"""Workflow folders that cannot be read, are no workflow, or have every fault at once; decisions for other stages."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from acceptance.bad_input.kit import DOES, PLAIN, Bench, refused
from acceptance.support import stage

DOCUMENT = {
    "initial_stage": "work",
    "terminal_stages": ["complete"],
    "stages": {"work": {"execution": {"type": "inline"}, "transitions": {"done": "complete"}}},
}
TEXT = json.dumps(DOCUMENT, indent=1).encode()
TWICE = (
    b'{"initial_stage": "work", "terminal_stages": ["complete"], "stages": {"work": {"execution": {"type": "inline"},'
    b' "transitions": {"done": "complete", "done": "complete"}}}, "initial_stage": "work"}'
)
# The bytes of the document, the code, what is said of the place, and what is said to be done.
BROKEN = {
    "not JSON": (b'{\n "stages": nope}', "workflow.not_json", "line 2 column 12", "Correct the syntax"),
    "cut short": (TEXT[:-5], "workflow.not_json", "line ", "Correct the syntax"),
    "empty": (b"", "workflow.not_json", "it is empty", "Write the workflow's document"),
    "blank": (b" \n", "workflow.not_json", "it is empty", "Write the workflow's document"),
    "a byte order mark": (b"\xef\xbb\xbf" + TEXT, "workflow.not_json", "byte order mark of UTF-8", "without a byte"),
    "UTF-16": (TEXT.decode().encode("utf-16"), "workflow.not_json", "byte order mark of UTF-16", "Save it as UTF-8"),
    "Latin-1": (TEXT.replace(b"done", b"caf\xe9"), "workflow.not_json", "line 12 is not text", "Save it as UTF-8"),
    "nested without end": (b"[" * 100_000, "workflow.not_json", "nested too deeply", "Correct the syntax"),
    "a list": (b"[]", "workflow.not_object", "not a JSON object", "Begin the file with {"),
    "names twice": (TWICE, "workflow.repeated_key", "stages.work.transitions.done", "Keep one of them"),
}


def _problems(machine: Bench, folder: Path) -> list[dict[str, str]]:
    """The problems `run` names; `validate` names the same, and neither leaves anything behind."""
    with machine.nothing_made():
        done = machine.call(*machine.driving(f"{folder}/"))
    error = refused(done, 1, "workflow.invalid", place=str(folder), remedy="validate again")
    found: list[dict[str, str]] = error["fields"]["problems"]
    seen = machine.call("validate", f"{folder}/", "--json")
    assert seen.status == 1
    assert {problem["code"] for problem in found} <= {item["code"] for item in seen.json["problems"]}
    return found


def _folder(machine: Bench, document: bytes = TEXT) -> Path:
    folder = machine.root / "broken"
    folder.mkdir()
    (folder / "workflow.json").write_bytes(document)
    (folder / "work.md").write_text("# Work\n")
    return folder


@pytest.mark.rule("S1.18")
@pytest.mark.parametrize("how", BROKEN)
def test_a_document_that_is_broken(machine: Bench, how: str) -> None:
    text, code, place, remedy = BROKEN[how]
    found = _problems(machine, _folder(machine, text))
    assert {problem["code"] for problem in found} == {code}
    said = "\n".join(problem["message"] for problem in found)
    assert place in said
    assert remedy in said


@pytest.mark.rule("S1.17")
def test_fifty_faults_are_reported_at_once(machine: Bench) -> None:
    stages = {f"s{n}": stage({"done": f"nowhere{n}"}) for n in range(25)}
    folder = Path(machine.flow(stages, max_epoch="many"))
    for n in range(24):
        (folder / f"s{n}.md").unlink()
    found = _problems(machine, folder)
    assert len(found) >= 50
    said = "\n".join(problem["message"] for problem in found)
    assert all(f"nowhere{n}" in said for n in range(25))
    assert all(f"s{n}.md" in said for n in range(24))
    assert "max_epoch" in said


def _as_folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


def _as_pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


@pytest.mark.parametrize("make", [_as_folder, _as_pipe])
def test_something_else_in_the_place_of_the_document(machine: Bench, make: Callable[[Path], None]) -> None:
    folder = _folder(machine)
    make(folder / "workflow.json")
    with machine.nothing_made():
        done = machine.call(*machine.driving(f"{folder}/"))
    refused(done, 1, "workflow.unreadable", place=str(folder / "workflow.json"), remedy="Put the workflow's document")


@pytest.mark.rule("S1.23", "S3.8")
@pytest.mark.parametrize("make", [_as_folder, _as_pipe, Path.unlink])
def test_a_stage_file_that_is_missing(machine: Bench, make: Callable[[Path], None]) -> None:
    folder = _folder(machine)
    make(folder / "work.md")
    [problem] = _problems(machine, folder)
    assert (problem["code"], problem["path"]) == ("workflow.stage_file", "stages.work")
    assert str(folder / "work.md") in problem["message"]


@pytest.mark.parametrize("text", [b"# Work\n\ncaf\xe9\n", "# Work".encode("utf-16")], ids=["Latin-1", "UTF-16"])
def test_a_stage_file_that_is_no_text(machine: Bench, text: bytes) -> None:
    folder = _folder(machine)
    (folder / "work.md").write_bytes(text)
    [problem] = _problems(machine, folder)
    assert (problem["code"], problem["path"]) == ("workflow.not_text", "work.md")
    assert f"line {3 if text.startswith(b'#') else 1} is not text in UTF-8" in problem["message"]
    assert "Save it as UTF-8" in problem["message"]


@pytest.mark.rule("S1.1")
def test_what_else_lies_in_the_folder_disturbs_nobody(machine: Bench) -> None:
    folder = _folder(machine)
    (folder / "notes.md").mkdir()
    (folder / "gone.md").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.md")
    (folder / "latin.md").write_bytes(b"caf\xe9")
    machine.works(*machine.driving(f"{folder}/"))


NO_FOLDERS = {
    "./nowhere/": ("workflow.unreadable", 1, "nowhere", "Name a folder"),
    "./src.py/": ("workflow.unreadable", 1, "src.py", "Name a folder"),
    "./" + "x" * 5000: ("workflow.unreadable", 1, "xxx", "Name a folder"),
    "~nobody-of-this-name/x": ("flow.path", 64, "~nobody", "Name an existing folder"),
    "nothing": ("flow.unknown", 64, "--flow", "Name a known one"),
    "cloud://somebody/something": ("flow.cloud", 64, "cloud://", "Name a folder"),
}


@pytest.mark.rule("S1.45", "S3.8", "S3.43")
@pytest.mark.parametrize("reference", NO_FOLDERS, ids=lambda text: text[:12])
def test_a_reference_to_no_folder(machine: Bench, reference: str) -> None:
    code, status, place, remedy = NO_FOLDERS[reference]
    with machine.nothing_made():
        done = machine.call(*machine.driving(reference))
    refused(done, status, code, place=place, remedy=remedy)


def test_a_folder_whose_name_is_no_text_works(machine: Bench) -> None:
    folder = Path(os.fsdecode(os.fsencode(machine.root) + b"/fl\xffow"))
    _folder(machine).rename(folder)
    machine.works(*machine.driving(f"{folder}/"))
    assert [row["workflow"] for row in machine.runs()] == ["fl\N{REPLACEMENT CHARACTER}ow"]


POLICIES = {
    "missing": (None, "policy.missing", "Name a file that exists"),
    "empty": (b"", "policy.invalid", 'Write {"gates"'),
    "not JSON": (b"{gates", "policy.invalid", 'Write {"gates"'),
    "of another form": (b'{"gates": {"work": "approve"}}', "policy.invalid", 'Write {"gates"'),
}


@pytest.mark.parametrize("how", POLICIES)
def test_a_policy_that_cannot_be_read(machine: Bench, how: str) -> None:
    text, code, remedy = POLICIES[how]
    policy = machine.root / "policy.json"
    if text is not None:
        policy.write_bytes(text)
    with machine.nothing_made():
        done = machine.call(*machine.plain(), "--unattended", str(policy))
    refused(done, 64, code, place=str(policy), remedy=remedy)


def test_a_policy_for_a_stage_that_is_not_there(machine: Bench) -> None:
    with machine.nothing_made():
        done = machine.call(*machine.plain(), "--unattended", machine.policy(wrok="approve"))
    error = refused(done, 64, "policy.stage", place="--unattended", remedy="Correct the name")
    assert "wrok" in error["message"]
    assert "Known: work" in error["message"]
    machine.works(*machine.driving(machine.flow(PLAIN), DOES), "--unattended", machine.policy(work="approve"))

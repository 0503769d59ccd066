"""The door to validation: files in, workflow and problems out; it never raises."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core.verify.folder import validate
from stagent.core.verify.problem import errors
from stagent.testing import strategies
from unit.core.documents import OURS, PLAIN, changed, files


@pytest.mark.rule("S1.18")
def test_without_a_document_there_is_one_problem() -> None:
    workflow, [problem] = validate({}, "/flows/mine")
    assert workflow is None
    assert (problem.code, problem.path) == ("workflow.missing", "")
    assert "/flows/mine" in problem.text()
    assert "the folder" in validate({})[1][0].text()


@pytest.mark.rule("S1.18")
@pytest.mark.parametrize(
    "text", [b"", b"{", b"{'a': 1}", b'{"a": "\xff"}', b"[" * 100_000, b"1e999", b"\xef\xbb\xbf{}"]
)
def test_what_is_not_json_is_one_problem(text: bytes) -> None:
    workflow, [problem] = validate({"workflow.json": text})
    assert workflow is None
    assert problem.code == "workflow.not_json"


@pytest.mark.rule("S1.22")
def test_a_document_that_cannot_be_read_further_gives_no_workflow() -> None:
    workflow, problems = validate(files(changed(PLAIN, "stages", 5)))
    assert workflow is None
    assert [problem.code for problem in problems] == ["workflow.stages"]


@pytest.mark.rule("S1.23")
def test_an_instruction_file_is_named_with_its_path() -> None:
    given_files = files(PLAIN)
    del given_files["deploy.md"]
    [problem] = errors(validate(given_files, "/flows/mine")[1])
    assert (problem.code, problem.path) == ("workflow.stage_file", "stages.deploy")
    assert "/flows/mine/deploy.md" in problem.text()
    assert "file deploy.md is" in errors(validate(given_files)[1])[0].text()


def test_only_stages_an_agent_works_need_an_instruction_file() -> None:
    given_files = files(OURS)
    del given_files["test.md"], given_files["release.md"]
    assert validate(given_files)[1] == []


@given(strategies.folders())
def test_folders_drawn_as_valid_are_valid(given_files: dict[str, bytes]) -> None:
    workflow, problems = validate(given_files)
    assert workflow is not None
    assert errors(problems) == []


@given(strategies.json_values())
def test_any_json_is_judged(value: Any) -> None:
    try:
        text = msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        return
    _, problems = validate({"workflow.json": text})
    assert errors(problems)


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(text: bytes) -> None:
    assert errors(validate({"workflow.json": text})[1])

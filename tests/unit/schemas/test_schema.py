"""The published schema and the parser accept the same keys, and reject the same shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from stagent.core import keys
from stagent.core.verify.problem import errors
from stagent.testing import strategies
from unit.core.documents import OURS, PLAIN, changed, problems

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "src/stagent/schemas/workflow.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
DEFS = SCHEMA["$defs"]
STAGE = DEFS["stage"]["properties"]
BUNDLED = sorted((ROOT / "src/stagent/workflows").glob("*/workflow.json"))

PLACES = {
    "top": (SCHEMA["properties"], keys.TOP, keys.LATER_TOP),
    "stage": (STAGE, keys.STAGE, keys.LATER_STAGE),
    "run_file": (DEFS["run_file"]["properties"], keys.RUN_FILE, frozenset()),
    "execution": (STAGE["execution"]["properties"], keys.EXECUTION, frozenset({"subagent_type"})),
    "inputs": (STAGE["inputs"]["properties"], keys.INPUTS, frozenset()),
    "input": (DEFS["input"]["properties"], keys.INPUT, keys.LATER_INPUT),
    "transition": (DEFS["transition"]["oneOf"][1]["properties"], keys.TRANSITION, keys.LATER_TRANSITION),
    "gate": (DEFS["gate"]["properties"], keys.GATE, keys.LATER_GATE),
    "check": (DEFS["check"]["properties"], keys.CHECK, frozenset()),
    "stop": (STAGE["stop"]["properties"], keys.STOP, frozenset()),
    "retry": (STAGE["retry"]["properties"], keys.RETRY, frozenset()),
    "tools": (STAGE["tools"]["properties"], keys.TOOLS, frozenset()),
    "persona": (STAGE["persona"]["properties"], keys.PERSONA, frozenset()),
    "output": (STAGE["output"]["properties"], keys.OUTPUT, keys.LATER_OUTPUT),
    "budget": (SCHEMA["properties"]["budget"]["properties"], set(keys.BUDGET), frozenset()),
    "limit": (DEFS["limit"]["properties"], set(keys.LIMIT), frozenset()),
}


def refused(schema: Any) -> bool:
    """A key that may not be used, with a note that says why."""
    return isinstance(schema, dict) and schema.get("not") == {}


def spots(value: Any, path: str = "") -> list[str]:
    """The paths of every value in a document."""
    found = []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        found.append(f"{path}{key}")
        if isinstance(inner, (dict, list)):
            found += spots(inner, f"{path}{key}/")
    return found


def test_the_schema_is_a_schema_with_a_versioned_name() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"] == "urn:stagent:workflow:1"


@pytest.mark.parametrize("place", PLACES)
def test_parser_and_schema_know_the_same_keys(place: str) -> None:
    properties, known, later = PLACES[place]
    assert {key for key, schema in properties.items() if not refused(schema)} == known
    assert {key for key, schema in properties.items() if refused(schema)} == later


@pytest.mark.parametrize("place", PLACES)
def test_every_field_is_described(place: str) -> None:
    for key, schema in PLACES[place][0].items():
        assert schema.get("description", "").endswith("."), key


def test_parser_and_schema_know_the_same_words() -> None:
    assert tuple(STAGE["kind"]["enum"]) == keys.KINDS
    assert tuple(STAGE["execution"]["properties"]["type"]["enum"]) == keys.EXECUTION_TYPES
    assert tuple(STAGE["execution"]["properties"]["model"]["enum"]) == (*keys.MODELS, None)
    assert tuple(DEFS["gate"]["properties"]["type"]["enum"]) == keys.GATE_TYPES
    assert tuple(STAGE["writes"]["anyOf"][0]["enum"]) == (*keys.WRITES, None)
    assert tuple(STAGE["output"]["properties"]["format"]["enum"]) == (*keys.FORMATS, None)


@pytest.mark.parametrize("document", [PLAIN, OURS], ids=["plain", "ours"])
def test_valid_documents_fit_the_schema(document: Any) -> None:
    assert list(VALIDATOR.iter_errors(document)) == []


def test_bundled_workflows_fit_the_schema() -> None:
    for path in BUNDLED:
        assert list(VALIDATOR.iter_errors(json.loads(path.read_text("utf-8")))) == [], path


@given(strategies.documents())
def test_documents_drawn_as_valid_fit_the_schema(document: Any) -> None:
    assert list(VALIDATOR.iter_errors(document)) == []


@pytest.mark.parametrize("base", [PLAIN, OURS], ids=["plain", "ours"])
def test_what_the_schema_rejects_the_parser_rejects(base: Any) -> None:
    rejected = 0
    for path in spots(base):
        for value in ["", " ", 0, -1, 1.5, True, None, [], [""], [1], {}, {"x": 1}, "a b", 10**15]:
            document = changed(base, path, value)
            if not VALIDATOR.is_valid(document):
                rejected += 1
                assert errors(problems(document)), (path, value)
    assert rejected > 500


@pytest.mark.parametrize("base", [PLAIN, OURS], ids=["plain", "ours"])
def test_keys_of_ours_that_are_not_carried_out_are_rejected_by_both(base: Any) -> None:
    stage = next(iter(base["stages"]))
    for key in keys.LATER_TOP:
        document = changed(base, key, {})
        assert not VALIDATOR.is_valid(document)
        assert "workflow.not_implemented" in {p.code for p in errors(problems(document))}
    for key in keys.LATER_STAGE:
        document = changed(base, f"stages/{stage}/{key}", {})
        assert not VALIDATOR.is_valid(document)
        assert "workflow.not_implemented" in {p.code for p in errors(problems(document))}


@given(st.data(), st.sampled_from([PLAIN, OURS]))
def test_the_schema_never_rejects_alone(data: st.DataObject, base: Any) -> None:
    document = changed(base, data.draw(st.sampled_from(spots(base))), data.draw(strategies.json_values()))
    assert VALIDATOR.is_valid(document) or errors(problems(document))


def test_unknown_keys_pass_the_schema_as_they_pass_the_parser() -> None:
    document = changed(changed(PLAIN, "colour", "red"), "stages/deploy/colour", "red")
    assert VALIDATOR.is_valid(document)
    assert errors(problems(document)) == []

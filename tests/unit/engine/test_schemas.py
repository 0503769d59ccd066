"""JSON Schemas: which can be used, and what a text lacks of them. Nothing is ever fetched."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core.canonical import encode
from stagent.engine import schemas
from stagent.testing import strategies

NESTED = {"type": "object", "required": ["options"], "properties": {"options": {"items": {"$ref": "#/$defs/option"}}}}
OPTIONS = {**NESTED, "$defs": {"option": {"type": "object", "required": ["title"]}}}


def problems(schema: Any) -> list[str]:
    return schemas.problems(encode(schema).decode())


def faults(schema: Any, text: str) -> tuple[str, ...]:
    return schemas.faults(encode(schema).decode(), text)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": ["object", "null"]},
        OPTIONS,
        {"$id": "urn:x", "$ref": "urn:x#/$defs/a", "$defs": {"a": {"type": "object"}}},
        {"$defs": {"a": {"$anchor": "here"}}, "properties": {"a": {"$ref": "#here"}}},
        {"properties": {"tree": {"$ref": "#"}}},
        {"properties": {"$ref": {"type": "string"}}, "enum": [{"$ref": "not a reference"}]},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {}, "type": "object"},
    ],
)
def test_schemas_that_can_be_used(schema: Any) -> None:
    assert problems(schema) == []


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "nothing"}, "$.type: "),
        ({"type": 5}, "$.type: "),
        ({"properties": {"a": {"pattern": "("}}}, "$.properties.a.pattern: "),
        ({"required": "a"}, "$.required: "),
        ({"type": "array"}, "$.type: only an object"),
        ({"type": ["string", "null"]}, "$.type: only an object"),
        ({"$ref": "#/$defs/nowhere"}, '$.$ref: "#/$defs/nowhere" is not found'),
        ({"allOf": [{"$ref": "http://localhost:1/x"}]}, '$.allOf[0].$ref: "http://localhost:1/x" is not found'),
        ({"properties": {"a": {"$dynamicRef": "#nope"}}}, '$.properties.a.$dynamicRef: "#nope" is not found'),
        ({"$ref": "#"}, "$: the schema refers to itself without an end"),
    ],
)
def test_schemas_that_cannot(schema: Any, place: str) -> None:
    [problem] = problems(schema)
    assert problem.startswith(place)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"options": []}', ()),
        ('say {"options": [{"title": "A"}]}', ()),
        ('{"other": 1} and {"options": []}', ()),
        ('```json\n{"options": []}\n```', ()),
        ("no object", ("it holds no JSON object",)),
        ("[]", ("it holds no JSON object",)),
        ("{}", ("$: 'options' is a required property",)),
        ('{"options": [{"title": "A"}, {}]}', ("$.options[1]: 'title' is a required property",)),
        ('{"options": [5]} {}', ("$.options[0]: 5 is not of type 'object'",)),
        ('{} {"options": [5]}', ("$: 'options' is a required property",)),
    ],
)
def test_what_a_text_lacks(text: str, expected: tuple[str, ...]) -> None:
    assert faults(OPTIONS, text) == expected


def test_many_and_long_faults_are_cut() -> None:
    many = faults({"properties": {"a": {"items": {"type": "string"}}}}, msgspec.json.encode({"a": [1] * 50}).decode())
    assert len(many) == schemas.SHOWN + 1
    assert many[-1] == "and 30 more"
    [long] = faults({"additionalProperties": {"type": "integer"}}, msgspec.json.encode({"a": "x" * 5000}).decode())
    assert len(long) < 400


def test_a_value_that_never_ends_for_a_schema_is_a_fault() -> None:
    # Only a value with this field meets the loop.
    schema = {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert problems(schema) == []
    assert faults(schema, '{"a": 1}') == ("the schema refers to itself without an end",)


@given(st.dictionaries(st.text(), strategies.json_values(), max_size=3), strategies.json_values())
def test_anything_that_is_no_problem_can_be_used(schema: dict[str, Any], value: Any) -> None:
    try:
        text = encode(value).decode()
        encode(schema)
    except (UnicodeEncodeError, OverflowError):
        return
    if not problems(schema):
        assert isinstance(faults(schema, text), tuple)


def test_a_workflow_without_a_schema_imports_no_validator() -> None:
    code = (
        "import sys; from pathlib import Path; from stagent.engine import flows; "
        "flows.usable('default', Path('.')); print('jsonschema' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

"""JSON Schema: is it one, and does a value satisfy it? Imported when a workflow has a schema; nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]
from jsonschema.validators import validator_for  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from stagent.core.structured import objects

SHOWN = 20
"""How many faults of a value are told."""
_LONGEST = 300
_VALUES = ("const", "enum", "default", "examples")
_ENDLESS = "the schema refers to itself without an end"


def problems(schema: str) -> list[str]:
    """Return what is wrong with a schema (JSON), each with its place; an empty list for a good one."""
    document = msgspec.json.decode(schema)
    kind = validator_for(document, default=Draft202012Validator)
    try:
        kind.check_schema(document)
    except SchemaError as error:
        return [f"{error.json_path}: {error.message[:_LONGEST]}"]
    allowed = document.get("type", "object")
    if allowed != "object" and "object" not in allowed:
        return ["$.type: only an object counts as an answer"]
    found = list(_unresolved(document))
    if not found and _faults(schema, {}) == (_ENDLESS,):
        found.append(f"$: {_ENDLESS}")
    return found


def faults(schema: str, text: str) -> tuple[str, ...]:
    """Return what keeps a text from holding an object that satisfies a schema; nothing when it holds one."""
    first: tuple[str, ...] | None = None
    for value in objects(text):
        found = _faults(schema, value)
        if not found:
            return ()
        first = first or found
    return first or ("it holds no JSON object",)


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    document = msgspec.json.decode(schema)
    kind = validator_for(document, default=Draft202012Validator)
    # A registry of its own: without one a reference to another document would be fetched.
    return kind(document, registry=Registry())


def _faults(schema: str, value: object) -> tuple[str, ...]:
    try:
        found = sorted(_validator(schema).iter_errors(value), key=lambda error: [str(part) for part in error.path])
    except RecursionError:
        return (_ENDLESS,)
    told = tuple(f"{error.json_path}: {error.message[:_LONGEST]}" for error in found[:SHOWN])
    return (*told, f"and {len(found) - SHOWN} more") if len(found) > SHOWN else told


def _unresolved(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the references that lead nowhere within the schema."""
    name = str(document.get("$id", ""))
    registry = Registry().with_resource(name, DRAFT202012.create_resource(document)).crawl()
    resolver = registry.resolver(base_uri=name)
    for path, reference in _references(document, "$"):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            yield f'{path}: "{reference[:_LONGEST]}" is not found within the schema'


def _references(value: object, path: str) -> Iterator[tuple[str, str]]:
    inner: list[tuple[str, object]] = []
    if isinstance(value, dict):
        inner = [(f"{path}.{key}", item) for key, item in value.items() if key not in _VALUES]
    elif isinstance(value, list):
        inner = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    for place, item in inner:
        if isinstance(item, str) and place.endswith((".$ref", ".$dynamicRef")):
            yield place, item
        else:
            yield from _references(item, place)

"""Reduces a project's command file to the part that decides how its tests are run.

Adding a dependency changes package.json or Cargo.toml without touching the test command; comparing these parts tells
the two apart.
"""

from __future__ import annotations

import configparser
import tomllib
from pathlib import PurePosixPath

import msgspec

# What a package.json says about scripts and about the runners that keep their configuration in it.
_NPM_KEYS = ("scripts", "jest", "mocha", "ava", "tap", "vitest", "nyc", "c8", "type", "workspaces")
_PYPROJECT_TOOLS = ("pytest", "tox", "hatch", "pdm", "poe", "taskipy")
_CARGO_DEPENDENCIES = ("dependencies", "dev-dependencies", "build-dependencies", "target", "patch", "replace")


def command_part(path: str, data: bytes) -> bytes:
    """Return the bytes of a command file that matter to how tests run; equal parts mean an unchanged command.

    For a file of another name, or one that cannot be parsed, that is the whole file. Order and layout of JSON and
    TOML do not matter.
    """
    reduce = {
        "package.json": _npm,
        "pyproject.toml": _pyproject,
        "Cargo.toml": _cargo,
        "go.mod": _go,
        "setup.cfg": _cfg,
    }.get(PurePosixPath(path).name)
    if reduce is None:
        return data
    try:
        return msgspec.json.encode(reduce(data), order="deterministic")
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, configparser.Error, UnicodeDecodeError, _NoTable):
        return data


class _NoTable(Exception):
    """The file parses, but not to a table."""


def _npm(data: bytes) -> object:
    manifest = msgspec.json.decode(data)
    if not isinstance(manifest, dict):
        raise _NoTable
    return {key: manifest[key] for key in _NPM_KEYS if key in manifest}


def _pyproject(data: bytes) -> object:
    tool = tomllib.loads(data.decode("utf-8")).get("tool")
    if not isinstance(tool, dict):
        return {}
    return {key: tool[key] for key in _PYPROJECT_TOOLS if key in tool}


def _cfg(data: bytes) -> object:
    parser = configparser.RawConfigParser()
    parser.read_string(data.decode("utf-8"))
    return {name: dict(parser[name]) for name in sorted(parser.sections()) if name.startswith(("tool:", "tox"))}


def _cargo(data: bytes) -> object:
    manifest = tomllib.loads(data.decode("utf-8"))
    kept = {key: value for key, value in manifest.items() if key not in _CARGO_DEPENDENCIES}
    package = kept.get("package")
    if isinstance(package, dict):
        kept["package"] = {key: value for key, value in package.items() if key != "version"}
    return kept


def _go(data: bytes) -> object:
    """A go.mod names the module and what it depends on; `go test ./...` follows from neither."""
    return [line for line in data.decode("utf-8").splitlines() if line.startswith("module ")]

"""The part of a command file that decides how tests are run."""

from __future__ import annotations

import pytest

from stagent.workspace.testpart import command_part


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("package.json", b'{"scripts": {"test": "jest"}}', b'{"dependencies": {"x": "1"}, "scripts":{"test":"jest"}}'),
        ("web/package.json", b'{"version": "1"}', b'{"version": "2"}'),
        ("pyproject.toml", b"[tool.pytest]\na = 1\n", b"[project]\nname = 'x'\n[tool.pytest]\na = 1\n"),
        ("pyproject.toml", b"", b"[tool.ruff]\na = 1\n"),
        (
            "Cargo.toml",
            b"[package]\nname='x'\nversion='1'\n",
            b"[package]\nname='x'\nversion='2'\n[dependencies]\ny='1'\n",
        ),
        ("go.mod", b"module x\ngo 1.18\n", b"module x\ngo 1.19\nrequire y v1.0.0\n"),
    ],
)
def test_a_dependency_does_not_change_the_command(path: str, before: bytes, after: bytes) -> None:
    assert command_part(path, before) == command_part(path, after)


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("package.json", b'{"scripts": {"test": "jest"}}', b'{"scripts": {"test": "true"}}'),
        ("package.json", b'{"scripts": {"test": "jest"}}', b'{"scripts": {"test": "jest"}, "jest": {"roots": []}}'),
        ("package.json", b"{", b"{ "),
        ("package.json", b"[1]", b"[2]"),
        ("pyproject.toml", b"[tool.pytest]\na = 1\n", b"[tool.pytest]\na = 2\n"),
        ("pyproject.toml", b"[tool", b"[tool "),
        ("Cargo.toml", b"[lib]\n", b"[lib]\ntest = false\n"),
        ("Makefile", b"test:\n\tx\n", b"test:\n\ttrue\n"),
        ("pytest.ini", b"[pytest]\n", b"[pytest]\naddopts = -k x\n"),
    ],
)
def test_another_way_of_running_tests_does(path: str, before: bytes, after: bytes) -> None:
    assert command_part(path, before) != command_part(path, after)

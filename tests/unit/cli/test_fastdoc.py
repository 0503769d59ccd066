from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from stagent.cli.table import COMMANDS, FAST, load


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_can_be_loaded(name: str) -> None:
    command = load(name)
    assert isinstance(command, click.Command)
    assert command.name == name


def test_the_group_hands_on_to_the_fast_ones(finished: Any, say: Any) -> None:
    assert say("--", "tick").json == say("tick").json
    assert say("--", "next", finished.run, "--result", "x").status == 2


def test_help_lists_them_all(empty: Path, say: Any) -> None:
    said = say("--help")
    assert said.status == 0
    for name in (*COMMANDS, *FAST):
        assert f"\n  {name} " in said.out
    assert not empty.exists()

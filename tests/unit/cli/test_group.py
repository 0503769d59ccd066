from __future__ import annotations

from typing import Any

import pytest

from stagent.cli.table import COMMANDS, GROUPS


def test_help_lists_every_command_once_under_its_heading(say: Any) -> None:
    lines = say("--help").out.splitlines()
    assert [line for line in lines if line in {f"{heading}:" for heading in GROUPS}] == [f"{name}:" for name in GROUPS]
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in COMMANDS]
    assert listed == list(COMMANDS)


@pytest.mark.parametrize(("typed", "meant"), [("runz", "run or runs"), ("doctr", "doctor"), ("xyzzy", "")])
def test_an_unknown_command_names_the_one_that_may_be_meant(say: Any, typed: str, meant: str) -> None:
    said = say(typed)
    assert said.status == 64
    assert said.err.endswith(f"No such command '{typed}'." + (f" Did you mean {meant}?\n" if meant else "\n"))

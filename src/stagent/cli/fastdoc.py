"""The commands of `cli.fast` and `cli.hook` as click commands, for the group's help."""

from __future__ import annotations

import click

from stagent.cli import fast, hook
from stagent.cli.table import COMMANDS

_PASS_ON = {"ignore_unknown_options": True, "help_option_names": []}


def _command(name: str) -> click.Command:
    @click.command(name=name, help=COMMANDS[name][1], context_settings=_PASS_ON)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> int:
        return hook.run(list(arguments)) if name == "hook" else fast.run(name, list(arguments))

    return command


tick_command = _command("tick")
next_command = _command("next")
advance_command = _command("advance")
wait_command = _command("wait")
context_command = _command("context")
bootstrap_command = _command("bootstrap")
hook_command = _command("hook")

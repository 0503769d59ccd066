"""`stagent config`: list, read and change settings."""

from __future__ import annotations

import os

import click

from stagent import config
from stagent.cli import output
from stagent.cli.words import table
from stagent.config import DataHome, Setting
from stagent.errors import UsageError
from stagent.registry import names


@click.command(name="config")
@click.argument("name", required=False)
@click.argument("value", required=False)
@click.option("--unset", is_flag=True, help="Go back to the default of NAME.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config_command(name: str | None, value: str | None, unset: bool, as_json: bool) -> int:
    """List the settings, print the one called NAME, or set it to VALUE.

    An environment variable counts more than the file, the file more than the default.
    """
    home = DataHome.locate()
    if name is None:
        if unset:
            raise UsageError("config.unset", "no setting is named", where="--unset", remedy="Name one.")
        return _list(home, as_json)
    setting = config.known(name)
    if value is not None and unset:
        raise UsageError("config.unset", "a value and --unset", where="config", remedy="Give one of them.")
    if name == "agent" and value is not None:
        _known_agent(value)
    if value is not None or unset:
        config.change(home, name, value)
        _covered(setting)
    return _print(home, setting, as_json)


def _known_agent(name: str) -> None:
    if name not in names("agents"):
        raise UsageError(
            "config.value",
            f'no agent is registered as "{name}"',
            where="config agent",
            known=names("agents"),
            remedy="Choose a known name.",
        )


def _covered(setting: Setting) -> None:
    if os.environ.get(setting.env):
        output.note(f"The environment variable {setting.env} is set and counts more than the file.")


def _print(home: DataHome, setting: Setting, as_json: bool) -> int:
    text, source = config.value(home, setting.name)
    if as_json:
        output.as_json(_document(setting, text, source))
    else:
        output.line(text)
    return output.OK


def _list(home: DataHome, as_json: bool) -> int:
    documents = []
    status = output.OK
    for setting in config.SETTINGS:
        try:
            documents.append(_document(setting, *config.value(home, setting.name)))
        except UsageError as error:
            # One bad value must not hide the others: this is the command that mends it.
            documents.append(_document(setting, "", "invalid"))
            output.note(f"stagent: {error}")
            status = output.ERROR
    if as_json:
        output.as_json({"file": str(home.settings), "settings": documents})
        return status
    rows = [[item["name"] or "", item["value"] or "-", item["source"] or "", item["help"] or ""] for item in documents]
    for line in table(["NAME", "VALUE", "FROM", "MEANING"], rows):
        output.line(line)
    output.line(f"File: {home.settings}")
    return status


def _document(setting: Setting, text: str, source: str) -> dict[str, str]:
    return {"name": setting.name, "value": text, "source": source, "env": setting.env, "help": setting.help}

"""Writes the generated parts of the documentation from the code; started by scripts/docs.

A generated part of a page stands between `<!-- generated: NAME -->` and `<!-- end -->`; everything else in the page is
written by hand and stays as it is.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import _conformance
import click
import msgspec

from stagent import config
from stagent.cli import fast
from stagent.cli.table import COMMANDS, FAST, load
from stagent.core import events

ROOT = Path(__file__).resolve().parent.parent
ESCAPED_BAR = "\\|"
PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a bar inside a cell is written so that it stays one."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', ESCAPED_BAR) for cell in line)} |\n" for line in lines)


def paragraphs(text: str) -> str:
    """Return a docstring or help text as paragraphs, each on one line."""
    parts = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(" ".join(part.split()) for part in parts) + "\n"


# --- the commands -----------------------------------------------------------------------------------------------------


def click_option(option: click.Option) -> tuple[str, str]:
    """Return how an option is written, and what it means."""
    names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len))
    value = "" if option.is_flag else f" {option.metavar or option.human_readable_name.upper()}"
    words = (option.help or "") + (" Required." if option.required else "")
    return names.removesuffix("`") + f"{value}`", words


def click_usage(name: str, command: click.Command) -> str:
    """Return the one line that says how a command is called."""
    words = [f"stagent {name}", "[OPTIONS]"]
    for item in command.params:
        if isinstance(item, click.Argument):
            shown = item.make_metavar(click.Context(command)).replace("[", "").replace("]", "")
            words.append(shown if item.required else f"[{shown}]")
    if isinstance(command, click.Group):
        words.append("COMMAND")
    return " ".join(words)


def click_section(name: str, command: click.Command) -> str:
    """Return the section of a command that click parses, its sub-commands behind it."""
    rows = [click_option(item) for item in command.params if isinstance(item, click.Option)]
    text = f"## stagent {name}\n\n`{click_usage(name, command)}`\n\n{paragraphs(command.help or '')}"
    text += f"\n{table(['Option', 'Meaning'], rows)}" if rows else ""
    if isinstance(command, click.Group):
        for sub, inner in sorted(command.commands.items()):
            text += "\n" + click_section(f"{name} {sub}", inner)
    return text


def fast_section(name: str) -> str:
    """Return the section of a command that is parsed without click."""
    parser = fast.parser(name)
    rows = []
    for action in parser._actions:
        if "--help" in action.option_strings or not action.option_strings:
            continue
        value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
        words = f"{(action.help or '')[:1].upper()}{(action.help or '')[1:]}."
        rows.append((f"`{action.option_strings[0]}{value}`", words + (" Required." if action.required else "")))
    head = f"## stagent {name}\n\n`stagent {name} [OPTIONS] [RUN]`\n\n{paragraphs(parser.description or '')}"
    return f"{head}\n{table(['Option', 'Meaning'], rows)}"


def commands() -> str:
    """Return a section for every command, in the order of the table."""
    return "\n".join(fast_section(name) if name in FAST else click_section(name, load(name)) for name in COMMANDS)


# --- the settings -----------------------------------------------------------------------------------------------------


def settings() -> str:
    """Return a section for every setting."""
    parts = []
    for item in config.SETTINGS:
        free = "a whole number from 1" if item.number else "any text"
        rows = [
            ("environment variable", f"`{item.env}`"),
            ("default", f"`{item.default}`" if item.default else "none"),
            ("values", ", ".join(f"`{choice}`" for choice in item.choices) or free),
        ]
        parts.append(f"### {item.name}\n\n{item.help}\n\n{table(['', ''], rows)}")
    return "\n".join(parts)


# --- the events -------------------------------------------------------------------------------------------------------


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """Return the default of a field as JSON has it, or `required`."""
    if field.default is not msgspec.NODEFAULT:
        return f"`{msgspec.json.encode(field.default).decode()}`"
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{msgspec.json.encode(field.default_factory()).decode()}`"
    return "required"


def fields(kind: type[msgspec.Struct]) -> str:
    """Return the table of the fields of a struct, in their order."""
    hints = inspect.get_annotations(kind)
    rows = [
        (f"`{item.encode_name}`", f"`{hints[item.name]}`", default_of(item)) for item in msgspec.structs.fields(kind)
    ]
    return table(["Field", "Type", "Default"], rows)


def event_kinds() -> str:
    """Return a section for every kind of event, in the order of the union."""
    parts = []
    for kind in get_args(events.Event):
        name = kind.__struct_config__.tag
        parts.append(f"### {name}\n\n{paragraphs(kind.__doc__ or '')}\n{fields(kind)}")
    return "\n".join(parts)


def event_parts() -> str:
    """Return a section for the envelope and for every value that events are made of."""
    kinds = (events.Envelope, events.Holder, events.Producer, events.FileMark)
    return "\n".join(f"### {kind.__name__}\n\n{paragraphs(kind.__doc__ or '')}\n{fields(kind)}" for kind in kinds)


# --- the rules of the original ----------------------------------------------------------------------------------------


def conformance() -> str:
    """Return which rules of the original plugin hold, with the tests that prove them."""
    return _conformance.page(_conformance.read(), _conformance.proofs())


# --- the pages --------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "conformance": conformance,
    "event-kinds": event_kinds,
    "event-parts": event_parts,
    "settings": settings,
}


def renewed(text: str) -> str:
    """Return a page with its generated parts made anew. Raises KeyError for a part nobody makes."""
    return PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}\n{match[3]}", text)


def pages() -> Iterator[tuple[Path, str, str]]:
    """Yield every page with a generated part: its place, its text, and the text it should have."""
    for path in sorted((ROOT / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if PART.search(text):
            yield path, text, renewed(text)


def main() -> int:
    """Write the pages that are behind, or with --check only name them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/docs", description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is behind the code")
    only_check = parser.parse_args().check
    behind = [(path, fresh) for path, text, fresh in pages() if text != fresh]
    for path, fresh in behind:
        sys.stdout.write(f"{path.relative_to(ROOT)} is behind the code\n")
        if not only_check:
            path.write_text(fresh, encoding="utf-8")
    if only_check:
        sys.stdout.write(
            "call scripts/docs and look at what changed\n" if behind else "the documentation is up to date\n"
        )
    return 1 if behind and only_check else 0


if __name__ == "__main__":
    sys.exit(main())

"""`stagent diff`: what changed in the project since the run began."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import msgspec

from stagent.bootstrap import Home
from stagent.cli import output
from stagent.cli.options import selector_options
from stagent.cli.select import Selector, choose
from stagent.cli.words import colourful, plain, width
from stagent.core.story import FileChange
from stagent.engine.differences import since_start

_COLOURS = (("+++", None), ("---", None), ("+", "green"), ("-", "red"), ("@@", "cyan"))


@click.command(name="diff")
@selector_options
@click.option("--stat", is_flag=True, help="Only the files and how many lines changed in each.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as JSON.")
def diff_command(selector: Selector, stat: bool, as_json: bool) -> int:
    """Print what changed in the project since the run began, without the engine's own folder.

    Piped, the bytes are those of git and can be applied with `git apply`.
    """
    home = Home()
    try:
        chosen = choose(home, selector)
        found = since_start(chosen.service, chosen.service.state(chosen.run))
        if as_json:
            files = found.files if found else []
            trees = {"baseline": found.baseline, "tree": found.tree} if found else {"baseline": None, "tree": None}
            output.as_json({"run": chosen.run, **trees, "files": msgspec.to_builtins(files)})
        elif found is None:
            output.note("The workflow of this run does not record the project: nothing to compare with.")
        elif not found.diff:
            output.note("Nothing changed.")
        elif stat:
            _stat(found.files)
        else:
            _whole(found.diff)
        return output.OK
    finally:
        home.close()


def _stat(files: Sequence[FileChange]) -> None:
    room = max(width(plain(item.path)) for item in files)
    for item in files:
        path = plain(item.path)
        counts = "binary" if item.binary else f"+{item.added} -{item.removed}"
        output.line(f"{item.status} {path}{' ' * (room - width(path))}  {counts}")
    added, removed = sum(item.added for item in files), sum(item.removed for item in files)
    output.line(f"{len(files)} {'file' if len(files) == 1 else 'files'}, +{added} -{removed}")


def _whole(diff: bytes) -> None:
    if not sys.stdout.isatty():
        sys.stdout.flush()
        sys.stdout.buffer.write(diff)
        sys.stdout.buffer.flush()
        return
    colours = _COLOURS if colourful() else ()
    for line in diff.decode("utf-8", "replace").removesuffix("\n").split("\n"):
        colour = next((colour for start, colour in colours if line.startswith(start)), None)
        bold = bool(colours) and line.startswith(("diff --git ", "+++", "---"))
        output.line(click.style(plain(line), fg=colour, bold=bold) if colour or bold else plain(line))

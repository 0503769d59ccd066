"""`stagent export`: a run as one self-contained report."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import click

from stagent import disk
from stagent.bootstrap import Home
from stagent.cli import output
from stagent.cli.options import selector_options
from stagent.cli.select import Selector, choose
from stagent.core.story import Story
from stagent.engine.history import tell
from stagent.engine.leftovers import sweep_beside
from stagent.errors import UsageError
from stagent.registry import resolve

_OF_SUFFIX = {".md": "md", ".markdown": "md", ".html": "html", ".htm": "html"}


@click.command(name="export")
@selector_options
@click.option("--format", "form", help="md or html; without it that of FILE's name, else md.")
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), help="Write to FILE, not standard output.")
def export_command(selector: Selector, form: str | None, file: Path | None) -> int:
    """Write a run as one report that needs nothing beside itself: stages, artifacts, checks, decisions, diff, audit.

    What looks like a secret is masked; read it through before you pass it on.
    """
    named = form or (_OF_SUFFIX.get(file.suffix.lower(), "md") if file is not None else "md")
    render = cast(Callable[[Story], str], resolve("exporters", named))
    home = Home()
    try:
        chosen = choose(home, selector)
        text = render(tell(chosen.service, chosen.run, whole=True))
    finally:
        home.close()
    data = text.encode("utf-8", "replace")
    if file is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return output.OK
    _write(file, data)
    output.note(f"Wrote {file} ({len(data):,} bytes).")
    return output.OK


def _write(file: Path, data: bytes) -> None:
    """Write the whole file or leave the old one, for its owner alone: it holds what the project holds.

    A link is followed. What is there and no regular file, a pipe or a device, is written to and stays what it is.
    """
    try:
        file = file.resolve()
        if file.exists() and not file.is_file():
            return _hand_over(file, data)
    except OSError as error:
        raise _unwritable(file, error) from error
    spare = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        sweep_beside(file)
        disk.replace(file, data, spare, 0o600)
    except OSError as error:
        raise _unwritable(file, error) from error


def _hand_over(file: Path, data: bytes) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CLOEXEC), "wb") as target:
        target.write(data)


def _unwritable(file: Path, error: OSError) -> UsageError:
    return UsageError(
        "export.unwritable",
        f"the report cannot be written: {error.strerror or error}",
        where=str(file),
        remedy="Name a file in a folder that exists and that you may write.",
    )

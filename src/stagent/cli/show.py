"""`stagent show`: a run's story on a terminal, or one stored piece of it."""

from __future__ import annotations

import sys

import click
import msgspec

from stagent.bootstrap import Home
from stagent.cli import output, storyline
from stagent.cli.options import selector_options
from stagent.cli.select import Chosen, Selector, choose
from stagent.cli.words import colourful, plain_lines
from stagent.core import events as ev
from stagent.core.masking import mask
from stagent.core.ports import BlobGone
from stagent.engine.history import events, tell
from stagent.errors import NotFoundError, StoreError, UsageError


@click.command(name="show")
@selector_options
@click.option("--artifact", metavar="STAGE", help="Print what this stage left, or a terminal's report, as stored.")
@click.option("--check", metavar="NAME", help="Print the output of the latest run of this check.")
@click.option("--event", metavar="SEQ", type=click.IntRange(min=1), help="Print one event and the texts it names.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(selector: Selector, artifact: str | None, check: str | None, event: int | None, as_json: bool) -> int:
    """Show a run: its stages, attempts, artifacts, checks and decisions."""
    if sum(item is not None for item in (artifact, check, event)) > 1:
        raise UsageError("show.one", "--artifact, --check and --event", where="show", remedy="Give one of them.")
    home = Home()
    try:
        chosen = choose(home, selector)
        if artifact is not None:
            _blob(chosen, _artifact(chosen, artifact), as_json)
        elif check is not None:
            _blob(chosen, _check(chosen, check), as_json)
        elif event is not None:
            _event(chosen, event, as_json)
        else:
            story = tell(chosen.service, chosen.run)
            if as_json:
                output.as_json(story)
            else:
                for line in storyline.lines(story, colour=colourful()):
                    output.line(line)
        return output.OK
    finally:
        home.close()


def _artifact(chosen: Chosen, stage: str) -> str:
    """Return the digest of the latest artifact of a stage that the engine read, or of the report of a terminal."""
    found: dict[str, str] = {}
    for envelope in events(chosen.service, chosen.run):
        data = envelope.data
        if isinstance(data, ev.ArtifactRecorded):
            found[data.stage] = data.digest
        elif isinstance(data, ev.Terminal) and data.report:
            found[data.terminal] = data.report
        elif isinstance(data, ev.Escalated) and data.report:
            found["escalated"] = data.report
    return _named(found, stage, "artifact")


def _check(chosen: Chosen, name: str) -> str:
    found: dict[str, str] = {}
    for envelope in events(chosen.service, chosen.run):
        data = envelope.data
        if isinstance(data, ev.CheckEnded) and data.output:
            found[data.name] = data.output
    return _named(found, name, "check output")


def _named(found: dict[str, str], name: str, what: str) -> str:
    if name not in found:
        raise NotFoundError(
            "show.none",
            f'the log holds no {what} of "{name}"',
            known=sorted(found),
            remedy="Name a known one." if found else "The run has not come that far.",
        )
    return found[name]


def _blob(chosen: Chosen, name: str, as_json: bool) -> None:
    """Print a blob's bytes as they are; on a terminal without what could steer it."""
    found = chosen.service.store.blob(name)
    if isinstance(found, BlobGone):
        raise NotFoundError("show.deleted", f"it was deleted: {found.reason}", remedy="Only its digest is left.")
    if as_json:
        output.as_json({"run": chosen.run, "digest": name, "text": found.decode("utf-8", "replace")})
    elif sys.stdout.isatty():
        for line in plain_lines(found.decode("utf-8", "replace").removesuffix("\n")):
            output.line(line)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(found)
        sys.stdout.buffer.flush()


def _event(chosen: Chosen, seq: int, as_json: bool) -> None:
    record = next(chosen.service.store.read(chosen.run, after=seq - 1, limit=1), None)
    if record is None or record.seq != seq:
        last = chosen.service.journal.load(chosen.run)[0].seq
        raise NotFoundError("show.event", f"no event {seq}", where=chosen.run, remedy=f"The last is event {last}.")
    try:
        names = ev.blobs_of(ev.unseal(record.body).data)
        document = {**msgspec.json.decode(record.body), "hash": record.hash}
    except msgspec.DecodeError as error:
        raise StoreError(
            "log.unreadable",
            f"event {seq} cannot be read: {error}",
            where=chosen.run,
            remedy="`stagent audit verify` says more.",
        ) from error
    names.pop("model", None)  # it only saves reading the workflow again, which is shown
    texts = {path: {"digest": name, "text": mask(chosen.service.text(name))} for path, name in names.items()}
    if as_json:
        output.as_json({"event": document, "texts": texts})
        return
    output.as_json(document)
    for path, item in texts.items():
        output.line()
        output.line(click.style(f"{path} ({item['digest'][:12]}):", bold=True) if colourful() else f"{path}:")
        for line in plain_lines(item["text"].removesuffix("\n")):
            output.line(f"  {line}")

"""What a person is shown before he decides at a gate: the very bytes his decision will be bound to."""

from __future__ import annotations

from collections.abc import Iterator

from stagent.cli.words import plain, plain_lines
from stagent.core.masking import mask
from stagent.core.model import Stage
from stagent.core.state import State
from stagent.engine.evidence import Gathered
from stagent.engine.service import RunService

_LINES = 400


def shown(service: RunService, state: State, gathered: Gathered, *, whole: bool = False) -> Iterator[str]:
    """Yield what a decision would be about, as lines that cannot steer a terminal; long parts are cut unless `whole`.

    At a gate that is the artifact, at a human stage its inputs, and the paths of the project that changed at both.
    """
    stage = service.workflow(state).stages[state.stage]
    found = gathered.evidence.artifact if stage.kind != "human" else None
    tree = gathered.evidence.tree
    limit = None if whole else _LINES
    yield f"Run {state.run}: stage {state.stage}" + (f" ({plain(stage.title)})" if stage.title else "")
    yield f"  epoch {state.epoch}, log head {state.head}"
    if found is not None:
        yield f"  artifact {plain(found.path)}"
        yield f"  result {plain(found.result) or '(none)'}, body {found.body[:16]}"
    if tree is not None:
        changes = service.workspace.changes(state.baseline, tree) if state.baseline else []
        yield f"  project tree {tree[:16]}, {len(changes)} paths changed since the start"
        paths = [plain(f"{change.status} {change.path}") for change in changes]
        yield from _capped("    ", paths, f"stagent diff {state.run}", limit)
    if found is not None:
        yield ""
        text = gathered.blobs.get(found.digest, b"").decode("utf-8", "replace")
        yield from _text(text, f"stagent show {state.run} --artifact {state.stage}", limit)
    if stage.kind == "human":
        yield from _inputs(service, state, stage, limit)
    yield ""


def _inputs(service: RunService, state: State, stage: Stage, limit: int | None) -> Iterator[str]:
    """Yield what the stage was given to decide by: what was accepted of the stages before."""
    for item in stage.inputs:
        made = state.accepted.get(item.key) if item.source == "stage" else None
        if made is not None:
            yield ""
            what = f": {plain(item.description)}" if item.description else ""
            yield f"  {item.key}, epoch {made.epoch}, result {plain(made.result)}{what}"
            yield ""
            text = service.text(made.digest)
            yield from _text(text, f"stagent show {state.run} --artifact {item.key}", limit)


def _text(text: str, whole: str, limit: int | None) -> Iterator[str]:
    return _capped("  | ", plain_lines(mask(text).removesuffix("\n")), whole, limit)


def _capped(margin: str, lines: list[str], whole: str, limit: int | None) -> Iterator[str]:
    for line in lines[:limit]:
        yield margin + line
    if limit is not None and len(lines) > limit:
        yield f"{margin}... {len(lines) - limit} MORE LINES, not shown here; read all of them first: {whole}"

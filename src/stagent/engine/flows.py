"""Which workflow a reference means, and the pinned copy a run keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import msgspec

from stagent.core.canonical import digest, encode
from stagent.core.model import Workflow
from stagent.core.verify.folder import DOCUMENT, validate
from stagent.core.verify.problem import Problem, errors, refuse
from stagent.errors import UsageError
from stagent.registry import resolve

BUNDLED = Path(__file__).resolve().parent.parent / "workflows"
ALIASES = {"dev-default": "default"}


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow ready to be pinned: its name, its files, its model and the findings about it."""

    name: str
    files: dict[str, bytes]
    workflow: Workflow
    problems: tuple[Problem, ...]


def bundled() -> list[str]:
    """Return the names of the workflows that come with the package."""
    return sorted(entry.name for entry in BUNDLED.iterdir() if (entry / DOCUMENT).is_file())


def folder_of(reference: str, base: Path) -> Path:
    """Return the folder a `--flow` reference means: a bundled name, or a path (absolute, or with a `/`, or `.`).

    Raises UsageError for anything else.
    """
    if reference.startswith("cloud://"):
        raise UsageError(
            "flow.cloud",
            "workflows of a hub need a server",
            where=reference,
            remedy="Name a folder or a bundled workflow.",
        )
    if "/" in reference or reference in (".", ".."):
        return (base / Path(reference).expanduser()).resolve()
    name = ALIASES.get(reference, reference)
    if name in bundled():
        return BUNDLED / name
    raise UsageError(
        "flow.unknown",
        f'no workflow "{reference}"',
        where="--flow",
        known=bundled(),
        remedy="Name a known one, or a folder as a path with a / in it.",
    )


def read(reference: str, base: Path) -> tuple[str, dict[str, bytes], Workflow | None, list[Problem]]:
    """Return a workflow's name, files, model and findings, valid or not."""
    folder = folder_of(reference, base)
    load = cast(Callable[[Path], dict[str, bytes]], resolve("loaders", "folder"))
    files = load(folder)
    workflow, problems = validate(files, str(folder))
    return folder.name, files, workflow, problems


def usable(reference: str, base: Path) -> Flow:
    """Return a workflow that may be run. Raises WorkflowError with every problem otherwise."""
    name, files, workflow, problems = read(reference, base)
    found = errors(problems)
    if found or workflow is None:
        raise refuse(found, str(folder_of(reference, base)))
    return Flow(name=name, files=files, workflow=workflow, problems=tuple(problems))


def pin(flow: Flow) -> tuple[str, str, dict[str, bytes]]:
    """Return the digest a run pins, the digest of the model read from it, and the blobs behind both.

    What is pinned is a manifest of file digests. The model only saves reading the document again and again.
    """
    model = encode(flow.workflow)
    blobs = {digest(data): data for data in flow.files.values()}
    manifest = encode({name: digest(data) for name, data in flow.files.items()})
    return digest(manifest), digest(model), {**blobs, digest(manifest): manifest, digest(model): model}


def reparse(files: Mapping[str, bytes]) -> Workflow | None:
    """Return the model of a workflow's files, or None when they do not validate with this version."""
    workflow, problems = validate(files)
    return None if errors(problems) else workflow

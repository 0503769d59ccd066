"""Which workflow a reference means, and the pinned copy a run keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import cast

import msgspec

from stagent.core.canonical import digest, encode
from stagent.core.model import Workflow
from stagent.core.ports import BlobGone, Store
from stagent.core.verify.folder import DOCUMENT, validate
from stagent.core.verify.problem import Problem, errors, refuse
from stagent.errors import StoreError, UsageError
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


def pin(flow: Flow) -> tuple[str, dict[str, bytes]]:
    """Return the digest a run pins and the blobs behind it: a manifest of file digests, and the files."""
    blobs = {digest(data): data for data in flow.files.values()}
    manifest = encode({name: digest(data) for name, data in flow.files.items()})
    return digest(manifest), {**blobs, digest(manifest): manifest}


class Pinned:
    """Reads pinned workflows back from a store; a digest always means the same bytes, so each is parsed once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.workflow = lru_cache(maxsize=32)(self._workflow)
        self.file = lru_cache(maxsize=256)(self._file)

    def manifest(self, pinned: str) -> dict[str, str]:
        """Return the file digests of a pinned workflow by name."""
        return msgspec.json.decode(self._blob(pinned), type=dict[str, str])

    def _file(self, pinned: str, name: str) -> bytes:
        """Return one file of a pinned workflow; empty when it has no such file."""
        found = self.manifest(pinned).get(name)
        return self._blob(found) if found else b""

    def blob(self, name: str) -> bytes | BlobGone:
        """Return any blob of the store, or its tombstone."""
        return self._store.blob(name)

    def _workflow(self, pinned: str) -> Workflow:
        manifest = self.manifest(pinned)
        files = dict.fromkeys(manifest, b"")
        files[DOCUMENT] = self._blob(manifest[DOCUMENT])
        workflow, problems = validate(files)
        if workflow is None or errors(problems):
            raise StoreError(
                "run.workflow",
                "the pinned workflow does not validate with this version",
                where=pinned,
                remedy="Use the version of the program that started the run.",
            )
        return workflow

    def _blob(self, name: str) -> bytes:
        blob = self._store.blob(name)
        if isinstance(blob, BlobGone):
            raise StoreError(
                "run.workflow",
                f"the pinned workflow was deleted ({blob.reason})",
                where=name,
                remedy="Start a new run.",
            )
        return blob

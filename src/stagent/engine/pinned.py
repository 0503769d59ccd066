"""Reads the workflow a run pinned back from the store; a later edit of its files changes no run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import cast

import msgspec

from stagent.core.model import Workflow
from stagent.core.ports import BlobGone, Store
from stagent.core.state import State
from stagent.errors import StoreError
from stagent.registry import resolve

_DOCUMENT = "workflow.json"
_MODEL = msgspec.json.Decoder(Workflow)


class Pinned:
    """The pinned workflows of one store; a digest always means the same bytes, so each is read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read = lru_cache(maxsize=32)(self._workflow)
        self.file = lru_cache(maxsize=256)(self._file)

    def workflow(self, state: State) -> Workflow:
        """Return the workflow of a run. Raises StoreError when this version cannot read it any more."""
        return self._read(state.workflow, state.model)

    def manifest(self, pinned: str) -> dict[str, str]:
        """Return the file digests of a pinned workflow by name."""
        return msgspec.json.decode(self._blob(pinned), type=dict[str, str])

    def blob(self, name: str) -> bytes | BlobGone:
        """Return any blob of the store, or its tombstone."""
        return self._store.blob(name)

    def _file(self, pinned: str, name: str) -> bytes:
        """Return one file of a pinned workflow; empty when it has no such file."""
        found = self.manifest(pinned).get(name)
        return self._blob(found) if found else b""

    def _workflow(self, pinned: str, model: str) -> Workflow:
        try:
            return _MODEL.decode(self._blob(model))
        except (msgspec.ValidationError, msgspec.DecodeError):
            # Another version wrote the model: the document it was read from is what is pinned.
            return self._reparse(pinned)

    def _reparse(self, pinned: str) -> Workflow:
        manifest = self.manifest(pinned)
        files = dict.fromkeys(manifest, b"")
        files[_DOCUMENT] = self._blob(manifest[_DOCUMENT])
        read = cast(Callable[[Mapping[str, bytes]], Workflow | None], resolve("parts", "reparse"))
        workflow = read(files)
        if workflow is None:
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

"""The composition root: joins the data home, the registry, a project's store and workspace into a `RunService`.

The only place where adapters are built; everything above it receives what is made here.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from stagent import disk
from stagent.config import HOME_VARIABLE, DataHome, is_text
from stagent.core.ports import Index, ProjectRow, RunEntry, Store, Workspace
from stagent.core.state import State
from stagent.engine.brief import label
from stagent.engine.service import RunService
from stagent.errors import NotFoundError, StagentError, StoreError, WorkspaceError
from stagent.registry import resolve


def millis() -> int:
    """Return the time in unix milliseconds."""
    return time.time_ns() // 1_000_000


def project_id(root: Path, number: int = 0) -> str:
    """Return the id a project folder gets on this machine; `number` tells apart those that lay there one after another.

    A project that moves keeps its id, so the folder it left may get another one.
    """
    more = f"\0{number}" if number else ""
    return "p-" + hashlib.sha256(os.fsencode(root) + more.encode()).hexdigest()[:20]


def _workspace(root: Path, shadow: Path, refresh: bool) -> Workspace:
    make = cast(Callable[..., Workspace], resolve("parts", "workspace"))
    return make(root, shadow, refresh_ignores=refresh)


def _project_root(start: Path) -> Path:
    return cast(Callable[[Path], Path], resolve("parts", "project_root"))(start)


def _storable(root: Path) -> Path:
    if not is_text(root):
        raise WorkspaceError(
            "workspace.not_text",
            "the path of the project is not text in UTF-8",
            where=repr(os.fsencode(root))[2:-1],
            remedy="Rename the folder; where its name is right, set LANG to a locale with UTF-8.",
        )
    return root


class Home:
    """One data home, opened; projects and runs are opened through it."""

    def __init__(self, data: DataHome | None = None) -> None:
        self.data = data or DataHome.locate()
        self.data.ensure()
        make = cast(Callable[[Path], Index], resolve("parts", "index"))
        self.index = make(self.data.registry)
        self._services: dict[str, RunService] = {}

    def at(self, start: Path, *, exact: bool = False, register: bool = False) -> RunService:
        """Open the project a folder belongs to: its git top level, or the folder itself with `exact`.

        Raises WorkspaceError when the folder cannot be a project.
        """
        root = _storable((start if exact else _project_root(start)).resolve())
        name = self._name(root)
        service = self._open(name, root, refresh=register)
        if register:
            row = ProjectRow(name, str(root), service.workspace.fingerprint(), millis())
            self.index.register_project(row)
        return service

    def known(self, start: Path) -> str | None:
        """Return the id of the project a folder belongs to, or None when no run was ever started there.

        A folder that is no repository's belongs to the nearest project around it. A project whose runs the registry
        lost, as when it was damaged and moved aside, is registered again with them.
        """
        root = self._around(_project_root(start).resolve())
        name = self._name(root)
        known = any(row.project == name for row in self.index.projects())
        if (known and self.index.runs(name)) or not self._database(name).exists():
            return name if known else None
        service = self.at(root, exact=True, register=True)
        for row in service.store.runs():
            with suppress(StagentError):  # a run that cannot be read keeps no other from being found
                self._index_again(service, row.run)
        return name

    def of(self, run: str) -> RunService:
        """Open the project of a run. Raises NotFoundError for an unknown run."""
        try:
            entry = self.index.find_run(run)
            service = self.project(entry.project)
        except NotFoundError:
            return self._search(run)
        try:
            service.store.checkpoint(run)
        except NotFoundError as error:
            raise StoreError(
                "run.missing",
                f"the run {run} is registered, but its log is not there",
                where=str(self._database(entry.project)),
                remedy="Restore the project's database from a copy.",
            ) from error
        return service

    def project(self, name: str) -> RunService:
        """Open a known project. Raises NotFoundError, or StoreError when its folder is gone."""
        row = self.index.project(name)
        if not Path(row.root).is_dir():
            raise StoreError(
                "project.gone",
                "the project's folder does not exist any more",
                where=row.root,
                remedy="Put it back in its place, or go on where it lies now: stagent continue RUN, called there.",
                fields={"project": name},
            )
        return self.open(row)

    def open(self, row: ProjectRow) -> RunService:
        """Open a project as its row says, also one whose folder is gone."""
        return self._open(row.project, Path(row.root), refresh=False)

    def moved(self, name: str, start: Path) -> RunService:
        """Open a project whose folder is gone as if it lay where `start` is; `settle` makes it so.

        Raises WorkspaceError when that folder cannot be a project.
        """
        return self._open(name, _storable(_project_root(start).resolve()), refresh=False)

    def settle(self, service: RunService) -> None:
        """Note that a project lies where this service found it."""
        fingerprint = service.workspace.fingerprint()
        self.index.register_project(ProjectRow(service.project, str(service.root), fingerprint, millis()))

    def fingerprint(self, start: Path) -> str:
        """Return the fingerprint of the project a folder belongs to; nothing is registered or written."""
        root = _project_root(start).resolve()
        return _workspace(root, self.data.project(self._name(root)) / "shadow", False).fingerprint()

    def note(self, service: RunService, state: State, session: str | None, text: str) -> None:
        """Write a run into the index, where any command finds it from any folder."""
        self.index.index_run(RunEntry(state.run, service.project, session, state.folder, text, state.started_at))

    def close(self) -> None:
        """Release every database."""
        for service in self._services.values():
            service.store.close()
        self._services.clear()
        self.index.close()

    def _search(self, run: str) -> RunService:
        """Find a run whose index row is missing (a crash between the two databases) and write the row again."""
        for row in self.index.projects():
            if not self._database(row.project).exists() or not Path(row.root).is_dir():
                continue
            service = self.project(row.project)
            for known in service.store.runs():
                if known.run == run:
                    self._index_again(service, run)
                    return service
        raise NotFoundError("run.unknown", f'no run "{run}"', remedy="`stagent runs --all` lists the runs.")

    def _index_again(self, service: RunService, run: str) -> None:
        state, _ = service.journal.load(run)
        session = state.folder if state.mode == "session" else None
        self.note(service, state, session, label(service.text(state.task)))

    def _name(self, root: Path) -> str:
        """Return the id of a project folder: the one it is registered with, else the first that is nobody's."""
        rows = {row.project: row.root for row in self.index.projects()}
        own = project_id(root)
        registered = [name for name, place in rows.items() if place == str(root)]
        if own in registered or (own not in rows and not registered):
            return own
        others = (project_id(root, number) for number in range(1, len(rows) + 1))
        return registered[0] if registered else next(name for name in others if name not in rows)

    def _around(self, root: Path) -> Path:
        """Return the nearest registered folder around one that is no repository's, else that folder itself."""
        if (root / ".git").exists():
            return root
        known = {row.root for row in self.index.projects()}
        return next((folder for folder in (root, *root.parents) if str(folder) in known), root)

    def _database(self, project: str) -> Path:
        return self.data.project(project) / "stagent.db"

    def _open(self, name: str, root: Path, *, refresh: bool) -> RunService:
        found = self._services.get(name)
        if found is not None and not refresh:
            return found
        folder = self.data.project(name)
        service = RunService(
            store=found.store if found is not None else self._store(folder),
            root=root,
            workspace=lambda: _workspace(root, folder / "shadow", refresh),
            home=self.data,
            project=name,
            clock=millis,
        )
        self._services[name] = service
        return service

    def _store(self, folder: Path) -> Store:
        try:
            disk.make_folder(folder, private=True)
        except OSError as error:
            raise StoreError(
                "home.unwritable",
                f"the project's folder in the data home cannot be made: {error.strerror}",
                where=str(folder),
                remedy=f"Make the data home writable, or set {HOME_VARIABLE} to a folder that is.",
            ) from error
        make = cast(Callable[[Path, Path], Store], resolve("stores", "sqlite"))
        return make(folder / "stagent.db", folder / "blobs")

"""The registry of one data home: its projects, and which project, session and folder each run belongs to.

Everything here is derived: a row that is lost or wrong is made right by registering or indexing it again.
"""

from __future__ import annotations

from pathlib import Path

from stagent.core.ports import ProjectRow, RunEntry
from stagent.errors import NotFoundError
from stagent.storage.scripts import FOLDER, queries
from stagent.storage.sqlite import SqliteDriver

_SQL = queries("registry.sql")
_RESTORE = (
    "Move it aside together with its -wal and -shm files, then call `stagent runs` in the folder of each project: "
    "its runs are found again."
)


class Registry:
    """The file `registry.db`; made when missing, may be open in many processes and used from several threads.

    Every method may raise StoreError as `SqliteDriver` describes it.
    """

    APPLICATION = 1398032210

    def __init__(self, path: Path) -> None:
        self._driver = SqliteDriver(path, FOLDER / "migrations" / "registry", self.APPLICATION, _RESTORE)

    def _change(self, name: str, *values: object) -> int:
        with self._driver.transaction() as tx:
            return tx.execute(_SQL[name], values)

    def _projects(self, name: str, *values: object) -> list[ProjectRow]:
        return [ProjectRow(*row) for row in self._driver.rows(_SQL[name], values)]

    def _runs(self, name: str, *values: object) -> list[RunEntry]:
        return [RunEntry(*row) for row in self._driver.rows(_SQL[name], values)]

    def register_project(self, project: ProjectRow) -> None:
        """Store a project; one that is known gets the new root and fingerprint and keeps its first time."""
        self._change("register_project", project.project, project.root, project.fingerprint, project.created)

    def project(self, project: str) -> ProjectRow:
        """Return a project by id. Raises NotFoundError."""
        for row in self._projects("project", project):
            return row
        raise self._unknown_project(project)

    def projects(self) -> list[ProjectRow]:
        """Return every project, oldest first."""
        return self._projects("projects")

    def index_run(self, run: RunEntry) -> None:
        """Store where a run is found, over what was stored for it. Raises NotFoundError for an unknown project."""
        values = (run.run, run.session, run.folder, run.label, run.created, run.project)
        if not self._change("index_run", *values):
            raise self._unknown_project(run.project)

    def find_run(self, run: str) -> RunEntry:
        """Return where a run is found. Raises NotFoundError."""
        for row in self._runs("find_run", run):
            return row
        raise _unknown_run(run)

    def runs(self, project: str | None = None) -> list[RunEntry]:
        """Return the runs of one project or of all, oldest first."""
        return self._runs("runs") if project is None else self._runs("runs_of_project", project)

    def runs_of_session(self, session: str) -> list[RunEntry]:
        """Return every run that is bound to an agent session, oldest first."""
        return self._runs("runs_of_session", session)

    def rebind_session(self, run: str, session: str | None) -> None:
        """Bind a run to another session, or to none. Raises NotFoundError for an unknown run."""
        if not self._change("rebind_session", session, run):
            raise _unknown_run(run)

    def close(self) -> None:
        """Release the database; the registry may not be used afterwards."""
        self._driver.close()

    def _unknown_project(self, project: str) -> NotFoundError:
        return NotFoundError(
            "registry.unknown_project",
            f'no project "{project}"',
            known=[row.project for row in self.projects()],
            remedy="Run a command in the project's folder to register it.",
            fields={"project": project},
        )


def _unknown_run(run: str) -> NotFoundError:
    return NotFoundError(
        "registry.unknown_run", f'no run "{run}"', remedy="`stagent runs` lists the runs.", fields={"run": run}
    )

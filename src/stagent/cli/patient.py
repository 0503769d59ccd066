"""What `stagent doctor` examines, and the form of what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import msgspec

from stagent.bootstrap import Home
from stagent.cli.runs import Entry, entries
from stagent.config import DataHome
from stagent.core.state import State
from stagent.engine.service import RunService
from stagent.errors import StagentError


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is broken: a stable code, where, what, and how to mend it."""

    code: str
    where: str
    what: str
    remedy: str


Findings = Iterator[Finding]


class Patient:
    """What the checks look at; `deep` folds every log anew. Without a data home there are no runs to look at."""

    def __init__(self, data: DataHome, *, deep: bool) -> None:
        self.data = data
        self.deep = deep
        self.problem: StagentError | None = None
        self.home: Home | None = None
        if data.root.is_dir():
            try:
                self.home = Home(data)
            except StagentError as error:
                self.problem = error

    @cached_property
    def entries(self) -> list[Entry]:
        """Every run that is known."""
        return list(entries(self.home, self.home.index.projects())) if self.home is not None else []

    @property
    def readable(self) -> Iterator[tuple[RunService, State]]:
        """The runs whose state can be read, with it."""
        for entry in self.entries:
            if entry.service is not None:
                try:
                    state = entry.service.journal.load(entry.run)[0]
                except StagentError:
                    continue  # `logs` reports it
                yield entry.service, state

    def close(self) -> None:
        """Release every database."""
        if self.home is not None:
            self.home.close()

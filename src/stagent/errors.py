"""Every error the package raises on purpose; imports nothing of ours so that any module may import it.

An error has a stable `code` for programs, `fields` for messages built elsewhere, and one sentence for people in the
order where, what, known values, remedy. Interfaces map codes to exit statuses and HTTP statuses; nothing else may
depend on the wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def sentence(where: str, what: str, known: Iterable[str], remedy: str) -> str:
    """Build the one sentence people read: `where: what. Known: a, b. remedy`."""
    text = f"{where}: {what}" if where else what
    if not text.endswith((".", "?", "!", "\n")):
        text += "."
    values = ", ".join(known)
    if values:
        text += f" Known: {values}."
    return f"{text}{'' if text.endswith(chr(10)) else ' '}{remedy}".rstrip()


class StagentError(Exception):
    """Something could not be done; nothing was half-made.

    `code` is dotted and stable (`workflow.unknown_stage`), `remedy` says what the reader can do about it.
    """

    def __init__(
        self,
        code: str,
        what: str,
        *,
        remedy: str,
        where: str = "",
        known: Sequence[str] = (),
        fields: dict[str, object] | None = None,
    ) -> None:
        super().__init__(sentence(where, what, known, remedy))
        self.code = code
        self.what = what
        self.where = where
        self.known = tuple(known)
        self.remedy = remedy
        self.fields = dict(fields or {})

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.__dict__.copy(), self.args)


def _rebuild(kind: type[StagentError], attributes: dict[str, object], args: tuple[object, ...]) -> StagentError:
    error = kind.__new__(kind)
    Exception.__init__(error, *args)
    error.__dict__.update(attributes)
    return error


class UsageError(StagentError):
    """The command line or a call was wrong; the state of a run has nothing to do with it."""


class NotFoundError(StagentError):
    """A run, blob, project or workflow that was named does not exist."""


class RefusedError(StagentError):
    """The engine refused a command because of the run's state or the evidence; state is untouched."""


class WorkflowError(StagentError):
    """A workflow folder does not validate; `fields["problems"]` lists every problem."""


class WorkspaceError(StagentError):
    """The project folder could not be read or compared."""


class StoreError(StagentError):
    """The data home could not be read or written; the cause is chained."""


class ConflictError(StoreError):
    """Another writer appended first: re-read the run and decide again."""

"""What validation reports: one finding with its place, what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stagent.errors import WorkflowError, sentence


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding about a workflow; `path` is a JSON path such as `stages.review.transitions.PASS`."""

    code: str
    path: str
    what: str
    remedy: str
    known: tuple[str, ...] = ()
    severity: str = "error"

    def text(self, file: str = "workflow.json") -> str:
        """Return the sentence people read."""
        place = f"{file}: {self.path}" if self.path else file
        return sentence(place, self.what, self.known, self.remedy)


class Findings:
    """Collects problems while a document is read, so that all of them are reported at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def error(self, code: str, path: str, what: str, remedy: str, known: Sequence[str] = ()) -> None:
        """Note something that makes a run impossible or unsafe."""
        self.problems.append(Problem(code=f"workflow.{code}", path=path, what=what, remedy=remedy, known=tuple(known)))

    def warn(self, code: str, path: str, what: str, remedy: str, known: Sequence[str] = ()) -> None:
        """Note something an author would want to know; an error under strict validation."""
        self.problems.append(
            Problem(
                code=f"workflow.{code}",
                path=path,
                what=what,
                remedy=remedy,
                known=tuple(known),
                severity="warning",
            )
        )


def errors(problems: Sequence[Problem], *, strict: bool = False) -> list[Problem]:
    """Return the problems that stop the workflow from being used; strict takes warnings for errors."""
    return [problem for problem in problems if strict or problem.severity == "error"]


def refuse(problems: Sequence[Problem], where: str) -> WorkflowError:
    """Form the one error that carries every problem of a workflow."""
    count = len(problems)
    lines = "".join(f"\n  - {problem.text()}" for problem in problems)
    return WorkflowError(
        "workflow.invalid",
        f"{count} problem{'s' if count != 1 else ''}{lines}\n",
        where=where,
        remedy="Mend what is listed and validate again.",
        fields={"problems": [{"code": p.code, "path": p.path, "message": p.text()} for p in problems]},
    )

"""Which workflow a reference means, and the pinned copy a run keeps of it.

A path is a path. A bundled name always means the bundled workflow. Any other name is looked for in the project's folder
`workflows/` and among the user's own templates; one that is in both means neither, because a project that somebody else
wrote must not take the place of what the user meant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, cast

import msgspec

from stagent.config import HOME_VARIABLE, DataHome
from stagent.core.canonical import digest, encode
from stagent.core.ids import is_name
from stagent.core.model import Workflow
from stagent.core.verify.folder import DOCUMENT, validate
from stagent.core.verify.problem import Problem, errors, refuse
from stagent.engine.structured import schema_problems
from stagent.errors import UsageError, WorkspaceError
from stagent.registry import resolve

BUNDLED = Path(__file__).resolve().parent.parent / "workflows"
ALIASES = {"dev-default": "default", "ship-it-weekly": "release-train"}

FOLDER = "workflows"
"""The folder of a project in which its own workflows lie."""
PLACE = "STAGENT_TEMPLATES"
"""The variable that names the user's templates to commands the engine runs, which are not told the data home."""


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that has a name here; `hidden` says why `--flow NAME` does not find it."""

    name: str
    source: Literal["bundled", "project", "user"]
    folder: Path
    hidden: str = ""


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow ready to be pinned: its name, where it lies, its files, its model and the findings about it."""

    name: str
    folder: Path
    files: dict[str, bytes]
    workflow: Workflow
    problems: tuple[Problem, ...]


def bundled() -> list[str]:
    """Return the names of the workflows that come with the package."""
    return sorted(entry.name for entry in BUNDLED.iterdir() if (entry / DOCUMENT).is_file())


def user_folder() -> Path:
    """Return the folder of the user's own templates."""
    named = os.environ.get(PLACE)
    if named and not os.environ.get(HOME_VARIABLE):  # a home that a command sets for itself is the one it means
        return Path(named).absolute()
    return DataHome.locate().templates


def project_folder(base: Path) -> Path:
    """Return the folder `workflows/` of the project a folder belongs to."""
    try:
        root = cast(Callable[[Path], Path], resolve("parts", "project_root"))(base)
    except WorkspaceError:
        root = base.absolute()  # what is no project has no more than the folder itself
    return root / FOLDER


def listed(base: Path) -> list[Template]:
    """Return every workflow that has a name here: the bundled ones, the project's, the user's; each by name."""
    found = [Template(name=name, source="bundled", folder=BUNDLED / name) for name in bundled()]
    others, taken = _others(base), {*bundled(), *ALIASES}
    for item in others:
        why = "a bundled workflow has this name" if item.name in taken else ""
        if not why and sum(other.name == item.name for other in others) > 1:
            why = "the project and your own templates both have this name"
        found.append(msgspec.structs.replace(item, hidden=why))
    return found


def _others(base: Path) -> list[Template]:
    found = []
    for source, place in (("project", project_folder(base)), ("user", user_folder())):
        try:
            folders = sorted(entry for entry in place.iterdir() if (entry / DOCUMENT).is_file())
        except OSError:
            folders = []  # no such folder, or none that may be read: nothing is found in it
        kind = cast(Literal["project", "user"], source)
        found += [Template(name=item.name, source=kind, folder=item) for item in folders if is_name(item.name)]
    return found


def folder_of(reference: str, base: Path, project: Path | None = None) -> Path:
    """Return the folder a `--flow` reference means from a folder: a name, or a path (absolute, with a `/`, or `.`).

    `project` is where the project's workflows are looked for, without it the project of `base`. Raises UsageError for
    an unknown or ambiguous name.
    """
    if reference.startswith("cloud://"):
        raise UsageError(
            "flow.cloud",
            "workflows of a hub need a server",
            where=reference,
            remedy="Name a folder or a bundled workflow.",
        )
    if "/" in reference or reference in (".", ".."):
        try:
            return (base / Path(reference).expanduser()).resolve()
        except (RuntimeError, OSError) as error:
            raise UsageError(
                "flow.path", f"this is no path: {error}", where=reference, remedy="Name an existing folder."
            ) from error
    name = ALIASES.get(reference, reference)
    if name in bundled():
        return BUNDLED / name
    others = _others(project or base)
    found = [item.folder for item in others if item.name == reference]
    if len(found) > 1:
        raise UsageError(
            "flow.ambiguous",
            f'the workflow "{reference}" is both in the project and among your own templates',
            where="--flow",
            known=[str(folder) for folder in found],
            remedy="Give the path of the one you mean.",
        )
    if not found:
        raise UsageError(
            "flow.unknown",
            f'no workflow "{reference}"',
            where="--flow",
            known=sorted({*bundled(), *(item.name for item in others)}),
            remedy="Name a known one, or a folder as a path with a / in it.",
        )
    return found[0]


def read(reference: str, base: Path) -> tuple[str, dict[str, bytes], Workflow | None, list[Problem]]:
    """Return a workflow's name, files, model and findings, valid or not."""
    folder = folder_of(reference, base)
    load = cast(Callable[[Path], dict[str, bytes]], resolve("loaders", "folder"))
    files = load(folder)
    workflow, problems = validate(files, str(folder))
    if workflow is not None:
        problems += schema_problems(workflow)
    # The log holds the name; bytes in it that are not text are replaced.
    return os.fsencode(folder.name).decode("utf-8", "replace"), files, workflow, problems


def usable(reference: str, base: Path, project: Path | None = None) -> Flow:
    """Return a workflow that may be run. Raises WorkflowError with every problem otherwise."""
    folder = folder_of(reference, base, project)
    name, files, workflow, problems = read(f"{folder}/", base)
    found = errors(problems)
    if found or workflow is None:
        raise refuse(found, str(folder))
    return Flow(name=name, folder=folder, files=files, workflow=workflow, problems=tuple(problems))


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

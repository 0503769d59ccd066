"""What the engine does itself while a workflow is written or changed: the plan, the original, the verdict.

Called by the commands of the workflow `create-workflow`. What they read was accepted: `STAGENT_INPUTS` maps each
input of the stage to its path and digest, and bytes of another digest are refused.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from stagent import disk
from stagent.core.canonical import digest
from stagent.core.capabilities import capabilities, widened
from stagent.core.frontmatter import FrontMatter, parse
from stagent.core.model import Workflow
from stagent.core.structured import objects
from stagent.core.verify.folder import DOCUMENT, validate
from stagent.core.verify.problem import errors
from stagent.engine import flows, templates
from stagent.engine.folder import read
from stagent.engine.structured import schema_problems
from stagent.errors import RefusedError, StagentError, UsageError

INPUTS = "STAGENT_INPUTS"
PLAN = "planning"
PREPARED = "preparing"
_README = "readme.md"
_KEPT = "original"
_LIMIT = 64 * 1024 * 1024
_MARK = "original: "
_SHOWN = 2_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was planned: the new workflow's name, and the template it is made from (all of it, when it is edited)."""

    name: str
    mode: str
    template: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """What the engine found: problems, a sentence each, and lines for whoever reads on."""

    problems: list[str]
    lines: list[str]


def plan(root: Path) -> Verdict:
    """Judge the plan for a project: the name, the template, and whether the place is free."""
    found = _plan()
    problems = _planned(found, root)
    return Verdict(problems, [f"folder: {_place(found, root).relative_to(root)}"] if not problems else [])


def prepare(root: Path) -> Verdict:
    """Put what the writer begins with in its place, and keep the original beside the plan."""
    found = _plan()
    problems = _planned(found, root)
    if problems:
        return Verdict(problems, [])
    place, source = _place(found, root), _source(found, root)
    texts = templates.load(source) if source else {}
    if source is not None and place != source.resolve() and not place.exists():
        templates.put(place, texts)
    kept = _beside(_KEPT)
    if kept.is_symlink() or kept.exists():
        disk.remove(kept)
    templates.put(kept, texts)
    original = templates.fingerprint(templates.load(kept))
    lines = [f"folder: {flows.FOLDER}/{found.name}", f"mode: {found.mode}", f"{_MARK}{original}"]
    return Verdict([], [*lines, *(f"{name}: {len(data)} bytes" for name, data in texts.items())])


def judge(root: Path) -> Verdict:
    """Judge the written folder: strictly valid, complete, nothing else in it; say what changed in it."""
    found = _plan()
    place = _place(found, root)
    kept = _beside(_KEPT)
    original = templates.load(kept) if kept.is_dir() else {}
    if f"{_MARK}{templates.fingerprint(original)}" not in _accepted(PREPARED).splitlines():
        return Verdict(["the original that was kept for comparison is not what it was"], [])
    if _led_away(place, root):
        return Verdict([f"{place} leads out of the project"], [])
    try:
        texts = templates.load(place)
    except StagentError as error:
        return Verdict([str(error)], [])
    workflow, findings = validate(texts, str(place))
    findings += schema_problems(workflow) if workflow is not None else []
    problems = [problem.text() for problem in errors(findings, strict=True)] + list(_shape(place, texts))
    lines = [f"folder: {place.relative_to(root)}", f"digest: {templates.fingerprint(texts)}"]
    if workflow is not None and not problems:
        lines += [f"stages: {', '.join(workflow.stages)}", f"terminals: {', '.join(workflow.terminals)}"]
        lines += _reach(original, workflow)
    return Verdict(problems, [*lines, "", *_difference(original, texts)])


def written(root: Path) -> Path:
    """Return the folder of the workflow that was planned."""
    return _place(_plan(), root)


def _shape(place: Path, texts: dict[str, bytes]) -> Iterator[str]:
    readme = texts.get(_README, b"").decode("utf-8", "replace").split()
    if len(readme) < 2:
        yield f"{_README}: it is missing or says nothing. Describe what the workflow is for."
    for entry in sorted(place.iterdir()):
        if entry.name not in texts or entry.is_symlink():
            yield f"{entry.name}: it is no file of a workflow. Remove it."
    for name, data in texts.items():
        if name != DOCUMENT and not data.strip():
            yield f"{name}: the file is empty. Write it."


def _reach(original: dict[str, bytes], workflow: Workflow) -> list[str]:
    now = capabilities(workflow)
    lines = [f"command at {item.where}: {item.run}" for item in now.commands]
    before = validate(original)[0] if original else None
    return lines + ([] if before is None else [f"wider: {line}" for line in widened(capabilities(before), now)])


def _difference(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Return the files of a new workflow, or what changed in an old one, as a unified diff."""
    if not before:
        return [f"new: {name}, {len(data)} bytes" for name, data in after.items()]
    lines: list[str] = []
    for name in sorted({*before, *after}):
        old, new = (texts.get(name, b"").decode("utf-8", "replace").splitlines() for texts in (before, after))
        left = f"a/{name}" if name in before else "/dev/null"
        right = f"b/{name}" if name in after else "/dev/null"
        lines += difflib.unified_diff(old, new, left, right, lineterm="")
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"... {len(lines) - _SHOWN} more lines"]
    return lines or ["nothing changed"]


def _planned(found: Plan, root: Path) -> list[str]:
    if found.mode not in ("create", "edit"):
        return [f'mode is "{found.mode}", not "create" or "edit"']
    problems = templates.name_problems(found.name)
    if problems:
        return problems
    if found.mode == "edit" and not found.template:
        problems.append("an edit names no template")
    place = _place(found, root)
    if _led_away(place, root):
        return [*problems, f"{flows.FOLDER}/{found.name} leads out of the project"]
    try:
        source = _source(found, root)
        if source is not None:
            texts = templates.load(source)
            problems += [] if DOCUMENT in texts else [f"there is no workflow in {source}"]
            if not _free(place) and source.resolve() != place and not _same(place, texts):
                problems.append(f"{flows.FOLDER}/{found.name} exists already")
        elif not _free(place):
            problems.append(f"{flows.FOLDER}/{found.name} exists already; to change it, edit it")
    except StagentError as error:
        problems.append(str(error))
    return problems


def _free(place: Path) -> bool:
    return not place.exists() or (place.is_dir() and not any(place.iterdir()))


def _same(place: Path, texts: dict[str, bytes]) -> bool:
    """Say whether a copy that was broken off lies there: then it is gone on with."""
    return place.is_dir() and _beside(PLAN).exists() and templates.load(place) == texts


def _led_away(place: Path, root: Path) -> bool:
    return any(path.is_symlink() for path in (place.parent, place)) or not place.resolve().is_relative_to(root)


def _place(found: Plan, root: Path) -> Path:
    return root / flows.FOLDER / found.name


def _source(found: Plan, root: Path) -> Path | None:
    return flows.folder_of(found.template, root) if found.template else None


def _plan() -> Plan:
    text = _accepted(PLAN)
    for value in objects(text):
        try:
            return msgspec.convert(value, Plan)
        except msgspec.ValidationError:
            continue
    raise UsageError(
        "template.plan",
        "the plan holds no JSON object with name and mode",
        where=PLAN,
        remedy='Write {"name": "...", "mode": "create"} into a ```json block.',
    )


def _beside(name: str) -> Path:
    path, _ = _input(PLAN)
    return path.parent / name


def _accepted(name: str) -> str:
    """Return the text of an input as it was accepted. Raises RefusedError when it is another one now."""
    path, accepted = _input(name)
    data = read(path, _LIMIT)
    if data is None or digest(data) != accepted:
        raise RefusedError(
            "template.input",
            f"the artifact of {name} is not the one that was accepted",
            where=str(path),
            remedy="Restore it; the log keeps its text.",
        )
    parsed = parse(data)
    return (data[parsed.body :] if isinstance(parsed, FrontMatter) else data).decode("utf-8", "replace")


def _input(name: str) -> tuple[Path, str]:
    try:
        found = msgspec.json.decode(os.environ.get(INPUTS, "{}"), type=dict[str, tuple[str, str]])[name]
    except (msgspec.DecodeError, KeyError) as error:
        raise UsageError(
            "template.outside",
            f"no input {name} was given",
            where=f"${INPUTS}",
            remedy="Only a stage of create-workflow asks this; by hand: stagent validate DIR --strict.",
        ) from error
    return Path(found[0]), found[1]

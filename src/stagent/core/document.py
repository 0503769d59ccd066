"""A workflow document (decoded JSON) to the model, with every problem of its shape found at once.

The rules follow the original format where a field is the original's; fields of ours are strict. Rules about the
graph as a whole are in `core.verify`.
"""

from __future__ import annotations

from collections.abc import Mapping

from stagent.core import keys
from stagent.core.ids import RESERVED_STAGES, is_name
from stagent.core.limits import read_budget
from stagent.core.model import DEFAULT_MAX_EPOCH, RunFile, Stage, Workflow
from stagent.core.shapes import MAX_COUNT, Shapes, shown
from stagent.core.stages import StageReader
from stagent.core.verify.problem import Findings

Json = Mapping[str, object]


def parse(document: object, findings: Findings) -> Workflow | None:
    """Read a decoded workflow document; None when too little of it can be read to go on.

    Problems go to `findings`; with any error among them the returned workflow may not be run.
    """
    if not isinstance(document, dict):
        findings.error(
            "not_object", "", "the document is not a JSON object", "Begin the file with { and end it with }."
        )
        return None
    shapes = Shapes(findings)
    shapes.keys(document, "", keys.TOP, keys.LATER_TOP)
    names = _stage_names(findings, document)
    terminals = _terminals(findings, document, names)
    run_files = _run_files(findings, document)
    initial = _initial(findings, document, names)
    max_epoch = _max_epoch(findings, document, terminals)
    budget = read_budget(findings, document)
    modifies = document.get("modifies_worktree", True)
    if not isinstance(modifies, bool):
        findings.error(
            "modifies_worktree", "modifies_worktree", f"{shown(modifies)} is not a boolean", "Write true or false."
        )
    if names is None:
        return None
    raw = document["stages"]
    run_names = frozenset(file.name for file in run_files)
    reader = StageReader(findings, frozenset(names), frozenset(terminals), run_names, _ours(document, raw))
    stages: dict[str, Stage] = {name: reader.read(name, raw[name]) for name in names}
    return Workflow(
        initial=initial,
        terminals=tuple(terminals),
        stages=stages,
        max_epoch=max_epoch,
        modifies_worktree=modifies is not False,
        run_files=tuple(run_files),
        title=shapes.text(document, "", "title"),
        budget=budget,
    )


def _ours(document: Json, stages: Json) -> bool:
    if document.keys() & (keys.TOP - keys.TOP_ORIGINAL):
        return True
    for stage in stages.values():
        if isinstance(stage, dict):
            transitions = stage.get("transitions")
            targets = transitions.values() if isinstance(transitions, dict) else ()
            if keys.STAGE_BEYOND & stage.keys() or any(isinstance(target, dict) for target in targets):
                return True
    return False


def _stage_names(findings: Findings, document: Json) -> list[str] | None:
    raw = document.get("stages")
    if not isinstance(raw, dict):
        findings.error("stages", "stages", "stages is not an object", "Declare at least one stage by name.")
        return None
    if not raw:
        findings.error("stages", "stages", "no stage is declared", "Declare at least one stage by name.")
        return None
    for name in raw:
        if not is_name(name):
            findings.error("unsafe_name", f"stages.{name}", f'"{name}" cannot be a file name', _NAMES)
        if name in RESERVED_STAGES:
            findings.error("reserved_name", f"stages.{name}", f'"{name}" has a meaning of its own', "Rename the stage.")
    return list(raw)


_NAMES = "Use letters, digits, dot, underscore and hyphen, beginning with a letter or digit."


def _terminals(findings: Findings, document: Json, stages: list[str] | None) -> list[str]:
    raw = document.get("terminal_stages")
    if not isinstance(raw, list) or not raw:
        findings.error(
            "terminals",
            "terminal_stages",
            "terminal_stages is not a list with at least one name",
            'Declare how a run may end, for example ["complete", "escalated", "cancelled"].',
        )
        return []
    names: list[str] = []
    for index, name in enumerate(raw):
        path = f"terminal_stages[{index}]"
        if not isinstance(name, str) or not is_name(name):
            findings.error("unsafe_name", path, f"{shown(name)} cannot be a file name", _NAMES)
        elif name in names:
            findings.error("duplicate_terminal", path, f'"{name}" is declared twice', "Name each terminal once.")
        elif name == "interrupted":
            findings.error("reserved_name", path, '"interrupted" is the pause, not an end', "Rename the terminal.")
        else:
            names.append(name)
        if stages and name in stages:
            findings.error("reserved_name", path, f'"{name}" is a stage as well', "Rename the stage or the terminal.")
    return names


_ENGINES = frozenset({"state.md", "workflow"})
"""What the engine itself keeps in a run folder, besides artifacts and reports."""


def _run_files(findings: Findings, document: Json) -> list[RunFile]:
    raw = document.get("run_files")
    if raw is None:
        return []
    if not isinstance(raw, dict):
        findings.error(
            "run_files", "run_files", "run_files is not an object", "Map each file name to its init command."
        )
        return []
    files: list[RunFile] = []
    for name, entry in sorted(raw.items()):
        path = f"run_files.{name}"
        if not is_name(name):
            findings.error("unsafe_name", path, f'"{name}" cannot be a file name', _NAMES)
        # There are file systems that know no case.
        if name.lower() in _ENGINES or name.lower().endswith("-report.md"):
            findings.error("reserved_name", path, f'"{name}" is written by the engine', "Rename the run file.")
        if not isinstance(entry, dict):
            findings.error("run_files", path, "the entry is not an object", 'Write {"init": "command"}.')
            continue
        Shapes(findings).keys(entry, path, keys.RUN_FILE, frozenset())
        init, description = entry.get("init"), entry.get("description", "")
        if not isinstance(init, str) or not init.strip():
            findings.error(
                "run_file_init", f"{path}.init", "no init command", "Give the command whose output it holds."
            )
            init = ""
        files.append(RunFile(name, init, description if isinstance(description, str) else ""))
    return files


def _initial(findings: Findings, document: Json, stages: list[str] | None) -> str:
    initial = document.get("initial_stage")
    if not isinstance(initial, str) or not initial:
        findings.error(
            "initial_stage",
            "initial_stage",
            "no initial stage",
            "Name the stage a run begins in.",
            sorted(stages or ()),
        )
        return ""
    if stages is not None and initial not in stages:
        findings.error(
            "initial_stage",
            "initial_stage",
            f'no stage "{initial}"',
            "Name a declared stage; a terminal is not one.",
            sorted(stages),
        )
    return initial


def _max_epoch(findings: Findings, document: Json, terminals: list[str]) -> int:
    raw = document.get("max_epoch")
    if raw is None:
        return DEFAULT_MAX_EPOCH
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        findings.error("max_epoch", "max_epoch", f"{shown(raw)} is not a number", "Write a whole number of 1 or more.")
        return DEFAULT_MAX_EPOCH
    if not 1 <= raw <= MAX_COUNT or raw != int(raw):
        findings.error("max_epoch", "max_epoch", f"{shown(raw)} is not a whole number of 1 or more", "Write one.")
        return DEFAULT_MAX_EPOCH
    if raw <= 2:
        findings.warn(
            "max_epoch_low",
            "max_epoch",
            f"with {int(raw)} no transition to a stage is possible",
            "Raise it above 2.",
        )
    if "escalated" not in terminals:
        findings.warn(
            "max_epoch_open",
            "max_epoch",
            "the cap cannot be carried out: escalated is not declared as a terminal",
            'Add "escalated" to terminal_stages.',
        )
    return int(raw)

"""One stage of a workflow document to the model, with every problem of its shape found at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from stagent.core import keys
from stagent.core.agentrules import AgentReader
from stagent.core.ids import is_name
from stagent.core.model import Input, Kind, Stage
from stagent.core.shapes import Shapes, shown
from stagent.core.stagerules import RuleReader
from stagent.core.verify.problem import Findings

Json = Mapping[str, object]
Execution = Literal["inline", "subagent"]


class StageReader:
    """Reads stages of one document; knows the names the document declares.

    `ours` says whether the document uses any field beyond the original format.
    """

    def __init__(
        self,
        findings: Findings,
        stages: frozenset[str],
        terminals: frozenset[str],
        run_files: frozenset[str],
        ours: bool,
    ) -> None:
        self.findings = findings
        self.shapes = Shapes(findings)
        self.stages = stages
        self.terminals = terminals
        self.run_files = run_files
        self.rules = RuleReader(findings, ours)
        self.agents = AgentReader(findings)

    def read(self, name: str, raw: object) -> Stage:
        """Return the stage as far as it can be read."""
        path = f"stages.{name}"
        if not isinstance(raw, dict):
            self.findings.error("stage", path, "the stage is not an object", "Declare its execution and transitions.")
            return Stage(name=name)
        shapes, rules, agents = self.shapes, self.rules, self.agents
        shapes.keys(raw, path, keys.STAGE, keys.LATER_STAGE)
        kind = self._kind(raw, path)
        transitions = self._transitions(raw, path)
        execution, model = self._execution(raw, path, kind)
        # A result whose target is wrong is reported once, there; it is a result all the same.
        declared = {**self._results(raw), **transitions}
        run, results = rules.command(raw, path, kind, declared)
        worked = {} if agents.nobody(raw, path, kind) else raw
        return Stage(
            name=name,
            kind=kind,
            title=shapes.text(raw, path, "title"),
            criteria=shapes.texts(raw, path, "criteria"),
            interruptible=self._interruptible(raw, path, kind, execution),
            execution=execution,
            model=model,
            transitions=transitions,
            labels=self._labels(raw, path),
            inputs=self._inputs(raw, path),
            gate=rules.gate(raw, path, declared),
            checks=rules.checks(raw, path, declared),
            protects=shapes.texts(raw, path, "protects"),
            writes=rules.writes(raw, path),
            watch=shapes.texts(raw, path, "watch"),
            run=run,
            results=results,
            stop=rules.stop(raw, path),
            retry=rules.retry(raw, path),
            timeout=shapes.seconds(raw, path, "timeout"),
            tools=agents.tools(worked, path),
            prompt=agents.prompt(worked, path),
            persona=agents.persona(worked, path),
            output=agents.output(worked, path),
        )

    def _interruptible(self, raw: Json, path: str, kind: Kind, execution: Execution) -> bool:
        value = self.shapes.boolean(raw, path, "interruptible", default=False)
        if value and execution == "subagent" and kind in ("agent", "review"):
            self.findings.error(
                "subagent_interruptible",
                f"{path}.interruptible",
                "a sub-agent cannot talk to a person, so its stage cannot be interruptible",
                'Make it inline ("execution": {"type": "inline"}), or leave interruptible out.',
            )
        return value

    def _kind(self, raw: Json, path: str) -> Kind:
        kind = raw.get("kind", "agent")
        if isinstance(kind, str) and kind in keys.LATER_KINDS:
            self.findings.error(
                "not_implemented",
                f"{path}.kind",
                f'the kind "{kind}" is not carried out by this version',
                "Use another kind.",
                keys.KINDS,
            )
            return "agent"
        if kind not in keys.KINDS:
            self.findings.error(
                "kind", f"{path}.kind", f"unknown kind {shown(kind)}", "Choose a known one.", keys.KINDS
            )
            return "agent"
        return cast(Kind, kind)

    def _execution(self, raw: Json, path: str, kind: Kind) -> tuple[Execution, str | None]:
        entry = raw.get("execution")
        if kind in ("command", "human"):
            if entry is not None:
                self.findings.error(
                    "execution",
                    f"{path}.execution",
                    f"no agent works in a {kind} stage",
                    "Leave execution out.",
                )
            return "inline", None
        if not isinstance(entry, dict) or "type" not in entry:
            self.findings.error(
                "execution",
                f"{path}.execution.type",
                "nobody is named who does the work",
                "Write who works.",
                keys.EXECUTION_TYPES,
            )
            return "inline", None
        return self._worker(entry, f"{path}.execution"), self._model(entry, f"{path}.execution")

    def _worker(self, entry: Json, where: str) -> Execution:
        if "subagent_type" in entry:
            self.findings.error(
                "subagent_type",
                f"{where}.subagent_type",
                "there is one generic sub-agent",
                "Leave subagent_type out.",
            )
        self.shapes.keys(entry, where, keys.EXECUTION | {"subagent_type"}, frozenset())
        kind_of = entry["type"]
        if kind_of not in keys.EXECUTION_TYPES:
            self.findings.error(
                "execution",
                f"{where}.type",
                f"unknown type {shown(kind_of)}",
                "Choose a known one.",
                keys.EXECUTION_TYPES,
            )
            return "inline"
        return cast(Execution, kind_of)

    def _model(self, entry: Json, where: str) -> str | None:
        model = entry.get("model")
        if model is None:
            return None
        if model not in keys.MODELS:
            self.findings.error("model", f"{where}.model", f"unknown model {shown(model)}", "Choose one.", keys.MODELS)
            return None
        return str(model)

    def _results(self, raw: Json) -> dict[str, str]:
        entry = raw.get("transitions")
        return {result: "" for result in entry if is_name(result)} if isinstance(entry, dict) else {}

    def _transitions(self, raw: Json, path: str) -> dict[str, str]:
        entry = raw.get("transitions")
        where = f"{path}.transitions"
        if not isinstance(entry, dict) or not entry:
            self.findings.error(
                "dead_end",
                where,
                "the stage has no transition, so a run could never leave it",
                "Map a result to a target.",
            )
            return {}
        table: dict[str, str] = {}
        for result, target in sorted(entry.items()):
            if not is_name(result) or result == "pending":
                self.findings.error(
                    "unsafe_name",
                    f"{where}.{result}",
                    f'"{result}" cannot be a result',
                    'Use letters, digits, dot, underscore and hyphen; "pending" means unfinished.',
                )
            place = self._target(target, f"{where}.{result}")
            if place is not None:
                table[result] = place
        return table

    def _labels(self, raw: Json, path: str) -> dict[str, str]:
        entry = raw.get("transitions")
        found: dict[str, str] = {}
        for result, target in sorted(entry.items()) if isinstance(entry, dict) else ():
            if isinstance(target, dict) and "label" in target:
                found[result] = self.shapes.text(target, f"{path}.transitions.{result}", "label", needed=True)
        return found

    def _target(self, target: object, where: str) -> str | None:
        if isinstance(target, dict):
            self.shapes.keys(target, where, keys.TRANSITION, keys.LATER_TRANSITION)
            target, where = target.get("to"), f"{where}.to"
        known = sorted(self.stages) + sorted(self.terminals)
        if not isinstance(target, str) or not target:
            self.findings.error("target", where, "the transition has no target", "Name a stage or terminal.", known)
            return None
        if target not in self.stages and target not in self.terminals:
            self.findings.error("unknown_stage", where, f'no stage "{target}"', "Add it or correct the name.", known)
            return None
        return target

    def _inputs(self, raw: Json, path: str) -> tuple[Input, ...]:
        entry = raw.get("inputs")
        where = f"{path}.inputs"
        if entry is None:
            return ()
        if not isinstance(entry, dict):
            self.findings.error("inputs", where, "inputs is not an object", "Write required and optional lists.")
            return ()
        self.shapes.keys(entry, where, keys.INPUTS, frozenset())
        found: list[Input] = []
        for required, key in ((True, "required"), (False, "optional")):
            items = entry.get(key)
            if items is None:
                continue
            if not isinstance(items, list):
                self.findings.error("inputs", f"{where}.{key}", f"{key} is not a list", "Write a list of inputs.")
                continue
            for index, item in enumerate(items):
                one = self._input(item, f"{where}.{key}[{index}]", required)
                if one is not None:
                    found.append(one)
        return tuple(found)

    def _input(self, item: object, where: str, required: bool) -> Input | None:
        remedy = 'Write {"from_stage": "name"} or {"from_run_file": "name"}.'
        if not isinstance(item, dict):
            self.findings.error("input", where, "the input is not an object", remedy)
            return None
        self.shapes.keys(item, where, keys.INPUT, keys.LATER_INPUT)
        named = [key for key in ("from_stage", "from_run_file") if item.get(key) is not None]
        if len(named) != 1:
            what = "the input names no source" if not named else "the input names two sources"
            self.findings.error("input", where, what, remedy)
            return None
        key = named[0]
        known = self.stages if key == "from_stage" else self.run_files
        value = item[key]
        if not isinstance(value, str) or value not in known:
            kind = "stage" if key == "from_stage" else "run file"
            self.findings.error(
                "unknown_input",
                f"{where}.{key}",
                f"no {kind} {shown(value)}",
                "Add it or correct the name.",
                sorted(known),
            )
            return None
        description = item.get("description", "")
        source: Literal["stage", "run_file"] = "stage" if key == "from_stage" else "run_file"
        return Input(source, value, description if isinstance(description, str) else "", required)

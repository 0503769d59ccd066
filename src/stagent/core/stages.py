"""One stage of a workflow document to the model, with every problem of its shape found at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from stagent.core import keys
from stagent.core.ids import is_name
from stagent.core.model import DEFAULT_CHECK_TIMEOUT, Check, Gate, Input, Kind, Retry, Stage, Stop
from stagent.core.shapes import Shapes
from stagent.core.verify.problem import Findings

Json = Mapping[str, object]
Execution = Literal["inline", "subagent"]
Writes = Literal["project", "artifact"] | tuple[str, ...] | None


class StageReader:
    """Reads stages of one document; knows the names the document declares.

    `ours` says whether any stage uses a field beyond the original format: then a stage without `writes` is one that
    may write the project, while a file of the original format alone knows no tree rule.
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
        self.ours = ours

    def read(self, name: str, raw: object) -> Stage:
        """Return the stage as far as it can be read."""
        path = f"stages.{name}"
        if not isinstance(raw, dict):
            self.findings.error("stage", path, "the stage is not an object", "Declare its execution and transitions.")
            return Stage(name=name)
        shapes = self.shapes
        shapes.keys(raw, path, keys.STAGE, keys.LATER_STAGE)
        kind = self._kind(raw, path)
        transitions = self._transitions(raw, path)
        execution, model = self._execution(raw, path, kind)
        interruptible = raw.get("interruptible", False)
        if not isinstance(interruptible, bool):
            self.findings.error(
                "interruptible",
                f"{path}.interruptible",
                f"{interruptible!r} is not a boolean",
                "Write true or false.",
            )
        if execution == "subagent" and interruptible is True and kind in ("agent", "review"):
            self.findings.error(
                "subagent_interruptible",
                f"{path}.interruptible",
                "a sub-agent cannot talk to a person, so its stage cannot be interruptible",
                'Make it inline ("execution": {"type": "inline"}), or leave interruptible out.',
            )
        run, results = self._command(raw, path, kind, transitions)
        return Stage(
            name=name,
            kind=kind,
            title=shapes.text(raw, path, "title"),
            criteria=shapes.texts(raw, path, "criteria"),
            interruptible=interruptible is True,
            execution=execution,
            model=model,
            transitions=transitions,
            inputs=self._inputs(raw, path),
            gate=self._gate(raw, path),
            checks=self._checks(raw, path, transitions),
            protects=shapes.texts(raw, path, "protects"),
            writes=self._writes(raw, path),
            watch=shapes.texts(raw, path, "watch"),
            run=run,
            results=results,
            stop=self._stop(raw, path),
            retry=self._retry(raw, path),
            timeout=shapes.seconds(raw, path, "timeout"),
        )

    def _kind(self, raw: Json, path: str) -> Kind:
        kind = raw.get("kind", "agent")
        if kind in keys.LATER_KINDS:
            self.findings.error(
                "not_implemented",
                f"{path}.kind",
                f'the kind "{kind}" is not carried out by this version',
                "Use another kind.",
                keys.KINDS,
            )
            return "agent"
        if kind not in keys.KINDS:
            self.findings.error("kind", f"{path}.kind", f"unknown kind {kind!r}", "Choose a known one.", keys.KINDS)
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
        where = f"{path}.execution"
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
                f"unknown type {kind_of!r}",
                "Choose a known one.",
                keys.EXECUTION_TYPES,
            )
            kind_of = "inline"
        return cast(Execution, kind_of), self._model(entry, where)

    def _model(self, entry: Json, where: str) -> str | None:
        model = entry.get("model")
        if model is None:
            return None
        if model not in keys.MODELS:
            self.findings.error("model", f"{where}.model", f"unknown model {model!r}", "Choose one.", keys.MODELS)
            return None
        return str(model)

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
        entry = raw.get("inputs", {})
        where = f"{path}.inputs"
        if not isinstance(entry, dict):
            self.findings.error("inputs", where, "inputs is not an object", "Write required and optional lists.")
            return ()
        self.shapes.keys(entry, where, keys.INPUTS, frozenset())
        found: list[Input] = []
        for required, key in ((True, "required"), (False, "optional")):
            items = entry.get(key) or []
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
        named = [key for key in ("from_stage", "from_run_file") if item.get(key)]
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
                f"no {kind} {value!r}",
                "Add it or correct the name.",
                sorted(known),
            )
            return None
        description = item.get("description", "")
        source: Literal["stage", "run_file"] = "stage" if key == "from_stage" else "run_file"
        return Input(source, value, description if isinstance(description, str) else "", required)

    def _gate(self, raw: Json, path: str) -> Gate | None:
        entry = raw.get("gate")
        where = f"{path}.gate"
        if entry is None:
            return None
        if not isinstance(entry, dict):
            self.findings.error("gate", where, "the gate is not an object", 'Write {"type": "require_approval"}.')
            return None
        self.shapes.keys(entry, where, keys.GATE, keys.LATER_GATE)
        kind = entry.get("type")
        if kind in keys.LATER_GATE_TYPES:
            self.findings.error(
                "not_implemented",
                f"{where}.type",
                f'the gate type "{kind}" is not carried out by this version',
                "Use another type.",
                keys.GATE_TYPES,
            )
        elif kind not in keys.GATE_TYPES:
            self.findings.error("gate", f"{where}.type", f"unknown gate type {kind!r}", "Choose one.", keys.GATE_TYPES)
        return Gate(
            explicit=self.shapes.boolean(entry, where, "explicit", default=True),
            unattended=self.shapes.boolean(entry, where, "unattended", default=True),
        )

    def _checks(self, raw: Json, path: str, transitions: Mapping[str, str]) -> tuple[Check, ...]:
        entry = raw.get("checks", [])
        where = f"{path}.checks"
        if not isinstance(entry, list):
            self.findings.error("checks", where, "checks is not a list", "Write a list of checks.")
            return ()
        found: list[Check] = []
        for index, item in enumerate(entry):
            check = self._check(item, f"{where}[{index}]", transitions)
            if check is None:
                continue
            if any(other.name == check.name and set(other.results) & set(check.results) for other in found):
                self.findings.error(
                    "check_name",
                    f"{where}[{index}].name",
                    f'two checks "{check.name}" for one result',
                    "Give each its own name.",
                )
            found.append(check)
        return tuple(found)

    def _check(self, item: object, where: str, transitions: Mapping[str, str]) -> Check | None:
        if not isinstance(item, dict):
            self.findings.error("check", where, "the check is not an object", 'Write {"name": "...", "run": "..."}.')
            return None
        shapes = self.shapes
        shapes.keys(item, where, keys.CHECK, frozenset())
        name = shapes.text(item, where, "name", needed=True)
        if name and not is_name(name):
            self.findings.error("unsafe_name", f"{where}.name", f'"{name}" cannot be a name', "Use letters and digits.")
        run = shapes.text(item, where, "run", needed=True)
        results = shapes.texts(item, where, "for") or tuple(sorted(transitions))
        for result in results:
            if result not in transitions:
                self.findings.error(
                    "check_result",
                    f"{where}.for",
                    f'the stage has no result "{result}"',
                    "Correct the name.",
                    sorted(transitions),
                )
        protect = shapes.texts(item, where, "protect") if "protect" in item else None
        env = item.get("env", {})
        if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
            self.findings.error("check_env", f"{where}.env", "env does not map names to text", "Write texts.")
            env = {}
        timeout = shapes.seconds(item, where, "timeout")
        return Check(
            name=name,
            run=run,
            results=results,
            timeout=DEFAULT_CHECK_TIMEOUT if timeout is None else timeout,
            protect=protect,
            env=dict(env),
        )

    def _writes(self, raw: Json, path: str) -> Writes:
        value = raw.get("writes")
        if value is None:
            return "project" if self.ours else None
        if value in keys.WRITES:
            return cast(Writes, value)
        if isinstance(value, list) and value and all(isinstance(item, str) and item for item in value):
            return tuple(value)
        self.findings.error(
            "writes", f"{path}.writes", f"{value!r} does not say what may be written", "Write one.",
            (*keys.WRITES, "a list of globs"),
        )  # fmt: skip
        return None

    def _command(
        self, raw: Json, path: str, kind: Kind, transitions: Mapping[str, str]
    ) -> tuple[str | None, dict[str, str]]:
        run, results = raw.get("run"), raw.get("results")
        if kind != "command":
            for key in ("run", "results"):
                if key in raw:
                    self.findings.error(
                        "command",
                        f"{path}.{key}",
                        f"{key} belongs to a command stage",
                        'Set "kind": "command".',
                    )
            return None, {}
        if not isinstance(run, str) or not run.strip():
            self.findings.error("command", f"{path}.run", "a command stage needs a command", "Write what to run.")
            run = None
        if not isinstance(results, dict) or not results:
            self.findings.error(
                "command",
                f"{path}.results",
                "exit codes have no results",
                'Write {"0": "PASS", "*": "FAIL"}.',
            )
            return run, {}
        for code, result in results.items():
            where = f"{path}.results.{code}"
            if code != "*" and not (code.isascii() and code.isdigit() and int(code) < 256):
                self.findings.error("command", where, f'"{code}" is no exit code', 'Write 0 to 255, or "*".')
            if result not in transitions:
                self.findings.error(
                    "command",
                    where,
                    f"the stage has no result {result!r}",
                    "Correct it.",
                    sorted(transitions),
                )
        if "*" not in results:
            self.findings.error("command", f"{path}.results", "other exit codes have no result", 'Add "*".')
        return run, {code: str(result) for code, result in results.items()}

    def _stop(self, raw: Json, path: str) -> Stop:
        entry = raw.get("stop")
        if entry is None:
            return Stop()
        where = f"{path}.stop"
        if not isinstance(entry, dict):
            self.findings.error("stop", where, "stop is not an object", 'Write {"blocks": 5}.')
            return Stop()
        self.shapes.keys(entry, where, keys.STOP, frozenset())
        default = Stop()
        blocks = self.shapes.count(entry, where, "blocks", default.blocks)
        return Stop(blocks, self.shapes.text(entry, where, "message"))

    def _retry(self, raw: Json, path: str) -> Retry:
        entry = raw.get("retry")
        if entry is None:
            return Retry()
        where = f"{path}.retry"
        if not isinstance(entry, dict):
            self.findings.error("retry", where, "retry is not an object", 'Write {"attempts": 3}.')
            return Retry()
        self.shapes.keys(entry, where, keys.RETRY, frozenset())
        default = Retry()
        attempts = self.shapes.count(entry, where, "attempts", default.attempts)
        return Retry(attempts, self.shapes.seconds(entry, where, "backoff", zero=True) or 0.0)

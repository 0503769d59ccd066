"""What a stage declares about its proof and its conduct: gate, checks, writes, command, stop and retry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from stagent.core import keys
from stagent.core.claudecode import MOST_BLOCKS
from stagent.core.ids import is_name
from stagent.core.model import DEFAULT_CHECK_TIMEOUT, Check, Gate, Kind, Retry, Stop
from stagent.core.shapes import Shapes, shown
from stagent.core.verify.problem import Findings

Json = Mapping[str, object]
Writes = Literal["project", "artifact"] | tuple[str, ...] | None
_EXITS = frozenset({"*", *(str(code) for code in range(256))})


class RuleReader:
    """Reads these parts of one stage after another; `ours` says whether the document goes beyond the original format.

    Then a stage without `writes` is one that may write the project, while a file of the original format alone knows
    no tree rule.
    """

    def __init__(self, findings: Findings, ours: bool) -> None:
        self.findings = findings
        self.shapes = Shapes(findings)
        self.ours = ours

    def gate(self, raw: Json, path: str, transitions: Mapping[str, str]) -> Gate | None:
        """Return the gate a stage declares, None without one."""
        entry = raw.get("gate")
        where = f"{path}.gate"
        if entry is None:
            return None
        if not isinstance(entry, dict):
            self.findings.error("gate", where, "the gate is not an object", 'Write {"type": "require_approval"}.')
            return None
        self.shapes.keys(entry, where, keys.GATE, keys.LATER_GATE)
        kind = entry.get("type")
        if isinstance(kind, str) and kind in keys.LATER_GATE_TYPES:
            self.findings.error(
                "not_implemented",
                f"{where}.type",
                f'the gate type "{kind}" is not carried out by this version',
                "Use another type.",
                keys.GATE_TYPES,
            )
        elif kind not in keys.GATE_TYPES:
            self.findings.error(
                "gate", f"{where}.type", f"unknown gate type {shown(kind)}", "Choose one.", keys.GATE_TYPES
            )
        results = self.shapes.texts(entry, where, "for")
        self._known_results(results, f"{where}.for", transitions)
        return Gate(
            results=results,
            explicit=self.shapes.boolean(entry, where, "explicit", default=True),
            unattended=self.shapes.boolean(entry, where, "unattended", default=True),
        )

    def _known_results(self, results: tuple[str, ...], where: str, transitions: Mapping[str, str]) -> None:
        for result in results:
            if result not in transitions:
                self.findings.error(
                    "unknown_result", where, f'the stage has no result "{result}"', "Correct it.", sorted(transitions)
                )

    def checks(self, raw: Json, path: str, transitions: Mapping[str, str]) -> tuple[Check, ...]:
        """Return the checks of a stage in declared order."""
        entry = raw.get("checks")
        where = f"{path}.checks"
        if entry is None:
            return ()
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
        self._known_results(results, f"{where}.for", transitions)
        protect = shapes.texts(item, where, "protect") if item.get("protect") is not None else None
        timeout = shapes.seconds(item, where, "timeout")
        return Check(
            name=name,
            run=run,
            results=results,
            timeout=DEFAULT_CHECK_TIMEOUT if timeout is None else timeout,
            protect=protect,
            env=self._env(item, where),
        )

    def _env(self, item: Json, where: str) -> dict[str, str]:
        env = item.get("env")
        if env is None:
            return {}
        if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
            self.findings.error("check_env", f"{where}.env", "env does not map names to text", "Write texts.")
            return {}
        return dict(env)

    def writes(self, raw: Json, path: str) -> Writes:
        """Return what a stage may write; None where no tree rule holds."""
        value = raw.get("writes")
        if value is None:
            return "project" if self.ours else None
        if value in keys.WRITES:
            return cast(Writes, value)
        if isinstance(value, list) and value and all(isinstance(item, str) and item for item in value):
            return tuple(value)
        self.findings.error(
            "writes", f"{path}.writes", f"{shown(value)} does not say what may be written", "Write one.",
            (*keys.WRITES, "a list of globs"),
        )  # fmt: skip
        return None

    def command(
        self, raw: Json, path: str, kind: Kind, transitions: Mapping[str, str]
    ) -> tuple[str | None, dict[str, str]]:
        """Return the command of a command stage, and which exit code gives which result."""
        run = raw.get("run")
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
        return run, self._exits(raw, path, transitions)

    def _exits(self, raw: Json, path: str, transitions: Mapping[str, str]) -> dict[str, str]:
        results = raw.get("results")
        if not isinstance(results, dict) or not results:
            self.findings.error(
                "command",
                f"{path}.results",
                "exit codes have no results",
                'Write {"0": "PASS", "*": "FAIL"}.',
            )
            return {}
        for code, result in results.items():
            where = f"{path}.results.{code}"
            if code not in _EXITS:
                self.findings.error("command", where, f'"{code}" is no exit code', 'Write 0 to 255, or "*".')
            if not isinstance(result, str) or result not in transitions:
                self.findings.error(
                    "command",
                    where,
                    f"the stage has no result {shown(result)}",
                    "Correct it.",
                    sorted(transitions),
                )
        if "*" not in results:
            self.findings.error("command", f"{path}.results", "other exit codes have no result", 'Add "*".')
        return {code: result for code, result in results.items() if isinstance(result, str)}

    def stop(self, raw: Json, path: str) -> Stop:
        """Return how the Stop hook insists."""
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
        if blocks > MOST_BLOCKS:
            self.findings.warn(
                "blocks_high",
                f"{where}.blocks",
                f"a session is let go as stalled after {MOST_BLOCKS} blocks in a row, before Claude Code ends its turn",
                f"Write {MOST_BLOCKS} or less.",
            )
        return Stop(blocks, self.shapes.text(entry, where, "message"))

    def retry(self, raw: Json, path: str) -> Retry:
        """Return how often an epoch is tried headless."""
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

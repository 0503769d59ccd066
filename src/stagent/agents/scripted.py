"""The `scripted` backend: a deterministic agent for tests, demonstrations and rehearsals of a workflow.

What it does stands in a JSON file that the option `script` names; a real child process performs it in the workspace,
and the engine gets nothing but what it finds there.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from stagent.agents import scripted_child
from stagent.core.ports import AgentEvent, AttemptSpec, Launch, Verdict
from stagent.errors import StagentError, UsageError


class _Line(msgspec.Struct):
    """The fields of one output line that mean something to us."""

    type: str = ""
    text: str = ""
    tool: str = ""
    is_error: bool = False
    cost_usd: float | None = None
    tokens: int | None = None


_DECODER = msgspec.json.Decoder(_Line)
_KINDS = frozenset({"text", "tool", "usage", "result", "error"})


class ScriptedBackend:
    """Runs scripted agents: what they do is in a file, that they really do it is not pretended."""

    name = "scripted"

    def ready(self, options: Mapping[str, str], env: Mapping[str, str], workdir: str) -> None:
        """Check the script. Raises what `launch` raises for it."""
        _script(options, workdir)

    def launch(self, spec: AttemptSpec, env: Mapping[str, str]) -> Launch:
        """Return the child that performs the script named by `spec.options["script"]`.

        A relative script path is resolved against the work folder. The prompt goes to standard input, where a `run`
        action can read it. `env` must hold the attempt's STAGENT_* variables; the supervisor sets them in any case.
        Raises UsageError without the option, StagentError for a script with problems, all of them at once.
        """
        path = _script(spec.options, spec.workdir)
        child = str(Path(scripted_child.__file__).absolute())
        return Launch(
            argv=[sys.executable, "-I", child, str(path)],
            env=dict(env),
            stdin=spec.prompt.encode("utf-8", "surrogatepass"),
        )

    def parse(self, line: bytes) -> list[AgentEvent]:
        """Turn one output line into one event; anything the child would not print becomes an `other` event."""
        try:
            said = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return [AgentEvent(kind="other", text=line.decode("utf-8", "replace"))]
        if said.type not in _KINDS:
            return [AgentEvent(kind="other", text=line.decode("utf-8", "replace"))]
        return [
            AgentEvent(
                kind=said.type,
                text=said.text,
                tool=said.tool,
                is_error=said.is_error or said.type == "error",
                cost_usd=said.cost_usd,
                tokens=said.tokens,
            )
        ]

    def judge(self, exit_code: int, events: Sequence[AgentEvent]) -> Verdict:
        """Say `ok` only for exit 0 with a last result that is no error."""
        reason = _reason(exit_code, events)
        return Verdict(status="failed" if reason else "ok", reason=reason)


def _reason(exit_code: int, events: Sequence[AgentEvent]) -> str:
    if exit_code < 0:
        return f"ended by signal {_signal_name(-exit_code)}"
    if exit_code > 0:
        errors = [event.text for event in events if event.kind == "error" and event.text]
        return f"exit code {exit_code}" + (f": {errors[-1]}" if errors else "")
    results = [event for event in events if event.kind == "result"]
    if not results:
        return "ended without a result"
    if results[-1].is_error:
        return results[-1].text or "the result is an error"
    return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _script(options: Mapping[str, str], workdir: str) -> Path:
    given = options.get("script", "")
    if not given:
        raise UsageError(
            "agent.script_missing",
            "the scripted agent has no script",
            where="agent scripted",
            remedy="Name a JSON file that says what it does: --script FILE.",
        )
    path = Path(workdir, given).absolute()
    _check(path)
    return path


def _check(path: Path) -> None:
    try:
        script = json.loads(path.read_bytes())
    except OSError as error:
        raise StagentError(
            "agent.script_unreadable",
            f"the script cannot be read: {error.strerror or error}",
            where=str(path),
            remedy="Check the path; a relative one is resolved against the work folder.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise StagentError(
            "agent.script_not_json",
            f"the script is not JSON: {error}",
            where=str(path),
            remedy="Correct it at that place.",
        ) from error
    found = scripted_child.problems(script)
    if found:
        raise StagentError(
            "agent.script_invalid",
            "; ".join(found),
            where=str(path),
            remedy="Correct every place named.",
            fields={"problems": found},
        )

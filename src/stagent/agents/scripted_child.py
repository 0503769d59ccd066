"""The process behind the `scripted` backend: performs a stage's scripted actions, in order, for real.

Started as `python -I scripted_child.py SCRIPT.json` in the workspace, with the STAGENT_* variables of the attempt. It
imports the standard library only, so that it runs without the package. Every line it prints is one JSON object; a
stage that is done ends with `{"type": "result", "is_error": false}`. A command or file operation that fails is
reported and the script goes on, as an agent would.

Exit codes: 0 done, 64 the script is wrong or cannot be read, 65 it has nothing for this stage, else what `exit` says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

EXIT_BAD_SCRIPT = 64
EXIT_NO_STAGE = 65

Action = Mapping[str, Any]


class ScriptProblem(Exception):
    """The script cannot be followed; `exit_code` is what the process ends with."""

    def __init__(self, message: str, exit_code: int = EXIT_BAD_SCRIPT) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def emit(**line: object) -> None:
    """Print one JSON line at once."""
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()


# --- what a script may say -------------------------------------------------------------------------------------------


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def _is_epoch(value: object) -> bool:
    return value in ("current", "none") or _is_whole(value)


def _is_result(value: object) -> bool:
    return value is None or _is_text(value)


def _is_signal(value: object) -> bool:
    return isinstance(value, str) and value in signal.Signals.__members__


def _is_exit(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


Rule = tuple[Callable[[object], bool], str, bool]  # test, what is wanted, required

TEXT: Rule = (_is_text, "a text", True)
FIELDS: dict[str, dict[str, Rule]] = {
    "write": {"path": TEXT, "text": TEXT},
    "artifact": {
        "result": (_is_result, "a text or null", False),
        "epoch": (_is_epoch, '"current", "none" or a whole number', False),
        "body": (_is_text, "a text", False),
        "path": (_is_text, "a text", False),
    },
    "usage": {"cost_usd": (_is_amount, "a number >= 0", False), "tokens": (_is_whole, "a whole number", False)},
}
VALUES: dict[str, Rule] = {
    "run": TEXT,
    "spawn": TEXT,
    "delete": TEXT,
    "say": TEXT,
    "sleep": (_is_amount, "a number of seconds", True),
    "exit": (_is_exit, "an exit code from 0 to 255", True),
    "ignore": (_is_signal, 'a signal name such as "SIGTERM"', True),
}
ACTIONS = tuple(sorted([*FIELDS, *VALUES]))


def _field_problems(name: str, fields: object) -> list[str]:
    rules = FIELDS[name]
    if not isinstance(fields, dict):
        return [f'"{name}" wants an object with {", ".join(rules)}']
    found = [f'"{name}" has no field "{key}"; known: {", ".join(rules)}' for key in fields if key not in rules]
    for key, (test, wanted, required) in rules.items():
        if key not in fields:
            found += [f'"{name}" needs "{key}"'] if required else []
        elif not test(fields[key]):
            found.append(f'"{name}.{key}" wants {wanted}')
    return found


def action_problems(action: object) -> list[str]:
    """Return what is wrong with one action; an empty list when it can be performed."""
    if not isinstance(action, dict) or len(action) != 1:
        return [f"an action is an object with one key; known actions: {', '.join(ACTIONS)}"]
    ((name, value),) = action.items()
    if name in FIELDS:
        return _field_problems(name, value)
    if name in VALUES:
        test, wanted, _ = VALUES[name]
        return [] if test(value) else [f'"{name}" wants {wanted}']
    return [f'unknown action "{name}"; known actions: {", ".join(ACTIONS)}']


def _attempts(actions: list[Any]) -> list[list[Any]] | None:
    """Return one list of actions per attempt, or None when lists and actions are mixed."""
    lists = [isinstance(item, list) for item in actions]
    if actions and all(lists):
        return actions
    return None if any(lists) else [actions]


def _stage_problems(stage: str, actions: object) -> list[str]:
    attempts = _attempts(actions) if isinstance(actions, list) else None
    if attempts is None:
        return [f"stages.{stage}: wants a list of actions, or a list of such lists, one per attempt"]
    nested = attempts is actions
    found = []
    for number, attempt in enumerate(attempts):
        for index, action in enumerate(attempt):
            place = f"stages.{stage}[{number}][{index}]" if nested else f"stages.{stage}[{index}]"
            found += [f"{place}: {problem}" for problem in action_problems(action)]
    return found


def problems(script: object) -> list[str]:
    """Return everything that is wrong with a script, each with its place; an empty list when it can be followed."""
    if not isinstance(script, dict):
        return ['a script is an object with the key "stages"']
    found = [f'unknown key "{key}"; known: stages' for key in script if key != "stages"]
    stages = script.get("stages")
    if not isinstance(stages, dict):
        return [*found, '"stages" is missing or not an object of stage names']
    for stage, actions in stages.items():
        found += _stage_problems(stage, actions)
    return found


# --- performing it ---------------------------------------------------------------------------------------------------


def _shown(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _write(path: str, text: str) -> None:
    folder = os.path.dirname(path)  # noqa: PTH120 - a path as the script wrote it, never normalised
    if folder:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    with open(path, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        file.write(text)


def _perform_write(fields: Action) -> None:
    _write(fields["path"], fields["text"])
    emit(type="tool", tool="write", text=_shown(fields["path"]), is_error=False)


def _perform_delete(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
        shutil.rmtree(path)
    else:
        os.unlink(path)  # noqa: PTH108
    emit(type="tool", tool="delete", text=_shown(path), is_error=False)


def _perform_artifact(fields: Action) -> None:
    epoch = fields.get("epoch", "current")
    lines = ["---"]
    if epoch != "none":
        lines.append(f"epoch: {os.environ['STAGENT_EPOCH'] if epoch == 'current' else epoch}")
    if fields.get("result") is not None:
        lines.append(f"result: {fields['result']}")
    path = fields.get("path") or os.environ["STAGENT_ARTIFACT"]
    _write(path, "\n".join([*lines, "---", ""]) + fields.get("body", ""))
    emit(type="tool", tool="artifact", text=_shown(path), is_error=False)


def _perform_run(command: str) -> None:
    # A file, not a pipe: a command that leaves something running in the background must not hold the script up.
    with tempfile.TemporaryFile() as output:
        code = subprocess.run(["/bin/sh", "-c", command], stdout=output, stderr=output, check=False).returncode
        output.seek(0)
        for line in output:
            emit(type="tool", tool="run", text=line.rstrip(b"\n").decode("utf-8", "replace"), is_error=False)
    emit(type="tool", tool="run", text=_shown(command), exit=code, is_error=code != 0)


def _perform_spawn(command: str) -> None:
    started = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL)
    emit(type="tool", tool="spawn", text=_shown(command), pid=started.pid, is_error=False)


def _perform_sleep(seconds: float) -> None:
    time.sleep(seconds)


def _perform_say(text: str) -> None:
    emit(type="text", text=_shown(text))


def _perform_usage(fields: Action) -> None:
    emit(type="usage", cost_usd=fields.get("cost_usd"), tokens=fields.get("tokens"))


def _perform_ignore(name: str) -> None:
    signal.signal(signal.Signals[name], signal.SIG_IGN)


def _perform_exit(code: int) -> None:
    # A scripted agent that leaves with an error says no last word, as a crashed one would not.
    if code == 0:
        emit(type="result", is_error=False)
    sys.exit(code)


PERFORM: dict[str, Callable[[Any], None]] = {
    "artifact": _perform_artifact,
    "delete": _perform_delete,
    "exit": _perform_exit,
    "ignore": _perform_ignore,
    "run": _perform_run,
    "say": _perform_say,
    "sleep": _perform_sleep,
    "spawn": _perform_spawn,
    "usage": _perform_usage,
    "write": _perform_write,
}


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            script = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise ScriptProblem(f"{path}: cannot be read as a script: {error}") from error
    if not isinstance(script, dict) or not isinstance(script.get("stages"), dict):
        raise ScriptProblem(f'{path}: "stages" is missing or not an object of stage names')
    return script


def choose(script: Mapping[str, Any], stage: str, attempt: int) -> list[Any]:
    """Return the actions for a stage's attempt (1-based over the run); the last list repeats.

    Raises ScriptProblem with exit code 65 for a stage the script does not have, 64 for a malformed one.
    """
    stages = script["stages"]
    if stage not in stages:
        known = ", ".join(sorted(stages)) or "none"
        raise ScriptProblem(f'no actions for stage "{stage}"; scripted stages: {known}', EXIT_NO_STAGE)
    found = _stage_problems(stage, stages[stage])
    if found:
        raise ScriptProblem("; ".join(found))
    attempts = _attempts(stages[stage]) or [[]]
    return attempts[min(max(attempt, 1), len(attempts)) - 1]


def perform(actions: list[Any]) -> None:
    """Perform actions in order; a file operation that fails is reported and the next one follows."""
    for action in actions:
        ((name, value),) = action.items()
        try:
            PERFORM[name](value)
        except OSError as error:
            emit(type="tool", tool=name, text=_shown(str(error)), is_error=True)


def main(arguments: list[str]) -> int:
    """Follow the script for the stage and attempt the environment names; return the exit code."""
    try:
        if len(arguments) != 1:
            raise ScriptProblem("usage: scripted_child.py SCRIPT.json")
        missing = [
            name
            for name in ("STAGENT_STAGE", "STAGENT_STAGE_ATTEMPT", "STAGENT_EPOCH", "STAGENT_ARTIFACT")
            if name not in os.environ
        ]
        if missing:
            raise ScriptProblem(f"the environment lacks {', '.join(missing)}")
        attempt = os.environ["STAGENT_STAGE_ATTEMPT"]
        if not attempt.isdigit():
            raise ScriptProblem(f'STAGENT_STAGE_ATTEMPT is "{attempt}", not a number')
        actions = choose(_load(arguments[0]), os.environ["STAGENT_STAGE"], int(attempt))
    except ScriptProblem as problem:
        emit(type="error", text=_shown(str(problem)))
        return problem.exit_code
    perform(actions)
    emit(type="result", is_error=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

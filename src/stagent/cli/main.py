"""The entry: quick commands go to `cli.fast`, all others to click; every error of ours becomes an exit status."""

from __future__ import annotations

import os
import sys
import time

from stagent.cli import frame, output
from stagent.cli.table import COMMANDS, FAST, IN_ATTEMPT, PERSONS
from stagent.errors import RefusedError, StagentError
from stagent.processes import MARKER
from stagent.version import __version__


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    frame.open_streams()
    try:
        status = _framed(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read our output has gone; that is no failure of ours, but there is nobody left to write to.
        frame.drop_output()
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return output.fail(frame.explained(error), as_json="--json" in arguments)


def _framed(arguments: list[str]) -> int:
    try:
        return _command(arguments)
    except StagentError as error:
        return output.fail(error, as_json="--json" in arguments)


def _command(arguments: list[str]) -> int:
    if arguments and os.environ.get(MARKER):
        _allowed(arguments[0])
    if arguments and arguments[0] in FAST:
        # When it was called: what is imported now takes longer than another call's transition.
        asked = time.time_ns() // 1_000_000
        from stagent.cli import fast

        return fast.run(arguments[0], arguments[1:], asked)
    if arguments and arguments[0] == "hook":
        from stagent.cli import hook

        return hook.run(arguments[1:])
    if arguments in (["--version"], ["version"]):
        output.line(f"stagent {__version__}")
        return 0
    from stagent.cli.group import invoke

    return invoke(arguments)


def _allowed(name: str) -> None:
    """Refuse what the agent of a headless attempt may not call."""
    if name in IN_ATTEMPT or name in PERSONS or name.startswith("-") or name not in COMMANDS:
        return
    raise RefusedError(
        "attempt.commands",
        f"an attempt of a headless run does not call {name}: the runner moves the run",
        where=name,
        known=sorted(IN_ATTEMPT),
        remedy="Finish the artifact and end.",
    )

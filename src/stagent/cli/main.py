"""The entry: quick commands go to `cli.fast`, all others to click; every error of ours becomes an exit status."""

from __future__ import annotations

import os
import sys

from stagent.cli import output
from stagent.cli.table import FAST
from stagent.errors import StagentError
from stagent.version import __version__


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if arguments and arguments[0] in FAST:
            from stagent.cli import fast

            return fast.run(arguments[0], arguments[1:])
        if arguments and arguments[0] == "hook":
            from stagent.cli import hook

            return hook.run(arguments[1:])
        if arguments in (["--version"], ["version"]):
            output.line(f"stagent {__version__}")
            return 0
        from stagent.cli.group import invoke

        return invoke(arguments)
    except StagentError as error:
        return output.fail(error, as_json="--json" in arguments)
    except BrokenPipeError:
        # Whoever read our output has gone; that is no failure of ours, but there is nobody left to write to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130

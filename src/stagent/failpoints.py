"""Named places where a test can end the process as a power cut would; without the variable they do nothing.

`STAGENT_FAILPOINT=name` sends the process SIGKILL when it passes `name` the first time, `name:3` the third time. The
variable is read once, at import.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

VARIABLE = "STAGENT_FAILPOINT"

NAMES: frozenset[str] = frozenset(
    {
        # engine: generated files
        "folder.make.before",
        "folder.make.after",
        "folder.write.before",
        "folder.open.before",
        "folder.overwrite.before",
        "folder.overwrite.cut",
        "folder.overwrite.after",
        "archive.move.before",
        "archive.move.after",
        "spool.aside.before",
        "spool.aside.after",
        # engine: commands it runs itself
        "command.spawn.before",
        "command.spawn.after",
        # runner: an attempt's process
        "runner.spawn.before",
        "runner.spawn.after",
        "runner.spawned",
        "runner.attempt_logged",
        "runner.attempt_over",
        # runner: what an attempt says
        "stream.open.before",
        "stream.open.after",
        "stream.write.before",
        "stream.write.after",
        # workspace: the record of the project
        "git.spawn.before",
        "git.spawn.after",
        "shadow.lock.before",
        "shadow.lock.after",
        "shadow.reset.before",
        "shadow.reset.after",
        # engine: the plugin
        "install.ask.before",
        "install.ask.after",
        # files and folders of any kind
        "disk.create.before",
        "disk.create.after",
        "disk.folder.before",
        "disk.folder.after",
        "disk.write.before",
        "disk.flush.before",
        "disk.flush.after",
        "disk.name.before",
        "disk.name.after",
        "disk.rename.before",
        "disk.rename.after",
        "disk.remove.before",
        "disk.remove.after",
        # storage: what one transaction does
        "sql.after_begin",
        "sql.before_commit",
        "sql.after_commit",
        "store.after_checkpoint",
        "store.after_events",
        "store.after_blobs",
        # storage: one step of the schema
        "migrate.after_statement",
        "migrate.after_version",
    }
)
"""Every name that the code passes to `hit`."""


class _Armed:
    """Counts the passes of one name and ends the process at the last of them."""

    def __init__(self, setting: str) -> None:
        name, _, passes = setting.partition(":")
        if name not in NAMES:
            raise ValueError(f"{VARIABLE}: no fail point {name!r}. Known: {', '.join(sorted(NAMES))}.")
        if passes and not passes.isdecimal():
            raise ValueError(f"{VARIABLE}: {passes!r} is not a number of passes. Write `name` or `name:3`.")
        self.name = name
        self.left = int(passes or "1")

    def hit(self, name: str) -> None:
        """End the process when `name` is passed for the last time that was asked for."""
        if name == self.name:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _off(name: str) -> None:
    """Do nothing: no fail point is asked for."""


hit: Callable[[str], None] = _Armed(os.environ[VARIABLE]).hit if os.environ.get(VARIABLE) else _off
"""`hit(name)` marks a place in the code; `name` is one of `NAMES`."""

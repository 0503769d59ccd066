"""What several layers know about Claude Code: the versions we were tried with, and how our two plugins are named."""

from __future__ import annotations

import re

OLDEST = (2, 1, 329)
BELOW = (2, 2, 0)
"""The range of versions we were tried with: from the first, below the second."""
NEEDS = "hooks with separate arguments, --plugin-dir, and what each result cost"
"""What the oldest version is needed for."""

MOST_BLOCKS = 7
"""How often in a row a turn of a session can be held: beyond 8 times Claude Code ends the turn by itself."""

MARKETPLACE = "stagent-local"
PLUGIN = "stagent"
PLUGIN_ID = f"{PLUGIN}@{MARKETPLACE}"
RUNNER_PLUGIN = "stagent-runner"
"""The plugin that a headless attempt is started with, in place of the installed one."""

Version = tuple[int, int, int]
_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", re.ASCII)


def version(text: str) -> Version | None:
    """Return the version a text begins with, such as `2.1.329 (Claude Code)`; None when it begins with none."""
    found = _VERSION.match(text.strip())
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def dotted(number: Version) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, number))

"""A backend as others would install one: found by its entry point, in a package that is not ours."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from stagent.agents.scripted import ScriptedBackend
from stagent.core.ports import AttemptSpec, Launch


class HostileBackend(ScriptedBackend):
    """Starts the hostile program; its lines mean what those of the scripted agent mean."""

    name = "hostile"

    def ready(self, options: Mapping[str, str], env: Mapping[str, str], workdir: str) -> None:
        """Need nothing."""

    def launch(self, spec: AttemptSpec, env: Mapping[str, str]) -> Launch:
        """Return the hostile program."""
        child = Path(__file__).with_name("hostile_child.py")
        return Launch(argv=[sys.executable, "-I", str(child)], env=dict(env), stdin=spec.prompt.encode())

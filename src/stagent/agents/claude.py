"""The `claude` backend: Claude Code as the user installed it, headless, with the user's own configuration.

Nothing is written in the project or in the user's settings. The stage's rules come in through a plugin of our own,
which the process is started with; a session's installed plugin is switched off for it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from stagent.agents import claude_command, claude_plugin, claude_program
from stagent.agents.claude_stream import Talk
from stagent.agents.claude_verdict import Asked, verdict
from stagent.config import HOME_VARIABLE, DataHome
from stagent.core import claudecode
from stagent.core.ports import AgentEvent, AttemptSpec, Launch, Verdict


class ClaudeBackend:
    """Runs Claude Code; one object follows one attempt at a time, from `launch` over `parse` to `judge`.

    A fresh object parses a recorded stream as well.
    """

    name = "claude"

    def __init__(self) -> None:
        self._asked = Asked()
        self._talk = Talk()

    def ready(self, options: Mapping[str, str], env: Mapping[str, str], workdir: str) -> str | None:
        """Check options, program and version; tell of one newer than tried. Raises what `launch` raises for them."""
        program, _, given = self._program(options, env, workdir)
        found, below = claude_program.check(program, given), claudecode.BELOW
        if found < below:
            return None
        return f"{program}: version {claudecode.dotted(found)} is newer than tried: below {claudecode.dotted(below)}."

    def _program(
        self, options: Mapping[str, str], env: Mapping[str, str], workdir: str
    ) -> tuple[str, DataHome, dict[str, str]]:
        claude_command.check(options, env, claude_command.effective_user())
        home = DataHome(Path(env[HOME_VARIABLE]).absolute()) if env.get(HOME_VARIABLE) else DataHome.locate()
        program = claude_program.find(options.get("program", ""), env, workdir)
        given = claude_command.environment(env, str(home.root))
        claude_program.check(program, given)
        return program, home, given

    def launch(self, spec: AttemptSpec, env: Mapping[str, str]) -> Launch:
        """Return the process for an attempt: a new session, or `spec.resume` continued with the prompt.

        Raises UsageError for a wrong option, RefusedError for what is refused as root, StagentError when there is no
        program we can drive, StoreError when the data home cannot take the plugin.
        """
        program, home, given = self._program(spec.options, env, spec.workdir)
        home.ensure()
        argv = [program, *claude_command.arguments(spec, str(claude_plugin.ensure(home)))]
        launch = uuid.uuid4().hex
        self._asked = Asked(resume=spec.resume, schema=spec.schema, artifact=spec.artifact, stream=spec.stream)
        self._talk = Talk(f"{spec.id}/{launch}")
        return Launch(argv=argv, env=given | {claude_command.LAUNCH: launch}, stdin=claude_command.prompt(spec.prompt))

    def parse(self, line: bytes) -> list[AgentEvent]:
        """Turn one output line into events; never raises."""
        return self._talk.take(line)

    def judge(self, exit_code: int, events: Sequence[AgentEvent]) -> Verdict:
        """Say what became of the process that was launched last; never by the result's subtype alone."""
        return verdict(exit_code, events, self._asked, self._talk)

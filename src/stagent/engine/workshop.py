"""Runs what the engine runs itself for a run: the checks of a transition and the command of a command stage."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Literal

import msgspec

from stagent import processes
from stagent.core import commands as cmd
from stagent.core.advance import holds
from stagent.core.canonical import digest
from stagent.core.events import ArtifactRecorded, AttemptEnded, AttemptStarted, CheckStarted, Producer
from stagent.core.frontmatter import FrontMatter, parse, rewrite
from stagent.core.ids import attempt_id, check_id
from stagent.core.masking import mask_bytes
from stagent.core.model import Stage
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine import checks, flows
from stagent.engine.environment import environment
from stagent.engine.evidence import alive
from stagent.engine.folder import write
from stagent.engine.process import Finished, run
from stagent.engine.service import Progress, RunService
from stagent.errors import ConflictError

_POLL = 0.2
_COMMAND_TIMEOUT = 3_600.0


class Workshop:
    """Works for the runs of one service; outside any transaction, its results go back through the service."""

    def __init__(self, service: RunService) -> None:
        self.service = service

    def check(self, state: State, caller: cmd.Caller, started: CheckStarted, progress: Progress) -> None:
        """Run a check that was recorded as started for a caller's `advance`, and record what it gave."""
        service = self.service
        stage = service.workflow(state).stages[state.stage]
        result = state.artifact.result if state.artifact else ""
        check = next(item for item in stage.checks_for(result) if item.name == started.name)
        if self._lost(state, caller):
            return
        given = self._given(state, stage, {stage.name: state.artifact.digest} if state.artifact else {})
        extra = {
            "STAGENT_CHECK": check.name,
            **given,
            **check.env,
            **_mark(check_id(state.run, state.epoch, check.name)),
        }
        env = environment(service.pinned_environment(state), stage.name, extra)
        execution = checks.Execution(check, stage, started, service.workspace, state.protect_ref)
        ran = execution.run(env, progress, service.tidy)
        engine = cmd.Caller(actor="engine", kind="engine", fence=caller.fence)
        service.submit(state.run, engine, cmd.EndCheck(event=ran.event), ran.blobs)

    def command(self, state: State, caller: cmd.Caller, progress: Progress) -> None:
        """Run the command of a command stage, write its artifact, and record it as the engine's own.

        Waits a moment instead while another process runs it.
        """
        stage = self.service.workflow(state).stages[state.stage]
        if state.attempt_open and not self._orphaned(state, caller, stage, progress):
            return
        pid = os.getpid()
        begin = AttemptStarted(
            stage=stage.name,
            epoch=state.epoch,
            number=state.attempt + 1,
            backend="command",
            pid=pid,
            started=processes.start_time(pid),
        )
        begun = self.service.submit(state.run, caller, cmd.BeginAttempt(event=begin))
        if isinstance(begun, Refusal) or self._lost(begun, caller):
            return
        extra = {"STAGENT_RUN": state.run, "STAGENT_EPOCH": str(state.epoch), **self._given(state, stage, {})}
        extra |= _mark(attempt_id(state.run, state.epoch, begin.number))
        try:
            finished = run(
                stage.run or "",
                cwd=self.service.root,
                env=environment(self.service.pinned_environment(state), stage.name, extra),
                timeout=stage.timeout or _COMMAND_TIMEOUT,
                progress=lambda seconds: progress(stage.name, seconds),
                tidy=self.service.tidy,
            )
        except BaseException:
            # Whatever ended it came from outside, and says nothing about the work.
            self._end(state, begin.number, "stopped", caller)
            raise
        result = stage.results.get(str(finished.exit), stage.results["*"])
        data = rewrite(_body(stage, finished), {"epoch": str(state.epoch), "result": result})
        if self.service.journal.load(state.run)[0].seq != begun.seq:
            # Somebody interrupted or took over: what lies in the folder is not this call's to write any more.
            self._end(state, begin.number, "orphaned", caller)
            return
        write(self.service.folder(state).artifact(stage.name), data)
        self._record(begun, begin, result, data, finished.exit, caller)

    def _given(self, state: State, stage: Stage, own: Mapping[str, str]) -> dict[str, str]:
        """Return the variables by which a command finds what its stage reads, and can tell that nobody changed it."""
        folder = self.service.folder(state)
        known = {name: recorded.digest for name, recorded in state.accepted.items()}
        named = {item.key: known[item.key] for item in stage.inputs if item.source == "stage" and item.key in known}
        texts = {name: [folder.artifact_path(name), content] for name, content in {**named, **own}.items()}
        made = {item.key: state.run_files.get(item.key) for item in stage.inputs if item.source == "run_file"}
        texts |= {name: [str(folder.run_file(name)), content] for name, content in made.items() if content}
        templates = str(self.service.home.templates)
        return {"STAGENT_INPUTS": msgspec.json.encode(texts).decode(), flows.PLACE: templates}

    def _record(
        self, state: State, begin: AttemptStarted, result: str, data: bytes, code: int | None, caller: cmd.Caller
    ) -> None:
        parsed = parse(data)
        body = data[parsed.body :] if isinstance(parsed, FrontMatter) else data
        artifact = ArtifactRecorded(
            stage=begin.stage,
            epoch=begin.epoch,
            digest=digest(data),
            body=digest(body),
            result=result,
            size=len(data),
            producer=Producer(kind="engine"),
        )
        ended = AttemptEnded(stage=begin.stage, epoch=begin.epoch, number=begin.number, outcome="ok", exit=code)
        try:
            self.service.append(state, [artifact, ended], caller.actor, {digest(data): data})
        except ConflictError:
            self._end(state, begin.number, "orphaned", caller)

    def _lost(self, state: State, caller: cmd.Caller) -> bool:
        """Say whether the caller lost the run since he wrote `state`: then nothing is begun on its behalf."""
        now, _ = self.service.journal.load(state.run)
        return now.seq != state.seq and (not now.live or holds(now, caller) is not None)

    def _end(
        self, state: State, number: int, outcome: Literal["stopped", "orphaned"], caller: cmd.Caller
    ) -> State | Refusal:
        code = f"attempt.{outcome}"
        ended = AttemptEnded(stage=state.stage, epoch=state.epoch, number=number, outcome=outcome, code=code)
        return self.service.submit(state.run, caller, cmd.EndAttempt(event=ended))

    def _orphaned(self, state: State, caller: cmd.Caller, stage: Stage, progress: Progress) -> bool:
        """Wait while another process runs the stage's command; end its attempt when that process is gone."""
        if state.attempt_pid is not None and alive(state.attempt_pid, state.attempt_started):
            progress(stage.name, 0.0)
            time.sleep(_POLL)
            return False
        processes.kill_attempt(attempt_id(state.run, state.epoch, state.attempt), None, None)
        return not isinstance(self._end(state, state.attempt, "orphaned", caller), Refusal)


def _mark(name: str) -> dict[str, str]:
    """Return the variables that mark the processes of a command, after ending what an earlier call left of it."""
    processes.kill_attempt(name, None, None)
    return {processes.COMMAND_MARKER: name, processes.RUNNER_MARKER: str(os.getpid())}


def _body(stage: Stage, finished: Finished) -> bytes:
    how = "ran out of time" if finished.timed_out else f"exit code {finished.exit}"
    head = f"\nCommand: `{stage.run}`\n\nEnded: {how}\n\n```\n".encode()
    return mask_bytes(head + finished.output + b"\n```\n")

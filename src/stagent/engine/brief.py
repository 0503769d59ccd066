"""The one renderer of what an agent is told: tick, context, bootstrap and the headless prompt agree by construction."""

from __future__ import annotations

import msgspec

from stagent.core.model import Input, Stage, Workflow
from stagent.core.state import State
from stagent.engine.folder import RunFolder


def label(task: str) -> str:
    """Return the short text a run is listed by: the first line of its task; bytes that are not text are replaced."""
    first = next((line.strip() for line in task.splitlines() if line.strip()), "")[:120]
    return first.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"


class InputLine(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a stage with its absolute path."""

    type: str
    key: str
    description: str
    path: str


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands and what its driver needs for the next move.

    `picker` and `wait`, the question and the command that waits for a decision made elsewhere, are null where no person
    decides; `view_url` is null without a page.
    """

    run: str
    status: str
    epoch: int
    is_terminal: bool
    state: str
    kind: str | None = None
    execution_type: str | None = None
    model: str | None = None
    interruptible: bool | None = None
    stage_instructions_path: str | None = None
    output_artifact_path: str | None = None
    transition_keys: list[str] = []
    required_inputs: list[InputLine] = []
    optional_inputs: list[InputLine] = []
    checks: list[str] = []
    gate: str | None = None
    picker: dict[str, object] | None = None
    wait: str | None = None
    feedback: str | None = None
    doubt: str | None = None
    view_url: str | None = None


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """Where a result would lead; a preview, nothing moves."""

    next_status: str
    is_terminal: bool
    next_artifact_path: str


class Brief:
    """Renders one run's present stage."""

    def __init__(
        self,
        workflow: Workflow,
        state: State,
        folder: RunFolder,
        *,
        project: str,
        task: str = "",
        feedback: str = "",
        view_url: str | None = None,
    ) -> None:
        self.workflow = workflow
        self.state = state
        self.folder = folder
        self.project = project
        self.task = task
        self.feedback = feedback
        self.view_url = view_url

    @property
    def stage(self) -> Stage:
        """The stage the run stands in."""
        return self.workflow.stages[self.state.stage]

    @property
    def _templated(self) -> bool:
        """Whether a template takes the place of the stage's instruction file: a runner's agent is given its text."""
        lease = self.state.lease
        return self.stage.prompt is not None and lease is not None and lease.holder.kind == "runner"

    def tick(self) -> Tick:
        """Return the facts a driver loops on."""
        state, stage = self.state, self.stage
        if state.ended:
            return Tick(
                run=state.run, status=state.terminal or "", epoch=state.epoch, is_terminal=True, state=state.status
            )
        agent = stage.kind in ("agent", "review")
        return Tick(
            run=state.run,
            status=stage.name,
            epoch=state.epoch,
            is_terminal=False,
            state=state.status,
            kind=stage.kind,
            execution_type=stage.execution if agent else None,
            model=stage.model,
            interruptible=stage.interruptible,
            stage_instructions_path=str(self.folder.instructions(stage.name))
            if agent and not self._templated
            else None,
            output_artifact_path=str(self.folder.artifact(stage.name)),
            transition_keys=sorted(stage.transitions),
            required_inputs=[self._line(item) for item in stage.required],
            optional_inputs=[self._line(item) for item in stage.optional],
            checks=[check.name for check in stage.checks],
            gate=self._gate(stage),
            feedback=self.feedback or None,
            view_url=self.view_url,
        )

    def next(self, result: str) -> Next | None:
        """Return where a result leads, or None when the stage does not know it."""
        target = self.stage.transitions.get(result)
        if target is None:
            return None
        return Next(
            next_status=target,
            is_terminal=self.workflow.is_terminal(target),
            next_artifact_path=str(self.folder.artifact(target)),
        )

    def context(self) -> str:
        """Return the facts of the stage as the block of text an agent begins with."""
        state, stage = self.state, self.stage
        lines = [
            f"Stage: {stage.name}" + (f" ({stage.title})" if stage.title else ""),
            f"Run: {state.run}",
            f"Epoch: {state.epoch}",
            f"Project: {self.project}",
            *([] if self._templated else [f"Instructions: {self.folder.instructions(stage.name)}"]),
            f"Output: {self.folder.artifact(stage.name)}",
            "",
            "Required inputs:",
            *self._lines(stage.required, ""),
            "Optional inputs (read them if they exist):",
            *self._lines(stage.optional, " (if it exists)"),
        ]
        if stage.criteria:
            lines += ["", "The work is judged by:", *(f"  - {item}" for item in stage.criteria)]
        lines += ["", *self._rules(stage)]
        if self.task:
            lines += ["", "The task:", self.task]
        if self.feedback:
            lines += ["", "What came before was not accepted. Take this into account:", self.feedback]
        return "\n".join(lines) + "\n"

    def reminder(self) -> str:
        """Return which file the stage's agent is to write, and how: for one that knows the rest."""
        return "\n".join([f"Output: {self.folder.artifact(self.stage.name)}", *self._rules(self.stage)]) + "\n"

    def _rules(self, stage: Stage) -> list[str]:
        results = ", ".join(sorted(stage.transitions))
        lines = [
            "Write the output file with this front matter, then the text:",
            "---",
            f"epoch: {self.state.epoch}",
            f"result: <one of: {results}{', or pending while unfinished' if stage.interruptible else ''}>",
            "---",
        ]
        if stage.writes == "artifact":
            lines.append("This stage may write nothing in the project but that file.")
        elif isinstance(stage.writes, tuple):
            lines.append("In the project this stage may write only: " + ", ".join(stage.writes))
        if stage.tools.allow is not None:
            lines.append("Besides writing that file it may use only these tools: " + _listed(stage.tools.allow))
        if stage.tools.deny:
            lines.append("It may not use these tools: " + _listed(stage.tools.deny))
        if stage.output.schema is not None:
            lines += ["The text must hold one JSON object in a ```json block, by this schema:", stage.output.schema]
        for check in stage.checks:
            lines.append(f"For {', '.join(check.results)} the engine itself runs the check {check.name}: {check.run}")
        return lines

    def _gate(self, stage: Stage) -> str | None:
        if stage.kind == "human":
            return "answer"
        return stage.gate.type if stage.gate else None

    def _line(self, item: Input) -> InputLine:
        path = self.folder.artifact(item.key) if item.source == "stage" else self.folder.run_file(item.key)
        return InputLine(type=item.source, key=item.key, description=item.description, path=str(path))

    def _lines(self, items: tuple[Input, ...], suffix: str) -> list[str]:
        if not items:
            return ["  (none)"]
        lines = []
        for item in items:
            line = self._line(item)
            about = f" - {line.description}" if line.description else ""
            lines.append(f"  - {line.path}{about}{suffix}")
        return lines

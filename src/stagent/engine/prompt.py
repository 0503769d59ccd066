"""What an agent of a headless run is told: its stage's context, its instructions, and what came of earlier attempts.

A stage's `prompt` is a template; `values` says what its names stand for. Without one the instruction file is given as
it stands. What a person said and what the attempt before left reach the agent whether the template asks for it or not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property

from stagent.core import events as ev
from stagent.core import template
from stagent.core.frontmatter import FrontMatter, parse
from stagent.core.state import Recorded, State
from stagent.core.template import Rendered, Template
from stagent.core.verify.prompts import ASPECTS, NAMES, variables
from stagent.engine.folder import look
from stagent.engine.history import events
from stagent.engine.service import RunService

LIMIT = 256 * 1024
"""The longest text a value has (characters); of a longer one the rest is left out, and said so."""

__all__ = ["ASPECTS", "LIMIT", "NAMES", "attempt_prompt", "rendered", "values", "variables"]


def values(service: RunService, state: State, names: Collection[str] | None = None) -> dict[str, str]:
    """Return what the names of a prompt template stand for in this state: those in `names`, or all.

    Names that no template of the workflow may use are left out. Raises StoreError where the log must be read (for a
    person's decisions) and cannot be.
    """
    source = _Source(service, state)
    known = variables(source.workflow)
    return {name: source.value(name) for name in known if names is None or name in names}


def rendered(service: RunService, state: State) -> Rendered:
    """Return the instructions of the current stage: its template with the values put in, or its file as it stands."""
    stage = service.workflow(state).stages[state.stage]
    if stage.prompt is None:
        return Rendered(_file(service, state, f"{stage.name}.md"), ())
    read = _template(service, state, stage.prompt)
    return read.render(values(service, state, read.names))


def attempt_prompt(service: RunService, state: State, *, continued: bool) -> str:
    """Return what the next attempt at the current stage is told.

    `continued` is for an agent whose session goes on and which knows all but what came of its last attempt.
    """
    return _continuation(service, state) if continued else _beginning(service, state)


def _beginning(service: RunService, state: State) -> str:
    stage = service.workflow(state).stages[state.stage]
    used = _template(service, state, stage.prompt).names if stage.prompt is not None else frozenset[str]()
    told = values(service, state, ("feedback", "user_input", "prior_attempt_output"))
    text = f"{service.brief(state).context()}\n{rendered(service, state).text}"
    for name, title in (
        ("user_input", "A person says about the work so far:"),
        ("prior_attempt_output", "What the attempt before this one left:"),
    ):
        value = told[name]
        # The context tells the feedback, which may quote the person.
        known = name == "user_input" and value in told["feedback"]
        if value.strip() and not known and not (name in used and value in text):
            text = f"{text.rstrip()}\n\n{title}\n{value}\n"
    return text


def _continuation(service: RunService, state: State) -> str:
    told = values(service, state, ("feedback", "user_input"))
    feedback, words = told["feedback"].strip(), told["user_input"].strip()
    where = f"stage {state.stage}, epoch {state.epoch}"
    parts = [f"Your work on {where}, was not accepted. Take this into account:\n{feedback}"]
    if feedback and state.refusal.startswith("attempt."):
        # What broke off the attempt says nothing about the work.
        broken = f"Your last attempt at {where}, ended before its work was accepted ({state.refusal})."
        parts = [f"{broken} Go on with it, and take this into account:\n{feedback}"]
    if not feedback and not words:
        why = f" ({state.refusal})" if state.refusal else ""
        parts = [f"Your last attempt at {where}, ended before its work was accepted{why}. Go on with it."]
    elif words and words not in feedback:
        about = f"A person says about your work on {where}:\n{words}"
        parts = [*parts, about] if feedback else [about]
    return "\n\n".join([*parts, service.brief(state).reminder()])


def _template(service: RunService, state: State, file: str) -> Template:
    text = _file(service, state, file)
    read = template.parse(text)
    # It was read without a problem when the run began; another version may see one, and then it is a text.
    return read if isinstance(read, Template) else Template((template.Part("text", text),))


def _file(service: RunService, state: State, name: str) -> str:
    return service.pinned.file(state.workflow, name).decode("utf-8", "replace")


class _Source:
    """Where the values of one state come from; the log is read at the first name that takes it."""

    def __init__(self, service: RunService, state: State) -> None:
        self.service = service
        self.state = state
        self.workflow = service.workflow(state)
        self.folder = service.folder(state)
        self._plain: dict[str, Callable[[], str]] = {
            "task": self._task,
            "task_description": self._task,
            "criteria": lambda: "\n".join(f"- {item}" for item in self.workflow.stages[state.stage].criteria),
            "feedback": lambda: service.text(state.feedback),
            "user_input": self._user_input,
            "user_decision": lambda: self._decision(self._came_from),
            "previous_output": self._previous_output,
            "prior_attempt_output": self._prior_output,
            "run": lambda: state.run,
            "stage": lambda: state.stage,
            "epoch": lambda: str(state.epoch),
            "project": lambda: str(service.root),
            "artifact": lambda: str(self.folder.artifact(state.stage)),
        }

    def value(self, name: str) -> str:
        """Return what a known name stands for."""
        make = self._plain.get(name)
        if make is not None:
            return _cut(make())
        stage, _, aspect = name.removeprefix("stages.").rpartition(".")
        if aspect == "decision":
            return _cut(self._decision(stage))
        accepted = self.state.accepted.get(stage)
        if accepted is None:
            return ""
        return accepted.result if aspect == "result" else _cut(self._body(accepted.digest))

    def _task(self) -> str:
        return self.service.text(self.state.task)

    def _user_input(self) -> str:
        gate = self.state.gate
        return self.service.text(gate.text) if gate is not None and gate.decision in ("reject", "redo") else ""

    def _previous_output(self) -> str:
        last = self._last_accepted
        if last is not None:
            return self._body(last.digest)
        # A stage that leads to itself takes back its own acceptance on entering: the log still has it.
        return self._body(self._log.left_with) if self.state.epoch > 1 and self._log.left_with else ""

    @cached_property
    def _last_accepted(self) -> Recorded | None:
        """The artifact the run came here with."""
        accepted = self.state.accepted.values()
        return next((item for item in accepted if item.epoch == self.state.epoch - 1), None)

    @property
    def _came_from(self) -> str:
        last = self._last_accepted
        names = (name for name, item in self.state.accepted.items() if item is last)
        return next(names, "") if last is not None else self._log.came_from

    def _prior_output(self) -> str:
        state = self.state
        if not (state.attempt or state.refused or state.artifact):
            return ""
        seen = look(self.folder.artifact(state.stage))
        if seen is not None and (seen[0].problem or seen[0].epoch == state.epoch):
            return _body_of(seen[1])
        return self._body(state.artifact.digest) if state.artifact is not None else ""

    def _decision(self, stage: str) -> str:
        found = self._log.decisions.get(stage)
        if found is None:
            return ""
        choice = found.choice if found.decision == "answer" else found.decision
        words = self.service.text(found.text).strip()
        return f"{choice}\n\n{words}" if words else choice

    def _body(self, digest: str) -> str:
        return _body_of(self.service.text(digest).encode())

    @cached_property
    def _log(self) -> _Log:
        return _Log(self.service, self.state)


class _Log:
    """What only the log knows: the latest decision at each stage, and how the run came to where it stands."""

    def __init__(self, service: RunService, state: State) -> None:
        self.decisions: dict[str, ev.GateDecided] = {}
        self.came_from, self.left_with = "", ""
        for envelope in events(service, state.run):
            data = envelope.data
            if isinstance(data, ev.GateDecided):
                self.decisions[data.stage] = data
            elif isinstance(data, ev.Transitioned):
                self.came_from, self.left_with = data.source, data.digest or ""


def _body_of(data: bytes) -> str:
    parsed = parse(data)
    body = data[parsed.body :] if isinstance(parsed, FrontMatter) else data
    return body.decode("utf-8", "replace").strip("\r\n")


def _cut(text: str) -> str:
    beyond = len(text) - LIMIT
    return f"{text[:LIMIT]}\n[{beyond:,} more characters are left out]" if beyond > 0 else text

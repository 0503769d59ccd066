"""What several scenarios of a model do alike: launch a sub-agent, work a stage, wait for the test, talk on a stream."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self

from acceptance.claude.kit import Desk, Headless, Terminal, answer
from acceptance.support import stage, wait_for
from stagent.testing.scripted_model import Answer, Request, Rule, ScriptedModel, Turn, When, of_agents, says, text, tool

Json = dict[str, Any]
LAUNCH = {"subagent_type": "stagent:workflow-subagent", "description": "work", "prompt": "Run your stage."}


def launch(**more: object) -> Turn:
    """The model launches the stage's sub-agent."""
    return tool("Agent", **{**LAUNCH, **more})


def delegated(transitions: dict[str, str], **more: object) -> Json:
    """A stage that a sub-agent works."""
    return {**stage(transitions, **more), "execution": {"type": "subagent"}}


def worked(desk: Desk, name: str, result: str, epoch: int = 1, *before: Answer, said: str = "") -> list[Answer]:
    """What a sub-agent does that works its stage; `before` comes between its bootstrap and its artifact."""
    return [
        desk.call("bootstrap"),
        *before,
        desk.artifact(name, result, epoch),
        text(said or f"The stage {name} is over."),
    ]


def asks(change: Callable[[Json], None] = lambda question: None) -> Callable[[Request], Turn]:
    """The model asks the question that the tick before printed, or a changed one."""

    def ask(request: Request) -> Turn:
        question = json.loads(answer(request))["picker"]
        change(question)
        return tool("AskUserQuestion", questions=[question])

    return ask


def helpers(*words: str) -> Turn:
    """The model launches sub-agents of another type, all in one message."""
    given = [{"subagent_type": "general-purpose", "description": each, "prompt": each} for each in words]
    return Turn(tuple({"type": "tool_use", "name": "Agent", "input": each} for each in given))


def told(words: str) -> When:
    """Requests of the sub-agent that was launched with these words."""
    return lambda request: of_agents(request) and words in request.whole


def begun(model: ScriptedModel, count: int, then: Answer) -> Answer:
    """The answer of the main conversation once so many sub-agents have begun: a launch that returned has not yet."""

    def late(request: Request) -> Turn:
        wait_for(lambda: len({asking.agent for asking in model.agents}) >= count, f"sub-agent {count}", 60)
        return then(request) if callable(then) else then

    return late


class Latch:
    """Holds back an answer of the model until the test opens it; leaving it opens it."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.open()

    def open(self) -> None:
        """Let the answer go."""
        self._open.set()

    def before(self, then: Answer) -> Answer:
        """The answer, once the latch is open."""

        def late(request: Request) -> Turn:
            self._open.wait(90)
            return then(request) if callable(then) else then

        return late


@contextmanager
def beside(desk: Desk, prompt: str, *more: str, **how: Any) -> Iterator[Future[Headless]]:
    """A `claude -p` that runs while the test does something else."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(desk.headless, prompt, *more, **{"seconds": 90, **how})


class Stream:
    """A `claude -p` that takes one message after another: several turns of one process, and nobody in front of it."""

    def __init__(self, desk: Desk, *more: str, allow: Sequence[str] = ()) -> None:
        words = ["-p", "--output-format", "stream-json", "--input-format", "stream-json", "--verbose", *more]
        self._process = subprocess.Popen(
            [desk.claude, "--permission-mode", "default", "--plugin-dir", str(desk.plugin)]
            + (["--allowedTools", *allow] if allow else [])
            + words,
            cwd=desk.project,
            env=desk.agent_env(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.events: list[Json] = []
        self._reader = threading.Thread(target=self._read, name=f"stream of {self._process.pid}")
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"{"):
                self.events.append(json.loads(line))

    def results(self) -> list[Json]:
        """The turns that ended so far."""
        return [event for event in self.events if event.get("type") == "result"]

    def turn(self, words: str, seconds: float = 60) -> Json:
        """Say something and wait until its turn has ended; return the turn's result."""
        before = len(self.results())
        message = {"type": "user", "message": {"role": "user", "content": words}}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()
        wait_for(lambda: len(self.results()) > before, f"the turn of {words[:40]}; {self.events[-2:]}", seconds)
        return self.results()[before]

    def end(self) -> None:
        """End it as a program does that has nothing more to say."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def summary(model: ScriptedModel) -> None:
    """Have the model answer the next request for a summary with one that says nothing of the run."""
    model.say(Rule(says("summary"), text("<summary>Something was done.</summary>"), times=1))


def compact(screen: Terminal, model: ScriptedModel) -> None:
    """Have the person compact the conversation."""
    summary(model)
    screen.say("/compact")
    screen.see("Compacted", 40)
    screen.settle(1)

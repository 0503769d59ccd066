"""Asks the person at the runner's own terminal when a gate opens."""

from __future__ import annotations

import os
from collections.abc import Callable

from stagent.cli import gateview, outside, people
from stagent.cli.words import plain_lines
from stagent.core.model import Stage
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine.differences import since_start
from stagent.engine.evidence import Gathered
from stagent.engine.service import RunService

_GATE = "[a]pprove, [r]edo with feedback, re[j]ect, [d]iff, [v]iew, [l]ater? "
_WORDS = ("approve", "redo", "reject", "diff", "view", "later")
_LETTERS = {"j": "reject", **{word[0]: word for word in reversed(_WORDS) if word != "reject"}}
_BACK = {
    "redo": "You sent this back, and the next attempt left it as it was, word for word.",
    "reject": "You rejected this, and it has not changed since.",
}


class Asker:
    """What `stagent run` does at a gate while a person sits at its terminal.

    `before` is called before anything is shown; `stopping` says that the runner is to end, which `hung_up` brings about
    when the terminal was closed.
    """

    def __init__(
        self,
        service: RunService,
        run: str,
        *,
        quiet: bool,
        before: Callable[[], None],
        stopping: Callable[[], bool],
        hung_up: Callable[[], None],
    ) -> None:
        self._service = service
        self._run = run
        self._before = before
        self._stopping = stopping
        self._hung_up = hung_up
        self._off = quiet or not (os.isatty(0) and os.isatty(1)) or people.agent_above() is not None

    def ask(self, state: State, refusal: Refusal) -> bool:
        """Return True when the run is to be looked at again, False when nobody decides now."""
        if self._off:
            return False
        self._before()
        try:
            tty = people.Terminal(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return False
        try:
            return tty.in_front and _Question(self._service, state, tty, self._over).put()
        finally:
            if tty.gone:
                self._hung_up()
            tty.close()

    def _over(self, asked: State) -> bool:
        """Say whether there is nothing to ask any more: the runner stops, or the run is not what it was."""
        if self._stopping():
            return True
        now = self._service.state(self._run)
        return any(getattr(now, part) != getattr(asked, part) for part in ("gate", "status", "lease", "epoch"))


class _Question:
    """One gate as it was when it was asked about."""

    def __init__(self, service: RunService, state: State, tty: people.Terminal, over: Callable[[State], bool]) -> None:
        self._service = service
        self._state = state
        self._tty = tty
        self._moved = over
        self._stage: Stage = service.workflow(state).stages[state.stage]
        self._gathered: Gathered = service.gate_evidence(state)

    def put(self) -> bool:
        """Show what it is about, and ask until there is an answer."""
        for line in gateview.shown(self._service, self._state, self._gathered):
            self._tty.say(line)
        gate = self._state.gate
        if gate is not None and gate.decision in _BACK:
            self._tty.say(_BACK[gate.decision])
        question = self._asked()
        while (answer := self._tty.ask(question, self._over)) is not None:
            word = self._meant(answer)
            if word == "later":
                return False
            done = self._do(word)
            if done is not None:
                return done
        return True

    def _over(self) -> bool:
        return self._moved(self._state)

    def _asked(self) -> str:
        if self._stage.kind != "human":
            return _GATE
        choices = [f"{name} ({label})" if label else name for name, label in self._choices()]
        return f"Choose {' | '.join(choices)}, or [d]iff, [v]iew, [l]ater: "

    def _choices(self) -> list[tuple[str, str]]:
        return [(name, self._stage.labels.get(name, "")) for name in sorted(self._stage.transitions)]

    def _meant(self, answer: str) -> str:
        """Return the word that was meant; an empty answer is none, except at a human stage, where it means later."""
        if self._stage.kind == "human":
            if answer in self._stage.transitions:
                return answer
            known = ("diff", "view", "later")
            word = _LETTERS.get(answer.lower(), answer.lower()) or "later"
            return word if word in known else ""
        word = _LETTERS.get(answer.lower(), answer.lower())
        return word if word in _WORDS else ""

    def _do(self, word: str) -> bool | None:
        """Carry an answer out; None asks again."""
        if self._stage.kind == "human" and word in self._stage.transitions:
            return self._decide("answer", word, "")
        if word == "approve":
            return self._decide("approve", "", "")
        if word in ("redo", "reject"):
            words = people.feedback(self._tty, self._over)
            if words:
                return self._decide(word, "", words)
            self._tty.say("Nothing was said, so nothing was decided.")
            return None
        if word == "diff":
            self._page(self._diff())
        elif word == "view":
            self._page(list(gateview.shown(self._service, self._state, self._gathered, whole=True)))
        else:
            self._tty.say("That is none of the answers.")
        return None

    def _decide(self, decision: str, choice: str, words: str) -> bool:
        answer = people.decide(self._service, self._state, self._tty, self._gathered.evidence, decision, choice, words)
        if not isinstance(answer, Refusal):
            # A rejection leaves the run where it is: no attempt follows, and nobody is asked again at once.
            return decision != "reject"
        self._tty.say(answer.message)
        # What was shown is not what is there: it must be shown again. Anything else is not mended by asking.
        return answer.code == "gate.changed"

    def _diff(self) -> list[str]:
        found = since_start(self._service, self._state)
        text = found.diff.decode("utf-8", "replace") if found is not None else ""
        return plain_lines(text.removesuffix("\n")) if text else ["Nothing in the project changed since the start."]

    def _page(self, lines: list[str]) -> None:
        if not outside.page(self._tty.descriptor, "\n".join(lines) + "\n", self._over):
            for line in lines:
                self._tty.say(line)

"""Proof that a person decides: a controlling terminal, and no agent anywhere above this process.

The same user can still be impersonated by a program that types into that user's own terminal from outside; what was
decided is always in the log with the terminal it came from. See the documentation on approvals.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from stagent import processes
from stagent.cli import outside, prompt
from stagent.core.canonical import digest
from stagent.core.commands import Caller, DecideGate
from stagent.core.decide import decide as judged
from stagent.core.evidence import Evidence
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine.evidence import HOST
from stagent.engine.service import RunService
from stagent.errors import RefusedError

AGENT_NAMES = frozenset({"claude", "codex", "gemini", "opencode"})
_YES = frozenset({"y", "yes"})


class Terminal:
    """The controlling terminal of this process, opened by itself: redirected input or output do not matter."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.gone = False

    @property
    def name(self) -> str:
        """The terminal's name, for the log: the one it goes by for everybody, not `/dev/tty`."""
        return processes.terminal()

    @property
    def descriptor(self) -> int:
        """The open terminal, for a program that is to have it for a while."""
        return self._descriptor

    @property
    def in_front(self) -> bool:
        """Whether this process may read here: in the background, asking would stop it."""
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            self.gone = True
            return False

    def say(self, text: str) -> None:
        """Write a line; that nobody can read it changes nothing."""
        with self._there():
            prompt.write(self._descriptor, text + "\n")

    def ask(self, question: str, meanwhile: Callable[[], bool] = lambda: False) -> str | None:
        """Ask for one line and return it; None when the terminal is `gone` or `meanwhile` said that it is settled."""
        with self._there():
            return prompt.ask(self._descriptor, question, prompt.one_line, meanwhile)
        return None

    def text(self, question: str, meanwhile: Callable[[], bool] = lambda: False, *, word: str = "") -> str | None:
        """Ask for lines that an empty one ends, or for this one `word`; None as with `ask`."""

        def over(typed: bytes) -> bool:
            return prompt.empty_line(typed) or (word != "" and typed.rstrip(b"\r\n") == word.encode() != typed)

        with self._there():
            return prompt.ask(self._descriptor, question, over, meanwhile)
        return None

    def close(self) -> None:
        """Give the terminal back; what was typed and not asked for is no command for the shell."""
        with self._there():
            prompt.forget(self._descriptor)
        os.close(self._descriptor)

    @contextmanager
    def _there(self) -> Iterator[None]:
        try:
            yield
        except prompt.ClosedError:
            self.gone = True


def agent_above(engines: Collection[int] = ()) -> str | None:
    """Say which agent this process descends from, or None.

    Looks at this process, all above it, and all above the leader of its terminal session, for an agent's marks or
    name, and for the processes that work on the run (`engines`): whatever an attempt detaches from itself ends up below
    its runner, and what a check starts stands below whoever runs the check.
    """
    own = [name for name in processes.AGENT_MARKS if os.environ.get(name)]
    if own:
        return f"the environment says so ({own[0]})"
    chain = processes.ancestors(os.getpid())
    leader = os.getsid(0)
    if leader != os.getpid():
        chain += processes.ancestors(leader)
    for info in chain:
        marks = [name for name in processes.AGENT_MARKS if info.markers and info.markers.get(name)]
        if marks:
            return f"process {info.pid} ({info.name}) carries {marks[0]}"
        if info.name in AGENT_NAMES:
            return f"process {info.pid} is {info.name}"
        if info.pid in engines:
            return f"process {info.pid} works on this very run"
    return None


def no_agent(what: str, engines: Collection[int] = ()) -> None:
    """Refuse what only a person may do when an agent stands above this process. Raises RefusedError."""
    above = agent_above(engines)
    if above is not None:
        raise RefusedError(
            "person.agent",
            f"an agent cannot {what}: {above}",
            where=what,
            remedy="A person does it in a terminal of his own.",
        )


def terminal(what: str, state: State | None = None) -> Terminal:
    """Return the terminal of the person who calls. Raises RefusedError when none can be there."""
    no_agent(what, _engines(state) if state is not None else ())
    try:
        return Terminal(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        raise RefusedError(
            "person.no_terminal",
            f"only a person can {what}, and there is no terminal to ask at",
            where=what,
            remedy="Call it in a terminal; unattended runs declare decisions with --unattended FILE.",
        ) from error


def _engines(state: State) -> list[int]:
    holder = state.lease.holder if state.lease else None
    runner = holder.pid if holder and holder.kind == "runner" else None
    checking = [check.pid for check in state.checks.values() if check.outcome == "running"]
    return [pid for pid in (runner, *checking) if pid is not None]


def caller(tty: Terminal) -> Caller:
    """Return the person at a terminal, as the log names him."""
    return Caller(actor=f"person:{getpass.getuser()}@{HOST}:{tty.name}", kind="person")


def confirm(what: str, question: str, state: State | None = None) -> Caller:
    """Have a person confirm something at the terminal. Raises RefusedError when he does not."""
    tty = terminal(what, state)
    try:
        answer = tty.ask(f"{question} [yes/no] ")
        if answer is None or answer.lower() not in _YES:
            raise RefusedError("person.declined", "not confirmed", where=what, remedy="Nothing was changed.")
        return caller(tty)
    finally:
        tty.close()


def decide(
    service: RunService, state: State, tty: Terminal, evidence: Evidence, decision: str, choice: str, words: str
) -> State | Refusal:
    """Put a person's decision about what he was shown to the run."""
    text = words.strip().encode("utf-8", "replace")
    command = _order(state, evidence, decision, choice, digest(text) if text else None)
    return service.submit(state.run, caller(tty), command, {digest(text): text} if text else None)


def impossible(
    service: RunService, state: State, tty: Terminal, evidence: Evidence, decision: str, choice: str
) -> Refusal | None:
    """Say why a decision cannot be made here, before a person is asked for it."""
    command = _order(state, evidence, decision, choice, None)
    answer = judged(service.workflow(state), state, caller(tty), command, evidence)
    return answer if isinstance(answer, Refusal) else None


def _order(state: State, evidence: Evidence, decision: str, choice: str, text: str | None) -> DecideGate:
    found = evidence.artifact
    return DecideGate(
        decision=decision,  # type: ignore[arg-type]  # callers pass one of the four
        channel="terminal",
        choice=choice,
        text=text,
        body=found.body if found else None,
        tree=evidence.tree,
        anchor=state.head,
    )


def feedback(tty: Terminal, meanwhile: Callable[[], bool] = lambda: False) -> str:
    """Have a person say what is to be changed; empty when he says nothing."""
    word = "e" if outside.editor() else ""
    how = "An empty line ends it" + (f"; {word} alone opens your editor" if word else "")
    words = tty.text(f"What is to be changed? {how}: ", meanwhile, word=word)
    return outside.edited(tty.descriptor, meanwhile) if word and words == word else words or ""

"""Proof that a person decides: a controlling terminal, and no agent anywhere above this process.

The same user can still be impersonated by a program that types into that user's own terminal from outside; what was
decided is always in the log with the terminal it came from. See the documentation on approvals.
"""

from __future__ import annotations

import getpass
import os
import select
from collections.abc import Callable, Collection

from stagent import processes
from stagent.core.canonical import digest
from stagent.core.commands import Caller, DecideGate
from stagent.core.evidence import Evidence
from stagent.core.masking import mask
from stagent.core.refusals import Refusal
from stagent.core.state import State
from stagent.engine.evidence import HOST, Gathered
from stagent.engine.service import RunService
from stagent.errors import RefusedError

AGENT_NAMES = frozenset({"claude", "codex", "gemini", "opencode"})
_SHOWN_LINES = 400
_POLL = 0.5
_YES = frozenset({"y", "yes"})


class Terminal:
    """The controlling terminal of this process, opened by itself: redirected input or output do not matter."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def name(self) -> str:
        """The terminal's name, for the log: the one it goes by for everybody, not `/dev/tty`."""
        return processes.terminal()

    def say(self, text: str) -> None:
        """Write a line."""
        os.write(self._descriptor, (text + "\r\n").encode("utf-8", "replace"))

    def ask(self, question: str, meanwhile: Callable[[], bool] = lambda: False) -> str | None:
        """Ask and return the answer; None when the terminal closed or `meanwhile` said that it is settled."""
        os.write(self._descriptor, question.encode("utf-8", "replace"))
        answer = b""
        while True:
            ready, _, _ = select.select([self._descriptor], [], [], _POLL)
            if ready:
                part = os.read(self._descriptor, 4096)
                if not part:
                    return None
                answer += part
                if b"\n" in answer or b"\r" in answer:
                    return answer.decode("utf-8", "replace").strip()
            elif meanwhile():
                return None

    def close(self) -> None:
        """Give the terminal back."""
        os.close(self._descriptor)


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


def show(service: RunService, state: State, gathered: Gathered, tty: Terminal) -> None:
    """Show on the terminal what a decision would be about: the very bytes it will be bound to."""
    stage = service.workflow(state).stages[state.stage]
    found = gathered.evidence.artifact if stage.kind != "human" else None
    tree = gathered.evidence.tree
    tty.say(f"Run {state.run}: stage {state.stage}" + (f" ({_plain(stage.title)})" if stage.title else ""))
    tty.say(f"  epoch {state.epoch}, log head {state.head}")
    if found is not None:
        tty.say(f"  artifact {_plain(found.path)}")
        tty.say(f"  result {_plain(found.result) or '(none)'}, body {found.body[:16]}")
    if tree is not None:
        changes = service.workspace.changes(state.baseline, tree) if state.baseline else []
        tty.say(f"  project tree {tree[:16]}, {len(changes)} paths changed since the start")
        _lines(tty, "    ", [f"{change.status} {change.path}" for change in changes], f"stagent diff {state.run}")
    if found is not None:
        tty.say("")
        text = gathered.blobs.get(found.digest, b"").decode("utf-8", "replace")
        _lines(tty, "  | ", mask(text).splitlines(), f"stagent show {state.run} --artifact {state.stage}")
    tty.say("")


def _lines(tty: Terminal, margin: str, lines: list[str], whole: str) -> None:
    for line in lines[:_SHOWN_LINES]:
        tty.say(margin + _plain(line))
    if len(lines) > _SHOWN_LINES:
        tty.say(f"{margin}... {len(lines) - _SHOWN_LINES} MORE LINES, not shown here; read all of them first: {whole}")


def _plain(text: str) -> str:
    """Return text that cannot steer the terminal: an artifact is the agent's word and may hold escape sequences."""
    return "".join(letter if letter.isprintable() or letter == "\t" else "\N{REPLACEMENT CHARACTER}" for letter in text)


def decide(
    service: RunService, state: State, tty: Terminal, evidence: Evidence, decision: str, choice: str, words: str
) -> State | Refusal:
    """Put a person's decision about what he was shown to the run."""
    text = words.strip().encode("utf-8", "replace")
    found = evidence.artifact
    command = DecideGate(
        decision=decision,  # type: ignore[arg-type]  # callers pass one of the four
        channel="terminal",
        choice=choice,
        text=digest(text) if text else None,
        body=found.body if found else None,
        tree=evidence.tree,
        anchor=state.head,
    )
    return service.submit(state.run, caller(tty), command, {digest(text): text} if text else None)


class Asker:
    """Asks the person at the runner's own terminal when a gate opens."""

    def __init__(self, service: RunService, run: str, *, quiet: bool, before: Callable[[], None]) -> None:
        self._service = service
        self._run = run
        self._before = before
        self._off = quiet or not (os.isatty(0) and os.isatty(1)) or agent_above() is not None

    def ask(self, state: State, refusal: Refusal) -> bool:
        """Return True when the gate was decided, here or elsewhere, False when nobody decides now."""
        if self._off:
            return False
        self._before()
        try:
            tty = Terminal(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return False
        try:
            return self._ask(tty, state)
        finally:
            tty.close()

    def _ask(self, tty: Terminal, state: State) -> bool:
        gathered = self._service.gate_evidence(state)
        evidence = gathered.evidence
        stage = self._service.workflow(state).stages[state.stage]
        show(self._service, state, gathered, tty)

        def settled() -> bool:
            gate = self._service.state(self._run).gate
            return gate is not None and bool(gate.decision)

        if stage.kind == "human":
            choices = sorted(stage.transitions)
            answer = tty.ask(f"Choose {' | '.join(choices)} (empty: later): ", settled)
            if answer is None:
                return settled()
            return bool(answer) and self._put(tty, state, evidence, "answer", answer, "")
        answer = tty.ask("[a]pprove, [r]edo with feedback, or [l]ater? ", settled)
        if answer is None:
            return settled()
        if answer.lower() in ("a", "approve"):
            return self._put(tty, state, evidence, "approve", "", "")
        if answer.lower() in ("r", "redo"):
            words = tty.ask("Feedback: ") or ""
            return bool(words) and self._put(tty, state, evidence, "redo", "", words)
        return False

    def _put(self, tty: Terminal, state: State, evidence: Evidence, decision: str, choice: str, words: str) -> bool:
        answer = decide(self._service, state, tty, evidence, decision, choice, words)
        if isinstance(answer, Refusal):
            tty.say(answer.message)
            return answer.code == "gate.changed"
        return True

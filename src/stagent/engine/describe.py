"""One line of plain words for every event: what `log`, the live progress and the report print."""

from __future__ import annotations

from signal import Signals

from stagent.core import events as ev


def describe(data: ev.Event) -> str:
    """Return what an event says, in one line without free text."""
    return _WORDS[type(data)](data)  # type: ignore[no-any-return,operator]  # one entry per event type, tested


def left(code: int) -> str:
    """Return how a process ended that did not end well, by its exit status; below zero a signal ended it."""
    names = {-number: number.name for number in Signals}
    return f"ended by {names.get(code, f'signal {-code}')}" if code < 0 else f"exit {code}"


def _started(data: ev.RunStarted) -> str:
    return f"run started: workflow {data.flow} ({data.workflow[:12]}), {data.mode}"


def _entered(data: ev.StageEntered) -> str:
    return f"stage {data.stage} entered, epoch {data.epoch}"


def _attempt(data: ev.AttemptStarted) -> str:
    who = f"sub-agent {data.agent}" if data.agent else data.backend
    return f"attempt {data.number} at {data.stage} started: {who}"


def _attempt_over(data: ev.AttemptEnded) -> str:
    why = f" ({data.code})" if data.code and data.code != f"attempt.{data.outcome}" else ""
    code = f", {left(data.exit)}" if data.exit else ""
    return f"attempt {data.number} at {data.stage}: {data.outcome}{why}{code}"


def _artifact(data: ev.ArtifactRecorded) -> str:
    return f"artifact of {data.stage} read: {data.result} ({data.digest[:12]}) by {data.producer.kind}"


def _check(data: ev.CheckStarted) -> str:
    return f"check {data.name} started"


def _agent(data: ev.AgentStarted) -> str:
    return f"sub-agent {data.agent} ({data.kind}) helps in {data.stage}"


def _agent_over(data: ev.AgentEnded) -> str:
    words = {
        "ended": "ended",
        "late": f"of {data.stage}, epoch {data.epoch}, ended after its stage was left",
        "gone": "is gone without a word",
        "unknown": "ended; nothing says that it began",
    }
    return f"sub-agent {data.agent} {words[data.outcome]}"


def _check_over(data: ev.CheckEnded) -> str:
    code = f", {left(data.exit)}" if data.exit else ""
    return f"check {data.name}: {data.outcome}{code} ({data.millis / 1000:.1f} s)"


def _gate(data: ev.GateOpened) -> str:
    stale = "; the earlier approval is stale" if data.stale else ""
    return f"gate of {data.stage} waits for a decision{stale}"


def _decided(data: ev.GateDecided) -> str:
    what = (
        f"answered {data.choice}" if data.decision == "answer" else f"{data.decision}d".replace("rejectd", "rejected")
    )
    what = {"redod": "sent back with feedback"}.get(what, what)
    return f"gate of {data.stage} {what} ({'declared policy' if data.channel == 'policy' else data.channel})"


def _moved(data: ev.Transitioned) -> str:
    cap = " (cap reached)" if data.cause == "cap" else ""
    return f"{data.source} --{data.result}--> {data.target}, epoch {data.epoch}{cap}"


def _interrupted(data: ev.Interrupted) -> str:
    return "interrupted"


def _resumed(data: ev.Resumed) -> str:
    return f"resumed by {data.holder.kind}, fence {data.fence}"


def _taken(data: ev.TakenOver) -> str:
    return f"taken over by {data.holder.kind} from {data.previous.kind}, fence {data.fence}"


def _rebound(data: ev.SessionRebound) -> str:
    return f"session {data.previous} goes on as {data.session}"


def _stalled(data: ev.Stalled) -> str:
    return f"stalled in {data.stage} after {data.blocks} blocks without progress"


def _blocked(data: ev.Blocked) -> str:
    return f"blocked: {data.code}"


def _budget(data: ev.BudgetReached) -> str:
    return f"limit {data.budget} = {data.limit} reached: {data.action}"


def _escalated(data: ev.Escalated) -> str:
    return f"given up by the {data.by} in stage {data.stage}"


def _terminal(data: ev.Terminal) -> str:
    return f"run ended: {data.terminal}"


_WORDS: dict[type, object] = {
    ev.RunStarted: _started,
    ev.StageEntered: _entered,
    ev.AttemptStarted: _attempt,
    ev.AttemptEnded: _attempt_over,
    ev.AgentStarted: _agent,
    ev.AgentEnded: _agent_over,
    ev.ArtifactRecorded: _artifact,
    ev.CheckStarted: _check,
    ev.CheckEnded: _check_over,
    ev.GateOpened: _gate,
    ev.GateDecided: _decided,
    ev.Transitioned: _moved,
    ev.Interrupted: _interrupted,
    ev.Resumed: _resumed,
    ev.TakenOver: _taken,
    ev.SessionRebound: _rebound,
    ev.Stalled: _stalled,
    ev.Blocked: _blocked,
    ev.BudgetReached: _budget,
    ev.Escalated: _escalated,
    ev.Terminal: _terminal,
}

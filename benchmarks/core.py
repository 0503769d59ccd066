"""In-memory `decide` + `apply`, without storage, and how the cost stays over a long history.

Budget: at least 50,000 transitions a second on one core, flat over the history.
"""

from __future__ import annotations

import statistics
import time

from common import loop_flow

from stagent.core.canonical import GENESIS
from stagent.core.commands import Advance, Caller
from stagent.core.decide import decide
from stagent.core.events import Envelope, Event, FileMark, Holder, RunStarted, StageEntered, seal
from stagent.core.evidence import Evidence, Found
from stagent.core.reducer import apply
from stagent.core.state import State

COUNT, ROUNDS = 5_000, 10


def put(state: State | None, data: Event) -> State:
    """Apply one event to the state as the journal does."""
    seq, prev = (state.seq + 1, state.head) if state else (1, GENESIS)
    envelope = Envelope(v=1, run="r", seq=seq, at=1, actor="bench", data=data, prev=prev)
    return apply(state, envelope, seal(envelope)[1])


def main() -> None:
    workflow = loop_flow().workflow
    holder = Holder(kind="caller", session="bench")
    state = put(
        None, RunStarted(workflow="w", flow="f", project="p", mode="session", holder=holder, stage="a", task="t")
    )
    state = put(state, StageEntered(stage="a", epoch=1))
    caller = Caller(actor="bench", kind="caller", session="bench")
    rates = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(COUNT):
            found = Found(
                path="x", digest="d", body="b", size=1, mark=FileMark(1, 1, 1), epoch=state.epoch, result="done"
            )
            answer = decide(workflow, state, caller, Advance(), Evidence(artifact=found))
            assert isinstance(answer, list), answer
            for event in answer:
                state = put(state, event)
        rates.append(COUNT / (time.perf_counter() - began))
    print(f"decide + apply + seal: {statistics.median(rates):,.0f} transitions/s   budget >= 50,000")
    print(f"growth over {COUNT * ROUNDS:,} transitions: last / first round {rates[-1] / rates[0]:.2f}   budget flat")


if __name__ == "__main__":
    main()

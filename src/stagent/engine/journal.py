"""Appends events to a run's log and keeps its checkpoint: chain, fold and storage in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import msgspec

from stagent.core.canonical import GENESIS, encode
from stagent.core.events import VERSION, Envelope, Event, seal
from stagent.core.ports import Checkpoint, Record, Store
from stagent.core.reducer import CorruptLogError, apply, fold
from stagent.core.state import State
from stagent.errors import StoreError

_STATE = msgspec.json.Decoder(State)


class Journal:
    """The logs of one project. `clock` gives unix milliseconds."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        self.store = store
        self.clock = clock
        self._known: dict[str, tuple[State, int]] = {}

    def load(self, run: str) -> tuple[State, int]:
        """Return the state after the last event, and how far the spool is folded (bytes).

        Raises NotFoundError for an unknown run, StoreError for a checkpoint another version wrote.
        """
        checkpoint = self.store.checkpoint(run)
        known = self._known.get(run)
        fresh = known is None or known[0].head != checkpoint.head
        state = self._decode(run, checkpoint) if known is None or fresh else known[0]
        self._known[run] = state, checkpoint.spool_offset
        return self._known[run]

    def folded(self, run: str) -> int:
        """Return how far the spool of a run that was loaded is folded (bytes)."""
        known = self._known.get(run)
        return known[1] if known else 0

    def begin(self, run: str, events: Sequence[Event], actor: str, blobs: Mapping[str, bytes]) -> State:
        """Create a run with its first events."""
        state, records = self._chain(None, run, events, actor)
        self.store.create(run, records, _checkpoint(state, 0), blobs)
        self._known[run] = state, 0
        return state

    def append(
        self,
        state: State,
        events: Sequence[Event],
        actor: str,
        blobs: Mapping[str, bytes],
        spool_offset: int | None = None,
    ) -> State:
        """Append events after `state`. Raises ConflictError when another writer was first.

        `spool_offset` moves how far the spool is folded; a store never lets it go back.
        """
        offset = self._known[state.run][1] if spool_offset is None else spool_offset
        fresh, records = self._chain(state, state.run, events, actor)
        self.store.append(state.run, state.seq, records, _checkpoint(fresh, offset), blobs)
        self._known[state.run] = fresh, offset
        return fresh

    def refold(self, run: str) -> State:
        """Fold the whole log anew, verifying every hash. Raises StoreError where the chain is broken."""
        try:
            state = fold((record.body, record.hash) for record in self.store.read(run))
        except (CorruptLogError, msgspec.ValidationError, msgspec.DecodeError) as error:
            _broken(run, str(error), error)
        if state is None:
            _broken(run, "the log is empty", None)
        return state

    def _chain(self, state: State | None, run: str, events: Sequence[Event], actor: str) -> tuple[State, list[Record]]:
        at = self.clock()
        if state is not None:
            # A clock that went back must not make the log go back.
            at = max(at, state.updated_at)
        records: list[Record] = []
        for data in events:
            seq, prev = (state.seq + 1, state.head) if state is not None else (1, GENESIS)
            envelope = Envelope(v=VERSION, run=run, seq=seq, at=at, actor=actor, data=data, prev=prev)
            body, head = seal(envelope)
            state = apply(state, envelope, head)
            records.append(Record(seq, body, head))
        assert state is not None
        return state, records

    def _decode(self, run: str, checkpoint: Checkpoint) -> State:
        try:
            return _STATE.decode(checkpoint.state)
        except (msgspec.ValidationError, msgspec.DecodeError):
            # Another version wrote the checkpoint: the log is the truth, and folding it gives ours.
            return self.refold(run)


def state_bytes(state: State) -> bytes:
    """Return the canonical bytes of a state: what a checkpoint holds."""
    return encode(state)


def _checkpoint(state: State, spool_offset: int) -> Checkpoint:
    return Checkpoint(state.seq, state.head, state_bytes(state), spool_offset)


def _broken(run: str, why: str, cause: Exception | None) -> NoReturn:
    raise StoreError(
        "log.broken",
        f"the log does not fold: {why}",
        where=run,
        remedy="Look at it with: stagent audit verify; restore the project's database from a copy.",
    ) from cause

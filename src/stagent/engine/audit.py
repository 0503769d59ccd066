"""Verifies a run's log: the chain, the fold, the checkpoint, and an anchored head when there is one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from stagent.core.canonical import digest
from stagent.core.events import GateDecided, blobs_of, unseal
from stagent.core.ports import BlobGone
from stagent.core.reducer import CorruptLogError, apply
from stagent.core.state import State
from stagent.engine.journal import Journal, state_bytes
from stagent.errors import NotFoundError, StoreError

_SHORTEST = 12
"""How many digits of a head are enough."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit found. `anchored` is None without a head to compare with, `anchored_at` the event of that head."""

    run: str
    consistent: bool
    events: int
    head: str
    anchored: bool | None = None
    anchored_at: int | None = None
    anchors: int = 0
    missing: list[str] = []
    deleted: list[str] = []
    problem: str = ""

    @property
    def summary(self) -> str:
        """The sentence people read."""
        if not self.consistent:
            return f"{self.run}: NOT consistent: {self.problem}"
        if self.anchored is None:
            return f"{self.run}: consistent, not anchored ({self.events} events, head {self.head})"
        if self.anchored_at == self.events:
            return f"{self.run}: consistent and anchored ({self.events} events, head {self.head})"
        if self.anchored:
            reach = f"up to event {self.anchored_at} of {self.events}"
            return f"{self.run}: consistent, anchored {reach}; what follows is not anchored (head {self.head})"
        return f"{self.run}: NOT anchored: the log never had this head; what is here is not what was anchored"


def verify(journal: Journal, run: str, head: str | None = None) -> Verdict:
    """Fold the whole log anew and compare it with itself, the checkpoint, and `head` (a full hash or 12+ digits).

    Raises NotFoundError for an unknown run.
    """
    checkpoint = journal.store.checkpoint(run)
    state: State | None = None
    heads: dict[str, int] = {}
    anchors: list[str] = []
    mentioned: set[str] = set()
    problem = ""
    count = 0
    try:
        for record in journal.store.read(run):
            if digest(record.body) != record.hash:
                raise CorruptLogError(f"event {record.seq}: its bytes do not match its hash")
            envelope = unseal(record.body)
            if isinstance(envelope.data, GateDecided):
                anchors.append(envelope.data.anchor)
            mentioned.update(blobs_of(envelope.data).values())
            state = apply(state, envelope, record.hash)
            heads[record.hash] = record.seq
            count += 1
    except (CorruptLogError, msgspec.ValidationError, msgspec.DecodeError) as error:
        problem = str(error)
    if not problem:
        problem = _compare(state, checkpoint.state, checkpoint.seq, anchors, heads)
    missing, deleted = _look_up(journal, mentioned | _files(journal, state))
    if not problem and missing:
        problem = f"{len(missing)} blobs the log names are missing or damaged, first {missing[0]}"
    found = _event_of(head, heads) if head is not None else None
    return Verdict(
        run=run,
        consistent=not problem,
        events=count,
        head=state.head if state else "",
        anchored=None if head is None else found is not None,
        anchored_at=found,
        anchors=len(anchors),
        missing=missing,
        deleted=deleted,
        problem=problem,
    )


def _event_of(head: str, heads: Mapping[str, int]) -> int | None:
    if len(head) < _SHORTEST:
        return None
    return next((seq for item, seq in heads.items() if item.startswith(head)), None)


def _compare(state: State | None, stored: bytes, seq: int, anchors: list[str], heads: Collection[str]) -> str:
    if state is None:
        return "the log is empty"
    if state.seq != seq:
        return f"the log ends at event {state.seq}, the checkpoint says {seq}"
    if state_bytes(state) != stored:
        return "the checkpoint is not what the log folds to"
    for anchor in anchors:
        if anchor and anchor not in heads:
            return f"a decision was bound to the head {anchor[:12]}, which this log never had"
    return ""


def _files(journal: Journal, state: State | None) -> set[str]:
    """Return the digests of the files of the pinned workflow, as far as its manifest can be read."""
    try:
        manifest = journal.store.blob(state.workflow) if state else b""
        return (
            set(msgspec.json.decode(manifest, type=dict[str, str]).values()) if isinstance(manifest, bytes) else set()
        )
    except (NotFoundError, StoreError, msgspec.DecodeError, msgspec.ValidationError):
        return set()


def _look_up(journal: Journal, names: set[str]) -> tuple[list[str], list[str]]:
    missing: list[str] = []
    deleted: list[str] = []
    for name in sorted(names):
        try:
            found = journal.store.blob(name)
        except (NotFoundError, StoreError):
            missing.append(name)
            continue
        if isinstance(found, BlobGone):
            deleted.append(name)
        elif digest(found) != name:
            missing.append(name)
    return missing, deleted

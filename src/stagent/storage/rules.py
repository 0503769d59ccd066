"""What every store checks, and the errors every store raises, so that all of them say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stagent.core.canonical import digest
from stagent.core.ports import Checkpoint, Record
from stagent.errors import ConflictError, NotFoundError, StoreError


def check_batch(run: str, expected: int, records: Sequence[Record], checkpoint: Checkpoint) -> None:
    """Refuse events that do not count on from `expected`, or a checkpoint that is not the one after them.

    Raises StoreError `store.out_of_order`; only a defect of the caller can cause it.
    """
    for seq, record in enumerate(records, start=expected + 1):
        if record.seq != seq:
            raise _out_of_order(run, f"event {record.seq} stands where event {seq} must")
    last = expected + len(records)
    if checkpoint.seq != last:
        raise _out_of_order(run, f"the checkpoint is of event {checkpoint.seq}, the last event is {last}")
    if records and checkpoint.head != records[-1].hash:
        raise _out_of_order(run, f"the checkpoint's head is not the hash of event {last}")


def _out_of_order(run: str, what: str) -> StoreError:
    return StoreError(
        "store.out_of_order",
        what,
        where=f"run {run}",
        remedy="Nothing was stored; report this as a defect.",
        fields={"run": run},
    )


def check_names(blobs: Mapping[str, bytes]) -> None:
    """Refuse a blob under a name that is not its SHA-256. Raises StoreError `store.blob_misnamed`."""
    for name, data in blobs.items():
        if digest(data) != name:
            raise StoreError(
                "store.blob_misnamed",
                "its bytes have another digest than its name",
                where=f"blob {name}",
                remedy="Nothing was stored; report this as a defect.",
                fields={"digest": name},
            )


def check_bytes(name: str, data: bytes | None) -> bytes:
    """Return a blob's stored bytes. Raises StoreError `store.blob_damaged` when they are missing or not its own."""
    if data is not None and digest(data) == name:
        return data
    raise StoreError(
        "store.blob_damaged",
        "its file is missing" if data is None else "its bytes were changed after they were stored",
        where=f"blob {name}",
        remedy="Restore it from a back-up, or delete it so that a tombstone says it is gone.",
        fields={"digest": name},
    )


def run_exists(run: str) -> ConflictError:
    """Return the error for beginning a run twice."""
    return ConflictError(
        "store.run_exists", "the run exists", where=f"run {run}", remedy="Read it instead.", fields={"run": run}
    )


def conflict(run: str, expected: int, found: int) -> ConflictError:
    """Return the error for an append that another writer preceded."""
    return ConflictError(
        "store.conflict",
        f"the log ends at event {found}, not {expected}: another writer was first",
        where=f"run {run}",
        remedy="Read the run again and decide again.",
        fields={"run": run, "expected": expected, "found": found},
    )


def unknown_run(run: str) -> NotFoundError:
    """Return the error for a run that is not in the store."""
    return NotFoundError(
        "store.unknown_run",
        f'no run "{run}"',
        remedy="`stagent runs` lists the runs of this project.",
        fields={"run": run},
    )


def unknown_blob(name: str) -> NotFoundError:
    """Return the error for a blob that was never stored."""
    return NotFoundError(
        "store.unknown_blob",
        f'no blob "{name}"',
        remedy="A blob is named by the SHA-256 of its bytes, in hex.",
        fields={"digest": name},
    )

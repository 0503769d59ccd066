"""A process that writes to a store and says on standard output what it was told is stored. Started by the tests.

`store_child.py work DATABASE BLOBS [ROUNDS]` goes on with the run until it has done its rounds or is killed.
`store_child.py race DATABASE BLOBS ROUNDS NAME` waits for a line on standard input, then appends its own events.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stagent.core.canonical import GENESIS, digest, encode
from stagent.core.ports import Checkpoint, Record
from stagent.errors import ConflictError, NotFoundError
from stagent.storage.sqlite import SqliteStore

RUN = "r-01"


def contents(seq: int) -> list[bytes]:
    """The blobs that event `seq` names: one beside the rows, one as a file, one to be buried."""
    return [b"small %d" % seq, b"%d large " % seq * 9000, b"%d secret " % seq * 9000]


def event(seq: int, prev: str, writer: str = "") -> Record:
    """Event `seq`: canonical JSON that holds the hash of the event before and the digests of its blobs."""
    body = encode({"seq": seq, "prev": prev, "writer": writer, "blobs": [digest(data) for data in contents(seq)]})
    return Record(seq, body, digest(body))


def say(*words: object) -> None:
    print(*words, flush=True)


def work(store: SqliteStore, rounds: int) -> None:
    for _ in range(rounds):
        try:
            last = store.checkpoint(RUN)
        except NotFoundError:
            last = Checkpoint(0, GENESIS, b"")
        one = event(last.seq + 1, last.head)
        two = event(last.seq + 2, one.hash)
        after = Checkpoint(two.seq, two.hash, two.body, two.seq * 10)
        blobs = {digest(data): data for seq in (one.seq, two.seq) for data in contents(seq)}
        if last.seq == 0:
            store.create(RUN, [one, two], after, blobs)
        else:
            store.append(RUN, last.seq, [one, two], after, blobs)
        say("appended", two.seq)
        for seq in (one.seq, two.seq):
            store.bury_blob(digest(contents(seq)[2]), "masked", seq)
            say("buried", seq)


def race(store: SqliteStore, rounds: int, name: str) -> None:
    say("ready")
    sys.stdin.readline()
    won = 0
    while won < rounds:
        last = store.checkpoint(RUN)
        record = event(last.seq + 1, last.head, name)
        try:
            store.append(RUN, last.seq, [record], Checkpoint(record.seq, record.hash, record.body), {})
        except ConflictError:
            say("lost", record.seq)
        else:
            won += 1
            say("won", record.seq)


def main() -> None:
    kind, database, blobs, rounds, *name = sys.argv[1:]
    store = SqliteStore(Path(database), Path(blobs))
    if kind == "work":
        work(store, int(rounds))
    else:
        race(store, int(rounds), name[0])
    store.close()
    say("done")


if __name__ == "__main__":
    main()

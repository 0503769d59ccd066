"""What every `Store` must do, as named contracts that need no test framework.

    problems = check_store(lambda: MyStore(new_folder()))

Each contract gets a factory of fresh, empty stores. A store that keeps its data is given a second factory, `reopen`,
which opens the same data as the last fresh store again; without it the contracts in `DURABLE` are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from stagent.core.canonical import GENESIS, digest
from stagent.core.ports import BlobGone, Checkpoint, Record, RunRow, Store
from stagent.errors import ConflictError, NotFoundError, StagentError, StoreError

Make = Callable[[], Store]
Contract = Callable[[Make], None]

RUN, OTHER = "r-01", "r-02"
LARGE = 1_000_003
"""Bytes in the large blob of the contracts: more than any store would like to keep beside its rows."""


class BrokenContractError(AssertionError):
    """A store does not do what a contract says."""


def require(holds: bool, what: str) -> None:
    """Raise BrokenContractError saying what does not hold; also with assertions switched off."""
    if not holds:
        raise BrokenContractError(what)


@contextmanager
def refused(kind: type[StagentError], what: str) -> Iterator[None]:
    """Require that the block raises an error of ours of exactly this kind."""
    try:
        yield
    except StagentError as error:
        require(type(error) is kind, f"{what}: raises {type(error).__name__} instead of {kind.__name__}")
        require(bool(error.code and error.remedy), f"{what}: the error has no code or no remedy")
    else:
        raise BrokenContractError(f"{what}: nothing is raised instead of {kind.__name__}")


def log(first: int, last: int, prev: str = GENESIS) -> list[Record]:
    """Return chained events with bytes that survive only a store that leaves them alone."""
    records: list[Record] = []
    for seq in range(first, last + 1):
        body = prev.encode() + bytes([seq % 256, 0, 10, 13, 255]) + "ä\u2028".encode()
        prev = digest(body)
        records.append(Record(seq, body, prev))
    return records


def checkpoint_of(records: Sequence[Record], state: bytes = b"{}", spool_offset: int = 0) -> Checkpoint:
    """Return the checkpoint after the last of some events."""
    return Checkpoint(records[-1].seq, records[-1].hash, state, spool_offset)


def named(*contents: bytes) -> Mapping[str, bytes]:
    """Return blobs by their digests."""
    return {digest(content): content for content in contents}


def begin(store: Store, run: str = RUN, events: int = 1) -> list[Record]:
    """Create a run with so many events and return them."""
    records = log(1, events)
    store.create(run, records, checkpoint_of(records), {})
    return records


def bytes_come_back_exactly(make: Make) -> None:
    """Events, hashes, state and blobs are returned byte for byte."""
    blobs = named(b"", b"\x00\xff", bytes(range(256)) * 300, b"L" * LARGE)
    with closing(make()) as store:
        records = log(1, 3)
        store.create(RUN, records[:1], checkpoint_of(records[:1], b"\x00\xffone"), blobs)
        store.append(RUN, 1, records[1:], checkpoint_of(records, b"\xfe\x00two", 77), {})
        require(list(store.read(RUN)) == records, "read does not return the events that were stored")
        require(store.checkpoint(RUN) == checkpoint_of(records, b"\xfe\x00two", 77), "the checkpoint is another one")
        for name, content in blobs.items():
            require(store.blob(name) == content, f"a blob of {len(content)} bytes is not what was stored")


def a_run_begins_once(make: Make) -> None:
    """Creating a run again is a conflict and changes nothing."""
    with closing(make()) as store:
        records = begin(store, events=2)
        with refused(ConflictError, "create of a run that exists"):
            store.create(RUN, records[:1], checkpoint_of(records[:1]), named(b"never"))
        require(list(store.read(RUN)) == records, "a refused create changed the log")
        with refused(NotFoundError, "a blob of a refused create"):
            store.blob(digest(b"never"))


def an_append_needs_the_expected_seq(make: Make) -> None:
    """An append whose expected seq is not the last one is a conflict and stores nothing, its blobs neither."""
    with closing(make()) as store:
        records = begin(store, events=2)
        before = store.checkpoint(RUN)
        for expected in (0, 1, 3, 9):
            late = log(expected + 1, expected + 2)
            with refused(ConflictError, f"append after event {expected} to a log that ends at 2"):
                store.append(RUN, expected, late, checkpoint_of(late), named(b"small", b"L" * LARGE))
        with refused(ConflictError, "an append without events and with a wrong expected seq"):
            store.append(RUN, 1, [], Checkpoint(1, records[0].hash, b""), {})
        require(list(store.read(RUN)) == records, "a refused append changed the log")
        require(store.checkpoint(RUN) == before, "a refused append changed the checkpoint")
        for content in (b"small", b"L" * LARGE):
            with refused(NotFoundError, "a blob of a refused append"):
                store.blob(digest(content))


def a_batch_must_fit(make: Make) -> None:
    """Events with a gap, and a checkpoint of another event, are refused whole."""
    with closing(make()) as store:
        [first] = begin(store)
        second, third = log(2, 3, first.hash)
        with refused(StoreError, "an append with a gap"):
            store.append(RUN, 1, [third], checkpoint_of([third]), {})
        with refused(StoreError, "a checkpoint that is behind its events"):
            store.append(RUN, 1, [second, third], checkpoint_of([second]), {})
        with refused(StoreError, "a checkpoint with another head"):
            store.append(RUN, 1, [second], Checkpoint(2, first.hash, b""), {})
        require(list(store.read(RUN)) == [first], "a refused batch changed the log")


def an_append_may_have_no_events(make: Make) -> None:
    """Blobs and a new spool offset can be stored without an event."""
    with closing(make()) as store:
        records = begin(store)
        moved = checkpoint_of(records, b"same", 4096)
        store.append(RUN, 1, [], moved, named(b"alone"))
        require(store.checkpoint(RUN) == moved, "the spool offset was not stored")
        require(list(store.read(RUN)) == records, "an append without events changed the log")
        require(store.blob(digest(b"alone")) == b"alone", "the blob was not stored")


def reading_goes_on_from_a_place(make: Make) -> None:
    """`after` and `limit` cut a log where they say, also a long one."""
    with closing(make()) as store:
        records = begin(store, events=1300)
        for after, limit in ((0, None), (1, None), (1299, None), (1300, None), (5000, None), (0, 1300), (3, 1100)):
            last = None if limit is None else after + limit
            found = list(store.read(RUN, after, limit))
            require(found == records[after:last], f"read after {after} with limit {limit} returns other events")
        for limit in (0, 1, 512, 513):
            require(len(list(store.read(RUN, 10, limit))) == limit, f"limit {limit} is not kept")


def unknown_names_are_reported(make: Make) -> None:
    """A run or blob that is not there is a NotFoundError, at the call itself."""
    records = log(1, 1)
    calls: dict[str, Callable[[Store], object]] = {
        "checkpoint": lambda store: store.checkpoint(OTHER),
        "read": lambda store: store.read(OTHER),
        "append": lambda store: store.append(OTHER, 0, records, checkpoint_of(records), {}),
        "heartbeat": lambda store: store.heartbeat(OTHER, 1, 1),
        "blob": lambda store: store.blob("0" * 64),
        "bury_blob": lambda store: store.bury_blob("0" * 64, "masked", 1),
    }
    with closing(make()) as store:
        begin(store)
        for name, call in calls.items():
            with refused(NotFoundError, f"{name} of something unknown"):
                call(store)
        require(store.last_heartbeat(OTHER, 1) is None, "an unknown run has a heartbeat")


def runs_are_listed_oldest_first(make: Make) -> None:
    """A listing has every run in the order of creation, with its latest checkpoint; logs do not mix."""
    with closing(make()) as store:
        require(store.runs() == [], "a fresh store has runs")
        names = ["r-b", "r-c", "r-a"]
        for name in names:
            begin(store, name)
        more = log(2, 2, log(1, 1)[0].hash)
        store.append("r-b", 1, more, checkpoint_of(more, b"later"), {})
        listed = store.runs()
        require([row.run for row in listed] == names, "runs are not in the order of creation")
        require(listed[0] == RunRow("r-b", 2, more[0].hash, b"later"), "a listed run is not at its checkpoint")
        require([len(list(store.read(name))) for name in names] == [2, 1, 1], "the logs of two runs are mixed")


def a_blob_needs_its_own_name(make: Make) -> None:
    """Bytes under a name that is not their digest are refused, with everything that came with them."""
    with closing(make()) as store:
        for wrong in ("0" * 64, "../escape", ""):
            with refused(StoreError, f"a blob under the name {wrong!r}"):
                store.put_blobs({**named(b"right"), wrong: b"text"})
        with refused(NotFoundError, "a blob that came with a misnamed one"):
            store.blob(digest(b"right"))


def storing_a_blob_again_does_nothing(make: Make) -> None:
    """A blob may be stored any number of times, alone or with events."""
    blobs = named(b"twice", b"L" * LARGE)
    with closing(make()) as store:
        store.put_blobs({})
        store.put_blobs(blobs)
        store.put_blobs(blobs)
        records = log(1, 1)
        store.create(RUN, records, checkpoint_of(records), blobs)
        for name, content in blobs.items():
            require(store.blob(name) == content, "a blob that was stored again is not what was stored")


def a_buried_blob_stays_buried(make: Make) -> None:
    """The first tombstone stays, whatever is buried or stored afterwards."""
    for content in (b"", b"secret", b"S" * LARGE):
        name = digest(content)
        with closing(make()) as store:
            records = log(1, 1)
            store.create(RUN, records, checkpoint_of(records), {name: content})
            store.bury_blob(name, "masked", 123)
            store.bury_blob(name, "again", 456)
            store.put_blobs({name: content})
            store.append(RUN, 1, [], checkpoint_of(records), {name: content})
            found = store.blob(name)
            require(
                found == BlobGone(name, "masked", 123), f"a buried blob of {len(content)} bytes gives {found!r:.80}"
            )


def an_old_lease_has_no_heartbeat(make: Make) -> None:
    """Heartbeats are kept per fence, never go back in time, and an older fence changes nothing."""
    with closing(make()) as store:
        begin(store)
        require(store.last_heartbeat(RUN, 1) is None, "a fresh run has a heartbeat")
        store.heartbeat(RUN, 1, 100)
        store.heartbeat(RUN, 1, 90)
        require(store.last_heartbeat(RUN, 1) == 100, "a late heartbeat moved the time back")
        store.heartbeat(RUN, 3, 200)
        store.heartbeat(RUN, 1, 300)
        store.heartbeat(RUN, 2, 300)
        require(store.last_heartbeat(RUN, 1) == 100, "a replaced lease was alive again")
        require(store.last_heartbeat(RUN, 2) is None, "an older lease was alive")
        require(store.last_heartbeat(RUN, 3) == 200, "the heartbeat of the newest lease is another one")


def a_closed_store_is_closed(make: Make) -> None:
    """After `close` a call is a StoreError, and closing again is harmless."""
    store = make()
    store.close()
    store.close()
    with refused(StoreError, "a call after close"):
        store.runs()


CONTRACTS: dict[str, Contract] = {
    contract.__name__: contract
    for contract in (
        bytes_come_back_exactly,
        a_run_begins_once,
        an_append_needs_the_expected_seq,
        a_batch_must_fit,
        an_append_may_have_no_events,
        reading_goes_on_from_a_place,
        unknown_names_are_reported,
        runs_are_listed_oldest_first,
        a_blob_needs_its_own_name,
        storing_a_blob_again_does_nothing,
        a_buried_blob_stays_buried,
        an_old_lease_has_no_heartbeat,
        a_closed_store_is_closed,
    )
}
"""Contracts by name; each raises BrokenContractError when the store does not keep it."""


def everything_is_there_after_reopening(make: Make, reopen: Make) -> None:
    """What a closed store held, another one opened on the same data holds, and the run can go on."""
    gone = digest(b"gone")
    with closing(make()) as store:
        records = begin(store, events=3)
        store.append(RUN, 3, [], checkpoint_of(records, b"state", 9), named(b"", b"L" * LARGE, b"gone"))
        store.bury_blob(gone, "masked", 5)
        store.heartbeat(RUN, 1, 100)
    with closing(reopen()) as store:
        require(list(store.read(RUN)) == records, "the log is not what it was")
        require(store.checkpoint(RUN) == checkpoint_of(records, b"state", 9), "the checkpoint is not what it was")
        require(store.blob(digest(b"L" * LARGE)) == b"L" * LARGE, "a large blob is not what it was")
        require(store.blob(gone) == BlobGone(gone, "masked", 5), "a tombstone is not what it was")
        require(store.last_heartbeat(RUN, 1) == 100, "a heartbeat is not what it was")
        more = log(4, 4, records[-1].hash)
        store.append(RUN, 3, more, checkpoint_of(more), {})
        require(len(list(store.read(RUN))) == 4, "the run cannot go on")


def two_stores_see_the_same_data(make: Make, reopen: Make) -> None:
    """Two open stores on the same data see each other's writes, and of two appends at one place one is a conflict."""
    with closing(make()) as one, closing(reopen()) as two:
        records = begin(one)
        more = log(2, 2, records[-1].hash)
        two.append(RUN, 1, more, checkpoint_of(more), named(b"from two"))
        with refused(ConflictError, "the second append at one place"):
            one.append(RUN, 1, more, checkpoint_of(more), {})
        require(list(one.read(RUN)) == [*records, *more], "one store does not see what the other appended")
        require(one.blob(digest(b"from two")) == b"from two", "one store does not see the other's blob")


DURABLE: dict[str, Callable[[Make, Make], None]] = {
    contract.__name__: contract for contract in (everything_is_there_after_reopening, two_stores_see_the_same_data)
}
"""Contracts of stores whose data outlives them; the second factory opens the first one's last data again."""


def check_store(make: Make, reopen: Make | None = None) -> list[str]:
    """Run every contract, each on fresh stores, and return what is broken as `contract: what`; empty when all hold."""
    problems: list[str] = []
    for name, contract in CONTRACTS.items():
        try:
            contract(make)
        except (BrokenContractError, StagentError) as error:
            problems.append(f"{name}: {error}")
    for name, durable in DURABLE.items() if reopen else ():
        try:
            durable(make, reopen or make)
        except (BrokenContractError, StagentError) as error:
            problems.append(f"{name}: {error}")
    return problems

"""What stands in the generated files when several writers move one run at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stagent.core import commands as cmd
from stagent.core.ports import Checkpoint, Record
from stagent.core.state import State
from stagent.engine.projections import statefile
from stagent.storage.memory import MemoryStore
from unit.engine.service_world import PERSON, ServiceWorld

FILES = {
    "workflow.json": msgspec.json.encode(
        {
            "initial_stage": "one",
            "terminal_stages": ["complete", "escalated"],
            "run_files": {},
            "stages": {"one": {"execution": {"type": "inline"}, "transitions": {"done": "complete"}}},
        }
    ),
    "one.md": b"Do it.",
}


class Overtaken(MemoryStore):
    """A store whose writer is held up behind its first commit, just long enough for another to come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Callable[[], None]] = []

    def append(
        self,
        run: str,
        expected_seq: int,
        records: Sequence[Record],
        checkpoint: Checkpoint,
        blobs: Mapping[str, bytes],
    ) -> None:
        """Append, then let the other writer go first."""
        super().append(run, expected_seq, records, checkpoint, blobs)
        if self.meanwhile:
            self.meanwhile.pop()()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ServiceWorld]:
    """A run of a session, on a store whose writers can be overtaken."""
    made = ServiceWorld(tmp_path, Overtaken(), FILES, "session")
    yield made


def shown(world: ServiceWorld) -> tuple[bytes, int]:
    """What `state.md` holds, and the event the live file shows."""
    live = msgspec.json.decode((world.place / "home" / "live" / "session-1.json").read_bytes())
    return world.folder.state_file.read_bytes(), live["seq"]


def newest(world: ServiceWorld) -> State:
    """The state in the store, read without bringing any file up to date."""
    return world.fresh().journal.load(world.run)[0]


def refuse(world: ServiceWorld, service: Any, code: str) -> Any:
    return service.submit(world.run, world.driver, cmd.Refuse(code=code))


def test_a_writer_that_was_overtaken_does_not_hide_the_newer_state(world: ServiceWorld) -> None:
    driver, store = world.driver, world.store
    assert isinstance(store, Overtaken)
    other = world.fresh()
    store.meanwhile.append(lambda: other.submit(world.run, driver, cmd.Refuse(code="second")) and None)
    world.service.submit(world.run, driver, cmd.Refuse(code="first"))
    state = newest(world)
    assert (state.refusal, state.refused) == ("second", 2)
    assert shown(world) == (statefile.render(state, str(world.root)), state.seq)


def test_a_writer_that_was_overtaken_by_the_end_leaves_nothing_for_hooks(world: ServiceWorld) -> None:
    driver, store = world.driver, world.store
    assert isinstance(store, Overtaken)
    other = world.fresh()
    store.meanwhile.append(lambda: other.submit(world.run, PERSON, cmd.Cancel()) and None)
    world.service.submit(world.run, driver, cmd.Refuse(code="first"))
    state = newest(world)
    assert state.terminal == "cancelled"
    assert world.folder.state_file.read_bytes() == statefile.render(state, str(world.root))
    assert list((world.place / "home" / "live").iterdir()) == []


def test_after_a_race_of_many_writers_the_files_show_the_last_event(world: ServiceWorld) -> None:
    driver = world.driver
    failed: list[BaseException] = []

    def hurry(name: str) -> None:
        service = world.fresh()
        try:
            for number in range(25):
                service.submit(world.run, driver, cmd.Refuse(code=f"{name}.{'x' * (number % 7)}{number}"))
        except BaseException as error:
            failed.append(error)
            raise

    for _ in range(3):
        threads = [threading.Thread(target=hurry, args=(name,)) for name in ("a", "bb", "ccc", "dddd")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        state = newest(world)
        assert failed == []
        assert shown(world) == (statefile.render(state, str(world.root)), state.seq)
    assert newest(world).refused == 300

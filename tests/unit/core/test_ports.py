"""The values that cross the engine's ports."""

from __future__ import annotations

import msgspec
import pytest

from stagent.core import ports
from stagent.core.canonical import encode
from unit.core.documents import PLAIN, workflow
from unit.core.world import World


def test_changes_are_sorted_by_path() -> None:
    changes = [ports.Change("b", "A"), ports.Change("a", "M"), ports.Change("a", "D")]
    assert [(change.path, change.status) for change in sorted(changes)] == [("a", "D"), ("a", "M"), ("b", "A")]


def test_values_are_not_changed_once_made() -> None:
    launch = ports.Launch(argv=["true"], env={})
    assert launch.stdin == b""
    with pytest.raises(AttributeError):
        launch.stdin = b"x"


def test_records_and_checkpoints_hold_a_log_and_its_state() -> None:
    world = World(workflow(PLAIN))
    records = [ports.Record(seq, body, head) for seq, (body, head) in enumerate(world.log, start=1)]
    checkpoint = ports.Checkpoint(seq=world.now.seq, head=world.now.head, state=encode(world.now))
    assert (records[-1].seq, records[-1].hash) == (checkpoint.seq, checkpoint.head)
    assert msgspec.json.decode(checkpoint.state, type=type(world.now)) == world.now
    assert checkpoint.spool_offset == 0

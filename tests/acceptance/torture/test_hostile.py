"""A hostile program as the agent: the run ends, every byte is kept, no process is left, memory stays bounded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acceptance.torture.hostile_child import LINE, MEGABYTE, RESULT
from acceptance.torture.scene import Ended, Scene

FLOOD_MEGABYTES = 200
SMALL = 120 * MEGABYTE
"""What a runner takes at most where nothing is large: the interpreter, its modules, a few blocks."""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def drive(scene: Scene, deed: str, **more: object) -> Ended:
    """Drive a run whose first attempt does the deed, and check what holds whatever that is."""
    done = scene.run(scene.flow(**more), HOSTILE=deed, HOSTILE_MEGABYTES=str(FLOOD_MEGABYTES))
    assert (done.status, done.errors) == (0, ""), done.out.decode()
    scene.check_end(done.run)
    return done


ENDED = {"timeout": 2.0, "retry": {"attempts": 30}}
"""What ends an attempt that would go on for ever; on a slow machine one may be ended before it did anything."""


def timed_out(scene: Scene, done: Ended) -> tuple[str, int]:
    """The attempt that did the deed and was ended for it: its name among the streams, and its exit status."""
    *before, last = done.outcomes()
    assert (set(before), last) == ({"timeout"}, "ok")
    [attempt] = (scene.notes / "ready").read_text().split()
    [end] = [end for end in scene.ended(done.run) if attempt.endswith(f".{end['epoch']}.{end['number']}")]
    return f"{end['epoch']}.{end['number']}", int(end["exit"])


def test_one_that_ignores_every_request_is_forced(scene: Scene) -> None:
    done = drive(scene, "stubborn", **ENDED)
    assert timed_out(scene, done)[1] == -9
    assert len(scene.pids()) >= 3


def test_one_that_hangs_is_asked(scene: Scene) -> None:
    done = drive(scene, "hang", **ENDED)
    attempt, status = timed_out(scene, done)
    assert status == 7, "it ended by itself when it was asked"
    assert (scene.notes / "asked").read_text().split() == (scene.notes / "ready").read_text().split()
    assert b"soon" in scene.stream(done.run, attempt).read_bytes()


def test_a_family_that_hides_is_found(scene: Scene) -> None:
    assert drive(scene, "family").outcomes() == ["ok"]
    assert len(scene.pids()) == 9


def test_one_that_falls_silent_is_waited_for(scene: Scene) -> None:
    assert drive(scene, "mute").outcomes() == ["ok"]
    assert float((scene.notes / "lived").read_text()) >= 0.3


def test_a_flood_is_kept_whole_in_little_memory(scene: Scene) -> None:
    done = drive(scene, "flood")
    block = b"".join(LINE % number for number in range(1000))
    path = scene.stream(done.run, "1.1")
    with open(path, "rb") as file:
        for _ in range(FLOOD_MEGABYTES):
            assert file.read(MEGABYTE) == block
        assert file.read() == RESULT + b"\n"
    assert done.peak < SMALL
    said = Ended(scene, scene.start("logs", done.run, "--tail", "2", "--json"))
    assert [json.loads(line)["kind"] for line in said.out.splitlines()] == ["text", "result"]
    assert said.peak < SMALL


@pytest.mark.parametrize(("deed", "size"), [("long", 64 * MEGABYTE + 29), ("longer", 80 * MEGABYTE + 1)])
def test_a_line_of_any_length_is_kept(scene: Scene, deed: str, size: int) -> None:
    done = drive(scene, deed)
    path = scene.stream(done.run, "1.1")
    assert path.stat().st_size == size + len(RESULT) + 1
    assert done.peak < SMALL + 4 * 64 * MEGABYTE
    said = Ended(scene, scene.start("logs", done.run, "--json"))
    first, last = (json.loads(line) for line in said.out.splitlines())
    assert (first["kind"], last["kind"]) == ("text" if deed == "long" else "other", "result")
    assert len(first["text"]) <= 2000


def test_bytes_that_are_no_text_survive(scene: Scene) -> None:
    done = drive(scene, "garbage")
    raw = scene.stream(done.run, "1.1").read_bytes()
    assert raw.startswith(b"\xff\xfe\x00\x1b[2J\xc3(\n") and raw.endswith(b"[\n" + RESULT)
    printed = Ended(scene, scene.start("logs", done.run, "--raw"))
    assert printed.out == raw
    words = Ended(scene, scene.start("logs", done.run)).out
    assert b"\x1b" not in words and b"\x00" not in words
    assert words.count(b"\n") > 1000


def test_exit_0_without_a_result_is_a_failure(scene: Scene) -> None:
    assert drive(scene, "silent").outcomes() == ["failed", "ok"]


def test_a_flood_of_errors_is_bounded(scene: Scene) -> None:
    done = drive(scene, "errors")
    kept = Path(f"{scene.stream(done.run, '1.1')}.stderr")
    assert 2 * 256 * 1024 < kept.stat().st_size < 2 * 256 * 1024 + 100
    assert done.peak < SMALL
    assert "bytes left out" in scene.cli("logs", done.run, "--stderr")


def test_one_that_never_stops_talking_is_ended(scene: Scene) -> None:
    done = drive(scene, "babble", **ENDED)
    raw = scene.stream(done.run, timed_out(scene, done)[0]).read_bytes()
    line = LINE % 0
    assert raw[: len(line) * (len(raw) // len(line))] == line * (len(raw) // len(line))
    assert line.startswith(raw[len(line) * (len(raw) // len(line)) :])
    assert done.peak < SMALL

"""The files of an attempt are read whatever state they are in, and the typed events made again from the stream."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core.ports import AgentEvent
from stagent.runner.replay import Follower, complete, is_whole, plain_parse, rebuild, tail_offset
from stagent.runner.streams import LineSplitter, Place, seen
from stagent.runner.typed import Recorder, Typed, typed_path

SAID = b'first\n\n{"a": 1}\nboth|parts\n\xff\xfe bad\nnone\nlast, without an end'


def parse(line: bytes) -> list[AgentEvent]:
    """Most lines are one event, some two, some none."""
    if line == b"none":
        return []
    return [AgentEvent(kind="text", text=part.decode("utf-8", "replace")) for part in line.split(b"|")]


def record(stream: Path, said: bytes = SAID, *, upto: int | None = None) -> list[Typed]:
    """Write a stream and its typed events, these as far as `upto` bytes of their file; return all of them."""
    stream.write_bytes(said)
    place = Place()
    recorder = Recorder(str(stream), place, lambda event: None)
    splitter = LineSplitter(
        lambda line: [recorder.note(event) for event in parse(line)] and None,
        lambda length: recorder.note(AgentEvent(kind="other", text=str(length))),
        place=place,
    )
    splitter.feed(said)
    splitter.finish()
    recorder.finish(len(said))
    recorder.close()
    path = Path(typed_path(str(stream)))
    whole = kept(stream)
    if upto is not None:
        os.truncate(path, min(upto, path.stat().st_size))
    return whole


def kept(stream: Path) -> list[Typed]:
    return [msgspec.json.decode(line, type=Typed) for line in Path(typed_path(str(stream))).read_bytes().splitlines()]


def timeless(items: list[Typed]) -> list[Typed]:
    return [msgspec.structs.replace(item, at=0) for item in items]


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    return tmp_path / "2.1.ndjson"


def test_every_event_knows_its_line(stream: Path) -> None:
    items = record(stream)
    for item in items[:-1]:
        line = SAID[item.offset :].partition(b"\n")[0]
        assert item.text in line.decode("utf-8", "replace").split("|")
        assert SAID[: item.offset].count(b"\n") == item.line - 1
    assert is_whole(str(stream))


@given(cut=st.integers(0, 700))
def test_typed_events_that_are_behind_are_made_again(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    stream = tmp_path_factory.mktemp("replay") / "2.1.ndjson"
    whole = record(stream, upto=cut)
    read = list(complete(str(stream), parse))
    assert timeless(read) == timeless(whole[:-1])
    assert rebuild(str(stream), parse)
    assert is_whole(str(stream))
    assert timeless(kept(stream)) == timeless(whole)
    surely = sum(len(msgspec.json.encode(item)) + 1 for item in whole[:2]) < cut
    assert not surely or kept(stream)[0].at == whole[0].at
    assert not list(stream.parent.glob("*.new"))


def test_a_missing_file_of_typed_events_is_made(stream: Path) -> None:
    whole = record(stream)
    Path(typed_path(str(stream))).unlink()
    assert not is_whole(str(stream))
    assert rebuild(str(stream), parse)
    assert timeless(kept(stream)) == timeless(whole)


def test_damage_and_words_from_beyond_the_stream_are_left_out(stream: Path) -> None:
    whole = record(stream)
    path = Path(typed_path(str(stream)))
    lines = path.read_bytes().splitlines(keepends=True)
    beyond = msgspec.json.encode(Typed(line=99, offset=10_000, kind="text", text="never said"))
    path.write_bytes(b"".join([lines[0], b"\x00\xff{\n", lines[1], b"x" * 300_000 + b"\n", beyond]))
    assert rebuild(str(stream), parse)
    assert timeless(kept(stream)) == timeless(whole)


def test_a_stream_that_went_on_is_not_whole(stream: Path) -> None:
    record(stream)
    with open(stream, "ab") as file:
        file.write(b" and more\n")
    assert not is_whole(str(stream))
    assert rebuild(str(stream), parse)
    assert kept(stream)[-2].text == "last, without an end and more"


def test_nothing_at_all_is_no_error(stream: Path) -> None:
    assert not is_whole(str(stream))
    assert list(complete(str(stream), parse)) == []
    assert seen(str(stream)) == (None, 0)
    assert tail_offset(str(stream), 3) == 0
    assert list(Follower(str(stream)).lines()) == []
    assert list(Follower(str(stream)).bytes()) == []


def test_what_cannot_be_written_is_said(stream: Path) -> None:
    record(stream)
    Path(typed_path(str(stream))).unlink()
    Path(typed_path(str(stream)) + f".{os.getpid()}.new").mkdir()
    assert not rebuild(str(stream), parse)
    assert seen(str(stream))[1] == len(SAID)


def test_lines_of_a_lost_backend_are_shown_as_they_are() -> None:
    assert [event.text for event in plain_parse(b"\xffx")] == ["\ufffdx"]


@given(st.lists(st.binary(max_size=5)), st.integers(1, 6), st.booleans())
def test_the_last_lines_begin_where_they_begin(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], count: int, ended: bool
) -> None:
    lines = [line.replace(b"\n", b"x") for line in lines]
    text = b"\n".join(lines) + (b"\n" if ended else b"")
    path = tmp_path_factory.mktemp("tail") / "file"
    path.write_bytes(text)
    expected = b"".join(text.splitlines(keepends=True)[-count:]) if b"\r" not in text else None
    if expected is not None and not set(text) & {11, 12, 28, 29, 30}:
        assert text[tail_offset(str(path), count) :] == expected
    assert tail_offset(str(path), 0) == len(text)


def test_the_tail_of_a_large_file_is_found_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with open(path, "wb") as file:
        for number in range(400):
            file.write(b"%06d " % number + b"y" * 10_000 + b"\n")
        file.write(b"z" * 1_000_000)
    tracemalloc.start()
    offset = tail_offset(str(path), 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.read_bytes()[offset : offset + 6] == b"000398"
    assert peak < 2_000_000


def test_a_file_that_grows_gives_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    follower = Follower(str(path))
    for added, expected in (
        (b"on", []),
        (b"e\ntw", [b"one"]),
        (b"", []),
        (b"o\nthree\n", [b"two", b"three"]),
        (b"x" * 600_000, []),
        (b"\nafter\n", [b"x" * (600_000 % (256 * 1024)), b"after"]),
    ):
        with open(path, "ab") as file:
            file.write(added)
        assert list(follower.lines()) == expected


def test_a_stream_that_was_left_behind_has_a_digest(stream: Path) -> None:
    record(stream)
    digest, size = seen(str(stream))
    assert size == len(SAID)
    assert digest is not None and len(digest) == 64

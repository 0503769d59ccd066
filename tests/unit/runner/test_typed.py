"""What an agent said is kept in short, masked, in batches; what hinders that hinders nothing else."""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core import masking
from stagent.core.ports import AgentEvent
from stagent.runner.streams import Place
from stagent.runner.typed import Recorder, Typed, masked, shortened, typed_path

SECRET = "ghp_" + "a1B2" * 9
PATTERNS = [*masking._SOURCES, masking._BEARER, masking._ASSIGNED]


def records(stream: Path) -> list[Typed]:
    lines = Path(typed_path(str(stream))).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Typed) for line in lines]


class Case:
    def __init__(self, folder: Path) -> None:
        self.stream = folder / "1.1.ndjson"
        self.place = Place()
        self.passed: list[AgentEvent] = []
        self.recorder = Recorder(str(self.stream), self.place, self.passed.append)

    def say(self, event: AgentEvent, number: int, offset: int) -> None:
        self.place.number, self.place.offset = number, offset
        self.recorder.note(event)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@given(st.one_of([st.from_regex(re.compile(source)) for source in PATTERNS]))
def test_whatever_is_masked_is_masked_here_too(text: str) -> None:
    assert masked(text) == masking.mask(text)


@given(st.lists(st.sampled_from(["x", " ", "é", "\u0130", "ı", "ſecret=", "to\u212aen:", SECRET, "abcdefgh1", "\n"])))
def test_letters_that_only_look_alike_make_no_difference(parts: list[str]) -> None:
    text = "".join(parts)
    assert masked(text) == masking.mask(text)


@given(st.integers(0, 2500), st.integers(1, 2000))
def test_no_part_of_a_secret_is_left_where_a_text_is_cut(before: int, most: int) -> None:
    found = shortened(" " * before + SECRET + " " * 5000, most)
    assert len(found) <= most
    assert not any(SECRET[:size] in found for size in (8, 12, 20))


def test_many_secrets_before_the_cut_do_not_draw_half_a_one_in() -> None:
    text = f"{SECRET} " * 1000
    for most in (300, 1200, 2000):
        assert set(shortened(text, most).replace("[masked]", "").strip("[maskd] ")) == set()


def test_an_event_keeps_its_place_its_amounts_and_its_words(case: Case) -> None:
    before = time.time_ns() // 1_000_000
    case.say(AgentEvent(kind="tool", tool="Bash", text=f"echo {SECRET}", is_error=True, code="denied"), 3, 70)
    case.say(AgentEvent(kind="result", text="done", cost_usd=0.5, tokens=7), 4, 90)
    case.recorder.finish(99)
    case.recorder.close()
    tool, result, end = records(case.stream)
    assert (tool.line, tool.offset, tool.kind, tool.code, tool.tool) == (3, 70, "tool", "denied", "Bash")
    assert (tool.text, tool.error, tool.cut) == ("echo [masked]", True, False)
    assert (result.cost_usd, result.tokens, result.text) == (0.5, 7, "done")
    assert before <= tool.at <= time.time_ns() // 1_000_000
    assert (end.kind, end.offset) == ("end", 99)
    assert [event.kind for event in case.passed] == ["tool", "result"]
    assert Path(typed_path(str(case.stream))).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("kind", "most"), [("text", 2000), ("other", 300)])
def test_a_long_text_is_cut_and_says_so(case: Case, kind: str, most: int) -> None:
    case.say(AgentEvent(kind=kind, text="x" * most), 1, 0)
    case.say(AgentEvent(kind=kind, text="x" * 10_000_000), 2, 9)
    case.recorder.close()
    assert [(len(item.text), item.cut) for item in records(case.stream)] == [(most, False), (most, True)]


def test_events_are_written_in_batches_and_when_they_have_waited(case: Case) -> None:
    path = Path(typed_path(str(case.stream)))
    assert case.recorder.due(time.monotonic()) is None
    before = time.monotonic()
    case.say(AgentEvent(kind="text", text="one"), 1, 0)
    assert path.read_bytes() == b""
    left = case.recorder.due(before)
    assert left is not None and left >= 0.199
    assert path.read_bytes() == b""
    assert case.recorder.due(before + left + 0.001) is None
    assert len(records(case.stream)) == 1
    for number in range(2000):
        case.say(AgentEvent(kind="text", text="more words than one"), number, number)
    assert len(records(case.stream)) > 500
    case.recorder.close()
    case.recorder.close()
    assert len(records(case.stream)) == 2001


def test_a_disk_that_is_full_ends_the_typed_events_and_nothing_else(case: Case) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        for number in range(2000):
            case.say(AgentEvent(kind="text", text="words " * 20), number, number)
        case.recorder.finish(1)
        case.recorder.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert len(case.passed) == 2000
    assert Path(typed_path(str(case.stream))).stat().st_size == 100


def test_a_file_that_cannot_be_made_ends_nothing(tmp_path: Path) -> None:
    Path(typed_path(str(tmp_path / "1.1.ndjson"))).mkdir()
    case = Case(tmp_path)
    case.say(AgentEvent(kind="text", text="one"), 1, 0)
    assert case.recorder.due(time.monotonic() + 9) is None
    case.recorder.finish(1)
    case.recorder.close()
    assert len(case.passed) == 1
    assert os.listdir(typed_path(str(case.stream))) == []

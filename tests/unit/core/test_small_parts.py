"""The small parts everything else stands on: names, digests, the model's questions, masking."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.core import canonical, events, ids
from stagent.core.model import Stage
from stagent.core.shapes import shown
from stagent.core.story import Artifact
from stagent.testing import strategies
from unit.core.documents import OURS, PLAIN, workflow
from unit.core.world import World


def test_every_field_of_an_event_that_names_a_blob_is_known() -> None:
    start = events.RunStarted(
        workflow="w", model="m", flow="f", project="p", mode="session", holder=events.Holder(kind="caller"),
        stage="s", task="t", run_files={"baseline": "b"}, environment="e",
    )  # fmt: skip
    assert events.blobs_of(start) == {
        "workflow": "w", "model": "m", "task": "t", "environment": "e", "run_files.baseline": "b",
    }  # fmt: skip
    record = events.ArtifactRecorded(
        stage="s", epoch=1, digest="d", body="b", result="r", size=1, producer=events.Producer(kind="engine")
    )
    assert events.blobs_of(record) == {"digest": "d"}
    assert events.blobs_of(events.StageEntered(stage="s", epoch=1, tree="t")) == {}
    assert events.blobs_of(events.Blocked(code="c", text="t")) == {"text": "t"}


@given(strategies.json_values())
def test_canonical_bytes_do_not_depend_on_the_order_of_keys(value: object) -> None:
    def turned(part: object) -> object:
        if isinstance(part, dict):
            return {key: turned(part[key]) for key in reversed(list(part))}
        return [turned(item) for item in part] if isinstance(part, list) else part

    try:
        once = canonical.encode(value)
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        return
    assert canonical.encode(turned(value)) == once
    assert json.loads(once) == json.loads(json.dumps(value))


def test_a_digest_is_a_sha256() -> None:
    assert canonical.digest(b"abc") == hashlib.sha256(b"abc").hexdigest()
    assert len(canonical.GENESIS) == 64


def test_an_event_survives_being_stored() -> None:
    for body, head in World(workflow(PLAIN)).log:
        envelope = events.unseal(body)
        assert events.seal(envelope) == (body, head)


def test_an_event_of_another_kind_or_version_is_refused() -> None:
    body = World(workflow(PLAIN)).log[0][0]
    with pytest.raises(msgspec.ValidationError):
        events.unseal(body.replace(b'"run.started"', b'"run.begun"'))
    with pytest.raises(msgspec.ValidationError, match="version 7"):
        events.unseal(body.replace(b'"v":1', b'"v":7'))


@pytest.mark.parametrize("text", ["a", "Plan-2", "qa.ing_3", "0", "x" * 100])
def test_safe_names(text: str) -> None:
    assert ids.is_name(text)


@pytest.mark.parametrize("text", ["", ".", "..", "-a", "_a", "a/b", "a b", "a\n", "ä", "x" * 101])
def test_unsafe_names(text: str) -> None:
    assert not ids.is_name(text)


def test_sessions_and_runs_have_their_forms() -> None:
    assert ids.is_session("3f2c-11")
    assert not ids.is_session("../x")
    assert not ids.is_session("x" * 129)
    assert ids.is_run("r-01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert not ids.is_run("r-01ARZ3NDEKTSV4RRFFQ69G5FAU\n")
    assert not ids.is_run("01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert ids.attempt_id("r-1", 2, 3) == "r-1.2.3"


@given(
    st.lists(st.integers(min_value=0, max_value=2**48 - 1), min_size=2, max_size=2), st.binary(min_size=10, max_size=12)
)
def test_run_ids_sort_by_time(times: list[int], entropy: bytes) -> None:
    first, second = (ids.run_id(time, entropy) for time in sorted(times))
    assert ids.is_run(first)
    assert first <= second
    assert (first == second) == (times[0] == times[1])


def test_what_the_model_answers() -> None:
    plain, ours = workflow(PLAIN), workflow(OURS)
    assert plain.is_terminal("complete")
    assert ours.is_terminal("cancelled")
    assert not plain.is_terminal("planning")
    assert [plain.is_success(name) for name in ("complete", "escalated", "nowhere")] == [True, False, False]
    assert ours.protected_success
    assert not plain.protected_success
    executing = plain.stages["executing"]
    assert [item.key for item in executing.required] == ["planning"]
    assert [item.key for item in executing.optional] == ["reviewing", "qa-ing"]
    assert [check.name for check in ours.stages["build"].checks_for("FAIL")] == ["lint"]


@pytest.mark.parametrize(
    ("writes", "project", "bound"),
    [(None, False, False), ("project", True, False), ("artifact", False, True), (("src/*",), True, True)],
)
def test_what_a_stage_writes(writes: object, project: bool, bound: bool) -> None:
    stage = Stage(name="s", writes=writes)
    assert (stage.writes_project, stage.bound_tree) == (project, bound)


@pytest.mark.parametrize(
    ("value", "words"), [({"a": 1}, "an object"), ([1], "a list"), ("x", "'x'"), (None, "None"), (1.5, "1.5")]
)
def test_values_are_quoted_short(value: object, words: str) -> None:
    assert shown(value) == words
    assert len(shown("x" * 1000)) == 80


@pytest.mark.parametrize(
    ("producer", "words", "own"),
    [
        ("attempt r-1.2.3", "attempt 2.3", False),
        ("attempt 0123456789abcdef", "an attempt, session 01234567", False),
        ("session s-1", "session s-1", False),
        ("caller somebody", "caller somebody", True),
    ],
)
def test_a_producer_is_told_in_a_few_words(producer: str, words: str, own: bool) -> None:
    made = Artifact(stage="s", epoch=1, result="r", digest="d", body="b", size=1, producer=producer, at=0)
    assert (made.made_by, made.by_own_word) == (words, own)

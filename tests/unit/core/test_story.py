from __future__ import annotations

import pytest

from stagent.core.story import Artifact, Decision


@pytest.mark.parametrize(
    ("producer", "words"),
    [("attempt r-1.4.2", "attempt 4.2"), ("engine", "engine"), ("subagent a.b", "subagent a.b")],
)
def test_a_producer_in_few_words(producer: str, words: str) -> None:
    item = Artifact(stage="s", epoch=1, result="r", digest="", body="", size=0, producer=producer, at=0)
    assert item.made_by == words


@pytest.mark.parametrize(("channel", "by_policy"), [("policy", True), ("terminal", False), ("", False)])
def test_a_policy_is_no_person(channel: str, by_policy: bool) -> None:
    assert Decision(channel=channel).by_policy is by_policy

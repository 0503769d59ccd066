"""The scripted model as a client sees it: streamed, recorded, bounded, and gone afterwards."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Any

import pytest

from stagent.testing.scripted_model import (
    Request,
    Rule,
    ScriptedModel,
    Thread,
    Turn,
    failure,
    of_agents,
    says,
    text,
    tool,
)

TOOLS = [{"name": "Bash"}]


def ask(model: ScriptedModel, *messages: tuple[str, Any], agent: str = "", stream: bool = False, **more: Any) -> bytes:
    body = {"model": "m", "tools": TOOLS, "stream": stream, **more}
    body["messages"] = [{"role": role, "content": content} for role, content in messages]
    headers = {"content-type": "application/json", **({"x-claude-code-agent-id": agent} if agent else {})}
    request = urllib.request.Request(f"{model.url}/v1/messages?beta=true", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: bytes = response.read()
    return answer


def blocks(answer: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(answer)["content"]
    return found


@pytest.mark.rule("W54")
def test_a_thread_answers_in_order_and_then_the_default() -> None:
    with ScriptedModel([Thread([text("one"), tool("Bash", command="ls")])], otherwise=text("rest")) as model:
        answers = [blocks(ask(model, ("user", "go")))[0] for _ in range(3)]
    assert answers[0] == {"type": "text", "text": "one"}
    assert (answers[1]["name"], answers[1]["input"]) == ("Bash", {"command": "ls"})
    assert answers[2]["text"] == "rest"


def test_the_stream_says_the_same_as_the_whole_answer() -> None:
    with ScriptedModel([Thread([tool("Bash", command="a\n€")])]) as model:
        raw = ask(model, ("user", "go"), stream=True).decode()
    events = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert json.loads(events[2]["delta"]["partial_json"]) == {"command": "a\n€"}
    assert events[4]["delta"]["stop_reason"] == "tool_use"


def test_sub_agents_asides_and_the_main_conversation_are_told_apart() -> None:
    with ScriptedModel([Thread([text("to the agent")], of_agents), Thread([text("to main")])]) as model:
        ask(model, ("user", "a title, please"), tools=[])
        assert blocks(ask(model, ("user", "go"), agent="a1"))[0]["text"] == "to the agent"
        assert blocks(ask(model, ("user", "go")))[0]["text"] == "to main"
        assert [len(model.requests), len(model.agents), len(model.main)] == [3, 1, 1]


def test_fresh_is_what_came_since_the_models_own_last_words() -> None:
    result = [{"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": "no such file"}]
    with ScriptedModel() as model:
        ask(model, ("user", "old"), ("assistant", "hm"), ("user", result), ("system", "a note"))
        (request,) = model.main
    assert request.fresh == "[error] no such file\na note"
    assert request.results() == result
    assert "old" in request.whole


def test_a_rule_holds_where_it_matches_as_often_as_it_may() -> None:
    with ScriptedModel([Rule(says("ab+c"), text("yes"), times=1)], otherwise=text("no")) as model:
        answers = [blocks(ask(model, ("user", words)))[0]["text"] for words in ("ac", "abbc", "abc")]
    assert answers == ["no", "yes", "no"]


def test_a_function_may_be_the_script_and_an_answer() -> None:
    def script(request: Request) -> Turn | None:
        return text(str(request.number)) if request.number > 1 else None

    with ScriptedModel(script) as model:
        assert [blocks(ask(model, ("user", "x")))[0]["text"] for _ in range(2)] == ["Nothing more.", "2"]
        with pytest.raises(RuntimeError, match="takes no rules"):
            model.say(Thread([]))
    with ScriptedModel([Thread([lambda request: text(request.fresh.upper())])]) as model:
        assert blocks(ask(model, ("user", "echo")))[0]["text"] == "ECHO"


def test_errors_are_scripted_and_too_many_requests_are_one() -> None:
    with ScriptedModel([Thread([failure(529)])], limit=2) as model:
        with pytest.raises(urllib.error.HTTPError, match="529") as caught:
            ask(model, ("user", "x"))
        caught.value.close()
        ask(model, ("user", "x"))
        with pytest.raises(urllib.error.HTTPError, match="400") as caught:
            ask(model, ("user", "x"))
        caught.value.close()


def test_waiting_ends_with_the_request_or_in_time() -> None:
    with ScriptedModel() as model:
        assert model.more(0.05) == []
        late = threading.Timer(0.1, ask, (model, ("user", "late")))
        late.start()
        assert model.wait(says("late"), 5).fresh == "late"
        late.join()
        with pytest.raises(TimeoutError, match=r"no such request in 0\.1 s"):
            model.wait(says("never"), 0.1)


def test_closing_cuts_a_delayed_answer_and_leaves_no_thread() -> None:
    before = threading.active_count()
    model = ScriptedModel([Thread([text("late", delay=60)])])
    with model:

        def cut() -> None:
            with suppress(OSError, http.client.HTTPException):
                ask(model, ("user", "x"))

        caller = threading.Thread(target=cut)
        caller.start()
        model.wait(lambda request: True, 5)
        began = time.monotonic()
    caller.join(5)
    assert time.monotonic() - began < 5
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="enter it first"):
        _ = model.url

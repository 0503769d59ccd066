"""What Claude Code's lines become: a recorded stream, lines made by hand, and anything at all."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.agents.claude import ClaudeBackend
from stagent.agents.claude_stream import Talk
from stagent.core.ports import AgentEvent

RECORDED = Path(__file__).with_name("claude_stream.ndjson").read_bytes().splitlines()
KINDS = {"session", "text", "tool", "usage", "limit", "result", "error", "other"}
USED = {"m": {"inputTokens": 10, "outputTokens": 5, "cacheReadInputTokens": 3, "cacheCreationInputTokens": 2}}


def one(talk: Talk | None = None, **line: Any) -> list[AgentEvent]:
    return (talk or Talk()).take(json.dumps(line).encode())


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "assistant", "message": {"id": "m1", "content": [{"type": "text", "text": text}]}, **more}


def result(**more: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, "terminal_reason": "completed", **more}


def last(talk: Talk | None = None, **more: Any) -> AgentEvent:
    return one(talk, **result(**more))[-1]


def test_a_recorded_stream() -> None:
    backend = ClaudeBackend()
    events = [event for line in RECORDED for event in backend.parse(line)]
    of = {kind: [event for event in events if event.kind == kind] for kind in KINDS}
    assert [event.text for event in of["session"]] == ["1bc86abc-e6ab-4bee-b94e-edc791737352"]
    # It holds deltas and whole messages; each word comes once, and a sub-agent's words are none of the session's.
    assert [event.text for event in of["text"]] == ["main done"]
    calls = [event.tool for event in of["tool"] if not event.is_error]
    assert calls == ["Bash", "Bash", "Write", "Agent", "Bash", "Skill", "mcp__plugin_tp_tpm__ping", "Read"]
    assert of["tool"][0].text.startswith("tp-tool x; echo")
    assert [event.tool for event in of["tool"] if event.code == "permission_denied"] == ["Write"]
    (end,) = of["result"]
    assert (end.text, end.is_error, end.code, end.tokens) == ("main done", False, "", 9450)
    assert end.cost_usd == pytest.approx(0.03525)
    assert of["error"] == []
    refused = [event.text for event in of["other"] if event.code == "permission_denied"]
    assert refused == ["refused: Write (/srv/desk/project/x.txt)"]


@given(st.binary())
def test_any_bytes_give_events(line: bytes) -> None:
    events = ClaudeBackend().parse(line)
    assert events
    assert {event.kind for event in events} <= KINDS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    *("message", "session_id", "event", "rate_limit_info", "is_error", "result", "errors", "structured_output"),
    *("permission_denials", "plugins", "plugin_errors", "modelUsage", "model_usage_since_last_result", "content"),
    *("total_cost_usd", "usage", "terminal_reason", "api_error_status", "result_index", "output", "retry_delay_ms"),
)


@given(
    st.sampled_from(["assistant", "user", "system", "result", "stream_event", "rate_limit_event", "else"]),
    st.sampled_from(["", "init", "success", "hook_response", "api_retry", "permission_denied"]),
    st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=5),
)
def test_any_shape_gives_events(kind: str, subtype: str, fields: dict[str, Any]) -> None:
    events = one(Talk("x"), **{"type": kind, "subtype": subtype, **fields})
    assert events
    assert {event.kind for event in events} <= KINDS


@given(st.integers(0, len(RECORDED) - 1), st.data())
def test_damaged_lines_give_events(number: int, data: st.DataObject) -> None:
    line = bytearray(RECORDED[number])
    for _ in range(data.draw(st.integers(1, 4))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    assert ClaudeBackend().parse(bytes(line))


def test_very_deep_and_very_long_lines_survive() -> None:
    assert ClaudeBackend().parse(b'{"type":"user","message":' + b"[" * 100_000)[0].kind == "other"
    deep = b'{"type":"result","result":' + b'{"a":' * 5000 + b"1" + b"}" * 5001
    assert ClaudeBackend().parse(deep)
    line = b"x" * (1 << 20)
    assert len(ClaudeBackend().parse(line)[0].text) == 4000


@pytest.mark.parametrize("bad", [b"\xff\xfe", b"\\ud800", b"\xed\xa0\x80"])
def test_what_is_no_text_costs_no_line(bad: bytes) -> None:
    line = json.dumps(result(result="before @ after")).encode().replace(b"@", bad)
    (event,) = ClaudeBackend().parse(line)
    assert event.kind == "result"
    assert event.text.startswith("before ")
    assert event.text.endswith(" after")
    event.text.encode("utf-8")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"\ud83d\ude00 \xff", "\U0001f600 \ufffd"),
        (rb"\\ud800 \xff", "\\ud800 \ufffd"),
        (rb"\ud83d\n\ude00", "\ufffd\n\ufffd"),
        (rb"\\\ud83d\ud83d\ude00", "\\\ufffd\U0001f600"),
        (rb"\uD83D\uDE00\uDE00\"\xff", '\U0001f600\ufffd"\ufffd'),
    ],
)
def test_only_what_is_no_text_is_replaced(written: bytes, read: str) -> None:
    line = json.dumps(result(result="@")).encode().replace(b"@", written.replace(rb"\xff", b"\xff"))
    assert ClaudeBackend().parse(line)[0].text == read


def test_a_long_line_with_a_bad_byte_is_not_in_memory_many_times() -> None:
    line = json.dumps(said("x" * 8_000_000)).encode().replace(b"xx", b"x\xff", 1)
    backend = ClaudeBackend()
    backend.parse(line[:1000])
    tracemalloc.start()
    try:
        (event,) = [item for item in backend.parse(line) if item.kind == "text"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(event.text) > 7_000_000
    # Replaced once, and once as the event's text, which takes two bytes a letter where one is no ASCII.
    assert peak < 4.5 * len(line)


def test_words_are_not_repeated_after_their_pieces() -> None:
    talk = Talk()
    start = {"type": "message_start", "message": {"id": "m1", "content": []}}
    one(talk, type="stream_event", event=start)
    for piece in ("He", "llo"):
        delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": piece}}
        assert [event.text for event in one(talk, type="stream_event", event=delta)] == [piece]
    assert [event.kind for event in one(talk, **said("Hello"))] == ["other"]
    later = said("Bye")
    later["message"]["id"] = "m2"
    assert [event.text for event in one(talk, **later)] == ["Bye"]


def test_the_pieces_of_a_tools_input_are_no_words() -> None:
    delta = {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": '{"a'}}
    assert [event.kind for event in one(type="stream_event", event=delta)] == ["other"]


def test_a_message_is_counted_once() -> None:
    talk = Talk()
    line = said("a")
    line["message"]["usage"] = {"input_tokens": 7, "output_tokens": 1, "cache_read_input_tokens": 2}
    kinds = [[event.kind for event in one(talk, **line)] for _ in range(2)]
    assert kinds == [["text", "usage"], ["text"]]
    assert one(Talk(), **line)[1].tokens == 10


def test_the_session_begins_once_and_names_what_is_wrong() -> None:
    errors = [{"plugin": "inline[0]", "type": "path-not-found", "message": "Path not found: /x"}]
    init = {"type": "system", "subtype": "init", "session_id": "s-1", "claude_code_version": "2.1.329"}
    talk = Talk("a/1")
    events = one(talk, **init, plugins=[{"name": "other"}], plugin_errors=errors)
    assert [(event.kind, event.code) for event in events] == [
        ("session", ""),
        ("error", "plugin"),
        ("error", "hook_missing"),
    ]
    assert "Path not found: /x" in events[2].text
    assert [event.code for event in talk.problems] == ["hook_missing"]
    assert [event.kind for event in one(talk, **init)] == ["session"]
    # Nobody asked for a hook: a recorded stream has no problem.
    assert [event.kind for event in one(Talk(), **init, plugins=[])] == ["session"]


def test_two_plugins_of_ours_are_one_too_many() -> None:
    names = [{"name": "stagent-runner", "source": "x"}, {"name": "stagent", "source": "stagent@stagent-local"}]
    talk = Talk("a/1")
    one(talk, type="system", subtype="init", session_id="s", plugins=names)
    assert [event.code for event in talk.problems] == ["plugin"]


@pytest.mark.parametrize(
    ("version", "kind", "code"), [("2.1.1", "error", "version"), ("9.9.9", "other", "version"), ("2.1.400", None, "")]
)
def test_versions_outside_the_range_are_told(version: str, kind: str | None, code: str) -> None:
    talk = Talk()
    events = one(talk, type="system", subtype="init", session_id="s", claude_code_version=version)
    assert [(event.kind, event.code) for event in events[1:]] == ([(kind, code)] if kind else [])
    assert bool(talk.problems) == (kind == "error")


def report(text: str) -> dict[str, Any]:
    output = json.dumps({"suppressOutput": True, "stagent": text}) + "\n"
    return {"type": "system", "subtype": "hook_response", "hook_event": "SessionStart", "output": output}


def test_only_the_report_of_this_start_counts() -> None:
    talk = Talk("a/1")
    for text in ("a/0", "b/1", ""):
        one(talk, **report(text))
    one(talk, **{**report("a/1"), "output": "plain words"})
    assert not talk.hooked
    one(talk, **report("a/1"))
    assert talk.hooked


def test_what_was_read_before_the_report_is_of_another_process() -> None:
    talk = Talk("a/2")
    one(talk, type="system", subtype="init", session_id="s", plugins=[])
    one(talk, **result(permission_denials=[{"tool_name": "Bash", "tool_use_id": "t", "tool_input": {}}]))
    assert talk.problems
    assert talk.denials
    one(talk, **report("a/2"))
    assert (talk.problems, talk.denials, talk.limit) == ([], {}, None)


def test_a_hook_that_failed_is_a_problem() -> None:
    talk = Talk("a/1")
    text = "PreToolUse:Write says: Stagent: the hook failed (KeyError); run stagent doctor."
    (event,) = one(talk, type="system", subtype="informational", content=text)
    assert (event.kind, event.code, talk.problems) == ("error", "hook_failed", [event])


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ({"subtype": "api_retry", "attempt": 1, "max_retries": 10, "retry_delay_ms": 574.0, "error_status": 529,
          "error": "overloaded"}, "api_retry", "overloaded 529: try 1 of 10 in 0.6 s"),
        ({"subtype": "compact_boundary", "compact_metadata": {"trigger": "auto"}}, "compact_boundary", "compact"),
        ({"subtype": "task_notification", "summary": "agent done"}, "task_notification", "agent"),
        ({"subtype": "task_started", "description": "d", "prompt": "p"}, "task_started", "d"),
        ({"subtype": "informational", "content": "Hello."}, "informational", "Hello."),
        ({"subtype": "status", "status": "requesting"}, "status", "status"),
        ({"subtype": "not known yet"}, "not known yet", "not known yet"),
    ],
)  # fmt: skip
def test_what_the_session_says_of_itself(line: dict[str, Any], code: str, words: str) -> None:
    (event,) = one(type="system", **line)
    assert (event.kind, event.code) == ("other", code)
    assert words in event.text


@pytest.mark.parametrize(
    ("info", "code", "at"),
    [
        (
            {"status": "rejected", "resetsAt": 1_800_000_000, "rateLimitType": "five_hour"},
            "rejected",
            1_800_000_000_000,
        ),
        ({"status": "allowed_warning", "utilization": 0.93}, "allowed_warning", None),
        ({"status": "allowed", "resetsAt": -5}, "allowed", None),
    ],
)
def test_limits(info: dict[str, Any], code: str, at: int | None) -> None:
    talk = Talk()
    (event,) = one(talk, type="rate_limit_event", rate_limit_info=info)
    assert (event.kind, event.code, event.retry_at) == ("limit", code, at)
    assert talk.limit == event


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ({}, ""),
        ({"terminal_reason": None}, ""),
        ({"is_error": True, "terminal_reason": "api_error", "api_error_status": 529}, "overloaded"),
        ({"is_error": True, "terminal_reason": "api_error", "api_error_status": 429}, "rate_limited"),
        ({"is_error": True, "terminal_reason": "api_error", "api_error_status": 500}, "api_error"),
        ({"is_error": True, "terminal_reason": "max_turns", "subtype": "error_max_turns"}, "max_turns"),
        ({"is_error": True, "subtype": "error_max_turns", "terminal_reason": None}, "max_turns"),
        ({"is_error": True, "terminal_reason": "budget_exhausted"}, "max_budget"),
        ({"is_error": True, "subtype": "error_max_budget_usd", "terminal_reason": None}, "max_budget"),
        ({"terminal_reason": "hook_stopped", "result": ""}, "hook_stopped"),
        ({"subtype": "error_during_execution", "terminal_reason": "aborted_streaming"}, "aborted_streaming"),
        ({"is_error": True, "subtype": "error_during_execution", "terminal_reason": None}, "error_during_execution"),
        ({"is_error": True}, "error"),
        ({"is_error": True, "errors": ["No conversation found with session ID: x"]}, "unresumable"),
        ({"result": "No conversation found, I told them."}, ""),
    ],
)
def test_results_are_named(line: dict[str, Any], code: str) -> None:
    assert last(**line).code == code


def test_words_of_a_result() -> None:
    assert last(result="Done.").text == "Done."
    assert last(is_error=True, errors=["One.", "Two."]).text == "One.; Two."
    assert last(result={"a": 1}).text == '{"a": 1}'
    assert last(result=None).text == ""


def test_a_structured_answer_is_kept_as_json() -> None:
    assert json.loads(last(structured_output={"result": "é"}).structured or "") == {"result": "é"}
    assert last(structured_output=None).structured is None
    assert last().structured is None


def test_a_process_is_charged_for_what_it_used_itself() -> None:
    talk = Talk()
    used = {"m": {**USED["m"], "costUSD": 0.25}, "n": {**USED["m"], "costUSD": 0.5}}
    first = last(talk, result_index=0, total_cost_usd=9.0, model_usage_since_last_result=used)
    assert (first.cost_usd, first.tokens) == (0.75, 40)
    second = last(talk, result_index=1, total_cost_usd=9.0, model_usage_since_last_result={})
    assert (second.cost_usd, second.tokens) == (0.75, 40)
    third = last(talk, result_index=2, total_cost_usd=9.5, model_usage_since_last_result={"m": used["m"]})
    assert (third.cost_usd, third.tokens) == (1.0, 60)
    # Another process's first result begins anew, also where one object reads several streams.
    assert last(talk, result_index=0, model_usage_since_last_result={"m": used["m"]}).cost_usd == 0.25


def test_a_result_without_that_field_states_the_whole() -> None:
    event = last(total_cost_usd=0.5, usage={"input_tokens": 3, "output_tokens": 4})
    assert (event.cost_usd, event.tokens) == (0.5, 7)


def test_a_tool_is_described_in_one_line() -> None:
    given = {"description": "why", "command": "a\n  b " + "c" * 500}
    call = {"type": "tool_use", "name": "Bash", "input": given}
    (event,) = one(type="assistant", message={"content": [call]})
    assert event.tool == "Bash"
    assert event.text.startswith("a b ccc")
    assert len(event.text) == 200


def test_a_failed_tool_is_told() -> None:
    block = {"type": "tool_result", "is_error": True, "content": [{"type": "text", "text": "Exit code 3"}]}
    (event,) = one(type="user", message={"content": [block]})
    assert (event.kind, event.is_error, event.text) == ("tool", True, "Exit code 3")

"""Turning an agent's lines into typed events, backend by backend and kind by kind of line, beside `json.loads`.

Processor time, so that a busy machine hardly shows. Budget: at least 150 MB/s on lines of 1 KB.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

from stagent.agents.claude import ClaudeBackend
from stagent.agents.scripted import ScriptedBackend
from stagent.core.ports import AgentBackend
from stagent.runner.streams import LineSplitter

ROUNDS, MEGABYTES, CHUNK = 5, 20, 256 * 1024
WORDS = "The quick brown fox jumps over the lazy dog in src/x.py. " * 40
SESSION = "0f0f0f0f-0000-4000-8000-000000000000"
USAGE = {"input_tokens": 10, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 2000, "output_tokens": 5}


def answer(number: int) -> dict[str, object]:
    """Return a block of the model's answer, each of a message of its own."""
    content = [{"type": "text", "text": WORDS[:520]}]
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-opus-5-5"}
    message |= {"content": content, "stop_reason": None, "usage": {**USAGE, "service_tier": "standard"}}  # type: ignore[dict-item]
    uuid = f"{SESSION[:-4]}{number % 10_000:04d}"
    return {"type": "assistant", "message": message, "parent_tool_use_id": None, "session_id": SESSION, "uuid": uuid}


def result(number: int) -> dict[str, object]:
    """Return what a tool gave."""
    content = [{"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": WORDS[:500]}]
    said = {"stdout": WORDS[:200], "stderr": ""}
    message = {"role": "user", "content": content}
    return {
        "type": "user", "message": message, "parent_tool_use_id": None, "session_id": SESSION, "tool_use_result": said
    }  # fmt: skip


def piece(number: int) -> dict[str, object]:
    """Return a piece of a message, as partial messages give it."""
    delta = {"type": "text_delta", "text": "a few words"}
    event = {"type": "content_block_delta", "index": 0, "delta": delta}
    return {"type": "stream_event", "event": event, "session_id": SESSION, "uuid": f"x{number}"}


def scripted(_number: int) -> dict[str, object]:
    """Return a line of the scripted agent."""
    return {"type": "text", "text": WORDS[:969]}


KINDS: tuple[tuple[str, Callable[[], AgentBackend], Callable[[int], dict[str, object]], str], ...] = (
    ("claude, answers", ClaudeBackend, answer, "budget >= 150"),
    ("claude, results of tools", ClaudeBackend, result, "budget >= 150"),
    ("claude, pieces of messages", ClaudeBackend, piece, "no budget"),
    ("scripted", ScriptedBackend, scripted, "budget >= 150"),
)


def spent(work: Callable[[], None]) -> float:
    """Return the processor seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def ours(make: Callable[[], AgentBackend], data: bytes) -> None:
    """Cut and parse."""
    backend = make()

    def take(line: bytes) -> None:
        backend.parse(line)

    splitter = LineSplitter(take, lambda length: None)
    for start in range(0, len(data), CHUNK):
        splitter.feed(data[start : start + CHUNK])


def reference(data: bytes) -> None:
    """Only the standard library's parser, line by line."""
    for line in data.splitlines():
        json.loads(line)


def main() -> None:
    for name, make, line, budget in KINDS:
        length = len(json.dumps(line(0))) + 1
        count = MEGABYTES * 1_000_000 // length
        data = b"".join(json.dumps(line(number)).encode() + b"\n" for number in range(count))
        pairs = [(spent(lambda: ours(make, data)), spent(lambda: reference(data))) for _ in range(ROUNDS)]  # noqa: B023
        rate, bare = (len(data) / 1e6 / statistics.median(times) for times in zip(*pairs, strict=True))
        words = f"{name} ({length:,} bytes a line)"
        print(f"{words:<44} {rate:6.0f} MB/s   json.loads {bare:6.0f} MB/s   ratio {rate / bare:5.2f}   {budget}")


if __name__ == "__main__":
    main()

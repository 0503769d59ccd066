"""A language model that says what a test tells it: the Messages API on loopback, streamed, every request recorded.

    >>> from stagent.testing.scripted_model import ScriptedModel, Thread, Turn, text, tool
    >>> with ScriptedModel([Thread([tool("Bash", command="ls"), text("Done.")])]) as model:
    ...     model.url.startswith("http://127.0.0.1:")
    True

An agent's command line that is pointed at `ScriptedModel.url` runs as it would with a real model: its own hooks,
permissions and tools, no network and no account. A script is a list of `Rule` and `Thread`, asked in order, or one
function from a request to a turn.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Json = dict[str, Any]
_LONGEST = 64 << 20
_AGENT = "x-claude-code-agent-id"
_SESSION = "x-claude-code-session-id"


@dataclass(frozen=True)
class Turn:
    """What the model answers: content blocks, after a delay in seconds, or an error instead.

    `error` is an HTTP status; `usage` overrides token counts.
    """

    blocks: tuple[Json, ...] = ()
    delay: float = 0.0
    error: int = 0
    usage: Mapping[str, int] = field(default_factory=dict)


def text(words: str, delay: float = 0.0) -> Turn:
    """A turn of plain words; with nothing else in it, the agent's turn ends here."""
    return Turn(({"type": "text", "text": words},), delay)


def tool(name: str, delay: float = 0.0, **given: object) -> Turn:
    """A turn that calls one tool with this input."""
    return Turn(({"type": "tool_use", "name": name, "input": given},), delay)


def failure(status: int) -> Turn:
    """An answer that is an HTTP error."""
    return Turn(error=status)


class Request:
    """One request to the model.

    `number` counts from 1; `at` is monotonic seconds; `agent` is the sub-agent that asks, empty for the main
    conversation.
    """

    def __init__(self, number: int, body: Json, headers: Mapping[str, str]) -> None:
        self.number = number
        self.at = time.monotonic()
        self.body = body
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.agent = self.headers.get(_AGENT, "")
        self.session = self.headers.get(_SESSION, "")
        self.messages: list[Json] = body.get("messages") or []
        self.tools = [str(offered.get("name")) for offered in body.get("tools") or []]

    @property
    def main(self) -> bool:
        """Whether the main conversation asks; asides such as titles offer no tools and are not part of it."""
        return not self.agent and bool(self.tools)

    def _news(self) -> list[Json]:
        own = [at for at, message in enumerate(self.messages) if message.get("role") == "assistant"]
        return self.messages[own[-1] + 1 if own else 0 :]

    @property
    def fresh(self) -> str:
        """Everything that was said to the model since its own last message, tool results and context alike."""
        return "\n".join(_plain(message.get("content")) for message in self._news())

    @property
    def whole(self) -> str:
        """The whole conversation as text."""
        return "\n".join(f"{message.get('role')}: {_plain(message.get('content'))}" for message in self.messages)

    def results(self) -> list[Json]:
        """The tool results among what is fresh, as they came: `tool_use_id`, `content`, `is_error`."""
        said = [message["content"] for message in self._news() if isinstance(message.get("content"), list)]
        return [block for content in said for block in content if block.get("type") == "tool_result"]

    def __repr__(self) -> str:
        who = f"sub-agent {self.agent}" if self.agent else "main" if self.tools else "aside"
        return f"<request {self.number} of {who}: {self.fresh[-300:]!r}>"


def _plain(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(_block(block) for block in content if isinstance(block, dict))


def _block(block: Json) -> str:
    kind = block.get("type")
    if kind == "tool_result":
        return f"[{'error' if block.get('is_error') else 'result'}] {_plain(block.get('content'))}"
    if kind == "tool_use":
        return f"[call {block.get('name')}] {json.dumps(block.get('input'), ensure_ascii=False)}"
    return str(block.get("text", ""))


When = Callable[[Request], bool]
Answer = Turn | Callable[[Request], Turn]


def of_main(request: Request) -> bool:
    """Hold for requests of the main conversation."""
    return request.main


def of_agents(request: Request) -> bool:
    """Hold for requests of sub-agents."""
    return bool(request.agent)


def says(pattern: str, when: When = of_main) -> When:
    """Hold where what is fresh matches a regular expression, too."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda request: when(request) and compiled.search(request.fresh) is not None


class Rule:
    """The same answer whenever the condition holds, at most `times` times."""

    def __init__(self, when: When, answer: Answer, times: int = 1 << 30) -> None:
        self._when = when
        self._answer = answer
        self._left = times

    def take(self, request: Request) -> Answer | None:
        """Return the answer to a request, or None when the rule is not about it."""
        if self._left <= 0 or not self._when(request):
            return None
        self._left -= 1
        return self._answer


class Thread:
    """One answer after another to the requests for which the condition holds; nothing once they are used up."""

    def __init__(self, answers: Sequence[Answer], when: When = of_main) -> None:
        self._answers: Iterator[Answer] = iter(answers)
        self._when = when

    def take(self, request: Request) -> Answer | None:
        """Return the next answer, or None when the request is another's or the answers are used up."""
        return next(self._answers, None) if self._when(request) else None


Script = Sequence[Rule | Thread] | Callable[[Request], Turn | None]


class ScriptedModel:
    """The API. Enter it to serve and leave it to stop; nothing of it is left then.

    `otherwise` answers what the script does not; after `limit` requests every answer is an error, so that an agent
    which never ends its turn ends all the same.
    """

    def __init__(self, script: Script = (), otherwise: Turn | None = None, limit: int = 300) -> None:
        self._script = script
        self._otherwise = otherwise or text("Nothing more.")
        self._limit = limit
        self._requests: list[Request] = []
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="scripted model")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving: every connection is cut and every thread of it has ended."""
        self._over.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.cut()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        """The base URL to point an agent at. Raises RuntimeError before it serves."""
        if self._server is None:
            raise RuntimeError("the scripted model does not serve: enter it first")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in order."""
        with self._changed:
            return list(self._requests)

    @property
    def main(self) -> list[Request]:
        """The requests of the main conversation."""
        return list(filter(of_main, self.requests))

    @property
    def agents(self) -> list[Request]:
        """The requests of sub-agents."""
        return list(filter(of_agents, self.requests))

    def say(self, *more: Rule | Thread) -> None:
        """Put rules before the script while it runs. Raises RuntimeError where the script is a function."""
        with self._changed:
            if callable(self._script):
                raise RuntimeError("a script that is a function takes no rules")
            self._script = [*more, *self._script]

    def wait(self, when: When, seconds: float = 20.0) -> Request:
        """Return the first request for which the condition holds. Raises TimeoutError when none comes in time."""
        until = time.monotonic() + seconds
        with self._changed:
            while True:
                found = next((request for request in self._requests if when(request)), None)
                if found is not None:
                    return found
                if not self._changed.wait(max(0.0, until - time.monotonic())):
                    raise TimeoutError(f"no such request in {seconds:g} s; the last were: {self._requests[-6:]}")

    def more(self, seconds: float) -> list[Request]:
        """Wait, and return the requests that came meanwhile: none where an agent was left alone."""
        before = len(self.requests)
        self._over.wait(seconds)
        return self.requests[before:]

    def answer(self, body: Json, headers: Mapping[str, str]) -> tuple[Request, Turn]:
        """Record a request and return the turn that answers it."""
        with self._changed:
            request = Request(len(self._requests) + 1, body, headers)
            self._requests.append(request)
            self._changed.notify_all()
            found = self._find(request) if request.number <= self._limit else failure(400)
        turn = found(request) if callable(found) else found
        if turn.delay:
            self._over.wait(turn.delay)
        return request, turn

    def _find(self, request: Request) -> Answer:
        if callable(self._script):
            return self._script(request) or self._otherwise
        for item in self._script:
            found = item.take(request)
            if found is not None:
                return found
        return self._otherwise


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, model: ScriptedModel) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model = model
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def keep(self, connection: socket.socket, is_open: bool) -> None:
        """Know the open connections, to cut them at the end."""
        with self._lock:
            (self._open.add if is_open else self._open.discard)(connection)

    def cut(self) -> None:
        """Cut every open connection, so that its thread ends."""
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the other side was first

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every small write waits for the last one to be acknowledged
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.keep(self.connection, True)

    def finish(self) -> None:
        self.server.keep(self.connection, False)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the requests are recorded."""

    def do_GET(self) -> None:
        self._json(200, {"data": [], "has_more": False})

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        if length > _LONGEST:
            self.close_connection = True
            return self._json(413, _problem("request_too_large"))
        body = json.loads(self.rfile.read(length) or b"{}")
        path = self.path.partition("?")[0]
        if path.endswith("/count_tokens"):
            return self._json(200, {"input_tokens": max(1, length // 4)})
        if not path.endswith("/v1/messages"):
            return self._json(200, {})
        request, turn = self.server.model.answer(body, dict(self.headers.items()))
        if turn.error:
            return self._json(turn.error, _problem("invalid_request_error" if turn.error == 400 else "api_error"))
        message = _message(request, turn)
        return self._stream(message) if body.get("stream") else self._json(200, message)

    def _json(self, status: int, document: Json) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, message: Json) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in _events(message):
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def _problem(kind: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": "the script says so"}}


def _message(request: Request, turn: Turn) -> Json:
    blocks = [
        {**block, "id": f"toolu_{secrets.token_hex(8)}{index:02d}"} if block["type"] == "tool_use" else block
        for index, block in enumerate(turn.blocks)
    ]
    calls = any(block["type"] == "tool_use" for block in blocks)
    return {
        "id": f"msg_{request.number:06d}",
        "type": "message",
        "role": "assistant",
        "model": request.body.get("model"),
        "content": blocks,
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1000, "output_tokens": 50, **turn.usage},
    }


def _events(message: Json) -> Iterator[Json]:
    empty = {**message, "content": [], "stop_reason": None}
    yield {"type": "message_start", "message": empty}
    for index, block in enumerate(message["content"]):
        if block["type"] == "tool_use":
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        else:
            start = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": block["text"]}
        yield {"type": "content_block_start", "index": index, "content_block": start}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ending, "usage": message["usage"]}
    yield {"type": "message_stop"}

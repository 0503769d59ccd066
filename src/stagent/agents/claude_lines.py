"""The lines of Claude Code's stream-json output, as far as they mean something to us.

Fields whose shape differs between versions or kinds of line are kept raw and read on their own, so that a surprise in
one of them never costs the line.
"""

from __future__ import annotations

import codecs
import re
from typing import TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")
_EMPTY = Raw(b"")


class Usage(msgspec.Struct):
    """The tokens of one message."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int | None = 0
    cache_read_input_tokens: int | None = 0

    @property
    def total(self) -> int:
        """All of them."""
        cached = (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)
        return self.input_tokens + self.output_tokens + cached


class ModelUsage(msgspec.Struct, rename="camel"):
    """What one model was used for, sub-agents included."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cost: float = msgspec.field(default=0.0, name="costUSD")

    @property
    def total(self) -> int:
        """All tokens."""
        return self.input_tokens + self.output_tokens + self.cache_read_input_tokens + self.cache_creation_input_tokens


class Block(msgspec.Struct):
    """One block of a message: words, a tool's call, or a tool's result."""

    type: str = ""
    text: str = ""
    name: str = ""
    input: Raw = _EMPTY
    content: Raw = _EMPTY
    is_error: bool | None = None


class Message(msgspec.Struct):
    """A message of the model, or of the user's side: `content` is a text or a list of blocks."""

    id: str | None = None
    content: list[Block] | str = ""
    usage: Raw = _EMPTY


class Delta(msgspec.Struct):
    """A piece of a block."""

    text: str = ""


class Piece(msgspec.Struct):
    """One event of a message that is being written."""

    type: str = ""
    message: Message | None = None
    delta: Delta | None = None


class Assistant(msgspec.Struct, tag_field="type", tag="assistant"):
    """One block of an answer; `parent_tool_use_id` is set where a sub-agent speaks."""

    message: Message
    parent_tool_use_id: str | None = None


class User(msgspec.Struct, tag_field="type", tag="user"):
    """What was said to the model: results of tools, for the most part."""

    message: Message
    parent_tool_use_id: str | None = None


class StreamEvent(msgspec.Struct, tag_field="type", tag="stream_event"):
    """A piece of a message, only with partial messages switched on."""

    event: Piece
    parent_tool_use_id: str | None = None


class System(msgspec.Struct, tag_field="type", tag="system"):
    """Everything about the session itself; `subtype` says what."""

    subtype: str = ""
    session_id: str = ""
    claude_code_version: str = ""
    plugins: Raw = _EMPTY
    plugin_errors: Raw = _EMPTY
    hook_event: str = ""
    output: Raw = _EMPTY
    tool_name: str = ""
    message: Raw = _EMPTY
    content: Raw = _EMPTY
    summary: Raw = _EMPTY
    description: Raw = _EMPTY
    attempt: Raw = _EMPTY
    max_retries: Raw = _EMPTY
    retry_delay_ms: Raw = _EMPTY
    error_status: Raw = _EMPTY
    error: Raw = _EMPTY


class LimitInfo(msgspec.Struct, rename="camel"):
    """Where the account stands against its limit; `resets_at` is in unix seconds."""

    status: str = ""
    resets_at: float | None = None
    rate_limit_type: str | None = ""
    utilization: float | None = None


class RateLimit(msgspec.Struct, tag_field="type", tag="rate_limit_event"):
    """News of the provider's rate limit."""

    rate_limit_info: LimitInfo


class Result(msgspec.Struct, tag_field="type", tag="result"):
    """The end of a turn."""

    subtype: str = ""
    is_error: bool = False
    result: Raw = _EMPTY
    errors: Raw = _EMPTY
    structured_output: Raw = _EMPTY
    terminal_reason: str | None = None
    api_error_status: Raw = _EMPTY
    permission_denials: Raw = _EMPTY
    total_cost_usd: Raw = _EMPTY
    usage: Raw = _EMPTY
    models: Raw = msgspec.field(default=_EMPTY, name="model_usage_since_last_result")
    result_index: Raw = _EMPTY


class Denial(msgspec.Struct):
    """A tool call that was refused."""

    tool_name: str = ""
    tool_use_id: str = ""
    tool_input: Raw = _EMPTY


class PluginRow(msgspec.Struct):
    """A plugin that was loaded."""

    name: str = ""
    source: str = ""


class PluginError(msgspec.Struct):
    """A plugin that could not be loaded as it should."""

    plugin: str = ""
    message: str = ""


class Given(msgspec.Struct):
    """The input fields of a tool call that say most about it."""

    command: Raw = _EMPTY
    file_path: Raw = _EMPTY
    notebook_path: Raw = _EMPTY
    path: Raw = _EMPTY
    pattern: Raw = _EMPTY
    url: Raw = _EMPTY
    query: Raw = _EMPTY
    skill: Raw = _EMPTY
    description: Raw = _EMPTY
    prompt: Raw = _EMPTY


class _Report(msgspec.Struct):
    """What our hook answers at the start of a session."""

    stagent: str = ""


class _Kind(msgspec.Struct):
    type: str = ""


Line = Assistant | User | StreamEvent | System | RateLimit | Result
_DECODER: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_KINDS = frozenset({"assistant", "user", "stream_event", "system", "rate_limit_event", "result"})
_BLOCK = 1024 * 1024
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:(?P<pair>u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_TROUBLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


def read(line: bytes) -> Line | None:
    """Return a line of a kind we know, None for any other; never raises."""
    try:
        return _DECODER.decode(line)
    except _TROUBLE:
        return _mended(line) if _is_known(line) else None


def _is_known(line: bytes) -> bool:
    """Whether the line may be one of ours after all: bytes that are no text in it must not cost it."""
    try:
        return msgspec.json.decode(line, type=_Kind).type in _KINDS
    except _TROUBLE:
        return line.lstrip()[:1] == b"{"


def _mended(line: bytes) -> Line | None:
    """Read a line again with what is no proper text in it replaced."""
    try:
        return _DECODER.decode(_plain(line))
    except _TROUBLE:
        return None


def _plain(data: bytes) -> bytes | bytearray:
    """Return JSON with every byte that is no UTF-8 replaced, and every escape that is half of a pair.

    Block by block: as one text, a long line with a replaced byte in it would take two bytes a letter.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found = bytearray()
    for start in range(0, len(data), _BLOCK):
        found += decoder.decode(data[start : start + _BLOCK], start + _BLOCK >= len(data)).encode()
    return _ESCAPE.sub(_whole, found) if _HALF.search(found) else found


def _whole(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape["pair"] or not escape["half"] else rb"\ufffd"


def part(raw: Raw, kind: type[T], otherwise: T) -> T:
    """Return a field that was kept raw; `otherwise` when it is missing or of another shape."""
    if not bytes(raw):
        return otherwise
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        return otherwise
    except _TROUBLE:
        pass
    try:
        return msgspec.json.decode(_plain(bytes(raw)), type=kind)
    except _TROUBLE:
        return otherwise


def number(raw: Raw) -> float | None:
    """Return a raw field as a number; None when it is none."""
    try:
        return msgspec.json.decode(raw, type=float) if bytes(raw) else None
    except _TROUBLE:
        return None


def words(raw: Raw) -> str:
    """Return a raw field as text: a JSON text as it reads, a list of text blocks joined, anything else as JSON."""
    plain = part(raw, str, "")
    if plain or not bytes(raw) or bytes(raw) in (b"null", b'""'):
        return plain
    blocks = part(raw, list[Block], [])
    joined = "\n".join(block.text for block in blocks if block.text)
    return joined or bytes(raw).decode("utf-8", "replace")


def report(raw: Raw) -> str:
    """Return what our hook reports in a hook's output; empty for any other output."""
    said = part(raw, str, "")
    if '"stagent"' not in said:
        return ""
    try:
        return msgspec.json.decode(said.encode("utf-8", "replace"), type=_Report).stagent
    except _TROUBLE:
        return ""

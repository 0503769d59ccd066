"""The typed events of an attempt, kept beside its stream: what the agent said, in short, without parsing it again.

Beside `<epoch>.<n>.ndjson` stands `<epoch>.<n>.events.ndjson`, one JSON object a line. It is derived: where it is
missing or behind it is made again from the stream, so that losing it, or not being able to write it, costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from stagent.core.masking import mask
from stagent.core.ports import AgentEvent
from stagent.errors import StoreError
from stagent.runner.streams import AppendFile, Place

END = "end"
"""The kind of the last record of a stream that was typed to its end; its `offset` is the stream's length."""

LONGEST_RECORD = 256 * 1024
"""No record has more bytes; a longer line in such a file is damage."""

FLUSH_SECONDS = 0.2
"""How long a typed event may wait in memory."""

_BATCH = 64 * 1024
_MOST = 2000
_FEW = 300
_MARGIN = 1000
_SPOKEN = frozenset({"text", "result", "error"})
_NAME = 200

# A text without any of these holds nothing that `mask` would replace. To look for one letter first is much quicker.
_SIGNS = (
    ("-", ("-----begin", "sk-", "rk-", "pk-", "glpat-", "xox")),
    ("_", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_")),
    (".", ("eyj",)),
    (":", ("authorization", "apikey", "api_key", "secret", "token", "passw")),
    ("=", ("apikey", "api_key", "secret", "token", "passw")),
    ("a", ("akia", "aiza")),
)


class Typed(msgspec.Struct, frozen=True, omit_defaults=True):
    """One typed event as kept: which line of the stream said it, when it came, and what it said, masked and in short.

    `line` counts from 1, `offset` is where the line begins (bytes), `at` when it came (unix ms, 0 where that was lost).
    `cut` is set when the text was longer.
    """

    line: int
    offset: int
    kind: str
    at: int = 0
    code: str = ""
    tool: str = ""
    text: str = ""
    error: bool = False
    cost_usd: float | None = None
    tokens: int | None = None
    cut: bool = False


def typed_path(stream: str) -> str:
    """Return the path of the typed events of a stream."""
    return f"{stream.removesuffix('.ndjson')}.events.ndjson"


def masked(text: str) -> str:
    """Return what `mask` returns, sooner where there is nothing to mask."""
    folded = text.casefold()
    if not text.isascii():
        # What ignoring case takes for an i.
        folded = folded.replace("\u0131", "i").replace("i\u0307", "i")
    for letter, signs in _SIGNS:
        if letter in folded:
            for sign in signs:
                if sign in folded:
                    return mask(text)
    return text


def shortened(text: str, most: int) -> str:
    """Return at most so many characters of a text, masked; no part of a secret that stands across the cut is left."""
    window = text[: most + _MARGIN]
    found = masked(window)
    if len(text) > len(window):
        # A secret cut by the window is not recognised; masking others before it may have moved it forward.
        found = found[: max(0, len(found) - _MARGIN)]
    return found[:most]


def typed(event: AgentEvent, line: int, offset: int, at: int) -> Typed:
    """Return an agent's event as it is kept."""
    most = _MOST if event.kind in _SPOKEN else _FEW
    return Typed(
        line=line,
        offset=offset,
        kind=event.kind,
        at=at,
        code=event.code[:_NAME],
        tool=shortened(event.tool, _NAME) if event.tool else "",
        text=shortened(event.text, most) if event.text else "",
        error=event.is_error,
        cost_usd=event.cost_usd,
        tokens=event.tokens,
        cut=len(event.text) > most,
    )


class Recorder:
    """Writes the typed events of a running attempt in batches; what hinders it ends it and nothing else.

    Memory stays within one batch of 64 KiB and one record.
    """

    def __init__(self, stream: str, place: Place, then: Callable[[AgentEvent], None]) -> None:
        """`place` tells the line an event stands in, `then` gets every event as it came."""
        self._place = place
        self._then = then
        self._batch = bytearray()
        self._flush_at = 0.0
        self._encoder = msgspec.json.Encoder()
        self._file: AppendFile | None
        try:
            self._file = _File(typed_path(stream))
        except StoreError:
            self._file = None

    def note(self, event: AgentEvent) -> None:
        """Keep an event and hand it on. Raises what the callback raises."""
        if self._file is not None:
            record = typed(event, self._place.number, self._place.offset, time.time_ns() // 1_000_000)
            if not self._batch:
                self._flush_at = time.monotonic() + FLUSH_SECONDS
            self._add(record)
            if len(self._batch) >= _BATCH:
                self.flush()
        self._then(event)

    def _add(self, record: Typed) -> None:
        self._encoder.encode_into(record, self._batch, -1)
        self._batch += b"\n"

    def due(self, now: float) -> float | None:
        """Write what has waited long enough; return in how many seconds something is due, or None."""
        if not self._batch:
            return None
        if now >= self._flush_at:
            self.flush()
            return None
        return self._flush_at - now

    def flush(self) -> None:
        """Write what waits."""
        try:
            if self._file is not None and self._batch:
                self._file.append(self._batch)
        except StoreError:
            self._drop()
        self._batch.clear()

    def finish(self, size: int) -> None:
        """Note that a stream of `size` bytes was typed to its end."""
        if self._file is not None:
            self._add(Typed(line=self._place.number, offset=size, kind=END, at=time.time_ns() // 1_000_000))

    def close(self) -> None:
        """Write what waits and close; closing again does nothing."""
        self.flush()
        self._drop()

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class _File(AppendFile):
    """Derived, so not made durable."""

    durable = False

"""Counts the tests a test program reports, from the summaries the usual runners print.

A reader takes the program's output piece by piece, hands back what a person should see of it, and gives a `Tally` at
the end. A runner it does not know leaves the count unknown; nothing is ever guessed from an exit code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

import msgspec

# A summary is short; what is longer is data, and matching patterns against it would only cost time.
_LINE_LIMIT = 2_000
# An unfinished line longer than this is cut at the front: a summary, if one follows, stands at its end.
_PENDING_LIMIT = 64 * 1024

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_PAIR = re.compile(r"(\d+) +(?:tests? (?=[a-z]))?([A-Za-z]+)")
_FIELD = re.compile(r"([A-Za-z][A-Za-z ]*?)\s*[=:]\s*(\d+)")

_TOTAL, _PASSED, _FAILED, _SKIPPED = "total", "passed", "failed", "skipped"

_WORDS = {
    **dict.fromkeys(("test", "tests", "tests run", "total", "example", "examples", "runs"), _TOTAL),
    **dict.fromkeys(("passed", "pass", "passing", "xfailed", "xpassed"), _PASSED),
    **dict.fromkeys(("failed", "fail", "failing", "failure", "failures", "error", "errors", "cancelled"), _FAILED),
    "unexpected successes": _FAILED,
    **dict.fromkeys(("skipped", "skip", "skips", "pending", "todo", "ignored", "disabled", "incomplete"), _SKIPPED),
}


class Tally(msgspec.Struct, frozen=True):
    """What a test program reported.

    `ran` counts tests that were executed, whatever came of them; skipped ones are not among them. `ran` and `failed`
    are None when no summary was recognised. `said_none` is true when the program stated that it found no test.
    """

    ran: int | None = None
    failed: int | None = None
    skipped: int = 0
    said_none: bool = False


class Reader(Protocol):
    """Takes the output of one test program."""

    def feed(self, data: bytes) -> bytes:
        """Take the next piece of output and return what is to be shown of it."""

    def close(self) -> tuple[bytes, Tally]:
        """Take the end of the output; return what is still to be shown, and the count."""


class _Format(msgspec.Struct, frozen=True):
    """One summary line of one family of runners; `text` is the group holding counts, 0 for the whole match.

    A `fallback` family counts only when no other did.
    """

    family: str
    pattern: re.Pattern[str]
    shape: re.Pattern[str] = _PAIR
    text: int = 0
    fallback: bool = False


_FORMATS = (
    _Format("pytest", re.compile(r"^=*\s*((?:\d+ [a-z]+, )*\d+ [a-z]+|no tests ran) in [\d.]+ ?s"), text=1),
    _Format("unittest", re.compile(r"^Ran (\d+ tests?) in [\d.]+s"), text=1),
    _Format("unittest", re.compile(r"^(?:OK|FAILED|NO TESTS RAN) \(([a-z ]+=\d+.*)\)$"), _FIELD, 1),
    _Format("jest", re.compile(r"\bTests:\s+(.*\b\d+ total)\b"), text=1),
    _Format("vitest", re.compile(r"^\s*Tests\s+(\d+ [a-z]+(?: \| \d+ [a-z]+)*)"), text=1),
    _Format("mocha", re.compile(r"^\s+\d+ (?:passing|failing|pending)\b")),
    _Format("ava", re.compile(r"^\s*(?:[✔✖] )?\s*\d+ tests? (?:passed|failed|skipped|todo)$")),
    _Format("tap", re.compile(r"^Asserts:\s+(.*)$"), text=1),
    _Format("tap", re.compile(r"^# \{ (.*total: \d+.*) \}$"), _FIELD, 1),
    _Format("bun", re.compile(r"^\s*\d+ (?:pass|fail|skip|todo)$")),
    _Format("cargo", re.compile(r"^test result: \w+\. (.*)$"), text=1),
    _Format("cargo", re.compile(r"^\s*Summary \[.*?\]\s+\d+ tests? run: (.*)$"), text=1),
    _Format("deno", re.compile(r"^(?:ok|FAILED) \| (\d+ passed.*)$"), text=1),
    _Format("phpunit", re.compile(r"^OK(?:, .*)? \(\d+ tests?, \d+ assertions?\)")),
    _Format("phpunit", re.compile(r"^Tests: \d+, Assertions: .*$"), _FIELD),
    _Format("maven", re.compile(r"Tests run: \d+, (?!.*Time elapsed).*$"), _FIELD),
    _Format("dotnet", re.compile(r"(?:Passed|Failed)!\s+- (Failed: .*Total:\s*\d+)"), _FIELD, 1),
    _Format("examples", re.compile(r"^\d+ (?:examples?|runs|tests?)(?:, \d+ [a-z]+)+\.?$")),
    _Format(
        "plain",
        re.compile(
            r"^\W*(?:[A-Za-z]+:? +)?(?:\d+ (?:tests? )?(?:passed|failed|skipped|errors?|warnings?)[,;| .]*)+"
            r"(?:in [\d.]+ ?\w+)?\W*$",
            re.IGNORECASE,
        ),
        fallback=True,
    ),
)

_NODE = re.compile(r"^[#ℹ] (tests|pass|fail|cancelled|skipped|todo) +(\d+)$")
_NODE_FILE = re.compile(r"^(?:ok \d+ - |✔ )(.+?\.[cm]?[jt]sx?)(?: \([\d.]+ms\))?$")
_TAP_POINT = re.compile(r"^(not )?ok \d+\b(.*)$")
_GO_TEST = re.compile(r"^--- (PASS|FAIL|SKIP): ")
_GO_PACKAGE = re.compile(r"^(?:ok|\?)\s+\S+\s+(?:[\d.]+s|\(cached\))?(.*)$")
_CTEST = re.compile(r"^\d+% tests passed, (\d+) tests failed out of (\d+)")
_GTEST = re.compile(r"^\[\s+(PASSED|FAILED)\s+\] (\d+) tests?")
# Whole statements only: `said_none` may turn a failure into "there was nothing to run".
_SAID_NONE = re.compile(
    r"^(?:=+ )?no tests ran in [\d.]+|^NO TESTS RAN|^no test(?:s| files?) found, exiting with code 1"
    r"|^\s*Tests\s+no tests|couldn.t find any files to test$",
    re.IGNORECASE,
)

_GO_WORDS = {"PASS": _PASSED, "FAIL": _FAILED, "SKIP": _SKIPPED}


class _Family:
    """The counts of one family of runners; several summaries of a family add up."""

    def __init__(self, fallback: bool = False) -> None:
        self.counts = dict.fromkeys((_TOTAL, _PASSED, _FAILED, _SKIPPED), 0)
        self.has_total = False
        self.fallback = fallback

    def add(self, word: str, number: int) -> None:
        key = _WORDS.get(word.lower().strip())
        if key is not None:
            self.counts[key] += number
            self.has_total |= key == _TOTAL

    def ran(self) -> int:
        """Count executed tests: a stated total holds the skipped ones, a list of outcomes does not."""
        if self.has_total:
            return max(self.counts[_TOTAL] - self.counts[_SKIPPED], 0)
        return self.counts[_PASSED] + self.counts[_FAILED]


class SummaryReader:
    """Shows output as it is and reads the summaries in it.

    `families` narrows what is recognised to the runner that was started. `root` is the folder the program runs in.
    """

    def __init__(self, root: Path, families: frozenset[str] = frozenset()) -> None:
        self._root = root
        self._only = families
        self._formats = [entry for entry in _FORMATS if not families or entry.family in families]
        self._families: dict[str, _Family] = {}
        self._pending = b""
        self._said_none = False

    def feed(self, data: bytes) -> bytes:
        *lines, self._pending = re.split(rb"\r\n|\n|\r", self._pending + data)
        self._pending = self._pending[-_PENDING_LIMIT:]
        for line in lines:
            self._line(line)
        return data

    def close(self) -> tuple[bytes, Tally]:
        self._line(self._pending)
        self._pending = b""
        found = [family for family in self._families.values() if not family.fallback]
        found = found or list(self._families.values())[:1]
        if not found:
            return b"", Tally(0 if self._said_none else None, 0 if self._said_none else None, 0, self._said_none)
        failed = sum(family.counts[_FAILED] for family in found)
        skipped = sum(family.counts[_SKIPPED] for family in found)
        return b"", Tally(sum(family.ran() for family in found), failed, skipped, self._said_none)

    def _line(self, raw: bytes) -> None:
        if not raw or len(raw) > _LINE_LIMIT:
            return
        line = _ANSI.sub("", raw.decode("utf-8", "replace")).rstrip()
        self._said_none |= _SAID_NONE.search(line) is not None
        if self._special(line):
            return
        for entry in self._formats:
            match = entry.pattern.search(line)
            if match:
                family = self._family(entry.family, entry.fallback)
                for one, other in entry.shape.findall(match.group(entry.text)):
                    family.add(*((one, int(other)) if entry.shape is _FIELD else (other, int(one))))
                return

    def _family(self, name: str, fallback: bool = False) -> _Family:
        return self._families.setdefault(name, _Family(fallback))

    def _special(self, line: str) -> bool:
        """Read the lines that are no list of counts; only when the runner is not known beforehand."""
        return not self._only and (self._node(line) or self._go(line) or self._native(line) or self._point(line))

    def _node(self, line: str) -> bool:
        if match := _NODE.match(line):
            self._family("node").add(match[1], int(match[2]))
            return True
        # Node's runner reports a file without any test as one passed test named after the file.
        if (match := _NODE_FILE.match(line)) and (self._root / match[1]).is_file():
            self._family("node").add("tests", -1)
            return True
        return False

    def _go(self, line: str) -> bool:
        if match := _GO_TEST.match(line):
            self._family("go").add(_GO_WORDS[match[1]], 1)
            return True
        # Without -v a package is all Go reports; "ok" without a remark means that at least one test ran in it.
        match = _GO_PACKAGE.match(line) if "\t" in line else None
        if match:
            self._family("go packages", fallback=True).add(_PASSED, 0 if "[no test" in match[1] else 1)
        return match is not None

    def _native(self, line: str) -> bool:
        if match := _CTEST.match(line):
            self._family("ctest").add("failed", int(match[1]))
            self._family("ctest").add("total", int(match[2]))
        elif match := _GTEST.match(line):
            self._family("gtest").add(match[1], int(match[2]))
        return match is not None

    def _point(self, line: str) -> bool:
        match = _TAP_POINT.match(line)
        if match is None:
            return False
        skipped = re.search(r"# *skip", match[2], re.IGNORECASE) is not None
        outcome = _SKIPPED if skipped else _FAILED if match[1] else _PASSED
        self._family("tap points", fallback=True).add(outcome, 1)
        return True


class _GoEvent(msgspec.Struct):
    Action: str
    Test: str = ""
    Output: str = ""


class GoReader:
    """Reads `go test -json`: shows the text its events carry, counts top-level tests and leaves subtests out."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_GoEvent)
        self._counts = dict.fromkeys(("pass", "fail", "skip"), 0)
        self._pending = b""
        self._seen = False

    def feed(self, data: bytes) -> bytes:
        *lines, self._pending = (self._pending + data).split(b"\n")
        return b"".join(self._line(line, b"\n") for line in lines)

    def close(self) -> tuple[bytes, Tally]:
        shown = self._line(self._pending, b"")
        self._pending = b""
        if not self._seen:
            return shown, Tally()
        ran = self._counts["pass"] + self._counts["fail"]
        return shown, Tally(ran, self._counts["fail"], self._counts["skip"])

    def _line(self, line: bytes, end: bytes) -> bytes:
        try:
            event = self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # A compiler's message, written beside the events.
            return line + end
        self._seen = True
        if event.Test and "/" not in event.Test and event.Action in self._counts:
            self._counts[event.Action] += 1
        return event.Output.encode()

"""Reading counts of tests from the summaries of the usual runners, as they print them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagent.checks.testcount import GoReader, SummaryReader, Tally

SAMPLES: dict[str, tuple[str, tuple[int | None, int | None, int]]] = {
    "pytest": ("===== 1 failed, 3 passed, 2 skipped, 1 xfailed, 4 warnings in 0.12s =====\n", (5, 1, 2)),
    "pytest -q": ("..\n2 passed in 0.01s\n", (2, 0, 0)),
    "pytest, long": ("=== 2 passed in 61.20s (0:01:01) ===\n", (2, 0, 0)),
    "pytest, collection error": ("===== 1 error in 0.09s =====\n", (1, 1, 0)),
    "pytest, nothing": ("===== no tests ran in 0.01s =====\n", (0, 0, 0)),
    "pytest, deselected": ("===== 5 deselected in 0.01s =====\n", (0, 0, 0)),
    "pytest, only collected": ("3 tests collected in 0.01s\n", (None, None, 0)),
    "unittest": ("Ran 3 tests in 0.001s\n\nOK\n", (3, 0, 0)),
    "unittest, failing": (
        "Ran 5 tests in 0.001s\n\nFAILED (failures=1, errors=1, skipped=1, expected failures=1)\n",
        (4, 2, 1),
    ),
    "unittest, nothing": ("Ran 0 tests in 0.000s\n\nNO TESTS RAN\n", (0, 0, 0)),
    "node, TAP": ("# tests 4\n# suites 1\n# pass 2\n# fail 1\n# cancelled 0\n# skipped 1\n# todo 0\n", (3, 1, 1)),
    "node, spec": ("ℹ tests 2\nℹ suites 0\nℹ pass 2\nℹ fail 0\nℹ skipped 0\n", (2, 0, 0)),
    "tape": ("TAP version 13\nok 1 a\nnot ok 2 b\n\n1..2\n# tests 2\n# pass  1\n# fail  1\n", (2, 1, 0)),
    "jest": (
        "Test Suites: 1 failed, 1 passed, 2 total\nTests:       1 failed, 2 skipped, 3 passed, 6 total\n"
        "Snapshots:   0 total\nTime:        1.2 s\n",
        (4, 1, 2),
    ),
    "jest, nothing": ("No tests found, exiting with code 1\n", (0, 0, 0)),
    "vitest": (
        " Test Files  1 failed | 1 passed (2)\n      Tests  1 failed | 3 passed | 1 skipped (5)\n   Duration  300ms\n",
        (4, 1, 1),
    ),
    "vitest, nothing": ("No test files found, exiting with code 1\n", (0, 0, 0)),
    "mocha": ("\n  3 passing (12ms)\n  1 pending\n  1 failing\n\n  1) adds:\n", (4, 1, 1)),
    "mocha, nothing": ("\n  0 passing (1ms)\n\n", (0, 0, 0)),
    "ava": ("  ✔ a\n  ─\n\n  1 test failed\n  2 tests passed\n  1 test skipped\n", (3, 1, 1)),
    "tap 16": ("Suites:   1 passed, 1 of 1 completed\nAsserts:  1 failed, 2 passed, of 3\n", (3, 1, 0)),
    "tap 18": ("# { total: 3, pass: 2, fail: 1 }\n# time=50ms\n", (3, 1, 0)),
    "bun": (" 2 pass\n 1 fail\n 3 expect() calls\nRan 3 tests across 1 files. [12.00ms]\n", (3, 1, 0)),
    "deno": ("ok | 3 passed | 0 failed (12ms)\n", (3, 0, 0)),
    "cargo": (
        "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n"
        "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s\n",
        (4, 1, 1),
    ),
    "nextest": ("     Summary [   0.015s] 3 tests run: 2 passed, 1 failed, 1 skipped\n", (3, 1, 1)),
    "go -v": (
        "=== RUN   TestA\n--- PASS: TestA (0.00s)\n    --- PASS: TestA/s (0.00s)\n--- FAIL: TestB (0.0s)\n",
        (2, 1, 0),
    ),
    "go": (
        "ok  \texample.com/a\t0.002s\nok  \texample.com/b\t(cached)\n?   \texample.com/c\t[no test files]\n",
        (2, 0, 0),
    ),
    "go, nothing": ("ok  \texample.com/a\t0.002s [no tests to run]\n?   \texample.com/c\t[no test files]\n", (0, 0, 0)),
    "ctest": ("50% tests passed, 1 tests failed out of 2\n", (2, 1, 0)),
    "gtest": ("[  PASSED  ] 3 tests.\n[  FAILED  ] 1 test, listed below:\n", (4, 1, 0)),
    "phpunit": ("OK (3 tests, 5 assertions)\n", (3, 0, 0)),
    "phpunit, failing": ("FAILURES!\nTests: 3, Assertions: 5, Failures: 1.\n", (3, 1, 0)),
    "maven": (
        "[INFO] Tests run: 3, Failures: 0, Errors: 0, Skipped: 1, Time elapsed: 0.1 s -- in A\n"
        "[INFO] Tests run: 3, Failures: 0, Errors: 0, Skipped: 1\n",
        (2, 0, 1),
    ),
    "dotnet": ("Passed!  - Failed:     0, Passed:     3, Skipped:     1, Total:     4\n", (3, 0, 1)),
    "rspec": ("3 examples, 1 failure, 1 pending\n", (2, 1, 1)),
    "minitest": ("3 runs, 5 assertions, 1 failures, 0 errors, 1 skips\n", (2, 1, 1)),
    "TAP without a summary": ("1..3\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP later\n", (2, 1, 1)),
    "a plain line": ("Results: 3 passed, 1 failed\n", (4, 1, 0)),
    "a plain line in a frame": ("--- 3 tests passed, 0 failed ---\n", (3, 0, 0)),
    "colours": ("\x1b[32m3 passed\x1b[0m in 0.10s\n", (3, 0, 0)),
    "carriage returns": ("50%\r100%\r3 passed in 0.10s\r\n", (3, 0, 0)),
    "no end of line": ("3 passed in 0.10s", (3, 0, 0)),
    "two runners": ("3 passed in 0.10s\ntest result: ok. 2 passed; 0 failed; 0 ignored\n", (5, 0, 0)),
    "prose": ("I checked 12 files and all is well\nbuild passed\n", (None, None, 0)),
    "nothing at all": ("", (None, None, 0)),
}


def read(text: str, families: frozenset[str] = frozenset()) -> Tally:
    reader = SummaryReader(Path("/nowhere"), families)
    data = text.encode()
    assert reader.feed(data) == data
    return reader.close()[1]


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_summaries(name: str) -> None:
    text, expected = SAMPLES[name]
    tally = read(text)
    assert (tally.ran, tally.failed, tally.skipped) == expected


def test_only_the_runner_that_was_started_is_believed() -> None:
    text = "test result: ok. 9 passed; 0 failed; 0 ignored\n9 passed, 0 failed\n1 failed, 1 passed in 0.10s\n"
    assert read(text, frozenset({"pytest"})) == Tally(2, 1, 0)


def test_only_a_whole_statement_says_that_there_was_nothing() -> None:
    assert read("===== no tests ran in 0.01s =====\n").said_none
    assert not read("warning: there were no tests found for module x, no tests ran\n").said_none


@given(st.sampled_from(sorted(SAMPLES)), st.lists(st.integers(1, 9), min_size=1, max_size=80))
def test_the_count_does_not_depend_on_how_output_arrives(name: str, sizes: list[int]) -> None:
    text, expected = SAMPLES[name]
    data = text.encode()
    reader = SummaryReader(Path("/nowhere"))
    for size in sizes:
        reader.feed(data[:size])
        data = data[size:]
    reader.feed(data)
    tally = reader.close()[1]
    assert (tally.ran, tally.failed, tally.skipped) == expected


@given(st.binary(max_size=400))
def test_any_bytes_are_shown_unchanged(data: bytes) -> None:
    reader = SummaryReader(Path("/nowhere"))
    assert reader.feed(data) + reader.close()[0] == data


def test_a_very_long_line_is_passed_over_and_what_follows_is_read() -> None:
    assert read("1 " * 200_000 + "\n3 passed in 0.10s\n").ran == 3


GO = (
    '{"Action":"output","Package":"x","Test":"TestA","Output":"=== RUN TestA\\n"}\n'
    '{"Action":"pass","Package":"x","Test":"TestA/sub"}\n'
    '{"Action":"pass","Package":"x","Test":"TestA"}\n'
    "# x\n./x.go:3: a remark of the compiler\n"
    '{"Action":"fail","Package":"x","Test":"TestB"}\n'
    '{"Action":"skip","Package":"x","Test":"TestC"}\n'
    '{"Action":"fail","Package":"x"}\n'
)


@given(st.lists(st.integers(1, 60), max_size=40))
def test_go_events_are_counted_and_their_text_shown(sizes: list[int]) -> None:
    data = GO.encode()
    reader = GoReader()
    shown = b""
    for size in sizes:
        shown += reader.feed(data[:size])
        data = data[size:]
    shown += reader.feed(data)
    rest, tally = reader.close()
    assert shown + rest == b"=== RUN TestA\n# x\n./x.go:3: a remark of the compiler\n"
    assert tally == Tally(2, 1, 1)


def test_go_output_without_any_event_has_no_count() -> None:
    reader = GoReader()
    assert reader.feed(b"go: cannot find main module\n") == b"go: cannot find main module\n"
    assert reader.close() == (b"", Tally())

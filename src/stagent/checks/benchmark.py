"""A declared benchmark: measured before the work, sealed, and compared with after it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from stagent.checks import declared
from stagent.checks.declared import Seal, Unmet

KIND = "benchmark"
_MEDIAN = "median"
_MOST_RUNS = 100


class Benchmark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `.agents/benchmark.json` says.

    `run` is the command. `measure`: `seconds` takes the time it needs, `number` the last line it prints. `better` says
    which way is an improvement. `ratio` is the bound of the median now divided by the median before: at most that when
    lower is better, at least that when higher is. `runs` is how often it is measured, `timeout` seconds for each.
    """

    run: str
    ratio: float
    measure: Literal["seconds", "number"] = "seconds"
    better: Literal["lower", "higher"] = "lower"
    runs: int = 5
    timeout: float = declared.COMMAND_TIMEOUT
    files: list[str] = []


def declaration(root: Path, out: BinaryIO) -> str:
    """Judge whether a benchmark is declared that gives a value. Raises Unmet otherwise."""
    benchmark = _read(root)
    return f"it gives {_once(root, out, benchmark):.6g}; the bound of the ratio is {_bound(benchmark)}."


def record(root: Path, out: BinaryIO) -> str:
    """Measure what there is now and seal it together with what it is measured with. Raises Unmet otherwise."""
    benchmark = _read(root)
    values = _measure(root, out, benchmark)
    files = declared.behind(root, KIND, [benchmark.run], benchmark.files)
    measured = {_MEDIAN: statistics.median(values), **{f"run{n}": value for n, value in enumerate(values, 1)}}
    declared.seal(root, KIND, Seal(files=files, measured=measured))
    return f"the baseline is {_spread(values)}; the seal covers {declared.counted(len(files), 'file')}."


def compare(root: Path, out: BinaryIO) -> str:
    """Measure again and judge the ratio to the sealed baseline. Raises Unmet when the bound is not kept."""
    benchmark = _read(root)
    before = declared.unbroken(root, KIND, [benchmark.run], benchmark.files).measured.get(_MEDIAN, 0.0)
    if not before > 0:
        raise Unmet(f"{declared.lock_place(KIND)} holds no baseline. Let it be measured again.")
    values = _measure(root, out, benchmark)
    declared.unbroken(root, KIND, [benchmark.run], benchmark.files)
    ratio = statistics.median(values) / before
    kept = ratio <= benchmark.ratio if benchmark.better == "lower" else ratio >= benchmark.ratio
    text = f"now {_spread(values)}, before {before:.6g}: ratio {ratio:.3f}, bound {_bound(benchmark)}."
    if not kept:
        raise Unmet(text)
    return text


def _read(root: Path) -> Benchmark:
    found = declared.read(root, KIND, Benchmark)
    where = declared.place(KIND)
    if not found.run.strip():
        raise Unmet(f"{where}: `run` is empty. Name the command that is measured.")
    if not (math.isfinite(found.ratio) and found.ratio > 0):
        raise Unmet(f"{where}: `ratio` is not above 0. Write for example 0.8 for a fifth less.")
    if not 3 <= found.runs <= _MOST_RUNS:
        raise Unmet(f"{where}: `runs` is not between 3 and {_MOST_RUNS}. A single run says nothing.")
    return found


def _measure(root: Path, out: BinaryIO, benchmark: Benchmark) -> list[float]:
    # The first run warms caches up and does not count.
    return [_once(root, out, benchmark) for _ in range(benchmark.runs + 1)][1:]


def _once(root: Path, out: BinaryIO, benchmark: Benchmark) -> float:
    ran = declared.run(benchmark.run, root, out, benchmark.timeout)
    if ran.code != 0:
        raise Unmet(f"`{benchmark.run}` {ran.how}. A benchmark ends with 0.")
    value = ran.seconds if benchmark.measure == "seconds" else _number(benchmark.run, ran.stdout)
    if not (math.isfinite(value) and value > 0):
        raise Unmet(f"`{benchmark.run}` gave {value:g}; a ratio needs numbers above 0.")
    return value


def _number(command: str, printed: bytes) -> float:
    lines = printed.decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        return float(last)
    except ValueError:
        raise Unmet(f'the last line `{command}` prints is "{last[:80]}", not a number. Let it end with one.') from None


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.6g} ({min(values):.6g} to {max(values):.6g} in {len(values)} runs)"


def _bound(benchmark: Benchmark) -> str:
    return f"{'<=' if benchmark.better == 'lower' else '>='} {benchmark.ratio:g}"

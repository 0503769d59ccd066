"""What keeping an agent's stream costs: parsing, typing and writing it, beside `json.loads` and bare writing.

Budget: at least 150 MB/s of parsing on lines of 1 KB. Memory: that of a stream of 200 MB, and of one line of 64 MB.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from stagent.agents.scripted import ScriptedBackend
from stagent.core.ports import AgentEvent, AttemptSpec, Launch
from stagent.runner.ledger import Ledger
from stagent.runner.streams import LineSplitter, Place, StreamFile
from stagent.runner.supervisor import Supervisor
from stagent.runner.typed import Recorder

MEGABYTES, ROUNDS, CHUNK = 40, 5, 256 * 1024
LINE = b'{"type": "text", "text": "' + b"The quick brown fox jumps over the lazy dog in src/x.py. " * 17 + b'"}'
CHILD = """
import os, sys
kind, size = sys.argv[1], int(sys.argv[2])
line = b'{"type": "text", "text": "' + b'x' * 970 + b'"}\\n' if kind == 'lines' else b'x' * 1000
for _ in range(size):
    data = line * 1000
    while data:
        data = data[os.write(1, data):]
os.write(1, b'\\n{"type": "result"}\\n')
"""
MEASURED = """
import os, resource, sys
sys.path[:0] = {path!r}
import stream
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stream.supervise(sys.argv[1], {kind!r}, {size})
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@cache
def data() -> bytes:
    """Return the lines; not made where only memory is measured."""
    return b"".join(LINE + b"\n" for _ in range(MEGABYTES * 1_000_000 // (len(LINE) + 1)))


@cache
def chunks() -> list[bytes]:
    """Return them as they come from a pipe."""
    return [data()[start : start + CHUNK] for start in range(0, len(data()), CHUNK)]


def ignore(_event: AgentEvent) -> None:
    return


def json_loads(_folder: str) -> None:
    """The reference: the standard library's parser, line by line, and nothing else."""
    for line in data().splitlines():
        json.loads(line)


def bare_write(folder: str) -> None:
    """The reference: the bytes appended to a file and made durable."""
    with open(f"{folder}/bare", "ab", buffering=0) as file:
        for chunk in chunks():
            file.write(chunk)
        os.fsync(file.fileno())


def write_and_digest(folder: str) -> None:
    """The reference: the same with their digest."""
    seen = hashlib.sha256()
    with open(f"{folder}/digest", "ab", buffering=0) as file:
        for chunk in chunks():
            file.write(chunk)
            seen.update(chunk)
        os.fsync(file.fileno())


def parse(_folder: str) -> None:
    """Lines cut and parsed to typed events by the backend."""
    backend = ScriptedBackend()

    def take(line: bytes) -> None:
        backend.parse(line)

    splitter = LineSplitter(take, lambda length: None)
    for chunk in chunks():
        splitter.feed(chunk)


def persist(folder: str) -> None:
    """Only the stream itself: appended, digested, made durable."""
    file = StreamFile(f"{folder}/stream.ndjson")
    for chunk in chunks():
        file.write(chunk)
    file.close()


def everything(folder: str) -> None:
    """What the runner does with each byte: kept, cut, parsed, added up, typed, masked, kept again."""
    place = Place()
    recorder = Recorder(f"{folder}/all.ndjson", place, ignore)
    ledger = Ledger(ScriptedBackend(), recorder.note)
    splitter = LineSplitter(ledger.take, ledger.take_long, place=place)
    file = StreamFile(f"{folder}/all.ndjson")
    for chunk in chunks():
        file.write(chunk)
        splitter.feed(chunk)
    recorder.finish(file.size)
    recorder.close()
    file.close()


def supervise(folder: str, kind: str, size: int) -> None:
    """Run a real process under a supervisor; `size` is in thousands of lines or of bytes."""
    spec = AttemptSpec(
        id="r-bench.1.1",
        run="r-bench",
        stage="bench",
        epoch=1,
        number=1,
        stage_attempt=1,
        workdir=folder,
        run_dir=folder,
        artifact=f"{folder}/x",
        prompt="",
        stream=f"{folder}/{kind}.ndjson",
    )
    argv = [sys.executable, "-I", "-S", "-c", CHILD, kind, str(size)]
    outcome = Supervisor(ScriptedBackend()).run(spec, Launch(argv=argv, env=dict(os.environ)))
    assert outcome.status == "ok", outcome


def seconds(work: Callable[[str], None]) -> float:
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as folder:
        began = time.perf_counter()
        work(folder)
        return time.perf_counter() - began


def memory(kind: str, size: int) -> tuple[float, float, float]:
    """Return the memory in MB before and at most, and the MB/s, of a stream in a process of its own."""
    script = MEASURED.format(path=[str(Path(__file__).parent)], kind=kind, size=size)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as folder:
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, check=True)
        spent = time.perf_counter() - began
        length = Path(folder, f"{kind}.ndjson").stat().st_size
    before, peak = (int(word) / 1000 for word in done.stdout.split())
    return before, peak, length / 1e6 / spent


def main() -> None:
    print(f"load {os.getloadavg()[0]:.1f}")
    # First: what a process is started by counts as its own memory until it has more.
    for kind, size, what in (("lines", 200, "200 MB in lines of 1 KB"), ("long", 64, "one line of 64 MB")):
        before, peak, rate = memory(kind, size)
        print(f"memory for {what}: {peak - before:.0f} MB above {before:.0f} MB, {rate:.0f} MB/s")
    works = (json_loads, bare_write, write_and_digest, parse, persist, everything)
    spent: dict[str, list[float]] = {work.__name__: [] for work in works}
    for _ in range(ROUNDS):
        for work in works:
            spent[work.__name__].append(seconds(work))
    rates = {name: len(data()) / 1e6 / statistics.median(times) for name, times in spent.items()}
    for name, rate in rates.items():
        print(f"{name:<18} {rate:8.0f} MB/s")
    print(
        f"parsing: {rates['parse']:.0f} MB/s, {rates['parse'] / rates['json_loads']:.1f} x json.loads   budget >= 150"
    )
    print(f"persisting: {rates['persist'] / rates['bare_write']:.2f} x bare durable writing")
    print(f"everything: {rates['everything']:.0f} MB/s, {rates['everything'] / rates['json_loads']:.1f} x json.loads")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

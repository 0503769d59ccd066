"""What a supervised process says is typed as it comes, and typed again where the runner was ended before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from stagent.agents.scripted import ScriptedBackend
from stagent.core.ports import AgentEvent, AttemptSpec, Launch, Outcome
from stagent.runner.replay import complete, is_whole, rebuild
from stagent.runner.streams import seen
from stagent.runner.supervisor import Supervisor
from stagent.runner.typed import Typed, typed_path

PARSE = ScriptedBackend().parse


def spec(folder: Path) -> AttemptSpec:
    return AttemptSpec(
        id=f"r-typed.{os.getpid()}.1",
        run="r-typed",
        stage="work",
        epoch=1,
        number=1,
        stage_attempt=1,
        workdir=str(folder),
        run_dir=str(folder),
        artifact=str(folder / "artifact"),
        prompt="",
        stream=str(folder / "1.1.ndjson"),
    )


def run(folder: Path, program: str, *, raising: type[BaseException] | None = None) -> Outcome:
    def told(_event: AgentEvent) -> None:
        if raising is not None:
            raise raising

    launch = Launch(argv=[sys.executable, "-I", "-c", program], env=dict(os.environ))
    return Supervisor(ScriptedBackend(), grace=0.3).run(spec(folder), launch, on_event=told)


def kept(folder: Path) -> list[Typed]:
    lines = Path(typed_path(spec(folder).stream)).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Typed) for line in lines]


def test_typed_events_stand_beside_the_stream(tmp_path: Path) -> None:
    outcome = run(tmp_path, """print('{"type": "text", "text": "a"}\\n\\n{"type": "result"}', end='')""")
    assert outcome.status == "ok"
    assert [(item.line, item.kind, item.offset) for item in kept(tmp_path)] == [
        (1, "text", 0),
        (3, "result", 31),
        (3, "end", outcome.stream_bytes),
    ]
    assert is_whole(spec(tmp_path).stream)
    assert seen(spec(tmp_path).stream) == (outcome.stream_digest, outcome.stream_bytes)


def test_an_event_is_in_the_file_while_the_process_still_runs(tmp_path: Path) -> None:
    program = f"""
import os, time
print("first", flush=True)
until = time.monotonic() + 10
while not os.path.getsize({typed_path(spec(tmp_path).stream)!r}) and time.monotonic() < until: time.sleep(0.01)
print("after" if time.monotonic() < until else "too late", flush=True)
"""
    run(tmp_path, program)
    assert [item.text for item in kept(tmp_path)[:-1]] == ["first", "after"]


def test_an_error_in_a_callback_keeps_what_came_before(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        run(tmp_path, "print('one'); print('two')", raising=KeyError)
    stream = spec(tmp_path).stream
    assert not is_whole(stream)
    assert [item.text for item in complete(stream, PARSE)] == ["one", "two"]
    assert rebuild(stream, PARSE) and is_whole(stream)


def test_a_stream_that_is_continued_keeps_its_typed_events(tmp_path: Path) -> None:
    Path(spec(tmp_path).stream).write_bytes(b"old\n\ntorn")
    run(tmp_path, "print('new')")
    assert [(item.line, item.text, item.offset) for item in kept(tmp_path) if item.kind != "end"] == [
        (1, "old", 0),
        (3, "torn", 5),
        (4, "new", 10),
    ]
    assert is_whole(spec(tmp_path).stream)


def test_after_a_kill_everything_the_stream_holds_is_told(tmp_path: Path) -> None:
    runner = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from pathlib import Path
from test_supervisor_typed import run
run(Path({str(tmp_path)!r}), '''
import sys, time
for number in range(100000):
    print(number, flush=True)
    time.sleep(0.0005)
''')
"""
    process = subprocess.Popen([sys.executable, "-c", runner], env=dict(os.environ))
    stream = Path(spec(tmp_path).stream)
    until = time.monotonic() + 20
    while not stream.exists() or stream.stat().st_size < 2000:
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = stream.read_bytes()
    told = list(complete(str(stream), PARSE))
    assert [item.text for item in told] == whole.decode().split()
    assert [whole[item.offset :].split(b"\n")[0].decode() for item in told] == whole.decode().split()
    assert rebuild(str(stream), PARSE)
    assert is_whole(str(stream))
    assert seen(str(stream))[1] == len(whole)

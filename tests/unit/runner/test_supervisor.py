"""The supervisor against children that do everything a child should not do."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from stagent import processes
from stagent.core.ports import AgentEvent, AttemptSpec, Launch, Outcome, Verdict
from stagent.errors import StoreError
from stagent.runner.supervisor import Supervisor, attempt_environment


class Lines:
    """A backend whose every line is an event; an exit code of 0 is all it wants."""

    name = "lines"

    def launch(self, spec: AttemptSpec, env: dict[str, str]) -> Launch:
        return Launch(argv=[sys.executable, "-I", "-c", spec.prompt], env=env)

    def parse(self, line: bytes) -> list[AgentEvent]:
        return [AgentEvent(kind="text", text=line.decode("utf-8", "replace"))]

    def judge(self, exit_code: int, events: Sequence[AgentEvent]) -> Verdict:
        return Verdict(status="ok") if exit_code == 0 else Verdict(status="failed", reason=f"exit {exit_code}")


class Case:
    """One attempt at running a small program under a supervisor, and what became of it."""

    def __init__(self, folder: Path, timeout: float | None = None, grace: float = 0.3) -> None:
        self.folder = folder
        self.spec = AttemptSpec(
            id=f"r-{folder.name}.{os.getpid()}.1",
            run="r-test",
            stage="executing",
            epoch=3,
            number=1,
            stage_attempt=2,
            workdir=str(folder),
            run_dir=str(folder / "run"),
            artifact=str(folder / "run" / "executing-report.md"),
            prompt="",
            stream=str(folder / "streams" / "attempt.ndjson"),
            timeout=timeout,
        )
        self.events: list[AgentEvent] = []
        self.supervisor = Supervisor(Lines(), grace=grace)

    def heard(self, event: AgentEvent) -> None:
        """Note an event; the words "stop me" are an order."""
        self.events.append(event)
        if event.text == "stop me":
            self.supervisor.stop()

    def run(self, program: str, stdin: bytes = b"", argv: Sequence[str] = ()) -> Outcome:
        argv = argv or [sys.executable, "-I", "-c", textwrap.dedent(program)]
        launch = Launch(argv=argv, env=dict(os.environ), stdin=stdin)
        return self.supervisor.run(self.spec, launch, on_event=self.heard, on_started=self.started)

    def started(self, pid: int, started: str) -> None:
        self.pid = pid
        self.start = started

    @property
    def stream(self) -> bytes:
        return Path(self.spec.stream).read_bytes()

    @property
    def stderr(self) -> bytes:
        return Path(self.spec.stream + ".stderr").read_bytes()

    def pids(self) -> list[int]:
        return [int(line) for line in (self.folder / "pids").read_text().split()]

    def left(self) -> list[int]:
        return [pid for pid in [*self.pids(), self.pid] if running(pid)]


def running(pid: int) -> bool:
    info = processes.look(pid)
    return info is not None and not info.dead


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


# --- output ----------------------------------------------------------------------------------------------------------


def test_a_quiet_child_that_succeeds(case: Case) -> None:
    outcome = case.run("print('hello', flush=True); print('bye')")
    assert (outcome.status, outcome.exit) == ("ok", 0)
    assert case.stream == b"hello\nbye\n"
    assert [event.text for event in case.events] == ["hello", "bye"]
    assert outcome.stream_digest == hashlib.sha256(b"hello\nbye\n").hexdigest()
    assert outcome.stream_bytes == 10


def test_bad_bytes_blank_lines_and_a_missing_last_newline_survive(case: Case) -> None:
    said = b"\xff\xfe\x00bad\r\n\n\nlast"
    outcome = case.run(f"import os; os.write(1, {said!r})")
    assert case.stream == said
    assert outcome.stream_digest == hashlib.sha256(said).hexdigest()
    assert [event.text for event in case.events] == ["\ufffd\ufffd\x00bad\r", "last"]


def test_a_line_of_64_million_bytes_is_one_event(case: Case) -> None:
    outcome = case.run("import sys; sys.stdout.write('x' * 64_000_000 + '\\nend\\n')")
    assert outcome.stream_bytes == 64_000_005
    assert [len(event.text) for event in case.events] == [64_000_000, 3]


def test_a_line_longer_than_the_limit_is_kept_and_not_parsed(case: Case) -> None:
    outcome = case.run("import sys\nfor _ in range(70): sys.stdout.write('x' * 2**20)\nsys.stdout.write('\\nend\\n')")
    assert outcome.stream_bytes == 70 * 2**20 + 5
    assert [event.kind for event in case.events] == ["other", "text"]
    assert str(70 * 2**20) in case.events[0].text


def test_fifty_megabytes_arrive_whole(case: Case) -> None:
    outcome = case.run("import sys\nfor n in range(50_000): sys.stdout.write(f'{n:07}' + 'y' * 992 + '\\n')")
    expected = b"".join(b"%07d" % n + b"y" * 992 + b"\n" for n in range(50_000))
    assert outcome.stream_bytes == 50_000_000
    assert case.stream == expected
    assert outcome.stream_digest == hashlib.sha256(expected).hexdigest()
    assert len(case.events) == 50_000


def test_lines_are_in_the_stream_while_the_child_still_runs(case: Case) -> None:
    seen: list[bytes] = []

    def look(_event: AgentEvent) -> None:
        seen.append(case.stream)

    program = "import time; print('one', flush=True); time.sleep(0.2); print('two', flush=True)"
    launch = Launch(argv=[sys.executable, "-I", "-c", program], env=dict(os.environ))
    case.supervisor.run(case.spec, launch, on_event=look)
    assert seen == [b"one\n", b"one\ntwo\n"]


def test_a_child_that_closes_its_output_early_is_waited_for(case: Case) -> None:
    outcome = case.run("import os, time; os.write(1, b'x\\n'); os.close(1); os.close(2); time.sleep(0.3); os._exit(4)")
    assert (outcome.status, outcome.exit) == ("failed", 4)
    assert case.stream == b"x\n"


def test_a_flood_of_errors_is_bounded_and_stops_nothing(case: Case) -> None:
    program = """
        import sys
        sys.stderr.write("FIRST\\n")
        for _ in range(20): sys.stderr.write("e" * 2**20)
        sys.stderr.write("LAST\\n")
        print("done")
    """
    assert case.run(program).status == "ok"
    assert case.stream == b"done\n"
    assert case.stderr.startswith(b"FIRST\n")
    assert case.stderr.endswith(b"LAST\n")
    assert b"bytes left out" in case.stderr
    assert len(case.stderr) < 2 * 256 * 1024 + 100


# --- input and environment -------------------------------------------------------------------------------------------


def test_a_large_prompt_reaches_a_child_that_talks_meanwhile(case: Case) -> None:
    prompt = os.urandom(5_000_000)
    program = """
        import hashlib, sys
        print("x" * 1_000_000)
        print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())
    """
    assert case.run(program, stdin=prompt).status == "ok"
    assert case.events[-1].text == hashlib.sha256(prompt).hexdigest()


@pytest.mark.parametrize("program", ["print('no, thanks')", "import os; os.close(0); print('no, thanks')"])
def test_a_child_that_never_reads_a_large_prompt(case: Case, program: str) -> None:
    assert case.run(program, stdin=b"p" * 5_000_000).status == "ok"
    assert case.stream == b"no, thanks\n"


def test_without_a_prompt_standard_input_is_empty(case: Case) -> None:
    case.run("import sys; print(repr(sys.stdin.read()))")
    assert case.stream == b"''\n"


def test_the_child_knows_its_attempt_and_is_in_a_session_of_its_own(case: Case) -> None:
    program = """
        import os
        for name in sorted(os.environ):
            if name.startswith("STAGENT_") and name not in ("STAGENT_HOME", "STAGENT_TEST_FULL"):
                print(name, os.environ[name])
        print(os.getcwd(), os.getsid(0), os.getpgid(0))
    """
    case.run(program)
    said = dict(event.text.split(" ", 1) for event in case.events)
    assert said.pop(os.path.realpath(case.folder)) == f"{case.pid} {case.pid}"
    assert said == attempt_environment(case.spec)
    assert said["STAGENT_ATTEMPT"] == case.spec.id
    assert said["STAGENT_STAGE_ATTEMPT"] == "2"
    assert said["STAGENT_EPOCH"] == "3"


def test_the_start_names_exactly_this_process(case: Case) -> None:
    case.run("import time; time.sleep(0.1)")
    assert case.pid > 1
    assert case.start
    assert not processes.alive(case.pid, case.start)


# --- ends ------------------------------------------------------------------------------------------------------------


def test_an_exit_by_signal_is_a_negative_code(case: Case) -> None:
    outcome = case.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (outcome.status, outcome.exit) == ("failed", -signal.SIGSEGV)


def test_a_hanging_child_meets_its_timeout(tmp_path: Path) -> None:
    case = Case(tmp_path, timeout=0.3)
    begin = time.monotonic()
    outcome = case.run("import time; time.sleep(3600)")
    assert (outcome.status, outcome.exit) == ("timeout", -signal.SIGTERM)
    assert time.monotonic() - begin >= 0.3


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    case = Case(tmp_path, grace=3.0)
    program = """
        import os, signal, time
        signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"I heard\\n"))
        os.write(1, b"stop me\\n")
        while True: time.sleep(60)
    """
    outcome = case.run(program)
    assert (outcome.status, outcome.exit) == ("stopped", -signal.SIGKILL)
    assert case.stream == b"stop me\nI heard\n"


def test_a_stopped_child_can_be_ended(tmp_path: Path) -> None:
    case = Case(tmp_path, timeout=0.3)
    outcome = case.run("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    assert (outcome.status, outcome.exit) == ("timeout", -signal.SIGTERM)


def test_stop_from_another_thread(case: Case) -> None:
    timer = threading.Timer(0.3, case.supervisor.stop)
    timer.start()
    outcome = case.run("import time; time.sleep(60)")
    timer.join()
    assert (outcome.status, outcome.exit) == ("stopped", -signal.SIGTERM)


def test_stop_from_a_signal_handler(case: Case) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: case.supervisor.stop())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        outcome = case.run("import time; time.sleep(60)")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert outcome.status == "stopped"


def test_a_stop_before_the_start_is_not_lost(case: Case) -> None:
    case.supervisor.stop()
    outcome = case.run("open('ran', 'w')")
    assert (outcome.status, outcome.exit) == ("stopped", None)
    assert not (case.folder / "ran").exists()


def test_a_stop_while_the_child_is_being_started_is_not_lost(case: Case) -> None:
    def stop(_pid: int, _started: str) -> None:
        case.supervisor.stop()

    launch = Launch(argv=[sys.executable, "-I", "-c", "import time; time.sleep(60)"], env=dict(os.environ))
    assert case.supervisor.run(case.spec, launch, on_started=stop).status == "stopped"


def test_an_exit_before_the_stop_is_judged_as_such(case: Case) -> None:
    def stop(_event: AgentEvent) -> None:
        while running(pids[0]):
            time.sleep(0.01)
        case.supervisor.stop()

    pids: list[int] = []
    launch = Launch(argv=[sys.executable, "-I", "-c", "print('x')"], env=dict(os.environ))
    outcome = case.supervisor.run(case.spec, launch, on_event=stop, on_started=lambda pid, _started: pids.append(pid))
    assert (outcome.status, outcome.exit) in [("ok", 0), ("stopped", 0)]


@pytest.mark.parametrize("argv", [["/no/such/program"], ["a\0b"], ["/"]])
def test_what_cannot_be_started_says_so(case: Case, argv: list[str]) -> None:
    outcome = case.run("", argv=argv)
    assert (outcome.status, outcome.exit) == ("unstartable", None)
    assert argv[0] in outcome.reason


def test_an_empty_command_cannot_be_started(case: Case) -> None:
    outcome = case.supervisor.run(case.spec, Launch(argv=[], env={}))
    assert (outcome.status, outcome.reason) == ("unstartable", "an empty command: there is nothing to run")


def test_a_missing_work_folder_is_named(tmp_path: Path) -> None:
    case = Case(tmp_path / "gone")
    case.spec = msgspec.structs.replace(case.spec, stream=str(tmp_path / "stream"))
    outcome = case.run("print(1)")
    assert outcome.status == "unstartable"
    assert str(tmp_path / "gone") in outcome.reason


def test_a_stream_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    case = Case(tmp_path)
    (tmp_path / "streams").write_text("in the way")
    with pytest.raises(StoreError) as caught:
        case.run("print(1)")
    assert caught.value.code == "runner.stream_unwritable"


# --- errors of ours --------------------------------------------------------------------------------------------------

DAEMON = """
    import os, subprocess, sys, time
    escape = '''
    import os, time
    open('pids', 'a').write(f'{os.getpid()} ')
    os.setsid()
    print('up', flush=True)
    time.sleep(60)
    '''
    subprocess.Popen([sys.executable, "-I", "-c", escape])
    time.sleep(60)
"""


class Boom(Exception):
    pass


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt])
def test_an_error_in_a_callback_leaves_nothing_running(case: Case, error: type[BaseException]) -> None:
    def fail(_event: AgentEvent) -> None:
        raise error

    launch = Launch(argv=[sys.executable, "-I", "-c", textwrap.dedent(DAEMON)], env=dict(os.environ))
    with pytest.raises(error):
        case.supervisor.run(case.spec, launch, on_event=fail, on_started=case.started)
    assert case.left() == []


def test_an_error_before_the_child_is_watched_leaves_nothing_running(case: Case) -> None:
    def fail(pid: int, _started: str) -> None:
        case.pid = pid
        raise Boom

    launch = Launch(argv=[sys.executable, "-I", "-c", "import time; time.sleep(60)"], env=dict(os.environ))
    with pytest.raises(Boom):
        case.supervisor.run(case.spec, launch, on_started=fail)
    assert not running(case.pid)


def test_descriptors_do_not_leak(case: Case) -> None:
    def count() -> int:
        return len(os.listdir("/dev/fd"))

    case.run("pass")
    gc.collect()
    before = count()
    for _ in range(5):
        case.run("print(1)", stdin=b"x")
        case.run("", argv=["/no/such/program"])
    assert count() == before


# --- a runner that is killed -----------------------------------------------------------------------------------------

RUNNER = """
import os, sys
from stagent.core.ports import AttemptSpec, Launch
from stagent.runner.supervisor import Supervisor
from stagent.agents.scripted import ScriptedBackend

folder, attempt, program = sys.argv[1:]
spec = AttemptSpec(id=attempt, run="r", stage="s", epoch=1, number=1, stage_attempt=1, workdir=folder, run_dir=folder,
    artifact=folder + "/a.md", prompt="", stream=folder + "/stream")
def started(pid, start):
    with open(folder + "/started", "w") as file: file.write(f"{pid} {start}")
Supervisor(ScriptedBackend()).run(
    spec, Launch(argv=[sys.executable, "-I", "-c", program], env=dict(os.environ)), on_started=started)
"""

COUNTER = """
import os, signal, subprocess, sys, time
for name in ("SIGPIPE", "SIGTERM", "SIGHUP"): signal.signal(getattr(signal, name), signal.SIG_IGN)
deaf = '''
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open('pids', 'a').write(f'{os.getpid()} ')
time.sleep(60)
'''
subprocess.Popen([sys.executable, "-I", "-c", deaf], start_new_session=True)
subprocess.Popen([sys.executable, "-I", "-c", deaf], env={}, start_new_session=True)
n = 0
while True:
    line = b'{"n": %d}\\n' % n
    try: os.write(1, line)
    except OSError: time.sleep(0.01)
    n += 1
"""


def wait_for(condition: object, seconds: float = 20.0) -> None:
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("noticed", [True, False])
def test_what_a_killed_runner_leaves_is_ended(tmp_path: Path, noticed: bool) -> None:
    attempt = f"r-killed.{os.getpid()}.1"
    pids, stream, started = tmp_path / "pids", tmp_path / "stream", tmp_path / "started"
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path), attempt, COUNTER])
    try:
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        wait_for(lambda: stream.stat().st_size > 100_000)
        pid, start = started.read_text().split()
        if not noticed:
            os.kill(int(pid), signal.SIGSTOP)
    finally:
        runner.kill()
        runner.wait()
    if noticed:
        wait_for(lambda: not processes.alive(int(pid), start))
    else:
        # The agent, one that carries the mark, and one that only descends from them.
        assert processes.kill_attempt(attempt, int(pid), start) == 3

    assert not processes.alive(int(pid), start)
    assert [number for number in map(int, pids.read_text().split()) if running(number)] == []
    said = stream.read_bytes()
    lines = said.count(b"\n") + 1
    assert b"".join(b'{"n": %d}\n' % n for n in range(lines)).startswith(said)
    assert processes.kill_attempt(attempt, int(pid), start) == 0


def test_a_runner_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    attempt = f"r-interrupted.{os.getpid()}.1"
    pids = tmp_path / "pids"
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path), attempt, COUNTER], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        runner.send_signal(signal.SIGINT)
        assert runner.wait(timeout=60) != 0
    finally:
        runner.kill()
        runner.wait()
    pid, _ = (tmp_path / "started").read_text().split()
    assert [number for number in [int(pid), *map(int, pids.read_text().split())] if running(number)] == []

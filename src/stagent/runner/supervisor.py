"""Runs one attempt's process to its end: feeds it, keeps what it says, stops it when asked, leaves nothing behind.

The process leads a session and group of its own. It is asked first (SIGTERM) and forced after a grace time (SIGKILL).
When this process is killed itself, the guardian that stands above it (`stagent.guardian`) kills it and all it started;
where there is none, `processes.kill_attempt` ends what can be found at the next start.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import IO

from stagent import processes
from stagent.core.ports import AgentBackend, AgentEvent, AttemptSpec, Launch, Outcome
from stagent.failpoints import hit
from stagent.guardian import guard
from stagent.runner.ledger import Ledger
from stagent.runner.reaper import Reaper, has_exited, signal_group
from stagent.runner.replay import rebuild
from stagent.runner.streams import BoundedFile, LineSplitter, Place, StreamFile
from stagent.runner.typed import Recorder

OnEvent = Callable[[AgentEvent], None]
OnStarted = Callable[[int, str], None]

_CHUNK = 256 * 1024
_POLL_SECONDS = 0.02
_DRAIN_SECONDS = 0.2
_BURIAL_SECONDS = 5.0


def attempt_environment(spec: AttemptSpec) -> dict[str, str]:
    """Return the variables every process of an attempt is started with.

    STAGENT_ATTEMPT (the attempt's id, which also marks its processes), STAGENT_RUNNER (our process id), STAGENT_RUN,
    STAGENT_STAGE, STAGENT_EPOCH, STAGENT_STAGE_ATTEMPT (attempts at this stage over the whole run, from 1),
    STAGENT_ARTIFACT, STAGENT_RUN_DIR.
    """
    return {
        processes.MARKER: spec.id,
        processes.RUNNER_MARKER: str(os.getpid()),
        "STAGENT_RUN": spec.run,
        "STAGENT_STAGE": spec.stage,
        "STAGENT_EPOCH": str(spec.epoch),
        "STAGENT_STAGE_ATTEMPT": str(spec.stage_attempt),
        "STAGENT_ARTIFACT": spec.artifact,
        "STAGENT_RUN_DIR": spec.run_dir,
    }


def _ignore_event(_event: AgentEvent) -> None:
    return


def _ignore_start(_pid: int, _started: str) -> None:
    return


def _close_all(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class Supervisor:
    """Runs attempts one after the other with one backend; `stop` ends the current one and all to come.

    Call `run` from the main thread where possible: only there can an orphan that dropped marker, session and group be
    told from other processes of this one, and `on_event` must leave no process of its own behind while it runs.
    """

    def __init__(self, backend: AgentBackend, *, grace: float = 5.0) -> None:
        """`grace` is how many seconds a process has between being asked to end and being killed."""
        self._backend = backend
        self._grace = grace
        self._stopped = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        weakref.finalize(self, _close_all, self._wake_read, self._wake_write)

    def stop(self) -> None:
        """End the current attempt, and any later one before it starts; safe in a signal handler and any thread."""
        self._stopped = True
        # A full pipe holds a wake-up already.
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def run(
        self,
        spec: AttemptSpec,
        launch: Launch,
        *,
        on_event: OnEvent = _ignore_event,
        on_started: OnStarted = _ignore_start,
    ) -> Outcome:
        """Run an attempt's process to its end and say how it ended.

        Standard output goes to `spec.stream` byte for byte as it comes, standard error to `<stream>.stderr` within
        bounds, the typed events in short to the file `typed` names. `on_started` gets the process id and its start
        before anything else is done with it, `on_event` each typed event as it comes. When this returns or raises, no
        process of the attempt is left.
        Raises StoreError when the stream cannot be written, and whatever the callbacks raise.
        """
        if self._stopped:
            return Outcome(status="stopped", exit=None, reason="stopped before it was started")
        with ExitStack() as files:
            output = StreamFile(spec.stream)
            files.callback(output.close)
            if output.size:
                rebuild(spec.stream, self._backend.parse)
            place = Place(output.size, output.lines)
            recorder = Recorder(spec.stream, place, on_event)
            files.callback(recorder.close)
            ledger = Ledger(self._backend, recorder.note)
            lines = LineSplitter(ledger.take, ledger.take_long, place=place)
            errors = BoundedFile(f"{spec.stream}.stderr")
            files.callback(errors.close)
            reaper = Reaper(spec.id)
            files.callback(reaper.close)
            try:
                process = _start(spec, launch)
            except (OSError, ValueError) as error:
                return _unstartable(launch, error, output)
            except BaseException:
                # An interrupt between fork and return: the process may exist, only its marker is known.
                reaper.sweep()
                raise
            watched = _Watched(process, reaper, output, errors, lines, recorder)
            cause = self._supervise(watched, spec, launch, on_started)
            recorder.finish(output.size)
        return ledger.outcome(cause, process.returncode, output.digest, output.size)

    def _supervise(self, watched: _Watched, spec: AttemptSpec, launch: Launch, on_started: OnStarted) -> str:
        """Watch a process until it and all it started are gone; return why it was ended, empty if by itself."""
        try:
            started = processes.start_time(watched.process.pid)
            watched.reaper.watch(watched.process.pid, started)
            on_started(watched.process.pid, started or "")
            watched.open(launch.stdin, self._wake_read)
            cause = self._wait(watched, spec.timeout)
            watched.finish()
        except BaseException:
            watched.abandon()
            raise
        return cause

    def _wait(self, watched: _Watched, timeout: float | None) -> str:
        begin = time.monotonic()
        cause = ""
        force_at: float | None = None
        while not watched.exited:
            now = time.monotonic()
            if not cause:
                cause = self._cause(begin, now, timeout)
                if cause:
                    watched.ask()
                    force_at = now + self._grace
            elif force_at is not None and now >= force_at:
                watched.force()
                force_at = None
            end = force_at if cause else None if timeout is None else begin + timeout
            watched.step(None if end is None else end - now)
        return cause

    def _cause(self, begin: float, now: float, timeout: float | None) -> str:
        if self._stopped:
            return "stopped"
        return "timeout" if timeout is not None and now - begin >= timeout else ""


def _start(spec: AttemptSpec, launch: Launch) -> subprocess.Popen[bytes]:
    if not launch.argv:
        raise ValueError("there is nothing to run")
    environment: Mapping[str, str] = {**launch.env, **attempt_environment(spec)}
    hit("runner.spawn.before")
    process = subprocess.Popen(
        list(launch.argv),
        env=environment,
        cwd=spec.workdir,
        stdin=subprocess.PIPE if launch.stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        preexec_fn=guard(),
    )
    hit("runner.spawn.after")
    return process


def _unstartable(launch: Launch, error: OSError | ValueError, output: StreamFile) -> Outcome:
    return Outcome(
        status="unstartable",
        exit=None,
        reason=f"{launch.argv[0] if launch.argv else 'an empty command'}: {error}",
        stream_digest=output.digest,
        stream_bytes=output.size,
    )


class _Watched:
    """A running process with its pipes: one selector, nothing blocks but the wait in it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reaper: Reaper,
        output: StreamFile,
        errors: BoundedFile,
        lines: LineSplitter,
        recorder: Recorder,
    ) -> None:
        self.process = process
        self.reaper = reaper
        self.exited = False
        self._output = output
        self._errors = errors
        self._lines = lines
        self._recorder = recorder
        self._selector = selectors.DefaultSelector()
        self._exit_fd = -1
        self._readers = 0
        self._input = memoryview(b"")

    def open(self, stdin: bytes, wake: int) -> None:
        """Begin to watch: `stdin` is written as the process takes it, a byte on `wake` interrupts a wait."""
        self._register_reader(self.process.stdout, self._take_output)
        self._register_reader(self.process.stderr, self._errors.write)
        if self.process.stdin is not None:
            self._input = memoryview(stdin)
            os.set_blocking(self.process.stdin.fileno(), False)
            self._selector.register(self.process.stdin, selectors.EVENT_WRITE, self._give_input)
        self._selector.register(wake, selectors.EVENT_READ, partial(os.read, wake, 4096))
        if processes.LINUX:
            # Where the kernel or a sandbox has no pidfd, the exit is polled for.
            with suppress(OSError):
                self._exit_fd = os.pidfd_open(self.process.pid)
                self._selector.register(self._exit_fd, selectors.EVENT_READ, self._check_exit)

    def step(self, timeout: float | None) -> None:
        """Serve whatever is ready, waiting `timeout` seconds at most, without one until something is."""
        waits = [timeout, self._recorder.due(time.monotonic()), _POLL_SECONDS if self._exit_fd < 0 else None]
        shortest = min((wait for wait in waits if wait is not None), default=None)
        for key, _ in self._selector.select(None if shortest is None else max(shortest, 0.0)):
            with suppress(BlockingIOError):
                key.data()
        if self._exit_fd < 0:
            self._check_exit()

    def ask(self) -> None:
        """Ask the group to end; a stopped process is woken so that it can."""
        signal_group(self.process, signal.SIGTERM)
        signal_group(self.process, signal.SIGCONT)

    def force(self) -> None:
        """Kill the group."""
        signal_group(self.process, signal.SIGKILL)

    def finish(self) -> None:
        """After the exit: end everything the process left, take the rest of its output, bury it, close the pipes."""
        self.reaper.sweep()
        self._stop_input()
        until = time.monotonic() + _DRAIN_SECONDS
        while self._readers and (rest := until - time.monotonic()) > 0:
            self.step(rest)
        self._lines.finish()
        self._bury()

    def abandon(self) -> None:
        """After an error of ours: kill everything at once; what was not read yet is lost."""
        try:
            self.force()
            self.reaper.sweep()
        finally:
            self._bury()

    def _bury(self) -> None:
        # A process that even SIGKILL cannot end hangs in the kernel; its exit stays unknown.
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=_BURIAL_SECONDS)
        self._selector.close()
        if self._exit_fd >= 0:
            os.close(self._exit_fd)
            self._exit_fd = -1
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _check_exit(self) -> None:
        if not self.exited and has_exited(self.process):
            self.exited = True
            if self._exit_fd >= 0:
                self._selector.unregister(self._exit_fd)

    def _register_reader(self, pipe: IO[bytes] | None, take: Callable[[bytes], None]) -> None:
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, partial(self._read, pipe, take))
            self._readers += 1

    def _read(self, pipe: IO[bytes], take: Callable[[bytes], None]) -> None:
        data = os.read(pipe.fileno(), _CHUNK)
        if data:
            take(data)
        else:
            self._selector.unregister(pipe)
            self._readers -= 1

    def _take_output(self, data: bytes) -> None:
        self._output.write(data)
        self._lines.feed(data)

    def _give_input(self) -> None:
        stdin = self.process.stdin
        if stdin is None:
            return
        try:
            self._input = self._input[os.write(stdin.fileno(), self._input[:_CHUNK]) :]
        except (BrokenPipeError, ConnectionResetError):  # it does not want to know more
            self._input = memoryview(b"")
        if not self._input:
            self._stop_input()

    def _stop_input(self) -> None:
        stdin = self.process.stdin
        if stdin is not None and not stdin.closed:
            self._selector.unregister(stdin)
            stdin.close()

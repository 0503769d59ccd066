"""The real Claude Code on a private machine: its own HOME, no network, a scripted model, our plugin.

`Desk` is the person's desk: the project, the program, the plugin, and sessions on it. `Desk.headless` runs
`claude -p`; `Desk.terminal` opens the interactive interface in a terminal that the test types into.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from acceptance.support import Driven, Machine, wait_for
from stagent.testing.scripted_model import Answer, Request, ScriptedModel, Thread, Turn, tool

Json = dict[str, Any]
KEY = "sk-test-0000-not-a-key-of-anybody"
KEYS = {"enter": "\r", "escape": "\x1b", "down": "\x1b[B", "up": "\x1b[A", "tab": "\t", "interrupt": "\x03"}
_SEQUENCE = re.compile(rb"\x1b\[[0-9;?<=>]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]|\x1b[=>78cM]")
_BUSY = ("esctointerrupt", "Entertoselect", "Doyouwant")
_CHILD = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


def claude_binary() -> str:
    """The Claude Code program to test with: `$STAGENT_TEST_CLAUDE`, else the one the development wheel carries."""
    named = os.environ.get("STAGENT_TEST_CLAUDE")
    if named:
        return named
    spec = importlib.util.find_spec("claude_agent_sdk")
    assert spec is not None, "the development dependencies are not installed: claude-agent-sdk is missing"
    assert spec.origin is not None
    found = Path(spec.origin).parent / "_bundled" / "claude"
    assert found.is_file(), f"the wheel carries no program at {found}"
    return str(found)


def squeeze(words: str) -> str:
    """Text without any white space: how a screen breaks and spaces its lines does not matter."""
    return "".join(words.split())


def _tail(words: str) -> str:
    return squeeze(words.splitlines()[-1])[-12:]


class Headless:
    """A `claude -p` that ended: its stream and how it ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.err = err
        self.events: list[Json] = [json.loads(line) for line in out.splitlines() if line.startswith("{")]

    @property
    def result(self) -> Json:
        """The last `result` event."""
        found = [event for event in self.events if event.get("type") == "result"]
        assert found, f"exit {self.status}: {self.err}\n{self.events[-3:]}"
        return found[-1]

    @property
    def init(self) -> Json:
        """The `init` event: what was loaded."""
        return next(event for event in self.events if event.get("subtype") == "init")

    def told(self) -> str:
        """What hooks and the interface told the person."""
        parts = [str(event.get("content", "")) for event in self.events if event.get("subtype") == "informational"]
        return "\n".join(parts)


class Terminal:
    """The interactive interface on a terminal of its own."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, size: tuple[int, int] = (60, 180)
    ) -> None:
        self._near, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        # The session's process is the one this starts: the helper only takes the terminal and becomes it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CHILD, *argv],
            stdin=far,
            stdout=far,
            stderr=far,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        os.close(far)
        self.pid = self._process.pid
        self._raw = bytearray()
        self._at = 0
        self._fresh = time.monotonic()
        self._reader = threading.Thread(target=self._read, name=f"terminal of {self.pid}")
        self._reader.start()

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._near], [], [], 0.2)
            if not ready:
                if self._process.poll() is not None:
                    return
                continue
            try:
                part = os.read(self._near, 65536)
            except OSError:
                return
            if not part:
                return
            self._raw += part
            self._fresh = time.monotonic()

    @property
    def raw(self) -> bytes:
        """Everything that was drawn, with its control sequences."""
        return bytes(self._raw)

    def screen(self, whole: bool = False) -> str:
        """What was drawn since the last `mark` (or ever), as text without control sequences."""
        raw = bytes(self._raw[0 if whole else self._at :])
        return _SEQUENCE.sub(b" ", raw).decode("utf-8", "replace")

    def mark(self) -> None:
        """From here on, `see` looks only at what is drawn afterwards."""
        self._at = len(self._raw)

    def see(self, words: str, seconds: float = 20) -> None:
        """Wait until these words were drawn since the last mark; white space does not matter."""
        wanted = squeeze(words)
        until = time.monotonic() + seconds
        while wanted not in squeeze(self.screen()):
            assert time.monotonic() < until, f"not on the screen: {words}\n{self.screen()[-3000:]}"
            assert self._process.poll() is None, f"the session ended: {self.screen(whole=True)[-3000:]}"
            time.sleep(0.05)

    def settle(self, quiet: float = 0.4, seconds: float = 10) -> None:
        """Wait until nothing was drawn for a while: text typed into a screen that is being built is lost."""
        began = time.monotonic()
        while time.monotonic() - max(self._fresh, began) < quiet and time.monotonic() - began < seconds:
            time.sleep(0.05)

    def type(self, words: str) -> None:
        """Type words; several lines go in as one paste, as a terminal does it. They stand on the screen afterwards."""
        data = f"\x1b[200~{words}\x1b[201~" if "\n" in words else words
        before = len(self._raw)
        os.write(self._near, data.encode())
        # A key that follows before the words were taken is taken for a part of them.
        self._drawn(before, (_tail(words),), 8)
        self.settle(0.3, 2)

    def press(self, *keys: str) -> None:
        """Press keys by name."""
        for key in keys:
            os.write(self._near, KEYS[key].encode())
            self.settle(0.15, 2)

    def say(self, words: str) -> None:
        """Type words and send them; the screen is marked first."""
        self.mark()
        self.type(words)
        for _ in range(3):
            before = len(self._raw)
            self.press("enter")
            # What is sent is drawn again as a part of the conversation; a key that was lost is pressed again.
            if self._drawn(before, (_tail(words), *_BUSY), 6):
                return

    def _drawn(self, since: int, words: Sequence[str], seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            text = squeeze(_SEQUENCE.sub(b" ", bytes(self._raw[since:])).decode("utf-8", "replace"))
            if any(word in text for word in words):
                return True
            time.sleep(0.05)
        return False

    def close(self) -> None:
        """End the session as a closed window does, with force if it must be."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
        self._reader.join()
        if self._near >= 0:
            os.close(self._near)
            self._near = -1

    def kill(self) -> None:
        """Kill the session's process at once."""
        self._process.kill()
        self._process.wait(5)


class Run(Driven):
    """The run of a session on the desk."""

    def __init__(self, machine: Machine, run: str) -> None:
        self.machine = machine
        self.run = run

    def status(self) -> str:
        """Its status once everything that hooks saw is folded, as any call of the program does it."""
        self.machine.cli("status", self.run)
        return self.state.status


class Desk(Machine):
    """A person's machine with Claude Code, the plugin, and a scripted model."""

    def __init__(self, root: Path, model: ScriptedModel) -> None:
        super().__init__(root)
        self.model = model
        self.claude = claude_binary()
        self.launcher = str(root / "bin" / "stagent-cc")
        self.env |= {"STAGENT_BIN": self.launcher, "TERM": "xterm-256color"}
        self._open: list[Terminal] = []
        self._seed()
        self._install()

    def _seed(self) -> None:
        document = {
            "hasCompletedOnboarding": True,
            "theme": "dark",
            "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
            "projects": {str(self.project): {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}},
        }
        (self.root / "home" / ".claude.json").write_text(json.dumps(document))

    def _install(self) -> None:
        # Without a claude on the PATH it generates the plugin and says so with an error: sessions here name its folder.
        self.cli("install", "claude-code")
        self.plugin = self.home / "plugin" / "plugins" / "stagent"
        assert (self.plugin / "hooks" / "hooks.json").is_file()

    def register(self) -> None:
        """Have Claude Code take the plugin in for good, as a person does; sessions then need not name its folder."""
        done = self.cli("install", "claude-code", "--claude", self.claude, timeout=40)
        assert done.status == 0, done.err

    def agent_env(self, **more: str) -> dict[str, str]:
        """The environment of a session: this machine's, the model's address, and nothing that reaches out."""
        return {
            **self.env,
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": self.model.url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            **more,
        }

    def _claude(self, mode: str, allow: Sequence[str], more: Sequence[str], plugin: bool) -> list[str]:
        words = [self.claude, "--permission-mode", mode]
        if plugin:
            words += ["--plugin-dir", str(self.plugin)]
        if allow:
            words += ["--allowedTools", *allow]
        return [*words, *more]

    def headless(
        self,
        prompt: str,
        *more: str,
        mode: str = "default",
        allow: Sequence[str] = (),
        plugin: bool = True,
        env: Mapping[str, str] | None = None,
        seconds: float = 50,
        cwd: Path | None = None,
    ) -> Headless:
        """Run `claude -p` with this prompt to its end, in the project or another folder."""
        argv = self._claude(mode, allow, ["-p", "--output-format", "stream-json", "--verbose", *more], plugin)
        process = subprocess.Popen(
            argv,
            cwd=cwd or self.project,
            env=self.agent_env(**(env or {})),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(prompt.encode(), timeout=seconds)
        except subprocess.TimeoutExpired as late:
            process.kill()
            out, err = process.communicate()
            tail = "\n".join(map(repr, self.model.requests[-5:]))
            raise AssertionError(f"claude -p did not end in {seconds:g} s:\n{tail}\n{err[-2000:]!r}") from late
        return Headless(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def terminal(
        self,
        *more: str,
        mode: str = "default",
        allow: Sequence[str] = (),
        plugin: bool = True,
        seen: str = "❯",
        size: tuple[int, int] = (60, 180),
    ) -> Terminal:
        """Open the interactive interface on a terminal of this size (rows, columns) and wait until it takes input."""
        opened = Terminal(self._claude(mode, allow, more, plugin), self.agent_env(), self.project, size)
        self._open.append(opened)
        opened.see(seen, 25)
        opened.settle(0.8)
        return opened

    def close(self) -> None:
        """End every session and whatever of this machine is left, by process id."""
        for opened in self._open:
            # Shown where the test failed.
            print(f"terminal {opened.pid}:\n{opened.screen(whole=True)[-6000:]}")
            opened.close()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + 5
        while self.processes() and time.monotonic() < until:
            time.sleep(0.05)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Every process that has this machine's home, whoever started it."""
        mine = f"HOME={self.env['HOME']}".encode()
        return [pid for pid in _numbers() if mine in _environment(pid).split(b"\0")]

    # -- what a model does here --------------------------------------------------------------------------------

    def call(self, words: str, **more: object) -> Turn:
        """The model calls the launcher plainly."""
        return self.shell(f"{self.launcher} {words}", **more)

    def shell(self, command: str, **more: object) -> Turn:
        """The model calls a shell command."""
        return Turn(({"type": "tool_use", "name": "Bash", "input": {"command": command, **more}},))

    def artifact(self, stage: str, result: str, epoch: int = 1, body: str = "Work.", of: str = "") -> Answer:
        """The model writes the artifact of a stage with the Write tool, in the run folder of its session or `of`."""
        words = f"---\nepoch: {epoch}\nresult: {result}\n---\n{body}\n"
        return lambda request: tool("Write", file_path=str(self.report(of or request.session, stage)), content=words)

    def report(self, session: str, stage: str) -> Path:
        """Where the artifact of a stage of a session's run lies."""
        return self.project / ".stagent" / session / f"{stage}-report.md"

    # -- runs --------------------------------------------------------------------------------------------------

    def runs(self) -> list[str]:
        """The ids of all runs, oldest first."""
        done = self.cli("runs", "--all", "--json")
        assert done.status == 0, done.err
        document = json.loads(done.out)
        return sorted(entry["run"] for entry in (document["runs"] if isinstance(document, dict) else document))

    def run(self) -> Run:
        """The only run."""
        (found,) = self.runs()
        return Run(self, found)

    def live(self, session: str) -> Json:
        """What the hooks of a session read."""
        found: Json = json.loads((self.home / "live" / f"{session}.json").read_text())
        return found


class Play:
    """What the model does, step by step, and what each step must bring: the next thing it is told, or nothing more.

    Each step is an answer and a pattern that the next request's fresh text must hold; None after the last one means
    that no further request comes.
    """

    def __init__(self, model: ScriptedModel, *steps: tuple[Answer, str | None]) -> None:
        self._model = model
        self._steps = steps
        self._before = len(model.main)
        model.say(Thread([step for step, _ in steps]))

    def over(self, seconds: float = 40, quiet: float = 1.0) -> list[Request]:
        """Wait for the last step, check every pattern, and return the requests, the first of them included."""
        last = self._before + len(self._steps) + (self._steps[-1][1] is not None)
        wait_for(lambda: len(self._model.main) >= last, f"step {len(self._steps)}; {self._model.main[-1:]}", seconds)
        self._model.more(quiet)
        requests = self._model.main[self._before :]
        for number, (_, pattern) in enumerate(self._steps, start=1):
            following = requests[number] if number < len(requests) else None
            if pattern is None:
                assert following is None, f"after step {number}: {following!r}"
            else:
                assert following is not None, f"nothing came after step {number}"
                assert re.search(pattern, following.fresh, re.DOTALL), f"after step {number}: {following.fresh}"
        return requests


def _numbers() -> Iterator[int]:
    # Without /proc nothing can be asked for its environment; then only what was opened here is ended.
    for entry in Path("/proc").glob("[0-9]*"):
        yield int(entry.name)


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def answer(request: Request) -> str:
    """The text of the only tool result of a request."""
    (found,) = request.results()
    content = found.get("content")
    if isinstance(content, list):
        return "\n".join(str(block.get("text", "")) for block in content)
    return str(content)


def gone(desk: Desk) -> None:
    """Wait until no process of the machine is left."""
    wait_for(lambda: not desk.processes(), "the machine's processes to end", 10)

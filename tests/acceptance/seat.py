"""A person at a terminal of his own, whom a test moves step by step: it reads the screen, types, sends signals, leaves.

The test holds the other end of the terminal; the program's parents are no processes of the test, and no agent's.
"""

from __future__ import annotations

import fcntl
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
import time
from collections.abc import Mapping
from pathlib import Path

import pyte

from acceptance.support import Done, Machine, wait_for

SECONDS = 60.0
_LEADER = r"""
import fcntl, json, os, signal, sys, termios, time
order = json.loads(sys.argv[1])
for _ in range(2):
    above = os.getpid()
    if os.fork():
        os._exit(0)
    os.setsid()
    while os.getppid() == above:
        time.sleep(0.01)
terminal = order["terminal"]
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for number in range(3):
    os.dup2(terminal, number)
os.close(terminal)
# What ends the program must not end who waits for it.
ends = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
for number in ends:
    signal.signal(number, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    for number in ends:
        signal.signal(number, signal.SIG_DFL)
    os.chdir(order["cwd"])
    os.execve(order["argv"][0], order["argv"], order["env"])
def note(name, value):
    with open(order["out"] + name + ".new", "w") as file:
        file.write(str(value))
    os.rename(order["out"] + name + ".new", order["out"] + name)
note(".pid", pid)
_, status = os.waitpid(pid, 0)
note(".status", os.waitstatus_to_exitcode(status))
# With its leader the terminal ends; the test is to see first what is on it.
while not os.path.exists(order["out"] + ".seen") and os.isatty(0):
    time.sleep(0.01)
"""


class Seat:
    """A program at a terminal of 80 by 50; use as a context manager."""

    def __init__(
        self, machine: Machine, *arguments: str, env: Mapping[str, str] | None = None, ahead: str = ""
    ) -> None:
        """Begin; `ahead` was typed before."""
        self._out = str(machine.root / f"seat-{time.monotonic_ns()}")
        self._master, slave = pty.openpty()
        self.resize(80)
        self._near = os.dup(slave)
        self.type(ahead)
        order = {
            "argv": [sys.executable, "-m", "stagent", *arguments],
            "env": {**machine.env, "TERM": "xterm", **(env or {})},
            "cwd": str(machine.project),
            "out": self._out,
            "terminal": slave,
        }
        command = [sys.executable, "-c", _LEADER, json.dumps(order)]
        subprocess.run(command, check=True, start_new_session=True, pass_fds=[slave], env=machine.env)
        os.close(slave)
        self.text = ""
        self._read = 0
        wait_for(Path(f"{self._out}.pid").exists, "the program to begin", SECONDS)
        self.pid = int(Path(f"{self._out}.pid").read_text())

    def __enter__(self) -> Seat:
        return self

    def __exit__(self, *error: object) -> None:
        if not Path(f"{self._out}.status").exists():
            os.kill(self.pid, signal.SIGTERM)
        Path(f"{self._out}.seen").touch()
        for descriptor in {self._master, self._near} - {-1}:
            os.close(descriptor)

    def resize(self, columns: int) -> None:
        """Give the terminal another width."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))

    def look(self) -> None:
        """Take in what the program has written so far."""
        if self._master == -1:
            time.sleep(0.02)
        while self._master != -1 and select.select([self._master], [], [], 0.02)[0]:
            try:
                self.text += os.read(self._master, 65536).decode("utf-8", "replace")
            except OSError:
                return

    def see(self, pattern: str) -> str:
        """Wait until something new on the screen matches, and return it."""
        until = time.monotonic() + SECONDS
        while (found := re.search(pattern, self.text[self._read :])) is None:
            assert time.monotonic() < until, f"waited in vain for {pattern!r} in {self.text[self._read :]!r}"
            self.look()
        self._read += found.end()
        return found[0]

    def type(self, text: str) -> None:
        """Type something; the terminal has taken it when this returns."""
        os.write(self._master, text.encode())

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        os.kill(self.pid, number)

    def hang_up(self) -> None:
        """Close the terminal's window."""
        os.close(self._near)
        os.close(self._master)
        self._master = self._near = -1

    def left_typed(self) -> bytes:
        """What is typed and unread, as the shell would find it next."""
        mode = termios.tcgetattr(self._near)
        mode[3] &= ~termios.ICANON
        termios.tcsetattr(self._near, termios.TCSANOW, mode)
        return os.read(self._near, 4096) if select.select([self._near], [], [], 0)[0] else b""

    def end(self) -> Done:
        """Wait for the program's end; returns its exit status and all it wrote."""
        until = time.monotonic() + SECONDS
        while not Path(f"{self._out}.status").exists():
            assert time.monotonic() < until, f"waited in vain for the end after {self.text[self._read :]!r}"
            self.look()
        self.look()
        return Done(int(Path(f"{self._out}.status").read_text()), self.text, "")

    @property
    def screen(self) -> list[str]:
        """The rows of the screen as a person sees them."""
        self.look()
        shown = pyte.Screen(80, 50)
        pyte.Stream(shown).feed(self.text)
        return [row.rstrip() for row in shown.display]

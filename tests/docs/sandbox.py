"""Where the blocks of a page are executed: a machine of its own with a small repository, a shell, and a person.

The shell is one process per sandbox, so that a page reads as one session. `stagent` is the program under test;
`scripts/run` stands for the checkout's own, which tests/house/test_scripts.py runs for real.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import msgspec

PROJECT = {
    "prices.py": '"""Prices in cents."""\n\n\ndef total(prices: list[int]) -> int:\n    """Return the sum."""\n'
    "    return sum(prices)\n",
    "tests/__init__.py": "",
    ".gitignore": "__pycache__/\n",
    "tests/test_prices.py": "import unittest\n\nfrom prices import total\n\n\nclass Total(unittest.TestCase):\n"
    "    def test_adds_up(self):\n        self.assertEqual(total([100, 250]), 350)\n",
}
STAGENT = '#!/bin/sh\nexec "{python}" -m stagent "$@"\n'
PYTHON = '#!/bin/sh\nexec "{python}" "$@"\n'
RUN = '#!/bin/sh\nexec "{python}" -m stagent run "$@"\n'
SECONDS = 60.0

# What differs from one time to the next: how it is recognised, and what it is replaced by before texts are compared.
VARIES = (
    (re.compile(r"\br-[0-9A-HJKMNP-TV-Z]{26}\b"), "r-RUN"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "DIGEST"),
    (re.compile(r"/tmp/stagent-example-\w+"), "/tmp/stagent-example"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "DATE"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\b\d{8}-\d{6}\b"), "STAMP"),
    (re.compile(r"\b\d+(?:\.\d)? (?:s|min|h|d)\b"), "TIME"),
    # What an agent printed holds paths, so its length differs from folder to folder.
    (re.compile(r"\b([Ss]treams?:?) +[\d.,]+ (?:bytes|[KM]iB)"), r"\1 SIZE"),
    (re.compile(r"\b(runner|process|caller):? ?\d+\b"), r"\1 PID"),
    # Which terminal it was differs; that it has a name of its own does not.
    (re.compile(r"person:[^\s:]+:/dev/(?:pts/|ttys)\d+"), "person:NAME:TERMINAL"),
    # Columns are as wide as what stands in them.
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r" $", re.MULTILINE), ""),
)
# What a command of a page copied from an output before it: the latest value of the same kind is meant.
COPIED = (VARIES[0][0], re.compile(r"\b[0-9a-f]{64}\b"), VARIES[2][0])

_PERSON = r"""
import json, os, pty, select, sys, time
order = json.loads(sys.argv[1])
for _ in range(2):
    if os.fork():
        os._exit(0)
    os.setsid()
time.sleep(0.05)
pid, terminal = pty.fork()
if pid == 0:
    os.chdir(order["cwd"])
    os.execve("/bin/bash", ["bash", "-c", order["command"]], order["env"])
seen, asked, words = b"", 0, list(order["words"])
until = time.monotonic() + order["timeout"]
while time.monotonic() < until:
    if not select.select([terminal], [], [], 0.1)[0]:
        continue
    try:
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    seen += part
    if words and seen[asked:].rstrip(b" ").endswith((b"]", b"?", b":")) and seen.endswith(b" "):
        asked = len(seen)
        os.write(terminal, words.pop(0).encode() + b"\n")
_, status = os.waitpid(pid, os.WNOHANG if time.monotonic() >= until else 0)
with open(order["out"] + ".new", "w", encoding="utf-8") as file:
    json.dump({"status": os.waitstatus_to_exitcode(status), "text": seen.decode("utf-8", "replace")}, file)
os.rename(order["out"] + ".new", order["out"])
"""


class Ran(msgspec.Struct, frozen=True):
    """What a command printed, both streams in their order, and its exit status."""

    text: str
    status: int


class Sandbox:
    """A prepared machine; `close` ends its shell. In an `empty` one a page makes the repository itself."""

    def __init__(self, root: Path, *, empty: bool = False) -> None:
        self.root = root
        self.project = root / "shop"
        self.env = {
            "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(root / "home"),
            "TMPDIR": str(root / "tmp"),
            "STAGENT_HOME": str(root / "data"),
            # Whatever this machine has: the pages are written for one without Claude Code.
            "STAGENT_CLAUDE": str(root / "no-claude"),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "COLUMNS": "100",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{role}_NAME": "Tester" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "tester@example.org" for role in ("AUTHOR", "COMMITTER")},
        }
        self._make_machine()
        if not empty:
            self._make_project()
        self.seen: dict[int, str] = {}
        self._shell = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc"],
            cwd=root if empty else self.project,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _make_machine(self) -> None:
        for name in ("home", "bin", "tmp"):
            (self.root / name).mkdir(parents=True)
        for name, text in (("stagent", STAGENT), ("python3", PYTHON)):
            _program(self.root / "bin" / name, text)
        installed = Path(sys.executable).with_name("stagent")
        if installed.exists():
            # So that `stagent doctor` finds no second program of that name.
            (self.root / "bin" / "stagent").unlink()
            (self.root / "bin" / "stagent").symlink_to(installed)

    def _make_project(self) -> None:
        for name, text in PROJECT.items():
            self.write(name, text)
        (self.project / "scripts").mkdir()
        _program(self.project / "scripts" / "run", RUN)
        for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "begin"]):
            subprocess.run(["git", *arguments], cwd=self.project, env=self.env, check=True)
            (self.project / ".git" / "info" / "exclude").write_text("/scripts/\n")

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        place = self.project / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def run(self, command: str) -> Ran:
        """Run one command in the shell, which keeps its folder and variables for the next one."""
        shell = self._shell
        assert shell.stdin is not None
        assert shell.stdout is not None
        mark = f"-- over {time.monotonic_ns()} "
        # The status is given back, so that `$?` in the next command is the one of this.
        order = f"{self._meant(command)}\n__status=$?; printf '\\n%s%s\\n' '{mark}' $__status; (exit $__status)\n"
        shell.stdin.write(order.encode())
        shell.stdin.flush()
        text = ""
        for line in iter(shell.stdout.readline, b""):
            words = line.decode("utf-8", "replace")
            if words.startswith(mark):
                return self._noted(Ran(text.removesuffix("\n"), int(words.removeprefix(mark))))
            text += words
        raise AssertionError(f"the shell ended after: {text}")

    def person(self, command: str, answers: list[str]) -> Ran:
        """Run one command at a terminal of its own, below no agent, giving the answers as they are asked for."""
        out = self.root / f"person-{time.monotonic_ns()}.json"
        order = {
            "command": self._meant(command),
            "env": self.env,
            "cwd": self.run("pwd").text.strip(),
            "words": answers,
            "out": str(out),
            "timeout": SECONDS / 2,
        }
        child = [sys.executable, "-c", _PERSON, json.dumps(order)]
        subprocess.run(child, env=self.env, cwd=self.project, check=True, start_new_session=True)
        until = time.monotonic() + SECONDS
        while not out.exists():
            assert time.monotonic() < until, f"waited in vain for the end of: {command}"
            time.sleep(0.02)
        answer = json.loads(out.read_text())
        return self._noted(Ran(answer["text"].replace("\r", ""), answer["status"]))

    def close(self) -> None:
        """End the shell."""
        self._shell.communicate(b"exit 0\n", timeout=SECONDS)

    def _meant(self, command: str) -> str:
        for kind, pattern in enumerate(COPIED):
            if kind in self.seen:
                command = pattern.sub(self.seen[kind], command)
        return command

    def _noted(self, ran: Ran) -> Ran:
        for kind, pattern in enumerate(COPIED):
            found = pattern.findall(ran.text)
            if found:
                self.seen[kind] = found[-1]
        return ran

    def comparable(self, text: str) -> str:
        """Return a text without what differs from one time to the next."""
        for place, name in ((self.root / "tmp", "/tmp"), (self.project, "/srv/shop"), (self.root, "/srv")):
            text = text.replace(str(place), name)
        for pattern, word in VARIES:
            text = pattern.sub(word, text)
        return text.strip("\n")


def _program(place: Path, text: str) -> None:
    place.write_text(text.format(python=sys.executable))
    place.chmod(0o755)


def fits(expected: str, found: str) -> bool:
    """Say whether a text is as expected; `...` stands for anything, over lines too."""
    parts = [re.escape(part) for part in expected.split("...")]
    return re.fullmatch(".*?".join(parts), found, re.DOTALL) is not None

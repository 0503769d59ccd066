"""Processes of this machine: who is who, who descends from whom, and which of them belong to an attempt.

A process is named by its id *and* its start (`started`: boot id and start time), because ids are used again. Linux is
read through /proc; elsewhere `ps` answers, which shows no environment, so that only group and descent count there.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from functools import cache

import msgspec

MARKER = "STAGENT_ATTEMPT"
"""The environment variable that marks every process of an attempt with the attempt's id."""

COMMAND_MARKER = "STAGENT_COMMAND"
"""The environment variable that marks every process of a check or command the engine runs itself."""

RUNNER_MARKER = "STAGENT_RUNNER"
"""The environment variable that tells which process (its id) started a process of an attempt or command."""

AGENT_MARKS = (MARKER, COMMAND_MARKER, "CLAUDECODE", "CLAUDE_CODE_SESSION_ID", "AI_AGENT")
"""Variables of a process that an agent, or what an agent wrote, has started: no person decides there or below."""

MARKERS = (
    *AGENT_MARKS,
    RUNNER_MARKER,
    "STAGENT_RUN",
    "STAGENT_STAGE",
    "CLAUDE_CODE_SESSION_ATTENDED",
    "CLAUDE_PID",
)
"""The only environment variables ever read from another process; none holds a secret."""

GUARDIAN = "stagent-guard"
"""What the system calls the process of a guardian (`stagent.guardian`)."""

LINUX = sys.platform == "linux"
_KILL_SECONDS = 5.0
_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.01


class ProcessInfo(msgspec.Struct, frozen=True):
    """One process as it stood when it was looked at.

    `group` and `session` are process group and session ids (session is 0 where unknown); `markers` holds the
    variables of `MARKERS` it was started with, None when they were not or could not be read.
    """

    pid: int
    ppid: int
    group: int
    session: int
    name: str
    started: str
    dead: bool
    markers: Mapping[str, str] | None = None


Table = dict[int, ProcessInfo]


@cache
def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _from_proc(pid: int) -> ProcessInfo | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The name stands in parentheses and may itself hold blanks and parentheses.
    head, _, rest = text.rpartition(b")")
    fields = rest.split()
    if len(fields) < 20:
        return None
    return ProcessInfo(
        pid=pid,
        ppid=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        name=head.partition(b"(")[2].decode("utf-8", "replace"),
        started=f"{_boot_id()}:{int(fields[19])}",
        dead=fields[0] in (b"Z", b"X"),
    )


def _from_ps_line(line: str) -> ProcessInfo | None:
    # pid ppid pgid stat, five words of start time, then the command, which may hold blanks
    words = line.split(None, 9)
    if len(words) < 10 or not (words[0].isdigit() and words[1].isdigit() and words[2].isdigit()):
        return None
    return ProcessInfo(
        pid=int(words[0]),
        ppid=int(words[1]),
        group=int(words[2]),
        session=0,
        name=os.path.basename(words[9]),  # noqa: PTH119 - a program's name, not a file to open
        started="ps:" + " ".join(words[4:9]),
        dead=words[3].startswith("Z"),
    )


def table_from_ps() -> Table:
    """Return every process as `ps` shows it; empty when `ps` cannot be run."""
    # Not `subprocess`: importing it takes longer than everything else here, and few machines need it.
    with os.popen("LC_ALL=C ps -axo pid=,ppid=,pgid=,stat=,lstart=,comm= 2>/dev/null") as pipe:
        text = pipe.buffer.read().decode("utf-8", "replace")  # type: ignore[attr-defined]  # the wrapper passes it on
    rows = (_from_ps_line(line) for line in text.splitlines())
    return {row.pid: row for row in rows if row is not None}


def table() -> Table:
    """Return every process of this machine that can be seen, without markers."""
    if not LINUX:
        return table_from_ps()
    rows = (_from_proc(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - hot path
    return {row.pid: row for row in rows if row is not None}


def look(pid: int) -> ProcessInfo | None:
    """Return one process without markers, or None when there is none of this id."""
    return _from_proc(pid) if LINUX else table_from_ps().get(pid)


def markers(pid: int) -> Mapping[str, str] | None:
    """Return the variables of `MARKERS` a process was started with, or None when they cannot be read."""
    if not LINUX:
        return None
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            block = file.read()
    except OSError:
        return None
    found: dict[str, str] = {}
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        key = name.decode("ascii", "replace")
        if equals and key in MARKERS:
            found.setdefault(key, value.decode("utf-8", "replace"))
    return found


def terminal() -> str:
    """Return the name of this process's controlling terminal (`/dev/pts/3`), or `/dev/tty` where it cannot be told."""
    own = [os.ttyname(number) for number in (0, 1, 2) if os.isatty(number)]
    if not LINUX:
        return own[0] if own else "/dev/tty"
    with open("/proc/self/stat", "rb") as file:
        number = int(file.read().rpartition(b")")[2].split()[4])
    # The number holds the low byte of the minor first, then twelve bits of the major, then the rest of the minor.
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    for name in (f"/dev/pts/{(major - 136) * 256 + minor}", *own, f"/dev/tty{minor}", "/dev/console"):
        try:
            if os.stat(name).st_rdev == os.makedev(major, minor):  # noqa: PTH116 - imports are kept few here
                return name
        except OSError:
            continue
    return "/dev/tty"


def start_time(pid: int) -> str | None:
    """Return when a process started, in a form that is unique together with its id, or None when it is gone."""
    info = look(pid)
    return info.started if info is not None else None


def alive(pid: int, started: str) -> bool:
    """Say whether exactly this process still runs; a zombie or another process of the same id does not count."""
    info = look(pid)
    return info is not None and info.started == started and not info.dead


def ancestors(pid: int) -> list[ProcessInfo]:
    """Return the parents of a process, nearest first, with their markers; empty when it is gone."""
    rows = {} if LINUX else table_from_ps()
    found: list[ProcessInfo] = []
    seen = {0, pid}
    here = _from_proc(pid) if LINUX else rows.get(pid)
    while here is not None and here.ppid not in seen:
        parent = here.ppid
        seen.add(parent)
        here = _from_proc(parent) if LINUX else rows.get(parent)
        if here is not None:
            here = msgspec.structs.replace(here, markers=markers(parent))
            found.append(here)
    return found


def send(info: ProcessInfo, number: int) -> bool:
    """Send a signal to exactly this process; return False when it is gone or may not be signalled."""
    try:
        if LINUX:
            return _send_exactly(info, number)
        os.kill(info.pid, number)
    except OSError:
        return False
    return True


def _send_exactly(info: ProcessInfo, number: int) -> bool:
    # The descriptor pins the process: should the id be used again after the comparison, nobody else is hit.
    try:
        fd = os.pidfd_open(info.pid)
    except ProcessLookupError:
        return False
    except OSError:  # kernels and sandboxes without pidfd
        fd = -1
    try:
        if start_time(info.pid) != info.started:
            return False
        if fd >= 0:
            signal.pidfd_send_signal(fd, number)
        else:
            os.kill(info.pid, number)
    finally:
        if fd >= 0:
            os.close(fd)
    return True


def _not_older(info: ProcessInfo, started: str | None) -> bool:
    """Say whether a process may have been started by one that began at `started`."""
    if started is None:
        return True
    boot, _, ticks = info.started.rpartition(":")
    other_boot, _, other_ticks = started.rpartition(":")
    if boot != other_boot or not (ticks.isdigit() and other_ticks.isdigit()):
        return True
    return int(ticks) >= int(other_ticks)


def _protected(rows: Table) -> set[int]:
    """Return this process and all above it: never part of what it cleans up."""
    found = {0, 1}
    pid = os.getpid()
    while pid not in found:
        found.add(pid)
        row = rows.get(pid)
        pid = row.ppid if row is not None else 0
    return found


def _carries(pid: int, attempt_id: str, runner: str | None) -> bool:
    known = markers(pid)
    if known is None or attempt_id not in (known.get(MARKER), known.get(COMMAND_MARKER)):
        return False
    return runner is None or known.get(RUNNER_MARKER, runner) == runner


def _descendants(rows: Iterable[ProcessInfo], roots: Collection[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for row in rows:
        children.setdefault(row.ppid, []).append(row.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def children() -> set[int]:
    """Return the children of this process's main thread, which orphans are given to; empty where nothing tells.

    What other threads start is not among them.
    """
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", "rb") as file:
            return {int(pid) for pid in file.read().split()}
    except OSError:
        return set()


def below(pid: int) -> list[ProcessInfo]:
    """Return every process that descends from a process, without that one and without markers."""
    rows = table()
    return [rows[other] for other in _descendants(rows.values(), [pid]) if other != pid and other in rows]


def members(
    rows: Table,
    attempt_id: str,
    pid: int | None,
    started: str | None,
    extra: Collection[int] = (),
    runner: str | None = None,
) -> list[ProcessInfo]:
    """Return the processes of an attempt, zombies included, without the caller and its ancestors.

    They carry the attempt's marker, are the recorded process (`pid` and `started` both fit), stand in its group or
    session, are named in `extra`, or descend from one of these. A group is believed only while it certainly is the
    attempt's: its leader started when recorded, or one of its members carries the marker. With `runner` a marker counts
    only where that process set it: another that took the run over may have begun an attempt of the same id.
    """
    protected = _protected(rows)
    others = [row for row in rows.values() if row.pid not in protected and _not_older(row, started)]
    marked = {row.pid for row in others if _carries(row.pid, attempt_id, runner)}
    roots = marked | {row.pid for row in others if row.pid in extra}
    leader = rows.get(pid) if pid is not None else None
    genuine = leader is not None and started is not None and leader.started == started
    if pid is not None and pid not in protected:
        group = {row.pid for row in others if pid in (row.group, row.session)}
        if genuine or (leader is None and group & marked):
            roots |= group
        if genuine:
            roots.add(pid)
    found = _descendants(others, roots)
    return [row for row in others if row.pid in found]


def kill_attempt(attempt_id: str, pid: int | None, started: str | None, runner: str | None = None) -> int:
    """Kill what an attempt of a runner that is gone left behind; return how many processes were killed.

    `pid` and `started` are those of the attempt's process as they were logged, None when they never were: then the
    marker alone counts. `attempt_id` may also be the mark of an engine's own command. Another process that got the
    same id is never touched; with `runner` only what that process started counts. Gives up after 5 s.
    """
    killed: set[tuple[int, str]] = set()
    began = time.monotonic()
    while (passed := time.monotonic() - began) < _KILL_SECONDS:
        found = [row for row in members(table(), attempt_id, pid, started, (), runner) if not row.dead]
        if not found:
            break
        for row in found:
            # Without its guardian, what hides could not be told any more; that one ends by itself, as the last.
            waits = row.name == GUARDIAN and row.pid == pid and passed < _PATIENCE_SECONDS
            if send(row, signal.SIGCONT if waits else signal.SIGKILL) and not waits:
                killed.add((row.pid, row.started))
        time.sleep(_PAUSE_SECONDS)
    return len(killed)

"""Leaves no process of an attempt behind, whatever it did to get away.

On Linux the guardian above an attempt ends what the attempt leaves. Should that one be killed as well, this process is
a child subreaper while an attempt runs: a process of the attempt that lost its parent becomes our child and is found
even with a session and an environment of its own. Elsewhere group and descent must do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress

from stagent import processes
from stagent.guardian import become_subreaper
from stagent.processes import ProcessInfo, Table

_GRACE_SECONDS = 0.2
_KILL_SECONDS = 0.5
_PAUSE_SECONDS = 0.005
_HUNT_SECONDS = 0.05


def _our_children() -> Table:
    return {row.pid: row for row in map(processes.look, processes.children()) if row is not None}


class _Ward:
    """Which attempts this process runs now, and which children it had before the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active = 0
        self._before: set[int] = set()
        self._was_subreaper = False

    def enter(self) -> None:
        with self._lock:
            self._active += 1
            if self._active == 1:
                self._before = processes.children()
                self._was_subreaper = become_subreaper(True)

    def leave(self) -> None:
        with self._lock:
            self._active -= 1
            if self._active == 0:
                become_subreaper(self._was_subreaper)

    def adopted(self, rows: Table) -> set[int]:
        """Return the children that can only be orphans of the one attempt that runs now.

        With several attempts in this process, or one outside the main thread, an orphan without marker and group
        could be somebody else's process; then nothing is claimed.
        """
        alone = self._active == 1 and threading.current_thread() is threading.main_thread()
        if not alone:
            return set()
        me = os.getpid()
        session = os.getsid(0)
        return {
            pid
            for pid in processes.children() - self._before
            # What we start ourselves stays in our session; an attempt begins in another and cannot come back.
            if pid in rows and rows[pid].ppid == me and rows[pid].session != session
        }


_WARD = _Ward()


class Reaper:
    """Finds and ends the processes of one attempt; create it before the attempt's process, `close` it afterwards."""

    def __init__(self, attempt_id: str) -> None:
        self._attempt_id = attempt_id
        self._pid: int | None = None
        self._started: str | None = None
        self._open = True
        _WARD.enter()

    def watch(self, pid: int, started: str | None) -> None:
        """Name the attempt's process; from now on its group, session and descendants count as the attempt's."""
        self._pid = pid
        self._started = started

    def close(self) -> None:
        """Stop adopting orphans; closing again does nothing."""
        if self._open:
            self._open = False
            _WARD.leave()

    def sweep(self) -> int:
        """End every process of the attempt but its first one: politely for 0.2 s, then by force, within about 0.7 s.

        Returns how many could not be ended.
        """
        begin = time.monotonic()
        asked: set[int] = set()
        while True:
            found, buried = self._others(processes.table())
            passed = time.monotonic() - begin
            if not (found or buried) or passed > _GRACE_SECONDS + _KILL_SECONDS:
                return len(found)
            for row in found:
                if passed > _GRACE_SECONDS:
                    processes.send(row, signal.SIGKILL)
                elif row.pid not in asked:
                    asked.add(row.pid)
                    processes.send(row, signal.SIGTERM)
                    processes.send(row, signal.SIGCONT)
            if found:
                time.sleep(_PAUSE_SECONDS)
            else:
                self._hunt(time.monotonic() + _HUNT_SECONDS)

    def _hunt(self, until: float) -> None:
        """Kill what forks and exits all the time: its living process is our child for a moment only.

        So only our children are looked at, without a pause, until none of the attempt is among them.
        """
        while time.monotonic() < until:
            found, buried = self._others(_our_children())
            for row in found:
                processes.send(row, signal.SIGKILL)
            if not (found or buried):
                return

    def _others(self, rows: Table) -> tuple[list[ProcessInfo], int]:
        """Return which of these processes are the attempt's and run, its first one left out, and how many it buried.

        A look at all processes is not one instant: what forks and exits all the time can slip through it, but each
        time it leaves a dead one. Only a look that finds neither is the end.
        """
        adopted = _WARD.adopted(rows)
        found = processes.members(rows, self._attempt_id, self._pid, self._started, adopted, str(os.getpid()))
        found = [row for row in found if row.pid != self._pid]
        buried = self._bury([row for row in found if row.dead])
        return [row for row in found if not row.dead], buried

    def _bury(self, rows: list[ProcessInfo]) -> int:
        me = os.getpid()
        buried = 0
        for row in rows:
            if row.ppid == me and row.pid != self._pid:
                with suppress(ChildProcessError):
                    buried += os.waitpid(row.pid, os.WNOHANG)[0] != 0
        return buried


def has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Say whether a process ended, without burying it where the system allows that.

    An unburied leader keeps its group's id from being used again, so that signals to the group stay safe.
    """
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody else in this process waited for it
        return True


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the whole group of a process that was not buried yet."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)

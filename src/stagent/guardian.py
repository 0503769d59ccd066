"""Stands between this process and a child it starts, so that nothing below the child outlives this process.

The guardian is a fork of this process, without a program of its own: no interpreter has to start for it. It is the
child that is waited for and signalled, and it adopts what hides below it. When the program below it ends, it ends what
that left and then itself, the same way; when this process is gone, killed or not, it kills everything below itself.
That takes a child subreaper, which only Linux has; elsewhere nothing stands between.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from stagent import processes

_SET_NAME = 15
_SET_CHILD_SUBREAPER = 36
_GET_CHILD_SUBREAPER = 37
_ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE)
_GRACE_SECONDS = 0.2
_END_SECONDS = 5.0
_PAUSE_SECONDS = 0.002


@cache
def _prctl() -> Callable[..., int] | None:
    if not processes.LINUX:
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):  # a C library without prctl
        return None


def become_subreaper(wanted: bool) -> bool:
    """Set whether orphans below this process become its children; return what it was before."""
    prctl = _prctl()
    if prctl is None:
        return False
    before = ctypes.c_int(0)
    prctl(_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(wanted), 0, 0, 0)
    return bool(before.value)


@cache
def _life() -> int:
    """Return a descriptor that reads as ended when this process is gone: nobody else keeps the other end open."""
    return os.pipe()[0]


def guard() -> Callable[[], None] | None:
    """Return what `subprocess.Popen` is given as `preexec_fn`; None where no guardian can be.

    The child must lead a session of its own (`start_new_session`). The guardian leads it and heeds no request to end
    that is meant for the group. Safe beside other threads: between fork and program only this module's code runs, and
    it takes no lock that another thread could hold.
    """
    prctl = _prctl()
    if prctl is None:
        return None
    life = _life()

    def divide() -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKING)
        become_subreaper(True)
        try:
            child = os.fork()
        except OSError:  # no room for one process more: the program runs without a guardian
            child = 0
        if child:
            _stand_by(child, life, prctl)
        for number in _ASKING:
            # What comes before the program begins must end it, not call a handler of ours.
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    return divide


def _stand_by(child: int, life: int, prctl: Callable[..., int]) -> None:
    """Be the guardian; never returns."""
    try:
        prctl(_SET_NAME, processes.GUARDIAN.encode(), 0, 0, 0)
        for number in _ASKING:
            signal.signal(number, signal.SIG_IGN)
        bell, ring = os.pipe()
        # Beside `life` everything inherited is somebody else's pipe, which must be able to end.
        _close_all_but(life, bell, ring)
        os.set_blocking(bell, False)
        os.set_blocking(ring, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        os.chdir("/")
        status = _watch(child, life, bell)
        _end_below(0.0 if status is None else _GRACE_SECONDS)
        if status is not None:
            _end_like(status)
    finally:
        os._exit(1)


def _close_all_but(*kept: int) -> None:
    low = 0
    for descriptor in sorted(kept):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def _watch(child: int, life: int, bell: int) -> int | None:
    """Bury who ends until the child does, and return its wait status; None when who started us is gone before."""
    poll = select.poll()
    poll.register(life)
    poll.register(bell, select.POLLIN)
    while True:
        with suppress(BlockingIOError):
            os.read(bell, 4096)
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                return ended[1]
        if any(descriptor == life for descriptor, _ in poll.poll()):
            return None


def _end_like(status: int) -> None:
    """End with the exit status, or by the signal, that the child ended with."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        # The child left a core dump if one was wanted.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _end_below(grace: float) -> None:
    """End everything below this process, within 5 s: asked first where `grace` gives it time (seconds), then forced.

    Force looks at children only, for whoever is killed leaves its own to us: not even what forks and exits all the
    time gets away.
    """
    began = time.monotonic()
    asked: set[int] = set()
    while (passed := time.monotonic() - began) < _END_SECONDS:
        buried = 0
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                buried += 1
        except ChildProcessError:
            return
        if passed < grace:
            for row in processes.below(os.getpid()):
                if row.pid not in asked:
                    asked.add(row.pid)
                    processes.send(row, signal.SIGTERM)
                    processes.send(row, signal.SIGCONT)
        else:
            for pid in processes.children():
                # A child keeps its id until it is buried, and only we do that.
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        if not buried:
            time.sleep(_PAUSE_SECONDS)

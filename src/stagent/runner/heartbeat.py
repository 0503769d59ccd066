"""Tells the store now and then that the holder of a lease lives, for whoever cannot see its process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from stagent.core.ports import Store
from stagent.errors import StoreError

INTERVAL = 10.0
"""Seconds between two heartbeats."""


class Heartbeat:
    """Beats while it is entered. A beat that cannot be written is left out: the next one counts."""

    def __init__(self, store: Store, run: str, fence: int, clock: Callable[[], int]) -> None:
        self._store = store
        self._run = run
        self._fence = fence
        self._clock = clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat {run}", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while True:
            with suppress(StoreError):
                self._store.heartbeat(self._run, self._fence, self._clock())
            if self._over.wait(INTERVAL):
                return

"""A thread that takes what sources give and hands it on, between `start` and `join`."""

from __future__ import annotations

import abc
import threading


class Runner(abc.ABC):
    """The thread, and what its owner asks of it.

    Attributes:
        error: what ended it, None where nothing failed. finished: set once all that it writes is finished.
    """

    def __init__(self, name: str) -> None:
        """`name`: of the thread."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.error: BaseException | None = None
        self.finished = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more; what was taken is worked off, and what is written is finished."""
        self._stop.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end; whether it came. One that was never started has ended."""
        if self._thread.ident is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @abc.abstractmethod
    def _run(self) -> None:
        """What the thread does; it sets `error` and `finished`."""

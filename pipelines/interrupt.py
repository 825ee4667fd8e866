"""Stopping on SIGINT and SIGTERM: finish the file, then leave with exit code 255, as ffmpeg does. SIGHUP is noted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

EXIT_CODE = 255


class Interrupted(KeyboardInterrupt):
    """A signal came while nothing was open that has to be finished."""


class Interrupt:
    """While entered, the first signal sets `requested`; the second raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.requested = False
        self._raises = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @contextmanager
    def raising(self) -> Iterator[None]:
        """While entered, the first signal raises Interrupted too: for work that may take long and is lost unfinished.

        As the loading of networks: what is entered has to let go of what it holds whatever is raised.
        """
        self._raises = True
        try:
            if self.requested:
                raise Interrupted
            yield
        finally:
            self._raises = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if self._raises:
            raise Interrupted


class Hangup:
    """While entered, SIGHUP is noted instead of ending the process."""

    def __init__(self) -> None:
        self._came = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGHUP, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGHUP, self._before)
            self._before = None

    def taken(self) -> bool:
        """Whether it came since the last call."""
        came, self._came = self._came, False
        return came

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True

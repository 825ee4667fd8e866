"""Stopping on SIGINT and SIGTERM: finish the file, then leave with exit code 255, as ffmpeg does."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

EXIT_CODE = 255


class Interrupt:
    """While entered, the first signal sets `requested`; the second raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.requested = False
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

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

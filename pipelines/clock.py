"""The time that live sources go by, injected so that tests need not sleep."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What a live source asks of a clock."""

    def monotonic(self) -> float:
        """Seconds that never go back, from an arbitrary zero."""

    def utc(self) -> int:
        """Microseconds since 1970-01-01 UTC."""

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait so many seconds or until `stop` is set; return whether it is set."""


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utc(self) -> int:
        return time.time_ns() // 1000

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        return stop.wait(max(0.0, seconds))

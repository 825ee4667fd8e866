"""The time of day for ages: a clock that is set ahead makes nothing older at once."""

from __future__ import annotations

import time
from collections.abc import Callable

TOLERANCE = 60.0  # seconds by which a clock may be corrected
TRUSTED_AFTER = 86400.0  # seconds after which a clock that was set ahead is believed


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # CLOCK_MONOTONIC leaves out the time that the machine slept


class SteadyClock:
    """Microseconds since 1970, as the system's clock tells them, but for jumps ahead.

    A clock that was set ahead by more than a minute, beside the time that went by, is believed only once it has stayed
    so for a day; until then time goes on from where it was. One that was set back is believed: it makes all younger.
    Being wrong when the process begins is not noticed.

    Attributes: ahead: seconds by which the system's clock was ahead at the last call, 0 where it is believed.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = _since_boot
    ) -> None:
        """Both clocks count seconds."""
        self._wall, self._monotonic = wall, monotonic
        self._last = wall(), monotonic()
        self._since: float | None = None
        self.ahead = 0.0

    def __call__(self) -> int:
        """The time, in microseconds."""
        wall, now = self._wall(), self._monotonic()
        expected = self._last[0] + now - self._last[1]
        if wall - expected > TOLERANCE:
            self._since = now if self._since is None else self._since
            if now - self._since < TRUSTED_AFTER:
                self.ahead = wall - expected
                return round(expected * 1e6)
        self._last, self._since, self.ahead = (wall, now), None, 0.0
        return round(wall * 1e6)

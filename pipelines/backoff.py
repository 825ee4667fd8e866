"""How long to wait before the next attempt to connect: exponential, bounded, jittered. Never waits itself."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Self

from duoview.errors import LimitError


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Delays between attempts. Without `attempts` there is no last one.

    Attributes:
        first: seconds before the second attempt, 0 for at once.
        factor: what each further delay is multiplied by, at least 1.
        limit: seconds that no delay exceeds, jitter aside.
        jitter: share by which a delay is made longer or shorter at random, so that many cameras behind one switch do
            not come back in the same moment; 0 to 1.
        attempts: failures in a row after which to give up; None: never.
    """

    first: float = 0.5
    factor: float = 2.0
    limit: float = 30.0
    jitter: float = 0.2
    attempts: int | None = None

    def __post_init__(self) -> None:
        for name in ("first", "factor", "limit", "jitter"):
            if not math.isfinite(getattr(self, name)):
                raise LimitError(f"backoff: {name}={getattr(self, name)}: expected a finite number")
        if self.first < 0:
            raise LimitError(f"backoff: first={self.first:g}: expected seconds, 0 or more")
        if self.factor < 1:
            raise LimitError(f"backoff: factor={self.factor:g}: expected 1 or more")
        if self.limit < self.first:
            raise LimitError(f"backoff: limit={self.limit:g}: expected at least first={self.first:g}")
        if not 0 <= self.jitter <= 1:
            raise LimitError(f"backoff: jitter={self.jitter:g}: expected 0 to 1")
        if self.attempts is not None and self.attempts < 1:
            raise LimitError(f"backoff: attempts={self.attempts}: expected 1 or more, or None for no end")

    def within(self, seconds: float) -> Self:
        """The same, of which no delay exceeds so many seconds, jitter aside."""
        return dataclasses.replace(self, first=min(self.first, seconds), limit=min(self.limit, seconds))

    def delay(self, failures: int, uniform: float) -> float:
        """Seconds to wait after so many failures in a row (1 or more); `uniform` is a random number in [0, 1)."""
        if failures < 1:
            raise LimitError(f"backoff: failures={failures}: expected 1 or more")
        # In logarithms, since a camera that is off for a year makes a power that no float holds.
        steps = failures - 1
        if self.first == 0:
            delay = 0.0
        elif self.factor > 1 and steps >= math.log(self.limit / self.first) / math.log(self.factor):
            delay = self.limit
        else:
            delay = min(self.limit, self.first * self.factor**steps) if self.factor > 1 else self.first
        return delay * (1 + self.jitter * (2 * uniform - 1))

    def exhausted(self, failures: int) -> bool:
        """Whether so many failures in a row are the last."""
        return self.attempts is not None and failures >= self.attempts

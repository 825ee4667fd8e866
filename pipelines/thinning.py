"""Fewer frames a second: which of a stream's frames are handed on, by their times."""

from __future__ import annotations

import math
from fractions import Fraction

from duoview.errors import LimitError


class Thinning:
    """Time is cut into spans of 1/rate seconds; of each span the first frame that comes in it is due."""

    def __init__(self, rate: float) -> None:
        """`rate`: frames a second at most. Raises LimitError unless it is above 0."""
        if not (math.isfinite(rate) and rate > 0):
            raise LimitError(f"rate={rate:g}: expected more than 0 frames a second")
        self._rate = Fraction(rate).limit_denominator(1000) or Fraction(1, 1000)
        self._span: int | None = None

    def is_due(self, time: Fraction) -> bool:
        """Whether the frame of this time, in seconds, is handed on; times rise, and one that falls begins anew."""
        span = math.floor(time * self._rate)
        if span == self._span:
            return False
        self._span = span
        return True

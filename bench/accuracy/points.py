"""Which qualities a coder is measured at, so that its points span a range of bytes a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def choose(qualities: Sequence[int], size: Callable[[int], float], low: float, high: float, count: int) -> list[int]:
    """Qualities whose sizes span `low` to `high`, `count` of them, evenly over the coder's own scale.

    qualities: from few bytes to many. size: bytes a frame at one of them; asked some twelve times, by bisection, since
    a coder's bytes rise with its quality. A coder that cannot go so low or high gives its nearest end. A range narrower
    than `count` qualities is widened on both sides.

    Raises ValueError when the coder has fewer qualities than asked for, or the range is upside down.
    """
    if not 0 < low < high:
        raise ValueError(f"bytes a frame from {low} to {high}: expected two rising numbers above 0")
    if not 2 <= count <= len(qualities):
        raise ValueError(f"{count} points: expected 2 to {len(qualities)}, the qualities that the coder has")
    last = len(qualities) - 1
    first = _first(last, lambda index: size(qualities[index]) >= low)
    # One below the first that reaches `low`: the span is covered, not merely touched.
    first = max(0, first - 1)
    end = max(first, _first(last, lambda index: size(qualities[index]) >= high))
    while end - first + 1 < count:
        if first > 0:
            first -= 1
        if end < last and end - first + 1 < count:
            end += 1
    return [qualities[index] for index in sorted({int(at) for at in np.rint(np.linspace(first, end, count))})]


def _first(last: int, reached: Callable[[int], bool]) -> int:
    """The first index from 0 on that satisfies a condition that stays true; `last` when none does."""
    begin, end = 0, last
    while begin < end:
        middle = (begin + end) // 2
        if reached(middle):
            end = middle
        else:
            begin = middle + 1
    return begin

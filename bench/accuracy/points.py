"""Which qualities a coder is measured at, so that its points span a range of bytes a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def choose(qualities: Sequence[int], size: Callable[[int], float], low: float, high: float, count: int) -> list[int]:
    """Qualities whose sizes span `low` to `high`, `count` of them, evenly over the coder's own scale.

    qualities: from few bytes to many. size: bytes a frame at one of them; asked some ten times, by bisection, since a
    coder's bytes rise with its quality. A coder that cannot go so low or high gives its nearest end. A range narrower
    than `count` qualities is widened on both sides.

    Raises ValueError when the coder has fewer qualities than asked for, or the range is upside down.
    """
    if not 0 < low < high:
        raise ValueError(f"bytes a frame from {low} to {high}: expected two rising numbers above 0")
    if not 2 <= count <= len(qualities):
        raise ValueError(f"{count} points: expected 2 to {len(qualities)}, the qualities that the coder has")
    last = len(qualities) - 1
    known: dict[int, float] = {}

    def first_with(target: float) -> int:
        """The first index of a size of `target` or more, the last when none is; what is known narrows the search."""
        begin = max((index + 1 for index, bytes_ in known.items() if bytes_ < target), default=0)
        end = min((index for index, bytes_ in known.items() if bytes_ >= target), default=last)
        while begin < end:
            middle = (begin + end) // 2
            known[middle] = size(qualities[middle])
            if known[middle] >= target:
                end = middle
            else:
                begin = middle + 1
        return min(begin, last)

    # One below the first that reaches `low`: the span is covered, not merely touched.
    first = max(0, first_with(low) - 1)
    end = max(first, first_with(high))
    while end - first + 1 < count:
        if first > 0:
            first -= 1
        if end < last and end - first + 1 < count:
            end += 1
    return [qualities[index] for index in sorted({int(at) for at in np.rint(np.linspace(first, end, count))})]

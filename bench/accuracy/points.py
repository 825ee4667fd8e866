"""Which qualities a coder is measured at: over a range of bytes a frame, below a limit, and where accuracy changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

Size = Callable[[int], float]


def choose(qualities: Sequence[int], size: Size, low: float, high: float, count: int) -> list[int]:
    """Qualities whose sizes span `low` to `high`, `count` of them, evenly over the coder's own scale.

    qualities: from few bytes to many. size: bytes a frame at one of them; asked some ten times, by bisection, since a
    coder's bytes rise with its quality. A coder that cannot go so low or high gives its nearest end. A range narrower
    than `count` qualities is widened on both sides.

    Raises ValueError when the coder has fewer qualities than asked for, or the range is upside down.
    """
    if not 0 < low < high:
        raise ValueError(f"bytes a frame from {low} to {high}: expected two rising numbers above 0")
    if not 1 <= count <= len(qualities):
        raise ValueError(f"{count} points: expected 1 to {len(qualities)}, the qualities that the coder has")
    last = len(qualities) - 1
    known: dict[int, float] = {}
    # One below the first that reaches `low`: the span is covered, not merely touched.
    first = max(0, _first_with(qualities, size, known, low) - 1)
    end = max(first, _first_with(qualities, size, known, high))
    while end - first + 1 < count:
        if first > 0:
            first -= 1
        if end < last and end - first + 1 < count:
            end += 1
    return [qualities[index] for index in sorted({int(at) for at in np.rint(np.linspace(first, end, count))})]


def most_within(qualities: Sequence[int], size: Size, limit: float) -> int | None:
    """The highest quality of at most `limit` bytes a frame; None where the lowest has more."""
    known: dict[int, float] = {}
    at = _first_with(qualities, size, known, limit)
    for index in (at, at - 1):  # the first that reaches the limit may have exactly so many
        if index >= 0 and (known[index] if index in known else size(qualities[index])) <= limit:
            return qualities[index]
    return None


def between(qualities: Sequence[int], values: Mapping[int, Sequence[float | None]], least: float) -> int | None:
    """The quality in the middle of the widest step of accuracy between two that were measured.

    values: accuracies by several judges at every quality that was measured; the judge that sees the widest step counts.
    None where no step is `least` or more, or nothing lies between.
    """
    known = [index for index, quality in enumerate(qualities) if quality in values]
    widest, found = least, None
    for lower, upper in pairwise(known):
        steps = [abs(there - here) for here, there in zip(values[qualities[lower]], values[qualities[upper]],
                                                          strict=True) if here is not None and there is not None]
        if upper - lower > 1 and steps and max(steps) >= widest and (found is None or max(steps) > widest):
            widest, found = max(steps), qualities[(lower + upper) // 2]
    return found


def _first_with(qualities: Sequence[int], size: Size, known: dict[int, float], target: float) -> int:
    """The first index of a size of `target` or more, the last when none is; what is known narrows the search."""
    last = len(qualities) - 1
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

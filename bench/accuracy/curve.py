"""Rate against accuracy: the monotone envelope of measured points, and the difference of two of them in rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Measured points of different rates that a curve needs to be compared.
LEAST_POINTS = 6
#: Accuracy that two curves must both pass through: a narrower one is a chance, not a comparison.
LEAST_RANGE = 0.02

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """rate: bytes a frame, above 0. accuracy: 0 to 1."""

    rate: float
    accuracy: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"rate={self.rate}: expected a positive number of bytes")
        if not 0 <= self.accuracy <= 1:
            raise ValueError(f"accuracy={self.accuracy}: expected 0 to 1")


@dataclass(frozen=True)
class Difference:
    """Of one curve's rate to another's at equal accuracy.

    log: mean difference of natural log rates over the accuracies from `low` to `high`, which both reach; None where the
    two are not comparable, and `reason` says why.
    """

    log: float | None
    low: float
    high: float
    reason: str = ""

    @property
    def percent(self) -> float | None:
        """BD-rate: negative where fewer bytes are needed."""
        return None if self.log is None else 100 * math.expm1(self.log)


class Curve:
    """The points of one coder on one clip by one judge, in any order; of points of one rate the best counts."""

    def __init__(self, points: Sequence[Point]) -> None:
        best: dict[float, float] = {}
        for point in points:
            best[point.rate] = max(point.accuracy, best.get(point.rate, 0.0))
        self.points = tuple(Point(rate, best[rate]) for rate in sorted(best))
        top = -1.0
        envelope = []
        for point in self.points:
            if point.accuracy > top:
                envelope.append(point)
                top = point.accuracy
        #: Those that no cheaper one equals: accuracy rises with rate.
        self.envelope = tuple(envelope)

    def log_rate(self, accuracy: Array) -> Array:
        """Natural logarithm of the rate at which the envelope reaches an accuracy, linear between its points."""
        known = np.array([point.accuracy for point in self.envelope])
        return np.interp(accuracy, known, np.log([point.rate for point in self.envelope]))

    def at(self, rate: float) -> float | None:
        """Accuracy of the envelope at a rate, linear in log rate; the last point holds for all above it.

        None below the cheapest point.
        """
        if not self.envelope or rate < self.envelope[0].rate:
            return None
        return float(np.interp(math.log(rate), np.log([point.rate for point in self.envelope]),
                               [point.accuracy for point in self.envelope]))


def difference(test: Curve, anchor: Curve) -> Difference:
    """How much more rate `test` needs than `anchor`, over the accuracies that both envelopes reach."""
    for what, curve in (("test", test), ("anchor", anchor)):
        if len(curve.points) < LEAST_POINTS:
            return Difference(None, 0, 0, f"{len(curve.points)} points of the {what}, {LEAST_POINTS} are needed")
    low = max(curve.envelope[0].accuracy for curve in (test, anchor))
    high = min(curve.envelope[-1].accuracy for curve in (test, anchor))
    if high - low < LEAST_RANGE:
        reached = " and ".join(f"{curve.envelope[0].accuracy:.3f} to {curve.envelope[-1].accuracy:.3f}"
                               for curve in (test, anchor))
        return Difference(None, low, high, f"they share less than {LEAST_RANGE} of accuracy: {reached}")
    # Both are linear between the accuracies of their points: the trapezoids between all of those are exact.
    inside = [point.accuracy for curve in (test, anchor) for point in curve.envelope if low < point.accuracy < high]
    knots = np.array(sorted({low, high, *inside}))
    gap = test.log_rate(knots) - anchor.log_rate(knots)
    return Difference(float(((gap[1:] + gap[:-1]) / 2 * np.diff(knots)).sum() / (high - low)), low, high)


class Envelopes:
    """Many curves of one number of points at once. rates, accuracies: (D, P), points in any order; NaN for all
    accuracies of a curve that there is not."""

    def __init__(self, rates: Array, accuracies: Array) -> None:
        order = np.argsort(-accuracies, axis=1, kind="stable")
        rates, accuracies = (np.take_along_axis(part, order, axis=1) for part in (rates, accuracies))
        order = np.argsort(rates, axis=1, kind="stable")  # by rate, of one rate the best first
        rates, accuracies = (np.take_along_axis(part, order, axis=1) for part in (rates, accuracies))
        self.enough = ((np.diff(rates, axis=1) > 0).sum(axis=1) + 1 >= LEAST_POINTS) & ~np.isnan(accuracies).any(axis=1)
        #: A point that is not on the envelope repeats the one before it that is.
        self.accuracies = np.maximum.accumulate(accuracies, axis=1)
        rises = np.diff(self.accuracies, axis=1, prepend=-1.0) > 0
        last = np.maximum.accumulate(np.where(rises, np.arange(rates.shape[1]), 0), axis=1)
        self.logs = np.log(np.take_along_axis(rates, last, axis=1))

    def integral(self, low: Array, high: Array) -> Array:
        """Of the log rate over accuracies from `low` to `high`, (D,) each, within what each curve reaches."""
        from_, to = self.accuracies[:, :-1], self.accuracies[:, 1:]
        ends = [np.clip(side, low[:, None], high[:, None]) for side in (from_, to)]
        slope = np.diff(self.logs, axis=1) / np.where(to > from_, to - from_, 1)
        at = [self.logs[:, :-1] + slope * (end - from_) for end in ends]
        return ((at[0] + at[1]) / 2 * (ends[1] - ends[0])).sum(axis=1)


def differences(test: Envelopes, anchor: Envelopes) -> Array:
    """`Difference.log` of every pair of curves, (D,); NaN where the two are not comparable."""
    low = np.maximum(test.accuracies[:, 0], anchor.accuracies[:, 0])
    high = np.minimum(test.accuracies[:, -1], anchor.accuracies[:, -1])
    comparable = test.enough & anchor.enough & (high - low >= LEAST_RANGE)
    gap = test.integral(low, high) - anchor.integral(low, high)
    return np.where(comparable, gap / np.where(comparable, high - low, 1), np.nan)


def mean_percent(differences: Sequence[Difference]) -> float | None:
    """Mean BD-rate of those that are comparable, in percent, taken in logarithms; None when none is."""
    logs = [item.log for item in differences if item.log is not None]
    return 100 * math.expm1(sum(logs) / len(logs)) if logs else None

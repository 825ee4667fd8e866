"""How sure a BD-rate is: the bootstrap (Efron 1979) over the pictures, or over runs of frames, that it was measured on.

Every draw takes as many frames as there are, with replacement, the same ones for all coders, points and judges of a
clip; bytes and accuracies of every point, and with them the BD-rate, are computed anew of these. Neighbouring frames of
a clip are alike, so that runs of them are drawn, which may go over the end to the beginning (the circular block
bootstrap of Politis and Romano, 1992). Nothing is coded or looked at again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.accuracy.curve import Envelopes, differences
from bench.accuracy.ledger import Verdict
from bench.accuracy.metric import METRICS
from bench.accuracy.tally import Array, Point, Tallies, Weights

#: In percent, of the draws that lie between both ends of an interval.
LEVEL = 90
#: Blocks that a clip must have: draws of one or two are the clip itself, turned round.
LEAST_BLOCKS = 3


@dataclass(frozen=True)
class Interval:
    """Where `LEVEL` percent of the draws' BD-rates lie, in percent as the BD-rate is; percentiles, ends included.

    draws: how many there were. undefined: of these, how many had no BD-rate (of a mean: none of its comparisons had
    one); the ends are those of the others, and None where `reason` says why there is no interval.
    """

    low90: float | None
    high90: float | None
    draws: int
    undefined: int
    reason: str = ""

    @staticmethod
    def of(logs: Array) -> Interval:
        """logs (D,): differences of log rate, NaN for a draw that has none."""
        known = logs[~np.isnan(logs)]
        if not len(known):
            return Interval(None, None, len(logs), len(logs), "no draw has a BD-rate")
        ends = np.percentile(known, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
        low, high = (100 * math.expm1(end) for end in ends)
        return Interval(low, high, len(logs), len(logs) - len(known))


class NoIntervalError(ValueError):
    """There is no interval, and why."""


class Bootstrap:
    """Draws for the points of one run, in which clips, coders and judges have one name each. draws: how many."""

    def __init__(self, tallies: Tallies, draws: int) -> None:
        if draws < 1:
            raise ValueError(f"draws={draws}: expected 1 or more")
        self.draws = draws
        self._tallies = tallies
        self._weights: dict[tuple[str, int, int], Weights] = {}
        self._logs: dict[tuple[str, ...], Array] = {}
        # Of one clip and metric at a time, whose comparisons come one after the other: all would be much memory.
        self._group: tuple[str, str] | None = None
        self._envelopes: dict[tuple[str, str], Envelopes] = {}

    def logs(self, test: Sequence[Verdict], anchor: Sequence[Verdict], metric: str) -> Array:
        """Differences of log rate of two curves of one clip and judge, (D,); NaN for a draw in which they are not
        comparable. Both have points. Raises NoIntervalError."""
        key = test[0].clip, test[0].judge, test[0].codec, anchor[0].codec, metric
        if key not in self._logs:
            self._logs[key] = differences(self._envelope(test, metric), self._envelope(anchor, metric))
        return self._logs[key]

    def _envelope(self, curve: Sequence[Verdict], metric: str) -> Envelopes:
        known = [item for item in curve if item.accuracy.value(metric) is not None]
        if (curve[0].clip, metric) != self._group:
            self._group, self._envelopes = (curve[0].clip, metric), {}
        key = curve[0].codec, curve[0].judge
        if key not in self._envelopes:
            self._envelopes[key] = self._made(known, metric)
        return self._envelopes[key]

    def _made(self, curve: Sequence[Verdict], metric: str) -> Envelopes:
        rates, accuracies = [], []
        for item in curve:
            point = self._tallies.of(item)
            if point is None:
                raise NoIntervalError(f"{item.codec} at {item.quality} was judged before verdicts were kept frame by "
                                      "frame; in a folder of its own, a run has intervals")
            weights = self._drawn(item, point)
            values = point.tally.values(metric, weights)
            if values is None:
                raise NoIntervalError(f"{METRICS[metric].title} does not come from frames one by one")
            rates.append(weights @ point.bytes / item.frames)
            accuracies.append(values)
        return Envelopes(np.stack(rates, axis=1), np.stack(accuracies, axis=1))

    def _drawn(self, item: Verdict, point: Point) -> Weights:
        if item.frames < LEAST_BLOCKS * point.block:
            raise NoIntervalError(f"{item.frames} frames; {LEAST_BLOCKS} blocks of {point.block} are needed")
        key = item.clip_sha256, item.frames, point.block
        if key not in self._weights:
            self._weights[key] = weights(*key, self.draws)
        return self._weights[key]


def weights(clip_sha256: str, frames: int, block: int, draws: int) -> Weights:
    """How often each frame is in each draw, (draws, frames), `frames` in each; the same for the same arguments.

    block: frames that are drawn together; the last block of a draw is cut off where it is full.
    """
    random = np.random.default_rng(list(hashlib.sha256(clip_sha256.encode()).digest()))
    starts = random.integers(frames, size=(draws, -(-frames // block)))
    chosen = ((starts[:, :, None] + np.arange(block)) % frames).reshape(draws, -1)[:, :frames]
    counted = np.zeros((draws, frames), np.int32)
    np.add.at(counted, (np.arange(draws)[:, None], chosen), 1)
    return counted

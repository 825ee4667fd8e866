"""How many bytes a coder needs until a machine sees as much as in the source, or almost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.accuracy.comparison import Verdicts, anchors
from bench.accuracy.curve import Curve
from bench.accuracy.ledger import Verdict
from bench.accuracy.sweep import SOURCE

#: What may be lost of the source's accuracy: one point of a hundred.
LOSS = 0.01


@dataclass(frozen=True)
class Kept:
    """The least rate at which a coder's envelope loses no more than `loss` of the source's accuracy by one judge.

    wanted: that accuracy. bytes_per_frame: linear in log rate between measured points; None where no point is so good;
    `cheapest` where its cheapest point is already. percent: against the anchor's, None where either has none.
    """

    clip: str
    judge: str
    codec: str
    ours: bool
    metric: str
    loss: float
    wanted: float
    bytes_per_frame: float | None
    cheapest: bool
    percent: float | None


def kept(verdicts: Verdicts, anchor: str, metric: str, loss: float = LOSS) -> list[Kept]:
    """One for every clip, deciding judge and coder; those of a clip where nothing is right in the source are left out.

    anchor: a coder's name without variant; which of its variants counts is said at `anchors`.
    """
    found = []
    for clip in verdicts.clips:
        for judge in verdicts.deciding(metric):
            source = next((item.accuracy.value(metric) for item in verdicts.of(clip, SOURCE, judge)), None)
            if not source:  # not measured, or nothing is found right even there
                continue
            wanted = max(0.0, source - loss)
            rates = {codec: _rate(verdicts.curve(clip, codec, judge, metric), wanted) for codec in verdicts.codecs}
            for codec in verdicts.codecs:
                item, rate = verdicts.codec(codec), rates[codec]
                # As in the comparisons; where there are several, the one that is used like this coder.
                like = sorted(anchors(verdicts, anchor, item),
                              key=lambda label: not _alike(item, verdicts.codec(label)))
                base = rates[like[0]] if like else None
                curve = verdicts.curve(clip, codec, judge, metric)
                found.append(Kept(
                    clip, judge, codec, item.ours, metric, loss, wanted, rate,
                    rate is not None and wanted <= curve.envelope[0].accuracy,
                    None if rate is None or base is None else 100 * (rate / base - 1)))
    return found


def _alike(one: Verdict, other: Verdict) -> bool:
    return (one.key, one.latency) == (other.key, other.latency)


def _rate(curve: Curve, wanted: float) -> float | None:
    """The least rate at which an envelope reaches an accuracy; None where it never does."""
    if not curve.envelope or curve.envelope[-1].accuracy < wanted:
        return None
    return math.exp(float(curve.log_rate(np.array([wanted]))[0]))

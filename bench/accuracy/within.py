"""Who sees most within so many bytes a frame, at any setting: the question of those who have no more."""

from __future__ import annotations

from dataclasses import dataclass

from bench.accuracy.comparison import Verdicts
from bench.accuracy.sweep import SOURCE


@dataclass(frozen=True)
class Best:
    """The best measured point of a coder on a clip at or below `limit` bytes a frame, over all its settings.

    base: the coder without variant. accuracy: mean over the judges that decide; None where it has no point so cheap.
    codec, quality, bytes_per_frame: the point, or the cheapest one that there is.
    """

    clip: str
    base: str
    ours: bool
    metric: str
    limit: float
    accuracy: float | None
    codec: str
    quality: int
    bytes_per_frame: float


def best_within(verdicts: Verdicts, limit: float, metric: str) -> list[Best]:
    """One for every clip and coder whose points the deciding judges could judge.

    Points are those that were measured, nothing is interpolated: a setting that nobody ran is not counted on.
    """
    found = []
    for clip in verdicts.clips:
        points: dict[str, list[Best]] = {}
        for label in verdicts.codecs:
            if label == SOURCE:
                continue
            item = verdicts.codec(label)
            for quality, rate, accuracy in _means(verdicts, clip, label, metric):
                points.setdefault(item.base, []).append(
                    Best(clip, item.base, item.ours, metric, limit, accuracy, label, quality, rate))
        for group in points.values():
            inside = [point for point in group if point.bytes_per_frame <= limit]
            if inside:
                found.append(max(inside, key=lambda point: (point.accuracy or 0, -point.bytes_per_frame)))
            else:
                cheapest = min(group, key=lambda point: point.bytes_per_frame)
                found.append(Best(clip, cheapest.base, cheapest.ours, metric, limit, None, cheapest.codec,
                                  cheapest.quality, cheapest.bytes_per_frame))
    return found


def _means(verdicts: Verdicts, clip: str, label: str, metric: str) -> list[tuple[int, float, float]]:
    """Quality, bytes a frame and mean accuracy of every point that all deciding judges could judge."""
    values: dict[int, list[float | None]] = {}
    rates: dict[int, float] = {}
    judges = verdicts.deciding(metric)
    for judge in judges:
        for item in verdicts.of(clip, label, judge):
            values.setdefault(item.quality, []).append(item.accuracy.value(metric))
            rates[item.quality] = item.bytes_per_frame
    found = []
    for quality, seen in values.items():
        known = [value for value in seen if value is not None]
        if len(known) == len(judges):
            found.append((quality, rates[quality], sum(known) / len(known)))
    return found

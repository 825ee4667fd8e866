"""From verdicts to BD-rates: against the anchor, and against the best peer of each clip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.accuracy.bootstrap import Bootstrap, Interval, NoIntervalError
from bench.accuracy.curve import Curve, Difference, Point, difference, mean_percent
from bench.accuracy.ledger import Verdict
from bench.accuracy.metric import HEADLINE, METRICS, TASKS
from bench.accuracy.sweep import SOURCE

BEST = "best peer"


@dataclass(frozen=True)
class Entry:
    """One coder against another on one clip by one judge; percent: BD-rate, None with the reason why.

    interval: how sure it is; None where there is no BD-rate or nobody asked.
    """

    clip: str
    judge: str
    decides: bool
    codec: str
    ours: bool
    anchor: str
    role: str
    metric: str
    percent: float | None
    low: float
    high: float
    points: int
    envelope: int
    reason: str
    interval: Interval | None = None


@dataclass(frozen=True)
class Mean:
    """Mean BD-rate of a coder over clips and deciding judges; over all judges when none decides.

    role: ``anchor`` or ``best peer``. of: comparisons that could be made, from how many. interval: of the mean over the
    comparisons that could be made, by what was drawn in each of their clips; other clips would give other means.
    """

    codec: str
    anchor: str
    role: str
    metric: str
    percent: float | None
    count: int
    of: int
    interval: Interval | None = None


class Verdicts:
    """The verdicts of a run, looked at as curves."""

    def __init__(self, verdicts: Iterable[Verdict]) -> None:
        self.all = tuple(verdicts)
        self._of: dict[tuple[str, str, str], list[Verdict]] = {}
        self._codecs: dict[str, Verdict] = {}
        self._judges: dict[str, Verdict] = {}
        self._curves: dict[tuple[str, str, str, str], Curve] = {}
        for item in sorted(self.all, key=lambda item: item.bytes):
            self._of.setdefault((item.clip, item.codec, item.judge), []).append(item)
            self._codecs.setdefault(item.codec, item)
            self._judges.setdefault(item.judge, item)
        self.clips = _distinct(item.clip for item in self.all)
        self.judges = _distinct(item.judge for item in self.all)
        self.codecs = _distinct(item.codec for item in self.all if item.codec != SOURCE)
        #: What was measured on any clip, in the order of METRICS.
        self.metrics = tuple(metric for metric in METRICS
                             if any(item.accuracy.value(metric) is not None for item in self.all))

    def judges_of(self, metric: str) -> tuple[str, ...]:
        """Those whose task gives a metric."""
        task = METRICS[metric].task
        return tuple(name for name in self.judges if self._judges[name].task == task)

    def deciding(self, metric: str) -> tuple[str, ...]:
        """Those whose word counts: the ones never trained on, or all where there is none of them."""
        judges = self.judges_of(metric)
        return tuple(name for name in judges if self._judges[name].decides) or judges

    def decided(self, metric: str) -> bool:
        """Whether any of a metric's judges was never trained on."""
        return any(self._judges[name].decides for name in self.judges_of(metric))

    def codec(self, label: str) -> Verdict:
        """Any verdict on a codec: what it is and how it was used."""
        return self._codecs[label]

    def decides(self, judge: str) -> bool:
        """Whether a judge was never trained on."""
        return self._judges[judge].decides

    def of(self, clip: str, codec: str, judge: str) -> list[Verdict]:
        """The points of one curve, by rising rate."""
        return self._of.get((clip, codec, judge), [])

    def curve(self, clip: str, codec: str, judge: str, metric: str = "ap75") -> Curve:
        """Empty where there was nothing to judge by."""
        key = clip, codec, judge, metric
        if key not in self._curves:
            self._curves[key] = Curve([Point(item.bytes_per_frame, value) for item in self.of(clip, codec, judge)
                                       if (value := item.accuracy.value(metric)) is not None])
        return self._curves[key]


def compare(verdicts: Verdicts, anchor: str, metric: str = "ap75", bootstrap: Bootstrap | None = None) -> list[Entry]:
    """Every coder against the anchor of its key frames and latency, and ours against the best peer of the clip too.

    anchor: a coder's name without variant; unscaled where its own is scaled. A coder of ours without delay is held
    against the anchor with full lookahead as well; one of key frames only (JPEG) against the anchor however it is used.
    The best peer is the one with the least mean BD-rate against that anchor by the deciding judges, at any scale, with
    the same key frames and latency; it stays that in every draw of the bootstrap, which gives intervals.
    """
    entries = []
    for clip in verdicts.clips:
        for codec in verdicts.codecs:
            test = verdicts.codec(codec)
            for base in anchors(verdicts, anchor, test):
                if base != codec:
                    entries += _entries(verdicts, clip, codec, base, "anchor", metric, bootstrap)
                if test.ours:
                    best = best_peer(verdicts, clip, base, metric)
                    role = f"{BEST}, {verdicts.codec(base).latency} latency"
                    entries += _entries(verdicts, clip, codec, best, role, metric, bootstrap)
    return entries


def reported(verdicts: Verdicts, asked: Sequence[str]) -> tuple[str, ...]:
    """The metrics to be compared by: those asked for that some judge gives, tracks, and what other tasks come down to.

    Never empty: the first asked for stands where nothing was measured.
    """
    tasks = {METRICS[metric].task for metric in verdicts.metrics}
    wanted = [*asked, "hota", "real_hota", *(HEADLINE[task] for task in TASKS if task in tasks - {"detection"})]
    return tuple(dict.fromkeys(metric for metric in wanted if metric in verdicts.metrics)) or tuple(asked[:1])


def best_peer(verdicts: Verdicts, clip: str, anchor: str, metric: str = "ap75") -> str:
    """The peer with the least mean BD-rate against an anchor on one clip, among those used like it; the anchor when no
    other can be compared."""
    like = verdicts.codec(anchor)
    best, least = anchor, 0.0
    for codec in verdicts.codecs:
        item = verdicts.codec(codec)
        if item.ours or codec == anchor or (item.key, item.latency) != (like.key, like.latency):
            continue
        percent = mean_percent([_difference(verdicts, clip, codec, anchor, judge, metric)
                                for judge in verdicts.deciding(metric)])
        if percent is not None and percent < least:
            best, least = codec, percent
    return best


def means(entries: Sequence[Entry], verdicts: Verdicts, bootstrap: Bootstrap | None = None) -> list[Mean]:
    """Over clips and deciding judges, one for every coder and what it is held against."""
    groups: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in entries:
        if entry.judge in verdicts.deciding(entry.metric):
            anchor = entry.anchor if entry.role == "anchor" else "of each clip"
            groups.setdefault((entry.codec, anchor, entry.role, entry.metric), []).append(entry)
    found = []
    for key, group in groups.items():
        differences = [_difference(verdicts, item.clip, item.codec, item.anchor, item.judge, item.metric)
                       for item in group]
        known = [item for item in group if item.percent is not None]
        found.append(Mean(*key, mean_percent(differences), len(known), len(differences),
                          _interval(verdicts, known, bootstrap)))
    return found


def _interval(verdicts: Verdicts, entries: Sequence[Entry], bootstrap: Bootstrap | None) -> Interval | None:
    """Of the mean of BD-rates, each of which is there; a draw's mean is over those that it gives."""
    if bootstrap is None or not entries:
        return None
    total, number = np.zeros(bootstrap.draws), np.zeros(bootstrap.draws)
    for item in entries:
        try:
            logs = bootstrap.logs(verdicts.of(item.clip, item.codec, item.judge),
                                  verdicts.of(item.clip, item.anchor, item.judge), item.metric)
        except NoIntervalError as error:
            return Interval(None, None, 0, 0, str(error))
        total += np.nan_to_num(logs)
        number += ~np.isnan(logs)
    return Interval.of(np.where(number > 0, total / np.maximum(1, number), np.nan))


def _entries(verdicts: Verdicts, clip: str, codec: str, anchor: str, role: str, metric: str,
             bootstrap: Bootstrap | None) -> list[Entry]:
    found = []
    for judge in verdicts.judges_of(metric):
        result = _difference(verdicts, clip, codec, anchor, judge, metric)
        curve = verdicts.curve(clip, codec, judge, metric)
        entry = Entry(clip, judge, verdicts.decides(judge), codec, verdicts.codec(codec).ours, anchor, role, metric,
                      result.percent, result.low, result.high, len(curve.points), len(curve.envelope), result.reason)
        known = [entry] if entry.percent is not None else []
        found.append(replace(entry, interval=_interval(verdicts, known, bootstrap)))
    return found


def _difference(verdicts: Verdicts, clip: str, codec: str, anchor: str, judge: str, metric: str) -> Difference:
    return difference(verdicts.curve(clip, codec, judge, metric), verdicts.curve(clip, anchor, judge, metric))


def anchors(verdicts: Verdicts, base: str, test: Verdict) -> list[str]:
    """Labels of the anchor, unscaled, in the variants that a coder is held against, zero latency first.

    A coder that knows key frames only is held against any, and as an anchor stands for any.
    """
    latencies = {test.latency, "full"} if test.ours else {test.latency}
    found = []
    for codec in verdicts.codecs:
        item = verdicts.codec(codec)
        alike = (item.key == test.key and item.latency in latencies) or "every" in (item.key, test.key)
        if (item.base, item.scale) == (base, 1.0) and alike:
            found.append(codec)
    return sorted(found, key=lambda codec: verdicts.codec(codec).latency != "zero")


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))

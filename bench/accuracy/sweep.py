"""The measurement: every clip, coder and rate point before every judge, leaving out what the ledger has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from bench.accuracy.clip import Clip
from bench.accuracy.codec import Codec, Coded
from bench.accuracy.judge import Judge, SourceFindings
from bench.accuracy.ledger import Ledger, Size, Verdict
from bench.accuracy.metric import METRICS
from bench.accuracy.points import between, choose, most_within
from bench.accuracy.tally import Point, Tallies

SOURCE = "source"


@dataclass(frozen=True)
class Span:
    """Bytes a frame, or bits a pixel, that the points of every coder span, and how many there are.

    below: further limits in bytes a frame; the best quality within each is measured too. more: points at most that are
    put where accuracy changes by `step` or more from one point to the next.
    """

    low: float
    high: float
    points: int
    below: tuple[float, ...] = ()
    more: int = 0
    step: float = 0.05
    per_pixel: bool = False

    def ends(self, clip: Clip) -> tuple[float, float]:
        """Both in bytes a frame of a clip."""
        unit = clip.pixels / len(clip.frames) / 8 if self.per_pixel else 1.0
        return self.low * unit, self.high * unit


class Sweep:
    """Measures clips one by one; verdicts are written down as they come.

    say: told one line per point.
    """

    def __init__(self, codecs: Sequence[Codec], judges: Sequence[Judge[Any]], span: Span, ledger: Ledger,
                 findings: SourceFindings, tallies: Tallies, *, say: Callable[[str], None] = print) -> None:
        self._codecs, self._judges, self._span, self._ledger, self._findings = codecs, judges, span, ledger, findings
        self._tallies, self._say = tallies, say

    def run(self, clip: Clip) -> list[Verdict]:
        """Every verdict on one clip, those from the ledger too; the source's own come first.

        A clip in which no judge finds anything to judge by is not coded.
        """
        verdicts = self._source(clip)
        if all(item.accuracy.value(metric) is None for item in verdicts for metric in METRICS):
            self._say(f"{clip.name}: nothing to judge by: {'; '.join(item.accuracy.reason for item in verdicts)}")
            return verdicts
        for codec in self._codecs:
            verdicts += self._curve(clip, codec)
        return verdicts

    def _curve(self, clip: Clip, codec: Codec) -> list[Verdict]:
        span, size = self._span, partial(self._size, clip, codec)
        qualities = choose(codec.qualities, size, *span.ends(clip), min(span.points, len(codec.qualities)))
        within = [most_within(codec.qualities, size, limit) for limit in span.below]
        wanted = {*qualities, *(quality for quality in within if quality is not None)}
        found = {quality: self._point(clip, codec, quality) for quality in codec.qualities if quality in wanted}
        for _ in range(span.more):
            values = {quality: [item.accuracy.value(judge.headline) for judge, item in
                                zip(self._judges, verdicts, strict=True)] for quality, verdicts in found.items()}
            further = between(codec.qualities, values, span.step)
            if further is None:
                break
            found[further] = self._point(clip, codec, further)
        return [item for quality in codec.qualities if quality in found for item in found[quality]]

    def _source(self, clip: Clip) -> list[Verdict]:
        """What the judges reach on the uncoded clip: 1 by agreement, whatever they are worth by ground truth."""
        version = "uncoded"
        found = []
        for judge in self._judges:
            known = self._known(clip, SOURCE, version, 0, judge)
            if known is None:
                seen = self._findings.of(clip, judge)
                known = Verdict(clip.name, clip.sha256, clip.width, clip.height, len(clip.frames), str(clip.rate),
                                SOURCE, SOURCE, False, "", "", 1.0, version, 0, 0, 0.0, 0.0, judge.name, judge.version,
                                judge.decides, judge.accuracy(seen, seen, clip), judge.task, clip.pixels)
                self._ledger.add(known)
            found.append(known)
        return found

    def _known(self, clip: Clip, codec: str, version: str, quality: int, judge: Judge) -> Verdict | None:
        """What an earlier run found, under the name that the clip has now."""
        known = self._ledger.verdict(clip.sha256, codec, version, quality, judge.version)
        return known and replace(known, clip=clip.name)

    def _size(self, clip: Clip, codec: Codec, quality: int) -> float:
        known = self._ledger.size(clip.sha256, codec.label, codec.version, quality)
        if known is None:
            known = codec.size(clip, quality)
            self._ledger.add(Size(clip.sha256, codec.label, codec.version, quality, known))
        return known / len(clip.frames)

    def _point(self, clip: Clip, codec: Codec, quality: int) -> list[Verdict]:
        coded: Coded | None = None
        found, fresh = [], False
        for judge in self._judges:
            known = self._known(clip, codec.label, codec.version, quality, judge)
            if known is None:
                coded = coded or codec.code(clip, quality)
                known = self._judged(clip, codec, quality, coded, judge)
                self._ledger.add(known)
                fresh = True
            found.append(known)
        shown = "  ".join(f"{METRICS[judge.headline].title} {judge.name} {_shown(item.accuracy.value(judge.headline))}"
                          for judge, item in zip(self._judges, found, strict=True))
        self._say(f"{clip.name}: {codec.label} at {quality}: {found[0].bytes_per_frame:.0f} bytes a frame, {shown}"
                  + ("" if fresh else " (known)"))
        return found

    def _judged(self, clip: Clip, codec: Codec, quality: int, coded: Coded, judge: Judge[Any]) -> Verdict:
        variant = codec.variant
        result, tally = judge.assessed(judge.look(coded.frames, clip), self._findings.of(clip, judge), clip)
        made = Verdict(clip.name, clip.sha256, clip.width, clip.height, len(clip.frames), str(clip.rate), codec.label,
                       codec.name, codec.ours, variant.key, variant.latency, variant.scale, codec.version, quality,
                       coded.size, round(coded.encode_seconds, 4), round(coded.decode_seconds, 4), judge.name,
                       judge.version, judge.decides, result, judge.task, clip.pixels)
        self._tallies.keep(made, Point(np.array(coded.sizes, np.float64), clip.block, tally))
        return made


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

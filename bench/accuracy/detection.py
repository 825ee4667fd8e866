"""Detectors as judges: agreement with what they find in the source, and average precision against ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import av
import numpy as np
from PIL import Image, ImageDraw

from bench.accuracy.clip import Clip
from bench.accuracy.judge import Judge
from bench.accuracy.metric import Accuracy
from bench.accuracy.tally import LEAST_OBJECTS, PrecisionTally
from bench.average_precision import Matched, Reference, matched, reference_of
from duoview.boxes import suppress
from duoview.detections import Detections
from duoview.detectors import Detector

#: Score from which an object of the source is to be found again.
ABOVE = 0.45
#: What counts as one kind: a detector that calls a van a truck has still seen it.
GROUPS = {"person": "person", "car": "vehicle", "bus": "vehicle", "truck": "vehicle", "motorcycle": "vehicle",
          "vehicle": "vehicle"}
KINDS = ("person", "vehicle")
COLOURS = ("#ffd400", "#00e5ff", "#ff5cf4", "#7dff5c")


class DetectionJudge(Judge[Detections]):
    """A detector that judges. tracking: its detections are made tracks, and these are judged too."""

    task: ClassVar[str] = "detection"

    def __init__(self, name: str, detector: Detector, version: str, *, decides: bool, tracking: bool = False) -> None:
        super().__init__(name, version, decides=decides)
        self._detector, self._tracking = detector, tracking

    def look(self, frames: Sequence[av.VideoFrame], clip: Clip) -> list[Detections]:
        iou = self._detector.description.iou or self._detector.description.family.iou
        return [grouped(self._detector([frame])[0], iou) for frame in frames]

    def assessed(self, found: Sequence[Detections], source: Sequence[Detections], clip: Clip
                 ) -> tuple[Accuracy, PrecisionTally]:
        result, tally = judged(found, source, clip.truth)
        if not self._tracking or clip.still:
            return result, tally
        from bench.accuracy.tracking import hota_of_tracks, hota_of_truth

        hota = hota_of_tracks(found, source, float(clip.rate), result.kinds) if result.kinds else None
        return replace(result, hota=hota, real_hota=hota_of_truth(found, clip.truth, float(clip.rate))), tally

    def count(self, finding: Detections) -> int:
        return len(finding.above(ABOVE))

    def caption(self, finding: Detections) -> str:
        return f"{self.count(finding)} objects above {ABOVE}"

    def drawn(self, picture: Image.Image, finding: Detections) -> Image.Image:
        pen = ImageDraw.Draw(picture)
        for item in finding.above(ABOVE):
            colour = COLOURS[item.class_id % len(COLOURS)]
            pen.rectangle(item.box, outline=colour, width=2)
            pen.text((item.box[0] + 3, item.box[1] + 2), f"{item.name} {item.score:.2f}", fill=colour)
        return picture

    def written(self, finding: Detections) -> str:
        return finding.to_json()

    def read(self, line: str) -> Detections:
        return Detections.from_json(line)


def grouped(detections: Detections, iou: float) -> Detections:
    """Persons and vehicles of a detector that knows either, as two classes; another detector's as they are.

    What it saw twice, as a car and as a truck, counts once: suppression goes over the kinds again.
    """
    if not set(detections.names) & set(GROUPS):
        return detections
    kinds = [GROUPS.get(detections.names[index], "") for index in detections.classes]
    mask = np.array([kind != "" for kind in kinds], np.bool_)
    kept = detections.keep(mask)
    classes = np.array([KINDS.index(kind) for kind in kinds if kind], np.int32)
    merged = replace(kept, classes=classes, names=KINDS)
    return merged.keep(suppress(merged.boxes, merged.scores, merged.classes, iou=iou))


def grouped_truth(reference: Reference) -> Reference:
    """Ground truth by the kinds of `grouped`; what is of neither kind is left out."""
    kept = np.array([name in GROUPS for name in reference.names], np.bool_)
    return Reference(np.asarray(reference.boxes)[kept],
                     tuple(GROUPS[name] for name in reference.names if name in GROUPS),
                     np.asarray(reference.ignored)[kept],
                     tuple(who for who, keep in zip(reference.ids, kept, strict=False) if keep))


def judged(found: Sequence[Detections], source: Sequence[Detections], truth: Sequence[Reference] | None
           ) -> tuple[Accuracy, PrecisionTally]:
    """How well what was found in coded pictures agrees with the source's detections, and with the truth; and the
    matches behind it."""
    counts: dict[str, int] = {}
    for item in source:
        for index in item.above(ABOVE).classes:
            counts[item.names[index]] = counts.get(item.names[index], 0) + 1
    wanted = [reference_of(item, above=ABOVE) for item in source]
    tally = PrecisionTally({kind: matched(kind, found, wanted) for kind in _enough(counts)}, _real(found, truth))
    values = {f"{side}{metric}": tally.value(f"{side}{metric}", len(source))
              for side in ("", "real_") for metric in ("ap50", "ap75", "ap50_95")}
    reason = ""
    if not tally.agreement:
        seen = ", ".join(f"{count} of {kind}" for kind, count in sorted(counts.items())) or "nothing"
        reason = f"the judge finds {seen} above {ABOVE} in the source, {LEAST_OBJECTS} are needed"
    return Accuracy(kinds=tuple(tally.agreement), reason=reason,
                    objects=sum(int(item.objects.sum()) for item in tally.agreement.values()), **values), tally


def _real(found: Sequence[Detections], truth: Sequence[Reference] | None) -> dict[str, Matched]:
    """Of the kinds that the truth holds often enough and the judge knows."""
    if truth is None or not found:
        return {}
    names = found[0].names
    wanted = [grouped_truth(item) for item in truth] if set(names) <= set(KINDS) else list(truth)
    counts: dict[str, int] = {}
    for item in wanted:
        for name, ignored in zip(item.names, item.ignored, strict=True):
            if name in names and not ignored:
                counts[name] = counts.get(name, 0) + 1
    return {kind: matched(kind, found, wanted) for kind in _enough(counts)}


def _enough(counts: dict[str, int]) -> tuple[str, ...]:
    return tuple(sorted(kind for kind, count in counts.items() if count >= LEAST_OBJECTS))

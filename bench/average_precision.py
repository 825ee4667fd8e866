"""Average precision of detections, as COCO computes it, and agreement with a detector's own view of the source.

Precision is taken at the 101 recalls 0, 0.01, ..., 1, each the highest precision at that recall or beyond (COCO's
interpolation, not the area under all points). Per class, all frames' detections are walked by falling score; each takes
the free reference object of its frame and class that it overlaps most, if by at least the threshold; it is wrong
otherwise. A detection that overlaps an ignored object only is neither right nor wrong, and an ignored object takes any
number of them. Of equal scores the earlier frame, then the earlier detection comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview.boxes import checked_boxes, intersection_over_union
from duoview.detections import Detections

#: 0.5, 0.55, ..., 0.95.
COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_RECALLS = np.linspace(0, 1, 101)
#: Detections times choices of frames that are looked at in one go: some 10 MB of memory.
_AT_ONCE = 1 << 18
WEAK = ("wrong", "ignored")


@dataclass(frozen=True, eq=False)
class Reference:
    """What is to be found in one frame: boxes (N, 4) in its pixels, a class name each, and which are to be ignored.

    ids: who each is, the same from frame to frame; empty where that is not known.
    """

    boxes: NDArray[Any]
    names: tuple[str, ...]
    ignored: NDArray[np.bool_]
    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        count = len(checked_boxes(self.boxes))
        if len(self.ids) not in (0, count):
            raise ValueError(f"{count} boxes, {len(self.ids)} ids: expected one per box, or none")
        if len(self.names) != count or np.shape(self.ignored) != (count,):
            raise ValueError(f"{count} boxes, {len(self.names)} names, ignored of shape {np.shape(self.ignored)}: "
                             "expected one of each per box")


@dataclass(frozen=True, eq=False)
class Matched:
    """Detections of one class, matched: all that its average precision takes, for any choice of the frames.

    frames (N,) int32: the frame of every detection, by falling score. right, counted (T, N) bool: which are right at
    every threshold, and which are right or wrong. objects (F,) int32: how many are to be found in every frame.
    """

    frames: NDArray[np.int32]
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    objects: NDArray[np.int32]

    def areas(self, column: int, weights: NDArray[np.integer[Any]] | None = None) -> NDArray[np.float64]:
        """Average precision at threshold number `column` of every choice of frames, (D,); NaN for one that holds no
        object. weights (D, F): how often each frame is in a choice; None takes every frame once.

        The same as of the frames written down so often. Copies of a wrong detection between copies of right ones could
        differ only where they have one score, and are then taken one kind after the other.
        """
        times = np.ones((1, len(self.objects)), np.int32) if weights is None else np.asarray(weights, np.int32)
        hits = np.flatnonzero(self.right[column])
        found = np.full(len(times), np.nan)
        step = max(1, _AT_ONCE // max(1, len(self.frames)))
        for first in range(0, len(times), step):
            part = times[first:first + step]
            objects = part @ self.objects
            each = part[:, self.frames]
            # Recall changes at right detections only, so that nothing has to be known between them.
            true = np.cumsum(each[:, hits], axis=1)
            taken = np.cumsum(each * self.counted[column], axis=1)[:, hits]
            best = np.maximum.accumulate((true / np.maximum(taken, 1))[:, ::-1], axis=1)[:, ::-1]
            # How many of the 101 recalls each of them is the first to reach.
            reached = np.searchsorted(_RECALLS, true / np.maximum(objects, 1)[:, None], side="right")
            area = (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(_RECALLS)
            found[first:first + step] = np.where(objects > 0, area, np.nan)
        return found


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision by class and threshold: `table[class][threshold]`; `objects`: reference objects by class."""

    thresholds: tuple[float, ...]
    classes: tuple[str, ...]
    objects: tuple[int, ...]
    table: tuple[tuple[float, ...], ...]

    def at(self, threshold: float) -> float:
        """Mean over the classes at one threshold. Raises ValueError for one that was not computed."""
        if threshold not in self.thresholds:
            raise ValueError(f"threshold {threshold}: computed were {', '.join(map(str, self.thresholds))}")
        column = self.thresholds.index(threshold)
        return float(np.mean([row[column] for row in self.table]))

    @property
    def ap50(self) -> float:
        """At intersection over union 0.5."""
        return self.at(0.5)

    @property
    def ap75(self) -> float:
        """At intersection over union 0.75."""
        return self.at(0.75)

    @property
    def ap50_95(self) -> float:
        """Mean over 0.5 to 0.95. Raises ValueError when other thresholds were computed."""
        return float(np.mean([self.at(threshold) for threshold in COCO_THRESHOLDS]))


def average_precision(found: Sequence[Detections], wanted: Sequence[Reference], *,
                      thresholds: Sequence[float] = COCO_THRESHOLDS, classes: Iterable[str] | None = None,
                      floor: float = 0.0, limit: int = 100) -> AveragePrecision:
    """Average precision of detections against references, frame by frame.

    Args:
        found: the detections of every frame.
        wanted: the reference of every frame.
        thresholds: of intersection over union.
        classes: by name; None takes all that the references hold and do not ignore.
        floor: detections with a lower score are left out. Recall, and so the result, depends on it: use a low one.
        limit: detections of one class and frame, the best by score.

    Raises ValueError when the numbers of frames differ, or a class has no object to be found.
    """
    if len(found) != len(wanted):
        raise ValueError(f"detections of {len(found)} frames, references of {len(wanted)}")
    if not thresholds or not all(0 < threshold <= 1 for threshold in thresholds):
        raise ValueError(f"thresholds={tuple(thresholds)}: expected some above 0, at most 1")
    present = {name for item in wanted for name, out in zip(item.names, item.ignored, strict=True) if not out}
    chosen = tuple(sorted(present) if classes is None else classes)
    if not chosen or set(chosen) - present:
        missing = ", ".join(sorted(set(chosen) - present)) or "any class"
        raise ValueError(f"the references hold no object of {missing}: average precision is not defined")
    rows = [matched(name, found, wanted, thresholds=thresholds, floor=floor, limit=limit) for name in chosen]
    return AveragePrecision(tuple(thresholds), chosen, tuple(int(row.objects.sum()) for row in rows),
                            tuple(tuple(row.areas(column).item() for column in range(len(thresholds))) for row in rows))


def agreement(found: Sequence[Detections], source: Sequence[Detections], *, above: float = 0.45, weak: str = "wrong",
              thresholds: Sequence[float] = COCO_THRESHOLDS, classes: Iterable[str] | None = None,
              floor: float = 0.0) -> AveragePrecision:
    """Average precision against what the same detector finds in the source with a score of `above` or more.

    weak: what a detection is that overlaps only a lower-scored one of the source: ``wrong`` as any other, or
    ``ignored``. The source itself reaches 1 either way.
    """
    if weak not in WEAK:
        raise ValueError(f"weak={weak!r}: expected one of {', '.join(WEAK)}")
    return average_precision(found, [reference_of(item, above=above, weak=weak) for item in source],
                             thresholds=thresholds, classes=classes, floor=floor)


def reference_of(detections: Detections, *, above: float, weak: str = "wrong") -> Reference:
    """Detections as a reference; see `agreement`."""
    strong = detections.scores >= np.float32(above)
    kept = detections if weak == "ignored" else detections.keep(strong)
    return Reference(kept.boxes, tuple(kept.names[index] for index in kept.classes),
                     ~strong if weak == "ignored" else np.zeros(len(kept), np.bool_))


def read_mot(path: Path, frames: int, name: str = "person") -> list[Reference]:
    """Ground truth in MOT15's form: ``frame,id,left,top,width,height,flag,...`` per line, frames and pixels from 1.

    A flag of 0 marks what is to be ignored. Raises ValueError with the line.
    """
    rows: list[list[tuple[float, float, float, float, bool, int]]] = [[] for _ in range(frames)]
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
        if not line.strip():
            continue
        try:
            frame, who, left, top, width, height, flag = (float(part) for part in line.split(",")[:7])
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: {line!r}: expected frame,id,left,top,width,height,flag,...") from None
        if not 1 <= frame <= frames:
            raise ValueError(f"{path}, line {number}: frame {frame:.0f}; expected 1 to {frames}")
        rows[int(frame) - 1].append((left - 1, top - 1, left - 1 + width, top - 1 + height, flag == 0,
                                     int(who)))
    return [Reference(np.array([row[:4] for row in items], np.float64).reshape(-1, 4), (name,) * len(items),
                      np.array([row[4] for row in items], np.bool_), tuple(row[5] for row in items))
            for items in rows]


def matched(name: str, found: Sequence[Detections], wanted: Sequence[Reference], *,
            thresholds: Sequence[float] = COCO_THRESHOLDS, floor: float = 0.0, limit: int = 100) -> Matched:
    """Matches the detections of one class, frame by frame. Arguments as of `average_precision`."""
    scores, right, counted, frames, objects = [], [], [], [], []
    for number, (detections, reference) in enumerate(zip(found, wanted, strict=True)):
        labels = np.array([detections.names[index] == name for index in detections.classes], np.bool_)
        chosen = detections.keep(labels & (detections.scores >= np.float32(floor)))
        chosen = chosen.keep(np.argsort(-chosen.scores, kind="stable")[:limit])
        ours = np.array([label == name for label in reference.names], np.bool_)
        boxes, ignored = np.asarray(reference.boxes)[ours], np.asarray(reference.ignored, np.bool_)[ours]
        objects.append(int((~ignored).sum()))
        hits, misses = _match(chosen.boxes, boxes, ignored, np.asarray(thresholds, np.float64))
        scores.append(chosen.scores)
        right.append(hits)
        counted.append(hits | misses)
        frames.append(np.full(len(chosen), number, np.int32))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return Matched(np.concatenate(frames)[order], np.concatenate(right, axis=1)[:, order],
                   np.concatenate(counted, axis=1)[:, order], np.array(objects, np.int32))


def _match(boxes: NDArray[Any], wanted: NDArray[Any], ignored: NDArray[np.bool_], thresholds: NDArray[np.float64]
           ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections, by falling score, are right and which are wrong, (T, N) each; the others are ignored."""
    overlap = intersection_over_union(boxes, wanted.reshape(-1, 4))
    right = np.zeros((len(thresholds), len(boxes)), np.bool_)
    wrong = np.zeros_like(right)
    for row, threshold in enumerate(thresholds):
        # As COCO does: an overlap of exactly the threshold counts, rounding included.
        least = min(threshold, 1 - 1e-10)
        free = ~ignored
        for index in range(len(boxes)):
            candidates = np.where(free, overlap[index], -1)
            best = int(np.argmax(candidates)) if len(candidates) else -1
            if best >= 0 and candidates[best] >= least:
                right[row, index], free[best] = True, False
            else:
                wrong[row, index] = not (overlap[index][ignored] >= least).any()
    return right, wrong

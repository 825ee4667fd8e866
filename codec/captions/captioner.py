"""From what a detector finds, frame after frame, to captions that change only when what they say does."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

import numpy as np

from duoview.boxes import intersection_over_union
from duoview.detections import Detection, Detections

from .caption import CLASSES, MAX_PHRASES, MOTIONS, OTHER, Caption, Phrase, count_index

#: Seconds over which motion is looked at, and the least that says anything.
_WINDOW, _SHORTEST = 1.0, 0.2
#: Motion in sizes of the object (square root of its area) a second, and growth of its size a second, that count.
_FAST, _GROWING = 0.25, 0.25
#: Overlap of an object with itself one frame later, where no tracker numbers it.
_SAME = 0.3
_INDEX = {name: index for index, name in enumerate(CLASSES)}


@dataclass
class _Seen:
    """One object: class index, its track's number or None, and where it was, as (seconds, box), oldest first."""

    class_id: int
    track_id: int | None
    places: list[tuple[float, tuple[float, float, float, float]]]

    def motion(self) -> int:
        """Index of MOTIONS."""
        (before, first), (now, last) = self.places[0], self.places[-1]
        passed = now - before
        if passed < _SHORTEST:
            return 0
        size, was = (max(((box[2] - box[0]) * (box[3] - box[1])) ** 0.5, 1e-3) for box in (last, first))
        growth = (size / was - 1) / passed
        moved = [(last[axis] + last[axis + 2] - first[axis] - first[axis + 2]) / 2 / size / passed for axis in (0, 1)]
        if max(map(abs, moved)) < _FAST and abs(growth) < _GROWING:
            return MOTIONS.index("still")
        if abs(growth) > max(map(abs, moved)):
            return MOTIONS.index("coming" if growth > 0 else "leaving")
        axis = int(abs(moved[1]) > abs(moved[0]))
        return MOTIONS.index((("moving left", "moving right"), ("moving up", "moving down"))[axis][moved[axis] > 0])


class Captioner:
    """Captions of one stream.

    Args:
        confidence: least score of an object that is told of. patience: a caption stays until so many frames in a row
            said something else; then what most of them said takes its place.
    Raises ValueError for values out of range.
    """

    def __init__(self, *, confidence: float = 0.4, patience: int = 5) -> None:
        if not 0 <= confidence <= 1:
            raise ValueError(f"confidence={confidence}: expected 0 to 1")
        if patience < 1:
            raise ValueError(f"patience={patience}: expected 1 or more frames")
        self.confidence, self.patience = confidence, patience
        self.reset()

    def reset(self) -> None:
        """Forget the frames before."""
        self._seen: list[_Seen] = []
        self._caption: Caption | None = None
        self._said_last: deque[Caption] = deque(maxlen=self.patience)

    def look(self, detections: Detections, seconds: float | None = None) -> Caption:
        """The caption from this frame on. seconds: the frame's time; motion is not told without one."""
        found = detections.above(self.confidence)
        self._seen = self._followed(found, seconds)
        said = self._said(found)
        self._said_last.append(said)
        if self._caption is None:
            self._caption = said
        elif len(self._said_last) == self.patience and self._caption not in self._said_last:
            # Of equally many the latest.
            self._caption = max(reversed(self._said_last), key=self._said_last.count)
        return self._caption

    def _followed(self, found: Detections, seconds: float | None) -> list[_Seen]:
        """The objects of a frame with their past, in the order of the detections."""
        left = list(self._seen)
        now = []
        for one in found:
            class_id = _INDEX.get(one.name, _INDEX[OTHER])
            before = self._match(one, class_id, left)
            past = [] if before is None or seconds is None else before.places
            if before is not None:
                left.remove(before)
            if seconds is not None:
                past = [*(place for place in past if seconds - _WINDOW <= place[0] < seconds), (seconds, one.box)]
            now.append(_Seen(class_id, one.track_id, past))
        return now

    @staticmethod
    def _match(one: Detection, class_id: int, left: list[_Seen]) -> _Seen | None:
        if one.track_id is not None:
            return next((seen for seen in left if seen.track_id == one.track_id), None)
        rivals = [seen for seen in left if seen.class_id == class_id and seen.places]
        if not rivals:
            return None
        overlap = intersection_over_union(np.array([one.box]), np.array([seen.places[-1][1] for seen in rivals]))[0]
        best = int(overlap.argmax())
        return rivals[best] if overlap[best] >= _SAME else None

    def _said(self, found: Detections) -> Caption:
        """The caption of a frame's objects; where there are more subjects than fit, the largest."""
        numbers: defaultdict[tuple[int, int, int], int] = defaultdict(int)
        sizes: defaultdict[tuple[int, int, int], float] = defaultdict(float)
        for one, seen in zip(found, self._seen, strict=True):
            x, y = one.centre
            column, row = (min(2, max(0, int(3 * at / side))) for at, side in ((x, found.width), (y, found.height)))
            subject = seen.class_id, 3 * row + column, seen.motion() if seen.places else 0
            numbers[subject] += 1
            sizes[subject] += one.width * one.height * one.score
        kept = sorted(numbers, key=lambda subject: (-sizes[subject], subject))[:MAX_PHRASES]
        return Caption.of(Phrase(*subject, count_index(numbers[subject])) for subject in kept)

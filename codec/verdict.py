"""Whether a picture for people shows the objects that were coded: what two views of one frame do not agree on.

The machine view is what was sent; the human view is generated from it. An object that a detector is sure of in one of
them needs a counterpart in the other, of which it may be less sure: two thresholds, so that a score that wavers around
one of them is no alarm.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from duoview.boxes import intersection_over_union
from duoview.detections import Detection, Detections

#: Overlap from frame to frame above which two differences are one that lasts.
_SAME = 0.3


class Kind(enum.Enum):
    """What a generated picture did to an object."""

    LOST = "lost"  # it is in the machine view and not in the human view
    INVENTED = "invented"  # it is in the human view and not in the machine view


@dataclass(frozen=True)
class Difference:
    """An object that one view shows and the other does not; its box is in pixels of the human view."""

    kind: Kind
    object: Detection


@dataclass(frozen=True)
class Verdict:
    """What was said of a frame. view: which one was passed on, ``human`` or ``machine``. model: the detector's name."""

    view: str
    model: str
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Tolerance:
    """When two views agree.

    certain: least score of an object of the machine view that needs a counterpart. invented: the same of the human
    view; a detector is less sure of what stands where it should not. counterpart: least score of one. iou: least
    overlap of the two. classes: whether both must be of one class. frames: in how many frames in a row a difference
    must be. alike: names of classes that count as one; a van that is a truck a little later is no lie.
    """

    certain: float = 0.5
    invented: float = 0.35
    counterpart: float = 0.2
    iou: float = 0.5
    classes: bool = True
    frames: int = 1
    alike: tuple[tuple[str, ...], ...] = ()

    def differences(self, machine: Detections, human: Detections) -> list[Difference]:
        """The differences of one frame, lost objects first. Boxes of the machine view are scaled to the human view."""
        if (machine.width, machine.height) != (human.width, human.height):
            machine = machine.scaled(human.width, human.height)
        sure = machine.above(self.certain), human.above(self.invented)
        return [Difference(kind, one) for kind, here, there in ((Kind.LOST, sure[0], human),
                                                                (Kind.INVENTED, sure[1], machine))
                for one in here.keep(self._alone(here, there))]

    def _kinds(self, found: Detections) -> NDArray[np.int64]:
        """(N,) class ids, for classes that are alike that of the first of them."""
        kinds = np.arange(len(found.names))
        for group in self.alike:
            ids = [index for index, name in enumerate(found.names) if name in group]
            if ids:
                kinds[ids] = ids[0]
        return kinds[found.classes]

    def _alone(self, sure: Detections, others: Detections) -> NDArray[np.bool_]:
        """(N,) which of the objects have no counterpart; each of the others is that of one object at most."""
        others = others.above(self.counterpart)
        overlap = intersection_over_union(sure.boxes, others.boxes)
        if self.classes:
            overlap = np.where(self._kinds(sure)[:, None] == self._kinds(others)[None, :], overlap, 0)
        alone = np.ones(len(sure), bool)
        while overlap.size and overlap.max() >= max(self.iou, 1e-9):
            mine, other = np.unravel_index(int(overlap.argmax()), overlap.shape)
            alone[mine] = False
            overlap[mine, :] = overlap[:, other] = -1
        return alone


@dataclass
class Patience:
    """Lets differences through that have lasted for so many frames in a row."""

    frames: int
    _lasting: list[tuple[Difference, int]] = field(default_factory=list)

    def told(self, found: list[Difference]) -> tuple[Difference, ...]:
        """Those of the next frame that have lasted long enough."""
        if self.frames == 1:
            return tuple(found)
        before, self._lasting = self._lasting, []
        for one in found:
            since = max((count for other, count in before if _is_same(one, other)), default=0)
            self._lasting.append((one, since + 1))
        return tuple(one for one, count in self._lasting if count >= self.frames)

    def reset(self) -> None:
        """Forget the frames before."""
        self._lasting = []


def _is_same(one: Difference, other: Difference) -> bool:
    if one.kind is not other.kind or one.object.class_id != other.object.class_id:
        return False
    boxes = np.array([one.object.box, other.object.box])
    return bool(intersection_over_union(boxes[:1], boxes[1:])[0, 0] >= _SAME)

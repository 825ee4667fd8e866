"""Whether a picture for people shows the objects that were coded: what two views of one frame do not agree on.

The machine view is what was sent; the human view is generated from it. An object that a detector is sure of in one of
them needs a counterpart in the other, of which it may be less sure: two thresholds, so that a score that wavers around
one of them is no alarm. Generation adds detail and keeps what is coarse; where it did not, a detector need not be sure:
things that stand where they should not get low scores.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from duoview.boxes import area, intersection, intersection_over_union
from duoview.detections import Detection, Detections

#: Overlap from frame to frame above which two differences are one that lasts.
_SAME = 0.3
#: Share of the smaller of two boxes from which on both are of one thing.
_PART = 0.5
#: Pixels on the side of the blocks whose means say what is coarse in a picture.
BLOCK = 16


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


@dataclass(frozen=True, eq=False)
class Change:
    """How far two pictures of one scene are apart in the means of blocks, whatever they show.

    steps: (rows, columns), of each block of 16x16 pixels of a picture of width x height the difference of the means in
    8-bit steps, of red, green or blue, whichever differs most; beyond a brightness and contrast that all blocks share.
    """

    steps: NDArray[np.float32]
    width: int
    height: int

    @classmethod
    def between(cls, machine: av.VideoFrame, human: av.VideoFrame) -> Change:
        """Of two frames, which may be of two sizes, in places of the second."""
        size = max(1, human.width // BLOCK), max(1, human.height // BLOCK)
        # libswscale makes RGB from half of the chroma of what it makes smaller: colours first, then sizes.
        whole = [frame if frame.format.is_rgb else frame.reformat(format="rgb24") for frame in (machine, human)]
        first, second = (frame.reformat(*size, "rgb24", interpolation=Interpolation.AREA).to_ndarray()
                         .reshape(-1, 3).astype(np.float64) for frame in whole)
        apart = np.stack([np.abs(_unlike(first[:, at], second[:, at])) for at in range(3)]).max(0)
        return cls(apart.reshape(size[1], size[0]).astype(np.float32), human.width, human.height)

    def inside(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) of boxes (N, 4), left, top, right and bottom in pixels: the mean over all blocks that they touch."""
        rows, columns = self.steps.shape
        scale = np.array([columns / self.width, rows / self.height] * 2)
        limits = np.array([columns, rows])
        first = np.clip(np.floor(boxes[:, :2] * scale[:2]), 0, limits - 1).astype(int)
        last = np.clip(np.ceil(boxes[:, 2:] * scale[2:]), first + 1, limits).astype(int)
        return np.array([self.steps[top:bottom, left:right].mean() for (left, top), (right, bottom)
                         in zip(first, last, strict=True)], np.float32)


@dataclass(frozen=True)
class Tolerance:
    """When two views agree.

    certain: least score of an object of the machine view that needs a counterpart. invented: the same of the human
    view; a detector is less sure of what stands where it should not. counterpart: least score of one. iou: least
    overlap of the two. classes: whether both must be of one class. frames: in how many frames in a row a difference
    must be. alike: names of classes that count as one; a van that is a truck a little later is no lie. hinted: least
    score of an object of the human view that needs a counterpart where the views differ by ``changed`` 8-bit steps.
    """

    certain: float = 0.5
    invented: float = 0.35
    counterpart: float = 0.2
    iou: float = 0.5
    classes: bool = True
    frames: int = 1
    alike: tuple[tuple[str, ...], ...] = ()
    hinted: float = 0.1
    changed: float = 8.0

    def differences(self, machine: Detections, human: Detections, change: Change | None = None) -> list[Difference]:
        """The differences of one frame, lost objects first. Boxes of the machine view are scaled to the human view.

        change: of the two pictures; without it nothing is hinted at.
        """
        if (machine.width, machine.height) != (human.width, human.height):
            machine = machine.scaled(human.width, human.height)
        sure = machine.above(self.certain), human.above(self.invented)
        if change is not None:
            sure = sure[0], self._hinted(machine, human, change)
        return [Difference(kind, one) for kind, here, there in ((Kind.LOST, sure[0], human),
                                                                (Kind.INVENTED, sure[1], machine))
                for one in here.keep(self._alone(here, there))]

    def _hinted(self, machine: Detections, human: Detections, change: Change) -> Detections:
        """The objects of the human view that need a counterpart, those among them that its change hints at.

        What overlaps something likelier is part of it, or another name for it, and hints at nothing.
        """
        sure = human.scores >= self.invented
        weak = np.flatnonzero(~sure & (human.scores >= self.hinted))
        weak = weak[change.inside(human.boxes[weak]) >= self.changed]
        kept = np.flatnonzero(sure).tolist()
        known = machine.above(self.counterpart).boxes
        for at in weak[np.argsort(-human.scores[weak], kind="stable")].tolist():
            likelier = np.concatenate([known, human.boxes[kept]])
            if not len(likelier) or _covered(human.boxes[at:at + 1], likelier).max() <= _PART:
                kept.append(at)
        chosen = np.zeros(len(human), np.bool_)
        chosen[kept] = True
        return human.keep(chosen)

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


def _unlike(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left of second, (N,) each, when the line through first that fits most of it is taken off."""
    most = np.ones(len(first), np.bool_)
    for _ in range(3):
        x, y = first[most], second[most]
        spread = x.var()
        slope = ((x - x.mean()) * (y - y.mean())).mean() / spread if spread > 1 else 1.0
        left = second - y.mean() - slope * (first - x.mean())
        most = np.abs(left) <= 1 + 2 * np.median(np.abs(left))
    return left


def _covered(one: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Shares of the smaller of a box (1, 4) and each of others (N, 4) that both have: (N,)."""
    smaller = np.minimum(area(one), area(others))
    shared = intersection(one, others)[0]
    return np.divide(shared, smaller, out=np.zeros_like(shared), where=smaller > 0)


def _is_same(one: Difference, other: Difference) -> bool:
    if one.kind is not other.kind or one.object.class_id != other.object.class_id:
        return False
    boxes = np.array([one.object.box, other.object.box])
    return bool(intersection_over_union(boxes[:1], boxes[1:])[0, 0] >= _SAME)

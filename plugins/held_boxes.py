"""Boxes that stay for some frames after their object was lost: a missed detection must not show what was hidden."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview.boxes import checked_boxes, intersection_over_union

#: Overlap from which a box is the one of the frame before.
_SAME = 0.1


@dataclass(frozen=True)
class _Held:
    box: tuple[float, float, float, float]
    movement: tuple[float, float]
    age: int


class HeldBoxes:
    """What to cover in every frame: the boxes of its objects, and those of objects that were lost a short while ago.

    Every box of a frame takes the place of at most one of the frames before, the one that it overlaps most. One that
    none takes the place of stays for `frames` more; its cover reaches from where it was to where it would have gone by
    its last movement. Memory is bounded by the objects of the last `frames` + 1 frames.
    """

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._held: list[_Held] = []

    def update(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """(M, 4) boxes to cover in a frame whose objects have the boxes (N, 4): those first, then the held ones."""
        given = checked_boxes(boxes).astype(np.float64)
        before = np.array([held.box for held in self._held]).reshape(-1, 4)
        pairs = _matched(given, before)
        now = []
        for index, box in enumerate(given.tolist()):
            movement = (0.0, 0.0)
            if index in pairs:
                # A box that was lost for a while moved in all of its frames.
                old = self._held[pairs[index]]
                movement = _moved(old.box, box, old.age + 1)
            now.append(_Held((box[0], box[1], box[2], box[3]), movement, 0))
        taken = set(pairs.values())
        lost = [_Held(held.box, held.movement, held.age + 1) for index, held in enumerate(self._held)
                if index not in taken and held.age < self._frames]
        self._held = now + lost
        return np.array([_cover(held) for held in self._held]).reshape(-1, 4)

    def reset(self) -> None:
        """Forget all boxes."""
        self._held = []


def _matched(now: NDArray[np.float64], before: NDArray[np.float64]) -> dict[int, int]:
    """Pairs of boxes by falling overlap, each at most once."""
    overlap = intersection_over_union(now, before)
    pairs: dict[int, int] = {}
    order = np.argsort(-overlap, axis=None, kind="stable")[:np.count_nonzero(overlap >= _SAME)]
    for index, old in zip(*(part.tolist() for part in np.unravel_index(order, overlap.shape)), strict=True):
        if index not in pairs and old not in pairs.values():
            pairs[index] = old
    return pairs


def _moved(old: tuple[float, ...], new: list[float], frames: int) -> tuple[float, float]:
    """Movement of the middle, x and y, in a frame."""
    return ((new[0] + new[2] - old[0] - old[2]) / 2 / frames, (new[1] + new[3] - old[1] - old[3]) / 2 / frames)


def _cover(held: _Held) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = held.box
    across, down = held.movement[0] * held.age, held.movement[1] * held.age
    return min(x0, x0 + across), min(y0, y0 + down), max(x1, x1 + across), max(y1, y1 + down)

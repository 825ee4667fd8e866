"""Boxes that stay for some frames after their object was lost: a missed detection must not show what was hidden."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from duoview.boxes import checked_boxes, intersection_over_union

#: Overlap from which a box may be the one of the frame before, and from which it surely is.
_SAME, _SURE = 0.1, 0.5


@dataclass(frozen=True)
class _Held:
    box: tuple[float, float, float, float]
    movement: tuple[float, float]
    age: int
    track_id: int


class HeldBoxes:
    """What to cover in every frame: the boxes of its objects, and those of objects that were lost a short while ago.

    Every box of a frame takes the place of at most one of the frames before: the one of its own track, or where a
    tracker knows of one of them only, the one that it overlaps most, by half at least; what overlaps less may be
    another object in front. One that none takes the place of stays for `frames` more; its cover reaches from where it
    was to where it would have gone by its last movement. Memory is bounded by the objects of the last `frames` + 1
    frames.
    """

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._held: list[_Held] = []

    def update(self, boxes: NDArray[np.floating], track_ids: NDArray[np.integer] | None = None) -> NDArray[np.float64]:
        """(M, 4) boxes to cover in a frame whose objects have the boxes (N, 4): those first, then the held ones.

        track_ids: (N,) their tracks, 0 for none; None where no tracker looked.
        """
        given = checked_boxes(boxes).astype(np.float64)
        tracks = np.zeros(len(given), np.int64) if track_ids is None else np.asarray(track_ids)
        before = np.array([held.box for held in self._held]).reshape(-1, 4)
        likeness = _likeness(given, tracks, before, np.array([held.track_id for held in self._held], np.int64))
        pairs = _matched(likeness)
        now = []
        for index, box in enumerate(given.tolist()):
            movement = (0.0, 0.0)
            if index in pairs:
                # A box that was lost for a while moved in all of its frames.
                old = self._held[pairs[index]]
                movement = _moved(old.box, box, old.age + 1)
            now.append(_Held((box[0], box[1], box[2], box[3]), movement, 0, int(tracks[index])))
        taken = {old for index, old in pairs.items() if likeness[index, old] >= _SURE}
        lost = [replace(held, age=held.age + 1) for index, held in enumerate(self._held)
                if index not in taken and held.age < self._frames]
        self._held = now + lost
        return np.array([_cover(held) for held in self._held]).reshape(-1, 4)

    def reset(self) -> None:
        """Forget all boxes."""
        self._held = []


def _likeness(now: NDArray[np.float64], tracks: NDArray[np.integer], before: NDArray[np.float64],
              tracks_before: NDArray[np.integer]) -> NDArray[np.float64]:
    """(N, M) how surely a box is one of the frame before: 2 in the same track, 0 in two tracks, else their overlap."""
    both = (tracks[:, None] > 0) & (tracks_before[None, :] > 0)
    told = np.where(tracks[:, None] == tracks_before[None, :], 2.0, 0.0)
    return np.where(both, told, intersection_over_union(now, before))


def _matched(likeness: NDArray[np.float64]) -> dict[int, int]:
    """Pairs of boxes by falling likeness, each at most once."""
    pairs: dict[int, int] = {}
    order = np.argsort(-likeness, axis=None, kind="stable")[:np.count_nonzero(likeness >= _SAME)]
    for index, old in zip(*(part.tolist() for part in np.unravel_index(order, likeness.shape)), strict=True):
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

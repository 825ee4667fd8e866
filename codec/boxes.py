"""Arithmetic of boxes: area, intersection over union, non-maximum suppression.

A box is (x0, y0, x1, y1) in continuous pixel coordinates: x0, y0 is its top left corner, x1, y1 its bottom right one,
and the whole picture is (0, 0, width, height). All results are computed in float64 and depend on nothing but the input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def checked_boxes(boxes: Array, what: str = "boxes") -> Array:
    """The boxes as an array (N, 4); an empty list counts as none. Raises ValueError for any other shape."""
    array = np.asarray(boxes)
    if array.size == 0 and array.ndim == 1:
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{what} of shape {array.shape}: expected (N, 4), x0 y0 x1 y1 in pixels")
    return array


def area(boxes: Array) -> NDArray[np.float64]:
    """(N,) areas; a box turned inside out has none."""
    corners = checked_boxes(boxes).astype(np.float64)
    return np.clip(corners[:, 2] - corners[:, 0], 0, None) * np.clip(corners[:, 3] - corners[:, 1], 0, None)


def intersection(left: Array, right: Array) -> NDArray[np.float64]:
    """(N, M) areas that each of N boxes shares with each of M boxes."""
    a = checked_boxes(left, "left").astype(np.float64)[:, None, :]
    b = checked_boxes(right, "right").astype(np.float64)[None, :, :]
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    return np.clip(width, 0, None) * np.clip(height, 0, None)


def intersection_over_union(left: Array, right: Array) -> NDArray[np.float64]:
    """(N, M) intersection over union, 0 where both boxes are empty."""
    shared = intersection(left, right)
    union = area(left)[:, None] + area(right)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def suppress(boxes: Array, scores: Array, classes: Array, *, iou: float, limit: int | None = None) -> NDArray[np.intp]:
    """Non-maximum suppression: which boxes stay, by falling score.

    A box goes when one of its own class with a higher score stays and overlaps it by more than `iou`. Of equal scores
    the earlier index comes first, so the result depends on nothing else. Time is O(kept x N), memory O(N).

    Args:
        boxes: (N, 4).
        scores: (N,), any real numbers.
        classes: (N,), any integers.
        iou: 0 to 1; 1 suppresses nothing.
        limit: stop after this many.
    """
    corners = checked_boxes(boxes)
    if np.shape(scores) != (len(corners),) or np.shape(classes) != (len(corners),):
        raise ValueError(
            f"{len(corners)} boxes with scores of shape {np.shape(scores)} and classes of shape {np.shape(classes)}: "
            f"expected ({len(corners)},) for both"
        )
    if not 0 <= iou <= 1:
        raise ValueError(f"iou={iou}: expected 0 to 1")
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: expected at least 1, or None")
    waiting = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    labels = np.asarray(classes)
    kept: list[int] = []
    while len(waiting) and (limit is None or len(kept) < limit):
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        overlap = intersection_over_union(corners[best : best + 1], corners[waiting])[0]
        waiting = waiting[(overlap <= iou) | (labels[waiting] != labels[best])]
    return np.asarray(kept, np.intp)

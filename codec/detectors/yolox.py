"""YOLOX with its raw head (Ge et al., 2021): one output (batch, points, 5 + classes) to be decoded with the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from duoview.backends import Signature
from duoview.detectors.family import (
    Array,
    Candidates,
    Family,
    Shape,
    best_classes,
    checked_scores,
    checked_strides,
    fits,
    from_centres,
    grid_points,
    point_count,
)
from duoview.detectors.preparation import Preparation

#: exp() of more than this is wider than any picture; float32 would overflow at 88.
_MAX_LOG_SIZE = 12.0


@dataclass(frozen=True)
class YoloX(Family):
    """Per point: offset of the centre in grid units, logarithm of the size in grid units, objectness, class scores."""

    strides: tuple[int, ...] = (8, 16, 32)

    name: ClassVar[str] = "yolox"
    preparation: ClassVar[Preparation] = Preparation(fit="letterbox", anchor="corner", padding=114, colour="bgr")
    confidence: ClassVar[float] = 0.3
    iou: ClassVar[float] = 0.45

    def __post_init__(self) -> None:
        checked_strides(self.strides)

    @classmethod
    def recognise(cls, signature: Signature, width: int, height: int) -> Self | None:
        """By the names that YOLOX's exporter gives: others give the same shape with boxes decoded already."""
        names = [item.name for item in (*signature.inputs, *signature.outputs)]
        if names != ["images", "output"] or not width:
            return None
        shape = signature.outputs[0].shape
        family = cls()
        points = point_count(family.strides, width, height)
        known = len(shape) == 3 and shape[1] == points and (shape[2] or 0) > 5
        return family if known else None

    def class_count(self, shapes: Sequence[Shape], width: int, height: int) -> int | None:
        points = point_count(self.strides, width, height)
        last = shapes[0][-1] if len(shapes) == 1 and fits(shapes[0], (None, points, None)) else 0
        if last is not None and last < 6:
            raise self.refuse(shapes, f"one of [batch, {points}, 5 + classes] for an input of {width}x{height} and "
                                      f"strides {list(self.strides)}")
        return None if last is None else last - 5

    def decode(self, outputs: Sequence[Array], width: int, height: int, confidence: float) -> list[Candidates]:
        grid, stride = grid_points(self.strides, width, height)
        found = []
        for raw in outputs[0]:
            index, scores, classes = best_classes(checked_scores(self, raw[:, 4:5] * raw[:, 5:]), confidence)
            picked = raw[index].astype(np.float32)
            centres = (picked[:, :2] + grid[index]) * stride[index]
            sizes = np.exp(np.minimum(picked[:, 2:4], _MAX_LOG_SIZE)) * stride[index]
            found.append(Candidates(from_centres(centres, sizes), scores, classes))
        return found

"""YOLOv5 and YOLOv7: one output (batch, 3 x points, 5 + classes), boxes decoded already, three anchors a point."""

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
    point_count,
)
from duoview.detectors.preparation import Preparation
from duoview.detectors.yolov8 import YoloV8


@dataclass(frozen=True)
class YoloV5(Family):
    """Per anchor: centre and size in pixels of the input, objectness, class scores."""

    strides: tuple[int, ...] = (8, 16, 32)
    anchors: int = 3

    name: ClassVar[str] = "yolov5"
    preparation: ClassVar[Preparation] = YoloV8.preparation
    confidence: ClassVar[float] = 0.25
    iou: ClassVar[float] = 0.45

    def __post_init__(self) -> None:
        checked_strides(self.strides)
        if not 1 <= self.anchors <= 16:
            raise ValueError(f"anchors={self.anchors}: expected 1 to 16")

    @classmethod
    def recognise(cls, signature: Signature, width: int, height: int) -> Self | None:
        """By one output with three times as many rows as there are points."""
        family = cls()
        shape = signature.outputs[0].shape if len(signature.outputs) == 1 else ()
        rows = family.anchors * point_count(family.strides, width, height) if width else None
        return family if rows and len(shape) == 3 and shape[1] == rows and (shape[2] or 0) > 5 else None

    def class_count(self, shapes: Sequence[Shape], width: int, height: int) -> int | None:
        rows = self.anchors * point_count(self.strides, width, height)
        last = shapes[0][-1] if len(shapes) == 1 and fits(shapes[0], (None, rows, None)) else 0
        if last is not None and last < 6:
            raise self.refuse(shapes, f"one of [batch, {rows}, 5 + classes] for an input of {width}x{height}, strides "
                                      f"{list(self.strides)} and {self.anchors} anchors")
        return None if last is None else last - 5

    def decode(self, outputs: Sequence[Array], width: int, height: int, confidence: float) -> list[Candidates]:
        found = []
        for raw in outputs[0]:
            index, scores, classes = best_classes(checked_scores(self, raw[:, 4:5] * raw[:, 5:]), confidence)
            picked = raw[index, :4].astype(np.float32)
            found.append(Candidates(from_centres(picked[:, :2], picked[:, 2:]), scores, classes))
        return found

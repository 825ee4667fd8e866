"""YOLOv8 and its followers: one output (batch, 4 + classes, points), boxes decoded already."""

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


@dataclass(frozen=True)
class YoloV8(Family):
    """Per point: centre and size in pixels of the input, then class scores."""

    strides: tuple[int, ...] = (8, 16, 32)

    name: ClassVar[str] = "yolov8"
    preparation: ClassVar[Preparation] = Preparation(
        fit="letterbox", anchor="centre", padding=114, colour="rgb", std=(255.0, 255.0, 255.0))
    confidence: ClassVar[float] = 0.25
    iou: ClassVar[float] = 0.7

    def __post_init__(self) -> None:
        checked_strides(self.strides)

    @classmethod
    def recognise(cls, signature: Signature, width: int, height: int) -> Self | None:
        """By one output with the points last; metadata may name the task, which then counts for an open length."""
        family = cls()
        shape = signature.outputs[0].shape if len(signature.outputs) == 1 else ()
        task = dict(signature.metadata).get("task")
        if task not in (None, "detect") or not width or len(shape) != 3:
            return None
        points = point_count(family.strides, width, height)
        known = shape[2] == points or (shape[2] is None and task == "detect")
        return family if known and 4 < (shape[1] or 0) < points else None

    def class_count(self, shapes: Sequence[Shape], width: int, height: int) -> int | None:
        points = point_count(self.strides, width, height)
        channels = shapes[0][1] if len(shapes) == 1 and fits(shapes[0], (None, None, points)) else 0
        if channels is not None and channels < 5:
            raise self.refuse(shapes, f"one of [batch, 4 + classes, {points}] for an input of {width}x{height} and "
                                      f"strides {list(self.strides)}")
        return None if channels is None else channels - 4

    def decode(self, outputs: Sequence[Array], width: int, height: int, confidence: float) -> list[Candidates]:
        found = []
        for raw in outputs[0]:
            index, scores, classes = best_classes(checked_scores(self, raw[4:].T), confidence)
            picked = raw[:4, index].T.astype(np.float32)
            found.append(Candidates(from_centres(picked[:, :2], picked[:, 2:]), scores, classes))
        return found

"""SSD with its own suppression, as Caffe's and OpenVINO's DetectionOutput gives it: one output (1, 1, N, 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from duoview.backends import Signature
from duoview.detectors.family import Array, Candidates, Family, Shape, checked_scores, fits
from duoview.detectors.preparation import Preparation
from duoview.errors import DetectorError


@dataclass(frozen=True)
class Ssd(Family):
    """Rows of picture in the batch, label, score, and x0 y0 x1 y1 in pictures; a negative first number ends them.

    first_class: the label of the first class; the labels before it (the background) are never given.
    """

    first_class: int = 1

    name: ClassVar[str] = "ssd"
    preparation: ClassVar[Preparation] = Preparation(fit="stretch", colour="bgr")
    confidence: ClassVar[float] = 0.3
    batched: ClassVar[bool] = False  # one output holds the rows of all pictures, and may leave some out
    #: The network has suppressed already.
    iou: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if self.first_class < 0:
            raise ValueError(f"first_class={self.first_class}: expected a whole number from 0")

    @classmethod
    def recognise(cls, signature: Signature, width: int, height: int) -> Self | None:
        """By one output of rows of seven numbers."""
        shape = signature.outputs[0].shape if len(signature.outputs) == 1 else ()
        return cls() if len(shape) == 4 and shape[:2] == (1, 1) and shape[3] == 7 else None

    def class_count(self, shapes: Sequence[Shape], width: int, height: int) -> int | None:
        if len(shapes) != 1 or not fits(shapes[0], (1, 1, None, 7)):
            raise self.refuse(shapes, "one of [1, 1, N, 7]")
        return None

    def decode(self, outputs: Sequence[Array], width: int, height: int, confidence: float) -> list[Candidates]:
        rows = outputs[0].reshape(-1, 7).astype(np.float32)
        ends = np.flatnonzero(rows[:, 0] < 0)
        rows = rows[:ends[0]] if len(ends) else rows
        scores = checked_scores(self, rows[:, 2])
        if len(rows) and rows[:, 0].max() > 0:
            raise DetectorError(f"family ssd: a row for picture {int(rows[:, 0].max())} of a batch of one")
        labels = rows[:, 1].astype(np.int64) - self.first_class
        kept = (scores >= confidence) & (labels >= 0)
        boxes = rows[kept, 3:7] * np.array([width, height] * 2, np.float32)
        return [Candidates(boxes, scores[kept], labels[kept])]

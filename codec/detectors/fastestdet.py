"""FastestDet: one coarse grid, one output (batch, 5 + classes, rows, columns)."""

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
    fits,
    from_centres,
)
from duoview.detectors.preparation import Preparation


@dataclass(frozen=True)
class FastestDet(Family):
    """Per cell: objectness, offset of the centre (before tanh, in cells), size (before sigmoid, in pictures), classes.

    The score is objectness ** objectness_weight times class score ** (1 - objectness_weight).
    """

    stride: int = 16
    objectness_weight: float = 0.6

    name: ClassVar[str] = "fastestdet"
    preparation: ClassVar[Preparation] = Preparation(fit="stretch", colour="bgr", std=(255.0, 255.0, 255.0))
    confidence: ClassVar[float] = 0.5
    iou: ClassVar[float] = 0.45

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ValueError(f"stride={self.stride}: expected a whole number from 1")
        if not 0 <= self.objectness_weight <= 1:
            raise ValueError(f"objectness_weight={self.objectness_weight}: expected 0 to 1")

    @classmethod
    def recognise(cls, signature: Signature, width: int, height: int) -> Self | None:
        """By one output that is a picture of one sixteenth of the input's size."""
        family = cls()
        shape = signature.outputs[0].shape if len(signature.outputs) == 1 else ()
        if not width or width % family.stride or height % family.stride or None in shape[1:] or len(shape) != 4:
            return None
        grid = (height // family.stride, width // family.stride)
        return family if shape[2:] == grid and (shape[1] or 0) > 5 else None

    def class_count(self, shapes: Sequence[Shape], width: int, height: int) -> int | None:
        grid = (height // self.stride, width // self.stride)
        channels = shapes[0][1] if len(shapes) == 1 and fits(shapes[0], (None, None, *grid)) else 0
        if channels is not None and channels < 6:
            raise self.refuse(shapes, f"one of [batch, 5 + classes, {grid[0]}, {grid[1]}] for an input of "
                                      f"{width}x{height} and stride {self.stride}")
        return None if channels is None else channels - 5

    def decode(self, outputs: Sequence[Array], width: int, height: int, confidence: float) -> list[Candidates]:
        found = []
        for raw in outputs[0]:
            channels, rows, columns = raw.shape
            cells = raw.reshape(channels, -1).T.astype(np.float32)
            likely = checked_scores(self, cells[:, :1]) ** np.float32(self.objectness_weight)
            scores = likely * checked_scores(self, cells[:, 5:]) ** np.float32(1 - self.objectness_weight)
            index, best, classes = best_classes(scores, confidence)
            picked = cells[index]
            cell = np.stack([index % columns, index // columns], axis=1).astype(np.float32)
            centres = (cell + np.tanh(picked[:, 1:3])) * np.array([width / columns, height / rows], np.float32)
            sizes = np.array([width, height], np.float32) / (1 + np.exp(-np.maximum(picked[:, 3:5], -80)))
            found.append(Candidates(from_centres(centres, sizes), best, classes))
        return found

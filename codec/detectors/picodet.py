"""PicoDet (Yu et al., 2021) and NanoDet: distances to a box's sides, each as a distribution over bins.

The distributions are those of Generalized Focal Loss (Li et al., 2020).
"""

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
    grid_points,
    grid_sizes,
    point_count,
)
from duoview.detectors.preparation import Preparation

#: The usual mean and deviation of photographs, blue first.
_PHOTOGRAPHS = Preparation(fit="stretch", colour="bgr", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))


@dataclass(frozen=True)
class PicoDet(Family):
    """Two outputs for every stride, scores and distances.

    First the scores of all strides, (batch, points, classes), then their distances, (batch, points, 4 x bins).
    strides: of the grids. bins: of each distribution; its mean times the stride is a distance. offset: of a grid
    point within its cell, in cells.
    """

    strides: tuple[int, ...] = (8, 16, 32, 64)
    bins: int = 8
    offset: float = 0.5

    name: ClassVar[str] = "picodet"
    preparation: ClassVar[Preparation] = _PHOTOGRAPHS
    confidence: ClassVar[float] = 0.4
    iou: ClassVar[float] = 0.6

    def __post_init__(self) -> None:
        checked_strides(self.strides)
        if not 2 <= self.bins <= 64:
            raise ValueError(f"bins={self.bins}: expected 2 to 64")
        if not 0 <= self.offset <= 1:
            raise ValueError(f"offset={self.offset}: expected 0 to 1, in cells")

    @classmethod
    def recognise(cls, signature: Signature, width: int, height: int) -> Self | None:
        """By two outputs for every stride, of each grid's points."""
        family = cls()
        outputs = [item.shape for item in signature.outputs]
        if not width or any(len(shape) != 3 or None in shape[1:] for shape in outputs):
            return None
        if len(outputs) != 2 * len(family.strides) or not family._patterns_fit(outputs, width, height):
            return None
        return family

    def class_count(self, shapes: Sequence[Shape], width: int, height: int) -> int | None:
        if not self._patterns_fit(shapes, width, height):
            raise self.refuse(shapes, self._expected(width, height))
        counts = {shape[2] for shape in shapes[:len(self.strides)]} - {None}
        if len(counts) > 1:
            raise self.refuse(shapes, self._expected(width, height) + ", with one number of classes")
        return next(iter(counts), None)

    def decode(self, outputs: Sequence[Array], width: int, height: int, confidence: float) -> list[Candidates]:
        half = len(self.strides)
        scores = np.concatenate(outputs[:half], axis=1)
        distances = np.concatenate(outputs[half:], axis=1)
        return self.read(scores, distances, width, height, confidence)

    def read(self, scores: Array, distances: Array, width: int, height: int, confidence: float) -> list[Candidates]:
        """Candidates from scores (B, P, C) and distances (B, P, 4 x bins) of all grids together."""
        grid, stride = grid_points(self.strides, width, height)
        values = np.arange(self.bins, dtype=np.float32)
        found = []
        for every, sides in zip(scores, distances, strict=True):
            index, best, classes = best_classes(checked_scores(self, every), confidence)
            logits = sides[index].reshape(-1, 4, self.bins).astype(np.float32)
            weights = np.exp(logits - logits.max(axis=2, keepdims=True))
            left_top_right_bottom = (weights @ values) / weights.sum(axis=2) * stride[index]
            centres = (grid[index] + np.float32(self.offset)) * stride[index]
            boxes = np.concatenate([centres - left_top_right_bottom[:, :2], centres + left_top_right_bottom[:, 2:]], 1)
            found.append(Candidates(boxes, best, classes))
        return found

    def _patterns_fit(self, shapes: Sequence[Shape], width: int, height: int) -> bool:
        grids = [columns * rows for columns, rows in grid_sizes(self.strides, width, height)]
        patterns = [(None, points, None) for points in grids] + [(None, points, 4 * self.bins) for points in grids]
        return len(shapes) == len(patterns) and all(map(fits, shapes, patterns))

    def _expected(self, width: int, height: int) -> str:
        grids = [columns * rows for columns, rows in grid_sizes(self.strides, width, height)]
        return (f"scores [batch, P, classes], then distances [batch, P, {4 * self.bins}], P = "
                f"{', '.join(map(str, grids))} for an input of {width}x{height} and strides {list(self.strides)}; "
                "`outputs` of a description puts them in this order")


@dataclass(frozen=True)
class NanoDet(PicoDet):
    """The same distributions in one output (batch, points, classes + 4 x bins).

    NanoDet-Plus has its points in the corners of the cells (offset 0) and strides 8 to 64; the first NanoDet has them
    in the middle (offset 0.5) and strides 8 to 32.
    """

    offset: float = 0.0

    name: ClassVar[str] = "nanodet"

    @classmethod
    def recognise(cls, signature: Signature, width: int, height: int) -> Self | None:
        """By one output with the points of all four grids."""
        family = cls()
        shape = signature.outputs[0].shape if len(signature.outputs) == 1 else ()
        if not width or len(shape) != 3 or shape[1] != point_count(family.strides, width, height):
            return None
        return family if (shape[2] or 0) > 4 * family.bins else None

    def class_count(self, shapes: Sequence[Shape], width: int, height: int) -> int | None:
        points = point_count(self.strides, width, height)
        last = shapes[0][-1] if len(shapes) == 1 and fits(shapes[0], (None, points, None)) else 0
        if last is not None and last <= 4 * self.bins:
            raise self.refuse(shapes, f"one of [batch, {points}, classes + {4 * self.bins}] for an input of "
                                      f"{width}x{height} and strides {list(self.strides)}")
        return None if last is None else last - 4 * self.bins

    def decode(self, outputs: Sequence[Array], width: int, height: int, confidence: float) -> list[Candidates]:
        classes = outputs[0].shape[2] - 4 * self.bins
        return self.read(outputs[0][..., :classes], outputs[0][..., classes:], width, height, confidence)

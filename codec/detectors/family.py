"""What families of detectors have in common: outputs of known shapes, which become boxes in the network's pixels."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from duoview.backends import Signature
from duoview.detectors.preparation import Preparation
from duoview.errors import DetectorError

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = Sequence[int | None]

#: Scores may be outside 0 to 1 by rounding only.
_SCORE_SLACK = 1e-3


@dataclass(frozen=True)
class Candidates:
    """What one picture's outputs hold above a score, before suppression.

    boxes: (N, 4) float32, x0 y0 x1 y1 in pixels of the network's input. scores: (N,) float32. classes: (N,) integers.
    """

    boxes: Array
    scores: Array
    classes: Array


@dataclass(frozen=True)
class Family(abc.ABC):
    """How one family of networks is fed and read. A subclass is a frozen dataclass of what may vary within it."""

    name: ClassVar[str]
    #: How pictures are made ready unless a description says otherwise.
    preparation: ClassVar[Preparation]
    #: The score from which an object counts, and the overlap above which the lower of two boxes goes.
    confidence: ClassVar[float] = 0.3
    iou: ClassVar[float] = 0.6
    #: Whether the outputs tell the pictures of a batch apart.
    batched: ClassVar[bool] = True

    @classmethod
    @abc.abstractmethod
    def recognise(cls, signature: Signature, width: int, height: int) -> Self | None:
        """The family's variant that a file can only be, from its names and shapes; None when it may be something else.

        width, height: of the input, 0 where the file leaves them open.
        """

    @abc.abstractmethod
    def class_count(self, shapes: Sequence[Shape], width: int, height: int) -> int | None:
        """Number of classes that outputs of these shapes have, None where they do not tell.

        Raises DetectorError when they cannot be this family's.
        """

    @abc.abstractmethod
    def decode(self, outputs: Sequence[Array], width: int, height: int, confidence: float) -> list[Candidates]:
        """Candidates of each picture of a batch, from outputs whose shapes `class_count` has accepted."""

    def refuse(self, shapes: Sequence[Shape], expected: str) -> DetectorError:
        """The error for outputs of other shapes."""
        shown = ", ".join("[" + ", ".join("?" if n is None else str(n) for n in shape) + "]" for shape in shapes)
        return DetectorError(f"family {self.name}: outputs of shape {shown or 'none'}; expected {expected}")


def fits(shape: Shape, pattern: Shape) -> bool:
    """Whether a shape can be the pattern; None stands for any length on both sides."""
    return len(shape) == len(pattern) and all(
        have is None or want is None or have == want for have, want in zip(shape, pattern, strict=True))


def grid_sizes(strides: Sequence[int], width: int, height: int) -> list[tuple[int, int]]:
    """Columns and rows of the grid of each stride."""
    return [(-(-width // stride), -(-height // stride)) for stride in strides]


def point_count(strides: Sequence[int], width: int, height: int) -> int:
    """Points of all grids together."""
    return sum(columns * rows for columns, rows in grid_sizes(strides, width, height))


def grid_points(strides: Sequence[int], width: int, height: int) -> tuple[Array, Array]:
    """Column and row of every grid point, (P, 2) float32, and its stride, (P, 1): grids by stride, row by row."""
    points, scales = [], []
    for stride, (columns, rows) in zip(strides, grid_sizes(strides, width, height), strict=True):
        rows_columns = np.indices((rows, columns), np.float32).reshape(2, -1)
        points.append(rows_columns[::-1].T)
        scales.append(np.full((rows * columns, 1), stride, np.float32))
    return np.concatenate(points), np.concatenate(scales)


def best_classes(scores: Array, confidence: float) -> tuple[Array, Array, Array]:
    """Of scores (P, C): the indices of points whose best class reaches `confidence`, those scores, and the classes."""
    best = scores.argmax(axis=1)
    top = np.take_along_axis(scores, best[:, None], axis=1)[:, 0]
    index = np.flatnonzero(top >= confidence)
    return index, top[index], best[index]


def checked_scores(family: Family, scores: Array) -> Array:
    """Scores cut to 0 to 1. Raises DetectorError when they are further off: the network gives something else."""
    if scores.size == 0:
        return scores
    low, high = float(scores.min()), float(scores.max())
    if not (low >= -_SCORE_SLACK and high <= 1 + _SCORE_SLACK):  # so that NaN is refused too
        raise DetectorError(f"family {family.name}: scores from {low:.4g} to {high:.4g}; expected 0 to 1. The network "
                            "must apply its sigmoid or softmax itself, and this must be its family")
    return np.clip(scores, 0, 1)


def from_centres(centres: Array, sizes: Array) -> Array:
    """(N, 4) corners of boxes given by their centre (N, 2) and size (N, 2)."""
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def checked_strides(strides: tuple[int, ...]) -> None:
    """Raise ValueError unless strides are positive and rise."""
    if not strides or any(stride < 1 for stride in strides) or list(strides) != sorted(set(strides)):
        raise ValueError(f"strides={list(strides)}: expected whole numbers from 1, rising")

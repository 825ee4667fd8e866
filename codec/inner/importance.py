"""Which parts of a picture detectors look at: a map of cells, kept over time, that guides the simplifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from duoview.detections import Detections
from duoview.errors import LimitError

#: Side of a cell in pixels.
CELL = 8
#: What detectors see around an object: so many pixels, and this share of its longer side.
AROUND, AROUND_SHARE = 8.0, 0.1
#: Scores of detections, and the network's answers, that count for nothing and for everything.
SCORES = (0.05, 0.3)
ANSWERS = (0.9, 0.98)
#: Seconds for which a cell stays as important as it was: objects are lost for some frames and found again.
HOLD_SECONDS = 0.5

Map = NDArray[np.uint8]


@dataclass(frozen=True)
class Region:
    """A rectangle in pixels of the picture, and its weight: 1 keeps all of it, -1 nothing, 0 changes nothing."""

    x: int
    y: int
    width: int
    height: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.x < 0 or self.y < 0 or self.width < 1 or self.height < 1:
            raise LimitError(f"roi {self.x}:{self.y}:{self.width}:{self.height}: expected a corner inside of the "
                             "picture and a size of 1x1 or more")
        if not -1 <= self.weight <= 1:
            raise LimitError(f"roi weight {self.weight}: expected -1 (keep nothing) to 1 (keep all)")

    @classmethod
    def parse(cls, text: str) -> Self:
        """``x:y:width:height`` or ``x:y:width:height:weight``. Raises LimitError."""
        parts = text.split(":")
        try:
            if len(parts) not in (4, 5):
                raise ValueError
            x, y, width, height = (int(part) for part in parts[:4])
            weight = float(parts[4]) if len(parts) == 5 else 1.0
            if not math.isfinite(weight):
                raise ValueError
        except ValueError:
            raise LimitError(f"roi {text!r}: expected x:y:width:height, in pixels, and perhaps :weight, -1 to 1"
                             ) from None
        return cls(x, y, width, height, weight)


def cells_of(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the map of a picture."""
    return -(-height // CELL), -(-width // CELL)


def scaled_map(cells: Map, rows: int, columns: int) -> Map:
    """The map of a picture that is shown with fewer cells: every one is the most important of those that it covers."""
    for axis, count in ((0, rows), (1, columns)):
        have = cells.shape[axis]
        starts, ends = np.arange(count) * have // count, -(-(np.arange(count) + 1) * have // count)
        cells = np.stack([cells.take(range(start, end), axis).max(axis)
                          for start, end in zip(starts, ends, strict=True)], axis)
    return cells


def of_detections(found: Detections, width: int, height: int) -> Map:
    """Cells of the detected objects and of what is around them, (rows, columns), by the objects' scores.

    Boxes are in pixels of a picture of this size.
    """
    cells = np.zeros(cells_of(width, height), np.uint8)
    low, high = SCORES
    strengths = np.clip((found.scores - low) / (high - low), 0, 1)
    for (x0, y0, x1, y1), strength in zip(found.boxes.tolist(), strengths.tolist(), strict=True):
        around = AROUND + AROUND_SHARE * max(x1 - x0, y1 - y0)
        part = cells[max(0, math.floor((y0 - around) / CELL)):max(0, math.ceil((y1 + around) / CELL)),
                     max(0, math.floor((x0 - around) / CELL)):max(0, math.ceil((x1 + around) / CELL))]
        np.maximum(part, round(255 * strength), out=part)
    return cells


def of_answers(probabilities: NDArray[np.float32]) -> Map:
    """Cells by the saliency network's probabilities (rows, columns), each also by its neighbours'."""
    low, high = ANSWERS
    cells = (np.clip((probabilities - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
    return widened(cells)


def widened(cells: Map) -> Map:
    """Every cell is the greatest of itself and its eight neighbours."""
    return _with_rows_around(_with_rows_around(cells).T).T


def _with_rows_around(cells: Map) -> Map:
    """Every row is the greatest of itself and its two neighbours."""
    found = cells.copy()
    np.maximum(found[1:], cells[:-1], out=found[1:])
    np.maximum(found[:-1], cells[1:], out=found[:-1])
    return found


class Importance:
    """The map of one stream: rises at once, falls when a cell was unimportant for a while.

    Args:
        width, height: of the pictures. rate: frames per second. regions: what was told beforehand; the later one counts
            where two overlap, and none of them fades.
    """

    def __init__(self, width: int, height: int, *, rate: float, regions: Sequence[Region] = ()) -> None:
        self._shape = cells_of(width, height)
        for region in regions:
            if region.x + region.width > width or region.y + region.height > height:
                raise LimitError(f"roi {region.x}:{region.y}:{region.width}:{region.height}: expected a rectangle "
                                 f"inside of the picture, {width}x{height}")
        self._regions = tuple(regions)
        self._frames = max(1, round(HOLD_SECONDS * rate))
        self._peak = np.zeros(self._shape, np.uint8)
        self._age = np.zeros(self._shape, np.int32)

    def update(self, cells: Map, frames: int = 1) -> Map:
        """The map, (rows, columns): 0 what no detector needs, 255 what it looks at. frames: since the last update."""
        if cells.shape != self._shape or cells.dtype != np.uint8:
            raise ValueError(f"cells {cells.dtype} {cells.shape}: expected uint8 {self._shape}")
        self._age += frames
        risen = (cells >= self._peak) | (self._age > self._frames)
        self._peak = np.where(risen, cells, self._peak)
        self._age[risen] = 0
        found = self._peak.copy()
        for region in self._regions:
            part = found[region.y // CELL:-(-(region.y + region.height) // CELL),
                         region.x // CELL:-(-(region.x + region.width) // CELL)]
            if region.weight >= 0:
                np.maximum(part, round(255 * region.weight), out=part)
            else:
                np.minimum(part, round(255 * (1 + region.weight)), out=part)
        return found

"""Overlapping windows of one size over a latent: what the denoiser sees at once, and how its results are put together.

Each window is computed from what lies in it and nothing else. So the result depends on the picture alone, never on what
was shown before: a window whose inputs are as they were keeps its result, to the bit, and seeking gives what playing
gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from duoview.errors import LimitError

Floats = NDArray[np.float32]
#: Sides of windows and their places are multiples of this: what the denoiser halves twice.
GRID = 4
#: Least overlap of two neighbours, in latent positions; there the one fades into the other.
OVERLAP = 8
LEAST_TILE, MOST_TILE = 16, 2048
#: Side of windows where nobody asks for another.
DEFAULT_TILE = 32


def _places(length: int, tile: int) -> tuple[int, tuple[int, ...]]:
    """Side of the windows of one axis, and where each begins."""
    count = max(1, round(length / tile)) if tile else 1
    side = -(-(length + OVERLAP * (count - 1)) // (count * GRID)) * GRID
    if count == 1:
        return length, (0,)
    return side, tuple(round(index * (length - side) / (count - 1) / GRID) * GRID for index in range(count))


def _weights(length: int, side: int, starts: tuple[int, ...]) -> Floats:
    """Share of every window (windows, side) of one axis at its positions; all shares at a position add up to 1."""
    tents = np.zeros((len(starts), length), np.float64)
    rise = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5)
    for index, start in enumerate(starts):
        overlaps = [starts[other] + side - start if other < index else start + side - starts[other]
                    for other in (index - 1, index + 1) if 0 <= other < len(starts)]
        ramp = rise / max([*overlaps, 1])
        if index == 0:
            ramp[:side // 2] = 1
        if index == len(starts) - 1:
            ramp[side // 2:] = 1
        tents[index, start:start + side] = np.minimum(ramp, 1)
    shares = tents / tents.sum(0)
    return np.stack([shares[index, start:start + side] for index, start in enumerate(starts)]).astype(np.float32)


@dataclass(frozen=True)
class Windows:
    """Windows over ``rows`` x ``columns`` latent positions, about ``tile`` on a side, all of one size.

    tile: 16 to 2048, or 0 for one window over everything. Raises LimitError for another one, or for a latent whose
    sides are no multiples of 4.
    """

    rows: int
    columns: int
    tile: int

    def __post_init__(self) -> None:
        if self.tile and not LEAST_TILE <= self.tile <= MOST_TILE:
            raise LimitError(f"tile={self.tile}: expected {LEAST_TILE} to {MOST_TILE}, or 0 for the whole picture")
        if min(self.rows, self.columns) < GRID or self.rows % GRID or self.columns % GRID:
            raise LimitError(f"latent of {self.rows}x{self.columns} positions: expected multiples of {GRID}")

    @cached_property
    def _axes(self) -> tuple[tuple[int, tuple[int, ...]], tuple[int, tuple[int, ...]]]:
        return _places(self.rows, self.tile), _places(self.columns, self.tile)

    @property
    def side(self) -> tuple[int, int]:
        """Rows and columns of every window."""
        return self._axes[0][0], self._axes[1][0]

    @cached_property
    def areas(self) -> tuple[tuple[slice, slice], ...]:
        """Rows and columns of all windows, row by row."""
        (height, tops), (width, lefts) = self._axes
        return tuple((slice(top, top + height), slice(left, left + width)) for top in tops for left in lefts)

    @cached_property
    def shares(self) -> tuple[Floats, ...]:
        """Of every window, what it counts at each of its positions (height, width); all at a position add up to 1."""
        (height, tops), (width, lefts) = self._axes
        down, across = _weights(self.rows, height, tops), _weights(self.columns, width, lefts)
        return tuple(one[:, None] * other[None, :] for one in down for other in across)

    def put_together(self, parts: list[Floats]) -> Floats:
        """The whole (1, C, rows, columns) of parts (1, C, height, width), one for every window, in their order."""
        if len(parts) == 1:
            return parts[0]
        whole = np.zeros((1, parts[0].shape[1], self.rows, self.columns), np.float32)
        for (rows, columns), share, part in zip(self.areas, self.shares, parts, strict=True):
            whole[:, :, rows, columns] += part * share
        return whole

"""Motion of the cells of a luma plane against the plane before it, for codecs that predict a picture from the last one.

Search and choice are for encoders: which vectors they find is no part of any format, what a vector means is. All
arithmetic of the search is of integers, and the result depends on the two planes, the cell and the reach alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoview.kernels import _native
from duoview.kernels.arrays import checked, checked_integer, checked_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELLS = (8, 16, 32)
"""Sides of a cell in pixels."""

MAX_REACH = 32
"""Whole pixels; twice as many half pixels fit an int8."""

MAX_SIDE = 16384
"""Rows or columns of a plane."""

MOST_WORTH = 1e30
"""Bits that an error may be worth: a product with an error of a latent stays a float32."""


def luma(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A plane to look for motion in: ``(R + 2 G + B + 2) >> 2``, the luma of the YCgCo of H.264, rounded.

    Args:
        picture: (3, H, W) uint8, contiguous: red, green, blue.

    Returns:
        (H, W) uint8.

    Raises:
        TypeError: ``picture`` is no array of uint8.
        ValueError: its shape, or it is not contiguous.
    """
    shape = checked("picture", picture, (np.uint8,), "(3, H, W)")
    if shape[0] != 3:
        raise ValueError(f"picture has shape {shape}; (3, H, W) is needed")
    return _native.luma(picture)


def block_motion(
    previous: NDArray[np.uint8],
    current: NDArray[np.uint8],
    *,
    cell: int = 16,
    reach: int = 32,
    threads: int = 1,
) -> tuple[NDArray[np.int8], NDArray[np.uint32]]:
    """Where the cells of ``current`` were in ``previous``.

    ``current(y, x)`` is like ``previous(y + dy / 2, x + dx / 2)`` for the pixels of a cell. Beyond an edge of the plane
    its nearest pixel is repeated. Half pixels are bilinear, rounded as in H.264: ``(a + b + 1) >> 1`` between two
    neighbours in a row or a column, ``(a + b + c + d + 2) >> 2`` between four.

    A vector has to bring a cell nearer by half a grey level a pixel, or it is zero: noise does not move. (Means have
    less noise than pixels: a vector between pixels has to be that much better than those next to zero that are, too.)
    Cells that differ by less than 2 grey levels a pixel where they are have no search of their own: from 1 on they may
    take the vector of a cell beside them, below that they stay. The others get the vector of the least sum of absolute
    differences plus a penalty for bits, since what is coded is the difference from the median of the vectors to the
    left, above and above to the right. Tried are the lowest minima of a full search on planes a quarter as high and
    wide, refined to whole and then to half pixels, and the vectors beside the cell: a hierarchical search as in Nam et
    al., "A Fast Hierarchical Motion Vector Estimation Algorithm Using Mean Pyramid" (IEEE TCSVT 1995), with H.264's
    predictors.

    Args:
        previous: (H, W) uint8, contiguous: luma of the picture before. H and W: multiples of ``cell``, at most 16384.
        current: (H, W) uint8, contiguous, of the same shape: luma of the picture to be predicted.
        cell: side of a cell in pixels: 8, 16 or 32.
        reach: greatest whole pixels of a vector, up and down, left and right: 1..32.
        threads: 1..256. Any number gives the same result.

    Returns:
        (H / cell, W / cell, 2) int8: ``(dy, dx)`` in half pixels, each within ``-2 * reach .. 2 * reach``.
        (H / cell, W / cell, 2) uint32: sums of absolute differences at the vector zero and at the vector found, never
        above the one at zero.

    Raises:
        TypeError: a plane is no array of uint8, or a number is no integer.
        ValueError: a plane is empty, too large, not contiguous, not of the other's shape, or no multiple of the cell;
            or a number is out of its range.
    """
    shape = checked("previous", previous, (np.uint8,), "(H, W)")
    found = checked("current", current, (np.uint8,), "(H, W)")
    if found != shape:
        raise ValueError(f"current has shape {found}; {shape} is needed, as previous has")
    side = checked_integer("cell", cell, CELLS[0], CELLS[-1])
    if side not in CELLS:
        raise ValueError(f"cell is {side}; it is one of {', '.join(map(str, CELLS))}")
    if any(length % side or not side <= length <= MAX_SIDE for length in shape):
        raise ValueError(f"previous and current have shape {shape}; multiples of the cell, {side}, "
                         f"from {side} to {MAX_SIDE} are needed")
    return _native.block_motion(
        previous, current, side, checked_integer("reach", reach, 1, MAX_REACH), checked_threads(threads))


@dataclass(frozen=True)
class VectorPrices:
    """About what a cell of a motion field costs, in bits.

    Args:
        stay: a cell that does not move.
        same: one that moves by the vector that is expected.
        other: one that moves otherwise, and ``length`` for every bit of both magnitudes of the difference from the
            expected vector, or from 0 where none is expected.
    """

    stay: float
    same: float
    other: float
    length: float

    def __post_init__(self) -> None:
        for name, price in vars(self).items():
            if not 0 <= price < math.inf:
                raise ValueError(f"{name} is {price}; a finite number, at least 0, is needed")


def choose_motion(
    offered: NDArray[np.int8],
    errors: NDArray[np.float32],
    before: NDArray[np.int8],
    *,
    worth: float,
    prices: VectorPrices,
) -> NDArray[np.int8]:
    """Which of the vectors that cells are offered they take: of least error and bits, cell by cell, row by row.

    The vector that is expected is the one chosen to the left where that is not 0, else the one chosen above, else the
    cell's own of the frame before; none where all three are 0. Of equal ones the first is taken.

    Args:
        offered: (n, rows, columns, 2) int8, contiguous, n at least 1; the first vector of each cell is 0.
        errors: (n, rows, columns) float32, contiguous, as ``ErrorForms.errors`` gives them. Vectors with an infinite
            one are not taken.
        before: (rows, columns, 2) int8, contiguous: the vectors of the frame before.
        worth: of an error, in bits; 0..1e30. The product is rounded to float32, added to bits in float64.
        prices: of what is chosen.

    Returns:
        (rows, columns, 2) int8.

    Raises:
        TypeError: an array is of another dtype.
        ValueError: shape, contiguity or alignment; a first vector that is not 0 or an error that is no number (with its
            place); ``worth``.
    """
    shape = checked("offered", offered, (np.int8,), "(n, rows, columns, 2)")
    if not shape[0] or shape[3] != 2:
        raise ValueError(f"offered has shape {shape}; (n, rows, columns, 2) is needed, n at least 1")
    found = checked("errors", errors, (np.float32,), "(n, rows, columns)")
    if found != shape[:3]:
        raise ValueError(f"errors has shape {found}; {shape[:3]} is needed, as offered has")
    found = checked("before", before, (np.int8,), "(rows, columns, 2)")
    if found != shape[1:]:
        raise ValueError(f"before has shape {found}; {shape[1:]} is needed, as offered has")
    if not 0 <= worth <= MOST_WORTH:
        raise ValueError(f"worth is {worth}; it is 0..{MOST_WORTH}")
    return _native.choose_motion(offered, errors, before, worth, prices.stay, prices.same, prices.other, prices.length)

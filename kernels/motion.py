"""Motion of the cells of a luma plane against the plane before it, for codecs that predict a picture from the last one.

The search is for encoders: which vectors it finds is no part of any format, what a vector means is. All arithmetic is
of integers, and the result depends on the two planes, the cell and the reach alone.
"""

from __future__ import annotations

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

"""How much of a picture was generated, and where: the shown picture against the one that was coded.

Both measures are of squared differences of samples: what generation added, beside the detail that was coded. They say
nothing about whether what was added is true.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Pixels on a side of the cells against whose mean the coded detail of a whole picture is counted.
CELL = 16
#: Pixels on a side of the window around each pixel of a map.
WINDOW = 9
#: Added in a map to what was coded, for each sample: changes of less than one 8-bit step are nobody's detail.
_UNSEEN = 1.0


def generated_share(shown: NDArray[np.uint8], coded: NDArray[np.uint8]) -> float:
    """Share of a picture's detail that was generated, 0 (as it was coded) to 1, in steps of 0.0001.

    Detail is the squared difference of the shown from the coded picture, against that and the squared difference of the
    coded picture from the means of its cells of 16x16 pixels. shown, coded: (3, H, W); rows and columns beyond whole
    cells are left out where there is one. Raises ValueError for shapes that differ.
    """
    _check(shown, coded)
    rows, columns = (length - length % CELL or length for length in coded.shape[1:])
    # Around 0: float32 sums of squares are then exact enough for the four digits that are given.
    base = np.ascontiguousarray(coded[:, :rows, :columns]).astype(np.float32) - np.float32(128)
    added = np.ascontiguousarray(shown[:, :rows, :columns]).astype(np.float32) - np.float32(128) - base
    down, across = (CELL if length >= CELL else length for length in (rows, columns))
    strips = base.reshape(3, rows // down, down, columns).sum(2)
    sums = strips.reshape(3, rows // down, columns // across, across).sum(3)
    detail = float(np.vdot(base, base)) - float(np.vdot(sums, sums)) / (down * across)
    extra = float(np.vdot(added, added))
    return round(extra / (extra + max(detail, 0.0)), 4) if extra else 0.0


def generated_map(shown: NDArray[np.uint8], coded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) the share of every pixel's detail that was generated, 0 coded to 255 generated.

    Of a window of 9x9 pixels around it: the mean squared difference of the shown from the coded picture, against that
    and the coded picture's variance. shown, coded: (3, H, W). Raises ValueError for shapes that differ.
    """
    _check(shown, coded)
    base = coded.astype(np.float64)
    added = _windowed(((shown - base) ** 2).sum(0))
    detail = _windowed((base**2).sum(0)) - sum(_windowed(plane) ** 2 for plane in base)
    share = added / (added + np.maximum(detail, 0) + base.shape[0] * _UNSEEN)
    return np.rint(255 * share).astype(np.uint8)


def _windowed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of windows around every place; at the edges of the part that there is."""
    half = WINDOW // 2
    result = values
    for axis in (0, 1):
        sums = np.insert(np.cumsum(result, axis=axis), 0, 0, axis=axis)
        place = np.arange(values.shape[axis])
        first, last = np.maximum(place - half, 0), np.minimum(place + half + 1, values.shape[axis])
        shape = (-1, 1) if axis == 0 else (1, -1)
        result = (np.take(sums, last, axis) - np.take(sums, first, axis)) / (last - first).reshape(shape)
    return result


def _check(shown: NDArray[np.uint8], coded: NDArray[np.uint8]) -> None:
    if shown.shape != coded.shape or shown.ndim != 3 or len(shown) != 3 or not coded.size:
        raise ValueError(f"pictures of shapes {shown.shape} and {coded.shape}: expected two of (3, H, W)")

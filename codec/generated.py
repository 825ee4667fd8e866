"""How much of a picture was generated, and where: the shown picture against the one that was coded.

Both measures are of squared differences of samples, place by place: what generation added, beside the detail that was
coded there. They say nothing about whether what was added is true.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Pixels on a side of the cells of which the share of a whole picture is the mean.
CELL = 8
#: Pixels on a side of the window around each pixel of a map.
WINDOW = 9
#: Added to what was coded, for each sample: changes of less than one 8-bit step are nobody's detail.
_UNSEEN = 1.0


def generated_share(shown: NDArray[np.uint8], coded: NDArray[np.uint8]) -> float:
    """Share of a picture's detail that was generated, 0 (as it was coded) to 1, in steps of 0.0001.

    The mean over cells of 8x8 pixels of: the squared difference of the shown from the coded picture, against that, the
    coded picture's squared difference from its mean in the cell, and one 8-bit step a sample. Every place counts the
    same: generated texture on a plain wall is not outweighed by an edge elsewhere. shown, coded: (3, H, W); rows and
    columns beyond whole cells are left out where there is one. Raises ValueError for shapes that differ.
    """
    _check(shown, coded)
    sides = [min(CELL, length) for length in coded.shape[1:]]
    rows, columns = (length - length % side for length, side in zip(coded.shape[1:], sides, strict=True))
    # Around 0: float32 sums of squares are then exact enough for the four digits that are given.
    base, added = (np.ascontiguousarray(picture[:, :rows, :columns]).astype(np.float32) for picture in (coded, shown))
    base -= np.float32(128)
    added -= base + np.float32(128)
    count = sides[0] * sides[1]
    extra = _cells(np.square(added), sides).sum(0)
    detail = (_cells(np.square(base), sides) - np.square(_cells(base, sides)) / count).sum(0)
    share = extra / (extra + np.maximum(detail, 0) + np.float32(len(base) * count * _UNSEEN))
    return round(float(share.mean(dtype=np.float64)), 4)


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


def _cells(values: NDArray[np.float32], sides: list[int]) -> NDArray[np.float32]:
    """Sums over cells, (3, H, W) -> (3, H / cell, W / cell); rows first, which lie next to each other."""
    planes, rows, columns = values.shape
    strips = values.reshape(planes, rows // sides[0], sides[0], columns).sum(2)
    sums: NDArray[np.float32] = strips.reshape(planes, rows // sides[0], columns // sides[1], sides[1]).sum(3)
    return sums


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

"""Where in a picture machines look: boxes of objects, edges, motion. Weights of losses in training, nothing else.

Masks enter through training only; a codec needs none when it runs (SA-ICM, Shindo et al., 2024; SLIM, 2512.18200).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: A change of luma (8-bit steps) from frame to frame from which something moves; below it is the camera's noise.
MOVING = 12.0
#: Side of the cells of edges and motion, in pixels.
CELL = 8


def region_weights(boxes: NDArray[np.float32], size: tuple[int, ...], outside: float) -> NDArray[np.float32]:
    """Of ``size`` (H, W): 1 in boxes and as far around them as detectors look, ``outside`` elsewhere."""
    weight = np.full(size, outside, np.float32)
    for x0, y0, x1, y1 in boxes.tolist():
        around = 8 + 0.15 * max(x1 - x0, y1 - y0)
        weight[max(0, int(y0 - around)):max(0, math.ceil(y1 + around)),
               max(0, int(x0 - around)):max(0, math.ceil(x1 + around))] = 1
    return weight


def _cells(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of cells, spread over their pixels again; what is left over at the ends takes the nearest cell's."""
    height, width = (max(CELL, side // CELL * CELL) for side in values.shape)
    padded = np.pad(values, [(0, max(0, height - values.shape[0])), (0, max(0, width - values.shape[1]))], mode="edge")
    means = padded[:height, :width].reshape(height // CELL, CELL, width // CELL, CELL).mean((1, 3))
    rows = np.minimum(np.arange(values.shape[0]) // CELL, means.shape[0] - 1)
    columns = np.minimum(np.arange(values.shape[1]) // CELL, means.shape[1] - 1)
    return np.asarray(means[rows][:, columns], np.float32)


def edge_weights(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of a picture (H, W, 3): 0 where it is flat to 1 where its outlines are, (H, W); in cells of 8x8 pixels.

    Slopes of luma, relative to the ninth decile of the picture's own cells, so that a dim picture has outlines too.
    """
    luma = picture.astype(np.float32).mean(2)
    slope = np.abs(np.diff(luma, axis=0, append=luma[-1:])) + np.abs(np.diff(luma, axis=1, append=luma[:, -1:]))
    cells = _cells(slope)
    return np.asarray(np.clip(cells / max(float(np.quantile(cells, 0.9)), 2.0), 0, 1), np.float32)


def motion_weights(picture: NDArray[np.uint8], previous: NDArray[np.uint8]) -> NDArray[np.float32]:
    """1 in cells of 8x8 pixels where a picture (H, W, 3) differs from the one before, else 0: (H, W).

    Raises ValueError for pictures of two sizes.
    """
    if picture.shape != previous.shape:
        raise ValueError(f"pictures of {picture.shape} and {previous.shape}: expected one size")
    change = np.abs(picture.astype(np.float32).mean(2) - previous.astype(np.float32).mean(2))
    return np.asarray(_cells(change) > MOVING, np.float32)

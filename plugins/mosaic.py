"""Pictures of which nothing is left but the mean of every block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def block_means(samples: NDArray[Any], across: int, down: int) -> NDArray[np.float64]:
    """(ceil(H / down), ceil(W / across)) means of the blocks of samples (H, W); those at the end may be smaller."""
    rows, columns = np.arange(0, samples.shape[0], down), np.arange(0, samples.shape[1], across)
    sums = np.add.reduceat(np.add.reduceat(samples.astype(np.int64), rows, axis=0), columns, axis=1)
    heights, widths = np.diff([*rows, samples.shape[0]]), np.diff([*columns, samples.shape[1]])
    return sums / (heights[:, None] * widths[None, :])


def pixelated(samples: NDArray[Any], across: int, down: int) -> NDArray[Any]:
    """(H, W) of the same dtype: every block of across x down samples holds its mean, rounded."""
    means = np.floor(block_means(samples, across, down) + 0.5).astype(samples.dtype)
    return means.repeat(down, axis=0)[:samples.shape[0]].repeat(across, axis=1)[:, :samples.shape[1]]


def blurred(samples: NDArray[Any], across: int, down: int) -> NDArray[Any]:
    """(H, W) of the same dtype: interpolated bilinearly between the middles of the blocks, which hold their means.

    It depends on the means and on nothing else, so no filter can bring back what was inside of a block.
    """
    means = block_means(samples, across, down)
    smooth = _weights(samples.shape[0], down) @ means @ _weights(samples.shape[1], across).T
    return np.floor(smooth + 0.5).astype(samples.dtype)


def _weights(length: int, step: int) -> NDArray[np.float64]:
    """(length, blocks) by how much each block counts at each sample."""
    starts = np.arange(0, length, step)
    middles = (starts + np.minimum(starts + step, length)) / 2
    at = np.clip(np.arange(length) + 0.5, middles[0], middles[-1])
    before = np.clip(np.searchsorted(middles, at, side="right") - 1, 0, max(0, len(middles) - 2))
    weights = np.zeros((length, len(middles)))
    if len(middles) == 1:
        weights[:, 0] = 1
        return weights
    share = (at - middles[before]) / (middles[before + 1] - middles[before])
    rows = np.arange(length)
    weights[rows, before] = 1 - share
    weights[rows, before + 1] += share
    return weights

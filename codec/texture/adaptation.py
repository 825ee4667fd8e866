"""Content-adaptive palettes: what a group of pictures changes in the profile's palettes, where that pays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from duoview.kernels import rans
from duoview.texture.palettes import MOST_CHANGE, MOST_SHIFT, Floats, Palettes, write_changes

#: Pixels of a latent position.
_PIXELS = 64
#: Steps that are tried, as shares of the changes' root mean square.
_STEPS = (1.0, 2.0)


def adapt(palettes: Palettes, vectors: Floats, q: int, lagrangian: float) -> tuple[Palettes, list[bytes]]:
    """Palettes for vectors (N, G, C / G), and the payloads of depths 1, 2, ... that make them.

    A depth is changed where the squared error that goes away is worth the bits; the first that is not ends it. How deep
    the texture will be kept plays no part.
    """
    leaves = palettes.leaves_of(vectors, q)
    deepest = palettes.tables.depth
    scale = palettes.tables.scale[q] * np.sqrt(palettes.tables.error[q])
    payloads: list[bytes] = []
    sums = _sums(vectors, leaves, 1 << deepest)
    for depth in range(1, deepest + 1):
        means, counts = _means(*sums, 1 << depth)
        apart = np.where(counts[:, :, None] > 0, means - palettes.vectors[depth], 0)
        apart = apart / palettes.tables.step[:, None, None]
        weight = counts[:, :, None] * (palettes.tables.step * scale)[:, None, None] ** 2
        best: tuple[float, NDArray[np.int16], int, bytes] | None = None
        spread = float(np.sqrt((apart**2).mean())) or 1.0
        for share in _STEPS:
            shift = int(np.clip(round(np.log2(max(spread * share, 1.0))), 0, MOST_SHIFT))
            changes = np.clip(np.rint(apart / (1 << shift)), -MOST_CHANGE, MOST_CHANGE).astype(np.int16)
            left = apart - changes.astype(np.float64) * (1 << shift)
            gain = float((weight * (apart**2 - left**2)).sum())
            payload = write_changes(changes, shift, _class_of(changes))
            worth = lagrangian * _PIXELS * gain - 8 * len(payload)
            if best is None or worth > best[0]:
                best = (worth, changes, shift, payload)
        assert best is not None
        if best[0] <= 0:
            break
        palettes = palettes.changed(depth, best[1], best[2])
        payloads.append(best[3])
    return palettes, payloads


def _sums(vectors: Floats, leaves: NDArray[np.uint8], count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and number of the vectors of every leaf: (G, count, C / G), (G, count)."""
    _, groups, channels = vectors.shape
    sums, counts = np.zeros((groups, count, channels)), np.zeros((groups, count), np.int64)
    by_channel = np.ascontiguousarray(vectors.transpose(1, 2, 0), np.float64)
    for group in range(groups):
        mine = leaves[:, group].astype(np.intp)
        counts[group] = np.bincount(mine, minlength=count)
        for channel in range(channels):
            sums[group, :, channel] = np.bincount(mine, by_channel[group, channel], count)
    return sums, counts


def _means(sums: NDArray[np.float64], counts: NDArray[np.int64], nodes: int
           ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean vector and number of vectors of every one of so many nodes, from what their leaves hold."""
    groups, _, channels = sums.shape
    found = counts.reshape(groups, nodes, -1).sum(2)
    total = sums.reshape(groups, nodes, -1, channels).sum(2)
    return total / np.maximum(found, 1)[:, :, None], found


def _class_of(changes: NDArray[np.int16]) -> int:
    """The Gaussian class that fits best."""
    deviation = max(float(np.sqrt((changes.astype(np.float64) ** 2).mean())), 0.11)
    return int(np.abs(np.log(rans.scales()[1:]) - np.log(deviation)).argmin()) + 1

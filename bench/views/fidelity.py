"""How near a view is to its source, sample by sample and in its low frequencies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.pictures import RGB

#: Sides of the blocks whose means are the low frequencies.
BLOCK = 16


def clip_psnr(source: Sequence[RGB], view: Sequence[RGB]) -> float:
    """PSNR in dB of the mean squared error of all samples of all pictures; infinite where they are equal."""
    return _decibels([float(((a.astype(np.float32) - b) ** 2).mean()) for a, b in zip(source, view, strict=True)])


def low_frequency_psnr(source: Sequence[RGB], view: Sequence[RGB]) -> float:
    """The same of the means of blocks of 16x16 pixels; what of a picture fills no block is left out."""
    return _decibels([float(((block_means(a) - block_means(b)) ** 2).mean())
                      for a, b in zip(source, view, strict=True)])


def block_means(picture: RGB) -> NDArray[np.float64]:
    """(H // 16, W // 16, 3). Raises ValueError for a picture without one block."""
    rows, columns = picture.shape[0] // BLOCK, picture.shape[1] // BLOCK
    if not rows or not columns:
        raise ValueError(f"a picture of {picture.shape[1]}x{picture.shape[0]}: expected at least {BLOCK}x{BLOCK}")
    cut = picture[:rows * BLOCK, :columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK, 3)
    means: NDArray[np.float64] = cut.mean(axis=(1, 3))
    return means


def _decibels(errors: Sequence[float]) -> float:
    error = float(np.mean(errors))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))

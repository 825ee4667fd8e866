"""What an error of a latent is in the picture, for encoders that decide what is worth its bits.

In float32, added up in one order: the result is the same on every path, machine and number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoview.kernels import _native
from duoview.kernels.arrays import checked, checked_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray


def picture_error(
    error: NDArray[np.float32], weights: NDArray[np.float32], *, threads: int = 1, path: str = "auto"
) -> NDArray[np.float32]:
    """A quadratic form of what differs from the mean of a position's neighbourhood, plus one of that mean.

    With m the mean over the 3x3 around a position, of what lies inside, and d the error there less m, that is d' A d
    plus m' B m; a result is the mean over 2x2 positions. ``docs/kernels.md`` has the order of the sums.

    Args:
        error: (C, h, w) float32, contiguous, h and w even.
        weights: (2, C, C) float32, contiguous: A and B.
        threads: 1..256. Any number gives the same.
        path: ``"auto"``, or one of ``paths()`` to force it. All give the same.

    Returns:
        (h / 2, w / 2) float32.

    Raises:
        TypeError: an array is of another dtype.
        ValueError: shape, contiguity or alignment; ``threads`` or ``path``.
    """
    shape = checked("error", error, (np.float32,), "(C, h, w)")
    if shape[1] % 2 or shape[2] % 2:
        raise ValueError(f"error has shape {shape}; (C, h, w) is needed, h and w even")
    found = checked("weights", weights, (np.float32,), "(2, C, C)")
    if found != (2, shape[0], shape[0]):
        raise ValueError(f"weights has shape {found}; {(2, shape[0], shape[0])} is needed, for an error {shape}")
    return _native.picture_error(error, weights, checked_threads(threads), path)

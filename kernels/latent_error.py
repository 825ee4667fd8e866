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
        path: ``"auto"``, or one of ``noise.paths()`` to force it. All give the same.

    Returns:
        (h / 2, w / 2) float32.

    Raises:
        TypeError: an array is of another dtype.
        ValueError: shape, contiguity or alignment; ``threads`` or ``path``.
    """
    _checked_weights(weights, _checked_latent("error", error))
    return _native.picture_error(error, weights, checked_threads(threads), path)


def picture_gain(
    wanted: NDArray[np.float32],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    weights: NDArray[np.float32],
    *,
    threads: int = 1,
    path: str = "auto",
) -> NDArray[np.float32]:
    """What of the error of ``before`` is gone with ``after`` in its place, as ``picture_error`` has errors.

    That is ``picture_error(wanted - before, weights) - picture_error(wanted - after, weights)`` to the bit, for finite
    latents, and takes as long as the share of places where the two differ: 0 is what is gained elsewhere.

    Args:
        wanted: (C, h, w) float32, contiguous, h and w even: what the latent should be.
        before: of the same shape, what stood for it.
        after: of the same shape, what takes the place of that.
        weights: (2, C, C) float32, contiguous: A and B of ``picture_error``.
        threads: 1..256. Any number gives the same.
        path: ``"auto"``, or one of ``noise.paths()`` to force it. All give the same.

    Returns:
        (h / 2, w / 2) float32.

    Raises:
        TypeError: an array is of another dtype.
        ValueError: shape, contiguity or alignment; ``threads`` or ``path``.
    """
    shape = _checked_latent("wanted", wanted)
    for name, latent in (("before", before), ("after", after)):
        found = checked(name, latent, (np.float32,), "(C, h, w)")
        if found != shape:
            raise ValueError(f"{name} has shape {found}; {shape} is needed, as wanted has")
    _checked_weights(weights, shape)
    return _native.picture_gain(wanted, before, after, weights, checked_threads(threads), path)


def _checked_latent(name: str, latent: NDArray[np.float32]) -> tuple[int, ...]:
    shape = checked(name, latent, (np.float32,), "(C, h, w)")
    if shape[1] % 2 or shape[2] % 2:
        raise ValueError(f"{name} has shape {shape}; (C, h, w) is needed, h and w even")
    return shape


def _checked_weights(weights: NDArray[np.float32], latent: tuple[int, ...]) -> None:
    found = checked("weights", weights, (np.float32,), "(2, C, C)")
    if found != (2, latent[0], latent[0]):
        raise ValueError(f"weights has shape {found}; {(2, latent[0], latent[0])} is needed, for a latent {latent}")

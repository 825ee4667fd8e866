"""What an encoder decides: which integers to code, and where to code nothing. Decoders see the outcome only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview import kernels

Floats = NDArray[np.float32]
Symbols = NDArray[np.int16]
#: Pixels of a position of the symbols' grid.
BLOCK_PIXELS = 16 * 16


@dataclass(frozen=True)
class SymbolDecision:
    """How an encoder rounds, and when it leaves a region as the frame before had it.

    Args:
        key, inter: how eagerly a magnitude is lowered by one to save bits; 0 rounds to the nearest integer. At 1 a step
            down is taken where, at the high-rate slope of a unit quantiser (2 ln 2 / 12 per bit), the bits saved under
            the symbol's Gaussian class outweigh the squared error added.
        skip: in P frames, a position is coded where the error that coding takes away is worth ``skip`` times its bits
            at the Lagrangian of the quality index; 0 codes everywhere.

    Raises ValueError for one that is negative or not finite.
    """

    key: float = 0.0
    inter: float = 0.5
    skip: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; a finite number, at least 0, is needed")

    def margins(self, key: bool) -> Floats:
        """By table class, (64,): how far above the midpoint a value has to lie to keep magnitude 1."""
        return STEP_PENALTY * np.float32(self.key if key else self.inter)


def _sigma() -> Floats:
    """Standard deviation of the table classes 0..63; class 0 codes nothing."""
    return (0.11 * (32 / 0.11) ** ((np.arange(64) - 1) / 62)).astype(np.float32)


def _step_penalty() -> Floats:
    """Per table class: how far above the midpoint a value must lie to keep magnitude 1 (times 2m - 1 for m)."""
    slope = 2 * np.log(2) / 12 * (np.log2(np.e) / 2)
    return (slope / 2 / _sigma() ** 2).astype(np.float32)


def _symbol_bits(magnitudes: int = 256, most: float = 18.0) -> Floats:
    """Bits of a magnitude under a table class, (64, magnitudes); an escape costs about ``most``."""
    bits = np.zeros((64, magnitudes), np.float32)
    for number, sigma in enumerate(_sigma()):
        if number:
            tails = [0.5 * math.erfc((m - 0.5) / (float(sigma) * math.sqrt(2))) for m in range(magnitudes + 1)]
            bits[number] = [min(most, -math.log2(max(tails[m] - tails[m + 1], 1e-300))) for m in range(magnitudes)]
    return bits


STEP_PENALTY = _step_penalty()
SYMBOL_BITS = _symbol_bits()


def extra_bits(symbols: Symbols, classes: NDArray[np.uint8]) -> Floats:
    """What the symbols cost beyond zeros in their place; elementwise, any shape."""
    return symbol_bits(symbols, classes) - SYMBOL_BITS[classes, 0]


def symbol_bits(symbols: Symbols, classes: NDArray[np.uint8]) -> Floats:
    """What the symbols cost, by the model and without the coder; elementwise, any shape."""
    magnitude = np.minimum(np.abs(symbols.astype(np.int32)), SYMBOL_BITS.shape[1] - 1)
    return SYMBOL_BITS[classes, magnitude]


def neighbourhood_mean(x: Floats) -> Floats:
    """Mean over the 3x3 neighbourhood, of what lies inside: (..., H, W) -> (..., H, W)."""
    rows = x.copy()
    rows[..., 1:, :] += x[..., :-1, :]
    rows[..., :-1, :] += x[..., 1:, :]
    total = rows.copy()
    total[..., 1:] += rows[..., :-1]
    total[..., :-1] += rows[..., 1:]
    total *= np.outer(1 / _neighbours(x.shape[-2]), 1 / _neighbours(x.shape[-1]))
    return total


def _neighbours(size: int) -> Floats:
    """How many places of a row of this size are next to each or the place itself."""
    count = np.full(size, 3, np.float32)
    count[0] -= 1
    count[-1] -= 1
    return count


def picture_gain(z: Floats, before: Floats, after: Floats, weight: Floats, threads: int = 1) -> Floats:
    """What of the picture's squared error (8-bit steps, mean) one latent has and another not, by symbols' position.

    z: (1, latent, 2H, 2W), that of the picture; before, after: those that stand for it. weight: (2, latent, latent),
    quadratic forms for what of an error changes from place to place and for what does not: brightness lies in the sum
    over channels and neighbours, so channel by channel a change of light would seem to be a quarter of what is seen.
    Returns (H, W), 0 where the two are the same all around; the same with any number of threads.
    """
    return kernels.picture_gain(z[0], before[0], after[0], weight, threads=threads)


def worth_coding(gain: Floats, bits: Floats, lagrangian: float) -> NDArray[np.bool_]:
    """Where coding a P frame's symbols pays, position by position.

    The outcome of a P frame replaces the latent in the 3x3 neighbourhood of every coded position, so both gain and bits
    are means over it. In a still scene what is left to gain is noise; there the state before is kept untouched, and
    neither rate nor error can grow, however long it lasts.

    gain, bits: (H, W), the squared error that coding takes away (8-bit steps, mean) and the bits it takes. lagrangian:
    what a squared error of one (8-bit steps, mean over a pixel's channels) is worth in bits per pixel.
    Returns (H, W), True where coding pays.
    """
    worth = np.float32(lagrangian * BLOCK_PIXELS) * neighbourhood_mean(gain) > neighbourhood_mean(bits)
    return np.asarray(worth, np.bool_)

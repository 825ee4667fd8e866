"""What the entropy coders are measured on: symbols as a learned codec has them, a class for each.

Classes are the 63 Gaussian ones of ``rans.scales()`` (class 0, which costs nothing, is left out), chosen anew for every
symbol: ``uniform`` all alike, ``codec`` mostly narrow ones. Each symbol is drawn from its class: a zero-mean Gaussian,
rounded to an integer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from duoview.kernels import rans

KINDS = ("codec", "uniform")
LARGEST = 63


@dataclass(frozen=True)
class Symbols:
    """One array of symbols.

    symbols: (N,) int16. classes: (N,) uint8, 1..63.
    model_bits: the entropy of the classes' exact models, summed over the elements.
    ideal_bits: what these very symbols cost under the exact models. It differs from model_bits by the luck of the draw
    (about 0.1 % at 1.5 million symbols), which is nothing a coder can gain or lose.
    """

    kind: str
    symbols: NDArray[np.int16]
    classes: NDArray[np.uint8]
    model_bits: float
    ideal_bits: float


@cache
def probabilities(class_index: int, reach: int) -> NDArray[np.float64]:
    """(2 * reach + 1,) probability of -reach..reach under the exact Gaussian of a class."""
    sigma = rans.scales()[class_index]
    # Of the lower tail by symmetry: differences of values near 1 would lose the far ones.
    magnitude = np.abs(np.arange(-reach, reach + 1))
    return ndtr((0.5 - magnitude) / sigma) - ndtr((-0.5 - magnitude) / sigma)


def entropy(class_index: int) -> float:
    """Bits of one symbol of a class under its exact model."""
    p = probabilities(class_index, int(np.ceil(12 * rans.scales()[class_index])) + 1)
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def draw(kind: str, count: int, seed: int) -> Symbols:
    """``count`` symbols of one of ``KINDS``; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    if kind == "uniform":
        classes = rng.integers(1, LARGEST + 1, count).astype(np.uint8)
    elif kind == "codec":
        classes = np.clip(np.rint(np.abs(rng.normal(0, 14, count))), 1, LARGEST).astype(np.uint8)
    else:
        raise ValueError(f"kind is {kind!r}; it is one of {', '.join(KINDS)}")
    symbols = np.rint(rng.standard_normal(count) * rans.scales()[classes]).astype(np.int16)
    reach = int(np.abs(symbols).max(initial=0))
    table = np.array([[1.0] * (2 * reach + 1), *(probabilities(k, reach) for k in range(1, LARGEST + 1))])
    ideal = -np.log2(table[classes, symbols.astype(np.intp) + reach]).sum()
    each = np.array([0.0, *(entropy(k) for k in range(1, LARGEST + 1))])
    return Symbols(kind, symbols, classes, float(each[classes].sum()), float(ideal))


def quantised_cdf(class_index: int, reach: int, tail: bool, bits: int = 16) -> NDArray[np.int64]:
    """Integer cumulative frequencies 0 .. 2**bits of -reach..reach, each at least 1; ``tail`` adds one for the rest."""
    p = probabilities(class_index, reach)
    if tail:
        p = np.append(p, max(1.0 - p.sum(), 0.0))
    spare = (1 << bits) - p.size
    inner = np.rint(np.cumsum(p) / p.sum() * spare).astype(np.int64) + np.arange(1, p.size + 1)
    return np.concatenate([[0], inner])

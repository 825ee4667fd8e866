"""Distances between the patches of two sets of pictures as distributions: KID with bootstrap intervals, and FID.

KID (Binkowski et al., 2018) is the squared maximum mean discrepancy under a cubic kernel, here of the features of a
frozen SqueezeNet in place of Inception's, so that its values compare with each other and with no paper's. Patches at
one place of one clip are seen again and again: only pairs of different places are counted, and whole places are drawn
for the intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
#: Patches for each feature below which a covariance, and with it FID, is not worth having.
LEAST_FOR_FID = 4
_INSIDE = 0.95


@dataclass(frozen=True)
class Interval:
    """A value, and between what 95 % of the bootstrap's lie."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PatchDistance:
    """A view's patches against the source's. against: KID as a share of the view that it is compared with.

    fid: None where there are fewer than LEAST_FOR_FID patches for each feature.
    """

    kid: Interval
    against: Interval | None
    fid: float | None
    patches: int
    places: int


def patch_distances(source: Matrix, views: Mapping[str, Matrix], places: NDArray[np.intp], *, anchor: str | None = None,
                    repeats: int = 1000, seed: int = 1) -> dict[str, PatchDistance]:
    """The distance of every view's patches to the source's.

    Args:
        source: (N, channels). views: the same patches of each view. places: (N,) the place of each, a number.
        anchor: the view that shares are of; every draw of the bootstrap is of the same places for all views.

    Raises ValueError for shapes that do not agree, or fewer than two places.
    """
    names, index = np.unique(places, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"{len(names)} places of patches: expected 2 or more")
    for name, patches in views.items():
        if patches.shape != source.shape or len(places) != len(source):
            raise ValueError(f"view {name}: patches of shape {patches.shape} and {len(places)} places; expected those "
                             f"of the source, {source.shape}")
    if anchor is not None and anchor not in views:
        raise ValueError(f"anchor {anchor!r}: expected one of {', '.join(views)}")
    member = np.zeros((len(names), len(source)))
    member[index, np.arange(len(source))] = 1
    count = member.sum(1)
    pairs = np.outer(count, count)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=repeats)
    scale = float((source**2).sum(1).mean())
    own = _kernel(source, source, scale)
    drawn: dict[str, NDArray[np.float64]] = {}
    whole: dict[str, float] = {}
    for name, patches in views.items():
        differences = own + _kernel(patches, patches, scale) - 2 * _kernel(source, patches, scale)
        blocks = member @ differences @ member.T
        whole[name] = float(_between(np.ones((1, len(names))), blocks, pairs)[0])
        drawn[name] = _between(draws, blocks, pairs)
    found = {}
    for name, patches in views.items():
        against = None
        if anchor is not None and name != anchor and whole[anchor] > 0:
            usable = drawn[anchor] > 0
            against = _interval(whole[name] / whole[anchor], drawn[name][usable] / drawn[anchor][usable])
        fid = frechet_distance(source, patches) if len(source) >= LEAST_FOR_FID * source.shape[1] else None
        found[name] = PatchDistance(_interval(whole[name], drawn[name]), against, fid, len(source), len(names))
    return found


def frechet_distance(a: Matrix, b: Matrix) -> float:
    """Between the Gaussians of two sets of features (Heusel et al., 2017)."""
    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    mixed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ two @ root), 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one) + np.trace(two) - 2 * mixed)


def _kernel(a: Matrix, b: Matrix, scale: float) -> Matrix:
    """KID's, with the source's mean square in place of the number of features: these have a scale of their own."""
    values: Matrix = (a.astype(np.float64) @ b.astype(np.float64).T / scale + 1) ** 3
    return values


def _between(draws: NDArray[np.generic], blocks: Matrix, pairs: Matrix) -> NDArray[np.float64]:
    """Mean over pairs of patches of different places, for every draw of places (repeats, places)."""
    weights = np.asarray(draws, np.float64)
    sums = [np.einsum("rp,pq,rq->r", weights, matrix, weights, optimize=True) - weights**2 @ np.diag(matrix)
            for matrix in (blocks, pairs)]
    # Draws of one place alone have no pair; there are none unless places are few.
    return np.where(sums[1] > 0, sums[0] / np.maximum(sums[1], 1), 0.0)


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(drawn, ((1 - _INSIDE) / 2, (1 + _INSIDE) / 2)) if len(drawn) else (np.nan, np.nan)
    return Interval(value, float(low), float(high))

"""Default palettes of the texture layer: first transform, scales and trees, by clustering of coded pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview.kernels import palette

Floats = NDArray[np.float32]
LEVELS = 64
#: Palettes are integers in units of this share of a group's root mean square.
STEP = 1 / 256
#: Directions that pictures hardly show still get this share of the greatest weight, so that the transform has an
#: inverse.
_LEAST_WEIGHT = 1e-4
_ROUNDS = 3


@dataclass(frozen=True)
class Palettes:
    """As in ``duoview.texture.tables``: scale (64, G), nodes of depth d (G, 2^d, C / G)."""

    scale: Floats
    nodes: tuple[NDArray[np.int16], ...]

    @property
    def depth(self) -> int:
        """D."""
        return len(self.nodes) - 1

    def vectors(self, components: Floats, q: NDArray[np.int64]) -> Floats:
        """Components (N, C, h, w) as vectors (N h w, G, C / G)."""
        count, channels, height, width = components.shape
        groups = self.scale.shape[1]
        grouped = components.reshape(count, groups, channels // groups, height * width).transpose(0, 3, 1, 2)
        scaled = grouped / self.scale[q][:, None, :, None]
        return np.ascontiguousarray(scaled.reshape(count * height * width, groups, channels // groups), np.float32)

    def leaves(self, vectors: Floats) -> NDArray[np.uint8]:
        """Nearest leaves, (N, G)."""
        return palette.nearest(vectors, np.ascontiguousarray(self.nodes[-1].astype(np.float32) * np.float32(STEP)))


def transform(residual: Floats, weight: NDArray[np.float32], groups: int) -> Floats:
    """Karhunen-Loeve transform of residuals (N, C) in the metric of the picture, (C, C): what training begins with.

    weight: (C, C), e^T W e is the picture's squared error for an error e. The components, by falling energy, go round
    the groups in turn, so that each has its share of what is large: measured against groups of neighbours, 2.7 against
    2.2 dB less of that error with 24 bits a position.
    """
    centred = residual - residual.mean(0)
    values, vectors = np.linalg.eigh((weight + weight.T).astype(np.float64) / 2)
    half = vectors * np.sqrt(np.maximum(values, values[-1] * _LEAST_WEIGHT)) @ vectors.T
    covariance = centred.T.astype(np.float64) @ centred / len(centred)
    energy, basis = np.linalg.eigh(half @ covariance @ half)
    ordered = (basis[:, np.argsort(-energy)].T @ half).astype(np.float32)
    channels = len(ordered)
    return np.ascontiguousarray(ordered[[c for group in range(groups) for c in range(group, channels, groups)]])


def scales(lengths: NDArray[np.float64], q: NDArray[np.int64]) -> Floats:
    """Root mean squares by quality index, smoothed over it: (64, G). lengths: (N, G), squared; q: (N,)."""
    levels = np.unique(q)
    logs = np.log(np.stack([lengths[q == level].mean(0) for level in levels]) + 1e-9) / 2
    fitted = np.polyfit(levels, logs, min(3, len(levels) - 1), w=np.sqrt([(q == level).sum() for level in levels]))
    powers = np.arange(LEVELS)[:, None] ** np.arange(len(fitted))[::-1][None]
    # A polynomial is worth nothing outside of what it was fitted to.
    clipped = np.clip(powers @ fitted, logs.min(0) - 0.5, logs.max(0) + 0.5)
    return np.exp(clipped).astype(np.float32)


def cluster(components: Floats, q: NDArray[np.int64], *, groups: int = 6, depth: int = 6, most: int = 200_000,
            seed: int = 1) -> Palettes:
    """Palettes for components (N, C, h, w) of pictures at quality indices q (N,).

    most: vectors that trees are built of. Raises ValueError where C is no multiple of ``groups``.
    """
    count, channels, height, width = components.shape
    if channels % groups:
        raise ValueError(f"{channels} latent channels in {groups} groups: expected a divisor of {channels}")
    squares = (components.reshape(count, groups, -1, height * width).astype(np.float64) ** 2).sum(2).mean(2)
    palettes = Palettes(scales(squares, q), ())
    vectors = palettes.vectors(components, q)
    chosen = vectors[np.random.default_rng(seed).permutation(len(vectors))[:most]]
    trees = [_tree(np.ascontiguousarray(chosen[:, group]), depth) for group in range(groups)]
    return Palettes(palettes.scale, tuple(np.stack([tree[d] for tree in trees]) for d in range(depth + 1)))


def _tree(vectors: Floats, depth: int) -> list[NDArray[np.int16]]:
    """Nodes of every depth of one group: a tree, its leaves then moved to the means of what is nearest to them."""
    tree = palette.build_tree(vectors, depth)
    leaves, counts = tree.leaves, tree.populations[-1].astype(np.float64)
    for _ in range(_ROUNDS):
        near = palette.nearest(vectors, np.ascontiguousarray(leaves))
        counts = np.bincount(near, minlength=len(leaves)).astype(np.float64)
        sums = np.stack([np.bincount(near, vectors[:, c], len(leaves)) for c in range(vectors.shape[1])], 1)
        leaves = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], leaves).astype(np.float32)
    found = []
    weights = np.maximum(counts, 1e-3)
    level = leaves.astype(np.float64)
    for _ in range(depth + 1):
        found.append(np.clip(np.rint(level / STEP), -32767, 32767).astype(np.int16))
        pairs = weights.reshape(-1, 2) if len(weights) > 1 else None
        if pairs is not None:
            level = (level * weights[:, None]).reshape(-1, 2, level.shape[1]).sum(1) / pairs.sum(1)[:, None]
            weights = pairs.sum(1)
    return found[::-1]

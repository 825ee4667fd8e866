"""Default palettes of the texture layer: first transform, scales and trees, by clustering of coded pictures.

Leaves are placed and chosen by error and rate together (Chou, Lookabaugh and Gray, "Entropy-constrained vector
quantization", 1989), and the tree is split so too. Nearest leaves spend as much where next to nothing is left as where
there is detail.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview.texture.palettes import chosen_leaves

Floats = NDArray[np.float32]
LEVELS = 64
#: Palettes are integers in units of this share of a group's root mean square.
STEP = 1 / 256
#: Directions that pictures hardly show still get this share of the greatest weight, so that the transform has an
#: inverse.
_LEAST_WEIGHT = 1e-4
#: Rounds in which leaves are moved to the means of what chose them, and chosen anew by error and rate.
_ROUNDS = 7
#: What a bit costs in the first split, as many times what it costs in the last: coarse depths are for what is worth
#: most. With all bits alike, half of the bits took away less than a third of what all did.
_DEAREST = 20.0
#: A split begins at these shares of the vectors along their main axis.
_STARTS = (0.5, 0.93, 0.07)
_SPLIT_ROUNDS, _FEWEST = 12, 8
#: How many times more than to the machine layer the same error is worth to texture at the quality index _USUAL. What a
#: bit is worth rises with q in the machine layer, and by this power of that in texture: people want to end near the
#: picture wherever the machine layer stands, so a coarse one needs more beside it.
_FINER, _USUAL, _RISE = 12.0, 24, 0.7
#: Pixels of a position.
_POSITION = 64


@dataclass(frozen=True)
class Palettes:
    """As in ``duoview.texture.tables``: scale, price (64, G), nodes of depth d (G, 2^d, C / G), rate (G, 2^D)."""

    scale: Floats
    price: Floats
    nodes: tuple[NDArray[np.int16], ...]
    rate: Floats

    @property
    def depth(self) -> int:
        """D."""
        return len(self.nodes) - 1

    @property
    def sha256(self) -> str:
        """Of all numbers: what is trained for these palettes is worth nothing with others."""
        digest = hashlib.sha256()
        parts: list[NDArray[Any]] = [self.scale, self.price, self.rate, *self.nodes]
        for part in parts:
            digest.update(f"{part.dtype} {part.shape}".encode() + part.tobytes())
        return digest.hexdigest()

    def vectors(self, components: Floats, q: NDArray[np.int64]) -> Floats:
        """Components (N, C, h, w) as vectors (N h w, G, C / G)."""
        count, channels, height, width = components.shape
        groups = self.scale.shape[1]
        grouped = components.reshape(count, groups, channels // groups, height * width).transpose(0, 3, 1, 2)
        scaled = grouped / self.scale[q][:, None, :, None]
        return np.ascontiguousarray(scaled.reshape(count * height * width, groups, channels // groups), np.float32)

    def leaves(self, vectors: Floats, q: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The leaves that an encoder chooses for the vectors of pictures at q (N,), as many of each: (N h w, G)."""
        return _chosen(vectors, q.repeat(len(vectors) // max(len(q), 1)), self.nodes[-1].astype(np.float32) * STEP,
                       self.rate, self.price)


def _chosen(vectors: Floats, q: NDArray[np.int64], leaves: NDArray[np.floating], rate: Floats, price: Floats
            ) -> NDArray[np.uint8]:
    """Leaves of vectors (N, G, C / G), each at its q (N,)."""
    found = np.empty(vectors.shape[:2], np.uint8)
    for level in np.unique(q):
        mine = q == level
        found[mine] = chosen_leaves(vectors[mine], leaves.astype(np.float32), rate, price[level])
    return found


def price_of(scale: Floats, error: Floats, lagrangian: Floats) -> Floats:
    """Bits that a squared error of 1 of a group's vector at a position is worth, (64, G), by quality index.

    error, lagrangian: (64,), as in ``duoview.texture.tables`` and in a profile.
    """
    worth = _FINER * lagrangian**_RISE * lagrangian[_USUAL] ** (1 - _RISE)
    bits: Floats = _POSITION * worth[:, None] * error[:, None] * scale**2
    return bits.astype(np.float32)


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


def cluster(components: Floats, q: NDArray[np.int64], error: Floats, lagrangian: Floats, *, groups: int = 24,
            depth: int = 6, most: int = 60_000, seed: int = 1) -> Palettes:
    """Palettes for components (N, C, h, w) of pictures at quality indices q (N,); error, lagrangian: see ``price_of``.

    most: vectors that trees are built of. Raises ValueError where C is no multiple of ``groups``.
    """
    count, channels, height, width = components.shape
    if channels % groups:
        raise ValueError(f"{channels} latent channels in {groups} groups: expected a divisor of {channels}")
    squares = (components.reshape(count, groups, -1, height * width).astype(np.float64) ** 2).sum(2).mean(2)
    scale = scales(squares, q)
    price = price_of(scale, error, lagrangian)
    vectors = Palettes(scale, price, (), np.zeros((groups, 1), np.float32)).vectors(components, q)
    chosen = np.random.default_rng(seed).permutation(len(vectors))[:most]
    levels = q.repeat(height * width)[chosen]
    trees = [_tree(np.ascontiguousarray(vectors[chosen, group]), levels, price[:, group], depth)
             for group in range(groups)]
    return Palettes(scale, price, tuple(np.stack([tree[d] for tree, _ in trees]) for d in range(depth + 1)),
                    np.stack([rate for _, rate in trees]))


def _tree(vectors: Floats, q: NDArray[np.int64], price: Floats, depth: int) -> tuple[list[NDArray[np.int16]], Floats]:
    """Nodes of every depth of one group, and the bits of its leaves.

    A tree, its leaves then moved to the means of what chooses them, errors by their worth.
    """
    weights = price[q].astype(np.float64)
    near = _grown(vectors * np.sqrt(weights)[:, None], depth)
    leaves = np.zeros((1 << depth, vectors.shape[1]), np.float32)
    for _ in range(_ROUNDS):
        counts = np.bincount(near, minlength=len(leaves)).astype(np.float64)
        total = np.bincount(near, weights, len(leaves))
        sums = np.stack([np.bincount(near, vectors[:, c] * weights, len(leaves)) for c in range(vectors.shape[1])], 1)
        leaves = np.where(total[:, None] > 0, sums / np.maximum(total, 1e-12)[:, None], leaves).astype(np.float32)
        rate = -np.log2((counts + 0.5) / (counts + 0.5).sum()).astype(np.float32)
        near = _chosen(vectors[:, None], q, leaves[None], rate[None], price[:, None])[:, 0].astype(np.int64)
    counts = np.bincount(near, minlength=len(leaves)).astype(np.float64)
    rate = -np.log2((counts + 0.5) / (counts + 0.5).sum()).astype(np.float32)
    found = []
    weights = np.maximum(counts, 1e-3)
    level = leaves.astype(np.float64)
    for _ in range(depth + 1):
        found.append(np.clip(np.rint(level / STEP), -32767, 32767).astype(np.int16))
        pairs = weights.reshape(-1, 2) if len(weights) > 1 else None
        if pairs is not None:
            level = (level * weights[:, None]).reshape(-1, 2, level.shape[1]).sum(1) / pairs.sum(1)[:, None]
            weights = pairs.sum(1)
    return found[::-1], rate


def _grown(vectors: Floats, depth: int) -> NDArray[np.int64]:
    """Leaves (N,) of a tree that is split from the root on. vectors: (N, c), whose squared error is in bits."""
    nodes = np.zeros(len(vectors), np.int64)
    for d in range(depth):
        bit = _DEAREST ** ((depth - 1 - d) / max(depth - 1, 1))
        children = 2 * nodes
        for node in np.unique(nodes):
            mine = np.flatnonzero(nodes == node)
            children[mine] += _split(vectors[mine], bit)
        nodes = children
    return nodes


def _split(vectors: Floats, bit: float) -> NDArray[np.bool_]:
    """Which of vectors (N, c) go to the second child, so that squared error and ``bit`` times the entropy are least.

    Alternates between means and choices, from the middle and from either end: where most is alike, the best split sets
    the little apart that is not.
    """
    second = np.zeros(len(vectors), np.bool_)
    if len(vectors) < _FEWEST:
        return second
    apart = vectors - vectors.mean(0)
    along = apart @ np.linalg.eigh(apart.T @ apart)[1][:, -1]
    least = float((apart**2).sum())
    for share in _STARTS:
        mine = along > np.quantile(along, share)
        for _ in range(_SPLIT_ROUNDS):
            counts = np.array([np.count_nonzero(~mine), np.count_nonzero(mine)])
            if counts.min() < 2:
                break
            bits = -bit * np.log2(counts / len(vectors))
            costs = [((vectors - vectors[part].mean(0)) ** 2).sum(1) + cost
                     for part, cost in zip((~mine, mine), bits, strict=True)]
            mine = costs[1] < costs[0]
        else:
            cost = float(np.minimum(*costs).sum())
            if cost < least:
                least, second = cost, mine
    return second

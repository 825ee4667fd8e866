"""Palettes: the nearest leaf, the tree above the leaves, and reverse steps of discrete diffusions on them.

A palette has K <= 256 leaves, each a vector; a tree of depth D has K = 2**D, and node n of depth d has the children
2 n and 2 n + 1 of depth d + 1. Everything that is drawn is drawn by counters: position ``offset + i`` of (seed, stream)
gives the same result whatever else is in the call, on any number of threads, on every path and device. docs/kernels.md
defines every function by integers, so that a second implementation can be written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from duoview.kernels import _native
from duoview.kernels.arrays import checked, checked_integer, checked_threads
from duoview.kernels.noise import checked_address

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_CATEGORIES = 256
MAX_CHANNELS = 4096
MAX_DEPTH = 8
MAX_ROUNDS = 1000
GRID = 32767
"""Greatest magnitude of a coordinate, in steps, on the grid that trees are built on."""

_STEP_EXPONENTS = range(-60, 61)


def _same_length(first: str, second: str, a: int, b: int) -> None:
    if a != b:
        raise ValueError(f"{first} has {a} positions, {second} {b}; both need the same number")


def nearest(
    vectors: NDArray[np.float32], leaves: NDArray[np.float32], *, threads: int = 1, path: str = "auto"
) -> NDArray[np.uint8]:
    """The index of the nearest leaf of every vector, by squared distance; of equally near ones the first.

    Args:
        vectors: (N, C), or (N, G, C) for G groups of channels with a palette each; float32, contiguous, finite.
        leaves: (K, C), or (G, K, C); 1 <= K <= 256, finite.
        threads: 1..256.
        path: ``"auto"``, or one of ``noise.paths()`` to force it. All give the same bytes: the distance is summed
            channel after channel in float32, each difference, square and sum rounded to nearest.

    Returns:
        (N,) or (N, G) uint8.

    Raises:
        TypeError: an argument is not an array of float32.
        ValueError: shape, contiguity, alignment, a number that is not finite (with its flat index), unknown ``path``.
    """
    grouped = isinstance(vectors, np.ndarray) and vectors.ndim == 3
    shape = checked("vectors", vectors, (np.float32,), "(N, G, C)" if grouped else "(N, C)")
    palette = checked("leaves", leaves, (np.float32,), "(G, K, C)" if grouped else "(K, C)")
    if not 1 <= palette[-2] <= MAX_CATEGORIES:
        raise ValueError(f"leaves has shape {palette}; 1..{MAX_CATEGORIES} leaves are needed")
    if shape[-1] != palette[-1] or shape[-1] < 1:
        raise ValueError(f"vectors has {shape[-1]} channels, leaves {palette[-1]}; both need the same, 1 or more")
    if grouped and shape[1] != palette[0]:
        raise ValueError(f"vectors has {shape[1]} groups, leaves {palette[0]}; both need the same number")
    groups = shape[1] if grouped else 1
    result = _native.nearest(
        vectors.reshape(shape[0], groups, shape[-1]),
        leaves.reshape(groups, *palette[-2:]),
        checked_threads(threads),
        path,
    )
    return result.reshape(shape[:-1])


def node_errors(
    vectors: NDArray[np.float32],
    nodes: NDArray[np.uint8],
    table: NDArray[np.float32] | None,
    scale: NDArray[np.float32],
    factor: float,
) -> NDArray[np.float32]:
    """Squared error that nodes leave of every vector: of its difference from them, times a scale a group.

    Args:
        vectors: (N, G, C) float32, contiguous.
        nodes: (N, G) uint8, contiguous.
        table: (G, K, C) float32, contiguous: the nodes' vectors, 1 <= K <= 256. None: there is nothing, and all of a
            vector is error.
        scale: (G,) float32.
        factor: what the sum is multiplied by, rounded to float32.

    Returns:
        (N,) float32, summed group after group and channel after channel; each difference, product and sum is rounded to
        nearest, so that all machines have the same.

    Raises:
        TypeError: an array is of another dtype.
        ValueError: shape, contiguity, alignment, a node that is not in the table (with its flat index).
    """
    shape = checked("vectors", vectors, (np.float32,), "(N, G, C)")
    if checked("nodes", nodes, (np.uint8,), "(N, G)") != shape[:2]:
        raise ValueError(f"nodes has shape {nodes.shape}; {shape[:2]} is needed, for vectors {shape}")
    if checked("scale", scale, (np.float32,), "(G,)") != shape[1:2]:
        raise ValueError(f"scale has shape {scale.shape}; {shape[1:2]} is needed, for vectors {shape}")
    if table is not None:
        count = checked("table", table, (np.float32,), "(G, K, C)")[1]
        if table.shape != (shape[1], count, shape[2]) or not 1 <= count <= MAX_CATEGORIES:
            raise ValueError(f"table has shape {table.shape}; ({shape[1]}, 1..{MAX_CATEGORIES}, {shape[2]}) is needed")
    return _native.node_errors(vectors, nodes, table, scale, factor)


@dataclass(frozen=True)
class PaletteTree:
    """A palette with its tree.

    Attributes:
        nodes: for every depth d = 0..D the (2**d, C) float32 vectors of its nodes: the mean of all content below. Node
            n has the children 2 n and 2 n + 1, so that the bits of a leaf's index, first to last, are its path.
        populations: for every depth the (2**d,) int64 weight of the content below each node. Where it is 0, the node's
            vector is its parent's.
        step: the grid step that the content was rounded to; vectors are multiples of step / 256.
    """

    nodes: tuple[NDArray[np.float32], ...]
    populations: tuple[NDArray[np.int64], ...]
    step: float

    @property
    def depth(self) -> int:
        """D."""
        return len(self.nodes) - 1

    @property
    def leaves(self) -> NDArray[np.float32]:
        """(2**D, C), the palette: what ``nearest`` takes."""
        return self.nodes[-1]


def grid_step(vectors: NDArray[np.float32]) -> float:
    """The finest power of two from 2**-60 to 2**60 of which every coordinate is at most 32767; 1 if all are 0.

    Raises:
        ValueError: a number is not finite, or is too large for the coarsest step.
    """
    greatest = max(float(vectors.max(initial=0.0)), -float(vectors.min(initial=0.0)))  # a NaN stays a NaN
    if not math.isfinite(greatest) or greatest > math.ldexp(GRID, _STEP_EXPONENTS[-1]):
        raise ValueError(f"vectors holds {greatest}; finite numbers of at most 32767 * 2**60 are needed")
    if greatest == 0.0:
        return 1.0
    exponent = math.frexp(greatest)[1] - 15
    if greatest > math.ldexp(GRID, exponent):
        exponent += 1
    return math.ldexp(1.0, max(exponent, _STEP_EXPONENTS[0]))


def build_tree(
    vectors: NDArray[np.float32],
    depth: int,
    *,
    weights: NDArray[np.uint32] | None = None,
    step: float | None = None,
    rounds: int = 16,
) -> PaletteTree:
    """Hierarchical clustering of content into a complete binary tree: 2-means, from the root down.

    Tree-structured vector quantisation (Buzo, Gray, Gray, Markel, "Speech coding based upon vector quantization",
    1980), in integers: content is rounded to a grid, and sums and distances are exact, so no order of summation can
    change the result. A node is split first at its mean along its widest channel, then by rounds of 2-means until
    nothing changes. Content with fewer distinct vectors than leaves leaves some nodes empty.

    Args:
        vectors: (N, C) float32, contiguous, N >= 1, 1 <= C <= 4096.
        depth: D, 0..8.
        weights: (N,) uint32, how often each vector counts; their sum is 1..2**31 - 1. ``None``: once each.
        step: of the grid, a power of two, 2**-60..2**60; no coordinate may exceed 32767 steps. ``None``: ``grid_step``.
        rounds: 0..1000, the most rounds of 2-means for a node.

    Returns:
        The tree.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: shape, contiguity, alignment, a number that is not finite or too large (with its flat index), or an
            argument out of its range.
    """
    count, channels = checked("vectors", vectors, (np.float32,), "(N, C)")
    if count < 1 or not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"vectors has shape {vectors.shape}; 1 or more vectors of 1..{MAX_CHANNELS} channels needed")
    depth = checked_integer("depth", depth, 0, MAX_DEPTH)
    rounds = checked_integer("rounds", rounds, 0, MAX_ROUNDS)
    if weights is not None:
        (weighed,) = checked("weights", weights, (np.uint32,), "(N,)")
        _same_length("vectors", "weights", count, weighed)
    total = count if weights is None else int(weights.sum(dtype=np.uint64))
    if not 1 <= total < 1 << 31:
        raise ValueError(f"weights sum to {total}; the sum is 1..2**31 - 1")
    if step is None:
        step = grid_step(vectors)
    mantissa, exponent = math.frexp(step)
    if mantissa != 0.5 or exponent - 1 not in _STEP_EXPONENTS:
        raise ValueError(f"step is {step}; it is a power of two, 2**-60..2**60")
    centres, weight = _native.build_tree(vectors, weights, depth, 1.0 / step, rounds)
    bounds = [(1 << d) - 1 for d in range(depth + 2)]
    values = (centres.astype(np.float64) * (step / 256)).astype(np.float32).reshape(-1, channels)  # exact
    return PaletteTree(
        nodes=tuple(values[a:b] for a, b in pairwise(bounds)),
        populations=tuple(weight[a:b] for a, b in pairwise(bounds)),
        step=step,
    )


def sample_child(
    nodes: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    *,
    seed: int,
    stream: int,
    offset: int = 0,
    threads: int = 1,
    path: str = "auto",
) -> NDArray[np.uint8]:
    """A child of every node, drawn with the probability that the entropy coder gives to symbol 1 of a binary class.

    Args:
        nodes: (N,) uint8, contiguous, 0..127: nodes of some depth.
        classes: (N,) uint8, contiguous, 64..191: the second child is taken with probability
            (32 (class - 64) + 16) / 4096, exactly.
        seed: 0..2**64 - 1.
        stream: 0..2**64 - 1.
        offset: number of the first position; position p takes half-word p of the stream of ``noise.philox``.
        threads: 1..256.
        path: ``"auto"``, or one of ``noise.paths()`` to force it. All give the same bytes.

    Returns:
        (N,) uint8, 2 * node + 0 or 1.

    Raises:
        TypeError, ValueError: an argument is not as described; elements out of range are named by index.
    """
    (count,) = checked("nodes", nodes, (np.uint8,), "(N,)")
    _same_length("nodes", "classes", count, *checked("classes", classes, (np.uint8,), "(N,)"))
    address = checked_address(seed=seed, stream=stream, offset=offset, count=count)[:3]
    return _native.sample_child(nodes, classes, *address, checked_threads(threads), path)


def _checked_schedule(alpha_bar: float, alpha_bar_previous: float) -> None:
    """Raises ValueError unless 0 <= alpha_bar <= alpha_bar_previous <= 1, alpha_bar < 1, alpha_bar_previous > 0."""
    for name, value in (("alpha_bar", alpha_bar), ("alpha_bar_previous", alpha_bar_previous)):
        if not isinstance(value, float | int):  # numpy's float64 is a float, its float32 is not
            raise TypeError(f"{name} is a {type(value).__name__}; a float is needed")
    if not 0.0 <= alpha_bar < 1.0:  # a NaN fails too
        raise ValueError(f"alpha_bar is {alpha_bar}; it is at least 0 and less than 1")
    if not alpha_bar <= alpha_bar_previous <= 1.0 or alpha_bar_previous == 0.0:
        raise ValueError(
            f"alpha_bar_previous is {alpha_bar_previous}; it is more than 0, and alpha_bar ({alpha_bar}) to 1"
        )


@dataclass(frozen=True)
class Uniform:
    """The chain that with some probability replaces a category by any of the K, all alike.

    Attributes:
        alpha_bar: probability that nothing was replaced up to the given states, x_t; 0 <= alpha_bar < 1.
        alpha_bar_previous: the same up to the result, x_{t-1}; alpha_bar..1, more than 0.
    """

    alpha_bar: float
    alpha_bar_previous: float

    def __post_init__(self) -> None:
        _checked_schedule(self.alpha_bar, self.alpha_bar_previous)

    def shares(self, categories: int) -> tuple[int, int, int, int, int]:
        """The step in fixed point: model, flat, stay, agree in 2**-63, rounded down, and own in 2**-32, rounded, >= 1.

        They are computed from the exact rational values of the two floats. docs/kernels.md says what they mean.
        """
        late, early = Fraction(self.alpha_bar), Fraction(self.alpha_bar_previous)
        kept = late / early
        changed = (1 - kept) / categories
        beta = changed / (kept + changed)
        early_flat, late_flat = (1 - early) / categories, (1 - late) / categories
        own = late_flat / (late + late_flat)
        one = 1 << 63
        return (
            math.floor(beta * early * one),
            math.floor(beta * early_flat * categories * one),
            math.floor((1 - beta) * early_flat * one),
            math.floor((1 - beta) * early * own * one),
            max(1, math.floor(own * (1 << 32) + Fraction(1, 2))),
        )


@dataclass(frozen=True)
class Absorbing:
    """The chain that with some probability replaces a category by the mask, state K, which never changes again.

    Attributes: as of ``Uniform``.
    """

    alpha_bar: float
    alpha_bar_previous: float

    def __post_init__(self) -> None:
        _checked_schedule(self.alpha_bar, self.alpha_bar_previous)

    def masked(self) -> int:
        """The probability that a masked position stays masked, (1 - previous) / (1 - alpha_bar), rounded, in 2**-32."""
        stays = (1 - Fraction(self.alpha_bar_previous)) / (1 - Fraction(self.alpha_bar))
        return math.floor(stays * (1 << 32) + Fraction(1, 2))


@dataclass(frozen=True)
class Tree:
    """The chain that moves every position from its leaf to the parent, level by level, in a palette tree.

    Attributes:
        depth: of the given states, 0..D - 1: 0 is the root alone.
        next_depth: of the result, depth + 1..D; ``None`` is depth + 1.
    """

    depth: int
    next_depth: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.depth < MAX_DEPTH:
            raise ValueError(f"depth is {self.depth}; it is 0..{MAX_DEPTH - 1}")
        if not self.depth < self.target <= MAX_DEPTH:
            raise ValueError(f"next_depth is {self.target}; below depth {self.depth} is {self.depth + 1}..{MAX_DEPTH}")

    @property
    def target(self) -> int:
        """The depth of the result."""
        return self.depth + 1 if self.next_depth is None else self.next_depth


Transition: TypeAlias = Uniform | Absorbing | Tree
"""A chain, and the step of it."""


def _checked_categories(categories: int, transition: Transition) -> None:
    greatest = MAX_CATEGORIES - 1 if isinstance(transition, Absorbing) else MAX_CATEGORIES
    if not 1 <= categories <= greatest:
        name = type(transition).__name__
        raise ValueError(f"logits has {categories} categories; with {name} there are 1..{greatest}")
    if isinstance(transition, Tree):
        if categories & (categories - 1):
            raise ValueError(f"logits has {categories} categories; a tree has a power of two of leaves")
        if transition.target >= categories.bit_length():
            deepest = categories.bit_length() - 1
            raise ValueError(f"next_depth is {transition.target}; the {categories} leaves are of depth {deepest}")


def posterior_sample(
    logits: NDArray[np.int16],
    states: NDArray[np.uint8],
    transition: Transition,
    *,
    seed: int,
    stream: int,
    offset: int = 0,
    threads: int = 1,
    path: str = "auto",
) -> NDArray[np.uint8]:
    """One reverse step of a discrete diffusion: draws x_{t-1} given x_t and the model's prediction of x_0.

    p(x_{t-1} = j | x_t = i) = sum over k of q(x_{t-1} = j | x_t = i, x_0 = k) p(x_0 = k): the mixture of the exact
    posteriors of Austin et al., "Structured denoising diffusion models in discrete state-spaces" (2021; their own
    choice leaves out the denominator q(x_t = i | x_0 = k)). Integers only, one pass over a row, no arrays between.

    Args:
        logits: (N, K) int16, contiguous: log2 p(x_0 = k) in units of 1/256, up to a constant per row. A weight is
            within 3.1e-5 of exact, relatively, down to 2**-7 of the greatest, below that within 2**-22 of the greatest.
        states: (N,) uint8, contiguous: x_t. ``Uniform``: 0..K - 1, ``Absorbing``: 0..K, where K is the mask, ``Tree``:
            a node of the given depth.
        transition: the chain and the step. K <= 256; 255 with ``Absorbing``, 2**D with ``Tree``.
        seed: 0..2**64 - 1.
        stream: 0..2**64 - 1.
        offset: number of the first position, 0..2**63; position p takes words 2 p and 2 p + 1 of ``noise.philox``.
        threads: 1..256.
        path: ``"auto"``, or one of ``noise.paths()`` to force it. All give the same bytes.

    Returns:
        (N,) uint8, x_{t-1}.

    Raises:
        TypeError, ValueError: an argument is not as described; states out of range are named by index.
    """
    count, categories = checked("logits", logits, (np.int16,), "(N, K)")
    _same_length("logits", "states", count, *checked("states", states, (np.uint8,), "(N,)"))
    if not isinstance(transition, Uniform | Absorbing | Tree):
        raise TypeError(f"transition is a {type(transition).__name__}; a Uniform, Absorbing or Tree is needed")
    _checked_categories(categories, transition)
    address = checked_address(seed=seed, stream=stream, offset=offset, count=count)[:3]
    if address[2] + count > 1 << 63:
        raise ValueError(f"offset {offset} + {count} positions is beyond the last position of a stream, 2**63 - 1")
    tail: tuple[Any, ...] = (*address, checked_threads(threads), path)
    if isinstance(transition, Uniform):
        return _native.posterior_uniform(logits, states, *transition.shares(categories), *tail)
    if isinstance(transition, Absorbing):
        return _native.posterior_absorbing(logits, states, transition.masked(), *tail)
    return _native.posterior_tree(logits, states, transition.depth, transition.target, *tail)

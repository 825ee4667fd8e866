"""The texture tables of a profile: what turns residuals into nodes and nodes into what the exact networks see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duoview.errors import ProfileError
from duoview.kernels.palette import MAX_DEPTH
from duoview.literals import stored_arrays

LEVELS = 64
#: Integer logits of the prior, -128..127 in sixteenths, each with its Bernoulli class.
LOGITS = 256
FIRST_CLASS, LAST_CLASS = 64, 191
_MOST_EMBEDDING = 64
_FLOATS = ("matrix", "inverse", "scale", "error", "step", "rate", "price")


@dataclass(frozen=True)
class TextureTables:
    """Tables for C latent channels in G groups of C / G, palettes of 2^D leaves, E numbers of embedding a group.

    Attributes:
        matrix: (D, C, C) float32, and inverse: (64, D, C) float32: components that nodes of depth d stand for change a
            latent by matrix[d - 1] @ (inverse[q, d - 1] * components).
        rate: (G, 2^D) float32, bits of a leaf by its frequency. price: (64, G) float32, bits that a squared error of 1
            of a group's vector is worth: what encoders choose leaves by.
        scale: (64, G) float32, what components of a quality index are divided by before they are looked up.
        error: (64,) float32, the picture's squared error (8-bit steps, mean) for a squared error of 1 of a position's
            components.
        step: (G,) float32, unit of the palettes' integers.
        nodes: for depth 0..D (G, 2^d, C / G) int16, the default palettes.
        embedding: for depth 0..D (G, 2^d, E) int8, what the prior sees of a node.
        logits: for depth 0..D - 1 (G, 2^d) int8, what is added to the prior's logits at a node, in sixteenths.
        classes: (256,) uint8, the Bernoulli class of every logit; 0 at either end, from a logit on where the likely
            child is certain and nothing is coded.
        levels: (64,) uint8, the quality index at which texture goes beside an inner codec, by that codec's.
    """

    matrix: NDArray[np.float32]
    inverse: NDArray[np.float32]
    scale: NDArray[np.float32]
    error: NDArray[np.float32]
    step: NDArray[np.float32]
    nodes: tuple[NDArray[np.int16], ...]
    embedding: tuple[NDArray[np.int8], ...]
    logits: tuple[NDArray[np.int8], ...]
    classes: NDArray[np.uint8]
    rate: NDArray[np.float32]
    price: NDArray[np.float32]
    levels: NDArray[np.uint8]

    @cached_property
    def certain(self) -> bool:
        """Whether any logit makes a child certain."""
        return bool((self.classes == 0).any())

    @property
    def groups(self) -> int:
        """G."""
        return self.nodes[0].shape[0]

    @property
    def depth(self) -> int:
        """D."""
        return len(self.nodes) - 1

    def worth(self, q: int) -> float:
        """Bits that a squared error of the picture of 1 (8-bit steps, mean of a position) is worth to texture."""
        return float(self.price[q, 0] / (self.error[q] * self.scale[q, 0] ** 2))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All tables by the names under which they are stored."""
        found: dict[str, NDArray[np.generic]] = {
            name: getattr(self, name) for name in (*_FLOATS, "classes", "levels")}
        for depth, (nodes, embedding) in enumerate(zip(self.nodes, self.embedding, strict=True)):
            found |= {f"nodes_{depth}": nodes, f"embedding_{depth}": embedding}
        found |= {f"logits_{depth}": logits for depth, logits in enumerate(self.logits)}
        return found


def read_tables(path: Path, latent: int) -> TextureTables:
    """The tables of a file, checked. Raises ProfileError."""
    try:
        stored = stored_arrays(path)
        depth = sum(name.startswith("nodes_") for name in stored) - 1
        tables = TextureTables(
            **{name: stored[name] for name in (*_FLOATS, "classes", "levels")},
            nodes=tuple(stored[f"nodes_{d}"] for d in range(depth + 1)),
            embedding=tuple(stored[f"embedding_{d}"] for d in range(depth + 1)),
            logits=tuple(stored[f"logits_{d}"] for d in range(depth)))
    except (KeyError, ValueError) as error:
        raise ProfileError(f"{path}: not the texture tables of a profile ({error})") from None
    check_tables(tables, latent, str(path))
    return tables


def check_tables(tables: TextureTables, latent: int, where: str) -> None:
    """Raises ProfileError for shapes, types or values that nothing may be coded with."""
    if not 1 <= tables.depth <= MAX_DEPTH:
        raise ProfileError(f"{where}: palettes of depth {tables.depth}, expected 1 to {MAX_DEPTH}")
    groups = tables.nodes[0].shape[0] if tables.nodes[0].ndim == 3 else 0
    if not groups or latent % groups:
        raise ProfileError(f"{where}: {groups} channel groups, expected a divisor of {latent}")
    wide = tables.embedding[0].shape[-1]
    if not 1 <= wide <= _MOST_EMBEDDING:
        raise ProfileError(f"{where}: embeddings of {wide} numbers, expected 1 to {_MOST_EMBEDDING}")
    expected: dict[str, tuple[tuple[int, ...], type]] = {
        "matrix": ((tables.depth, latent, latent), np.float32),
        "inverse": ((LEVELS, tables.depth, latent), np.float32),
        "scale": ((LEVELS, groups), np.float32), "error": ((LEVELS,), np.float32), "step": ((groups,), np.float32),
        "classes": ((LOGITS,), np.uint8), "levels": ((LEVELS,), np.uint8), "price": ((LEVELS, groups), np.float32),
        "rate": ((groups, 1 << tables.depth), np.float32)}
    for depth in range(tables.depth + 1):
        expected[f"nodes_{depth}"] = ((groups, 1 << depth, latent // groups), np.int16)
        expected[f"embedding_{depth}"] = ((groups, 1 << depth, wide), np.int8)
        if depth < tables.depth:
            expected[f"logits_{depth}"] = ((groups, 1 << depth), np.int8)
    if len(tables.logits) != tables.depth or len(tables.embedding) != tables.depth + 1:
        raise ProfileError(f"{where}: logits of {len(tables.logits)} and embeddings of {len(tables.embedding)} depths, "
                           f"expected {tables.depth} and {tables.depth + 1}")
    for name, array in tables.arrays().items():
        shape, kind = expected[name]
        if array.shape != shape or array.dtype != kind:
            raise ProfileError(f"{where}: {name} is {array.dtype} {array.shape}, expected {np.dtype(kind)} {shape}")
        if not np.isfinite(array).all():
            raise ProfileError(f"{where}: {name} has values that are not finite")
    coded = np.flatnonzero(tables.classes)
    # Logits of -1 and 0 say next to nothing; between them and where a child is certain, all are coded.
    if not {LOGITS // 2 - 1, LOGITS // 2} <= set(coded) or len(coded) != coded[-1] - coded[0] + 1:
        raise ProfileError(f"{where}: classes that are 0 in the middle, expected a run at either end at most")
    least, most = tables.classes[coded].min(), tables.classes[coded].max()
    if not FIRST_CLASS <= least <= most <= LAST_CLASS:
        raise ProfileError(f"{where}: classes {least} to {most}, expected {FIRST_CLASS} to {LAST_CLASS}, or 0")
    if min(tables.scale.min(), tables.step.min(), tables.error.min(), tables.price.min()) <= 0:
        raise ProfileError(f"{where}: a scale, step, error or price is not positive")
    if tables.rate.min() < 0:
        raise ProfileError(f"{where}: a rate is negative")
    if tables.levels.max() >= LEVELS:
        raise ProfileError(f"{where}: level {tables.levels.max()}, expected 0 to {LEVELS - 1}")

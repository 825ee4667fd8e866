"""The chain of one tile: one step from depth d to d + 1, the state that is handed from frame to frame, and sampling.

Encoder, decoder and sampler take the same step; they differ only in where the child decisions come from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.kernels import palette
from duoview.machine import first_half
from duoview.texture.geometry import Tile
from duoview.texture.prior import FrameContext, Nodes, Planes, Prior, ancestors
from duoview.texture.tables import FIRST_CLASS

#: Latent columns that are told apart in the addresses of random bits: 16384 pixels.
ROW_POSITIONS = 2048
Mask = NDArray[np.bool_]
#: Takes the classes (G, H, W) of a half, 0 where nothing is to be decided, its mask, and gives bits (G, H, W).
Choice = Callable[[Nodes, Mask], Nodes]


class TileState:
    """What a tile's chain hands to its next frame.

    Attributes:
        nodes: (G, h, w), of depth ``depth``; 0 before anything is known.
        known: (h, w), where they still stand for what is seen: not where the machine layer changed something since.
        indices: for every depth, the index of the unit of its last section, counted from the key unit; None where the
            chain is broken.
    """

    def __init__(self, groups: int, tile: Tile, deepest: int) -> None:
        self.tile = tile
        self.nodes: Nodes = np.zeros((groups, tile.height, tile.width), np.uint8)
        self.depth = 0
        self.known: Mask = np.zeros((tile.height, tile.width), np.bool_)
        self.indices: list[int | None] = [None] * (deepest + 1)

    def forget(self, moved: Mask) -> None:
        """Positions of the tile where the machine layer changed something, by symbols or by motion, (h, w)."""
        self.known = self.known & ~moved

    def take(self, nodes: Nodes, depth: int, reached: int, index: int) -> None:
        """The nodes, of ``depth``, of unit ``index``, in which the tile has sections up to depth ``reached``.

        Deeper chains break.
        """
        self.nodes, self.depth = nodes, depth
        self._know(depth > 0)
        self.indices = [index if 1 <= one <= reached else None for one in range(len(self.indices))]

    def _know(self, known: bool) -> None:
        self.known = np.full(self.known.shape, known)

    def ancestors(self, depth: int) -> Nodes:
        """Nodes of a depth of at most ``self.depth``."""
        return ancestors(self.nodes, self.depth - depth)

    def previous(self, nodes: Nodes, depth: int) -> Planes:
        """Children of ``nodes`` (of ``depth``) in the frame before, as -1 and 1; 0 where not known or another node."""
        if self.depth <= depth:
            return np.zeros(nodes.shape, np.int8)
        children = self.ancestors(depth + 1)
        same = self.known & (ancestors(children, 1) == nodes)
        return np.where(same, (children & 1).astype(np.int8) * 2 - 1, 0).astype(np.int8)


def step(prior: Prior, context: FrameContext, nodes: Nodes, depth: int, choose: Choice, *, previous: Planes,
         held: Mask | None = None) -> Nodes:
    """Nodes (G, h, w) of ``depth`` to nodes of depth + 1, in two checkerboard halves.

    Where the prior is certain, its child is taken, whatever ``choose`` says.
    held: (h, w), positions that keep their child of the frame before, which ``previous`` then must know.
    """
    first = first_half(*nodes.shape)
    bits = np.zeros(nodes.shape, np.uint8)
    decided = np.zeros(nodes.shape, np.int8)
    given = prior.at(context, nodes, depth, previous)
    for half, mine in enumerate((first, ~first)):
        found = given.decisions(decided, half)
        classes, likely = found.classes, found.likely
        certain = classes == 0
        if held is not None:
            classes[:, held] = 0
        chosen = choose(classes, mine)
        if likely is not None:
            chosen = np.where(certain, likely, chosen)
        bits = np.where(mine, chosen, bits).astype(np.uint8)
        if held is not None:
            bits[:, held] = previous[:, held] > 0
        decided = np.where(first, bits.astype(np.int8) * 2 - 1, 0).astype(np.int8)
    return (nodes << np.uint8(1)) + bits


class Reader:
    """Child decisions from an entropy-coded payload."""

    def __init__(self, decoder: kernels.Decoder) -> None:
        self._decoder = decoder

    def __call__(self, classes: Nodes, mine: Mask) -> Nodes:
        """Decode the bits of a half."""
        bits = np.zeros(classes.shape, np.uint8)
        bits[mine] = self._decoder.decode(classes[mine])
        return bits


class Writer:
    """Child decisions of nodes that are known, kept for the entropy coder."""

    def __init__(self, bits: Nodes, symbols: list[NDArray[np.int16]], classes: list[Nodes]) -> None:
        self.bits, self.symbols, self.classes = bits, symbols, classes

    def __call__(self, classes: Nodes, mine: Mask) -> Nodes:
        """Take down the bits of a half, zeros where nothing is decided."""
        half = classes[mine]
        self.classes.append(half)
        self.symbols.append(np.where(half == 0, 0, self.bits[mine]).astype(np.int16))
        return self.bits


class Sampler:
    """Child decisions drawn with their probabilities, by bits that are addressed by seed, depth, group and position.

    The same everywhere, and not by time: a still picture has a still texture. draw: number of the draw, of several.
    """

    def __init__(self, seed: int, depth: int, tile: Tile, draw: int = 0) -> None:
        self._seed, self._depth, self._tile, self._draw = seed, depth, tile, draw

    def __call__(self, classes: Nodes, mine: Mask) -> Nodes:
        """Draw for all positions; the half's own count."""
        groups, height, width = classes.shape
        # Where the class is 0 nothing is to be decided: what is drawn there counts for nothing.
        classes = np.maximum(classes, FIRST_CLASS)
        bits = np.empty(classes.shape, np.uint8)
        roots = np.zeros(width, np.uint8)
        for group in range(groups):
            stream = self._draw << 16 | self._depth << 8 | group
            for row in range(height):
                offset = (self._tile.top + row) * ROW_POSITIONS + self._tile.left
                bits[group, row] = palette.sample_child(roots, classes[group, row], seed=self._seed, stream=stream,
                                                        offset=offset)
        return bits


def sampled(prior: Prior, context: FrameContext, nodes: Nodes, depth: int, tile: Tile, seed: int,
            draw: int = 0) -> Nodes:
    """Leaves below nodes (G, h, w) of ``depth``, drawn depth by depth; draw: number of the draw, of several."""
    nothing = np.zeros(nodes.shape, np.int8)
    for d in range(depth, prior.tables.depth):
        nodes = step(prior, context, nodes, d, Sampler(seed, d, tile, draw), previous=nothing)
    return nodes

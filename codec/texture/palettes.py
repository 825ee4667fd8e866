"""Palettes in use: the profile's, with what a group of pictures changes in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.errors import BitstreamError
from duoview.kernels import palette
from duoview.texture.tables import TextureTables

Floats = NDArray[np.float32]
#: Greatest change of a coordinate, in units of the section's own step.
MOST_CHANGE = 127
#: Steps of a palette section: units of the tables, times a power of two up to this.
MOST_SHIFT = 12
_LAST_GAUSSIAN = 63
#: Between nodes, in units of vectors' scales, when leaves are sought below one of them.
APART = np.float32(2.0**40)


class Palettes:
    """Node vectors of every depth, as integers; immutable.

    ``adapted`` is how many depths, from 1 on, a group of pictures has changed.
    """

    def __init__(self, tables: TextureTables, nodes: tuple[NDArray[np.int32], ...] | None = None,
                 adapted: int = 0) -> None:
        self.tables, self.adapted = tables, adapted
        self.nodes = nodes if nodes is not None else tuple(one.astype(np.int32) for one in tables.nodes)
        # Rounded once each way, so that every machine sees the same leaves.
        self.vectors: tuple[Floats, ...] = tuple(
            one.astype(np.float32) * tables.step[:, None, None] for one in self.nodes)

    def changed(self, depth: int, changes: NDArray[np.int16], shift: int) -> Palettes:
        """With changes (G, 2^depth, C / G) of one depth, in units of 2^shift; deeper nodes move with their parents."""
        if depth != self.adapted + 1:
            raise ValueError(f"changes of depth {depth} behind those of depth {self.adapted}")
        nodes = list(self.nodes)
        moves = changes.astype(np.int32) << shift
        for d in range(depth, self.tables.depth + 1):
            nodes[d] = nodes[d] + moves
            moves = moves.repeat(2, 1)
        return Palettes(self.tables, tuple(nodes), depth)

    def vectors_of(self, components: Floats, q: int) -> Floats:
        """Components (C, H, W) as the vectors that leaves are sought for: (H W, G, C / G)."""
        tables = self.tables
        flat = components.reshape(tables.groups, len(components) // tables.groups, -1).transpose(2, 0, 1)
        return np.ascontiguousarray(flat / tables.scale[q][:, None], np.float32)

    def leaves_of(self, vectors: Floats, q: int) -> NDArray[np.uint8]:
        """The leaves to be coded for vectors (N, G, C / G): (N, G)."""
        return chosen_leaves(vectors, self.vectors[-1], self.tables.rate, self.tables.price[q])

    def leaves_below(self, nodes: NDArray[np.uint8], depth: int, vectors: Floats, q: int) -> NDArray[np.uint8]:
        """The leaves to be coded for vectors (N, G, C / G) among those below nodes (N, G) of ``depth``: (N, G)."""
        tables = self.tables
        # One coordinate more: the node, so far apart that no error is worth another one, and exactly 0 within it.
        ends = np.arange(1 << tables.depth, dtype=np.float32) // (1 << tables.depth - depth) * APART
        below = np.broadcast_to(ends[None, :, None], (tables.groups, len(ends), 1))
        mine = nodes[:, :, None].astype(np.float32) * APART
        return chosen_leaves(np.concatenate([vectors, mine], 2), np.concatenate([self.vectors[-1], below], 2),
                             tables.rate, tables.price[q])

    def errors(self, vectors: Floats, nodes: NDArray[np.uint8], depth: int, q: int) -> Floats:
        """Squared error of the picture (8-bit steps, mean) by nodes (N, G) of one depth, (N,).

        vectors: (N, G, C / G). Depth 0 is no texture.
        """
        return palette.node_errors(np.ascontiguousarray(vectors), np.ascontiguousarray(nodes),
                                   self.vectors[depth] if depth else None, self.tables.scale[q],
                                   float(self.tables.error[q]))

    def residual(self, nodes: NDArray[np.uint8], depth: int, q: int) -> Floats:
        """What nodes (G, H, W) of one depth add to the base: (C, H, W). Depth 0 is no texture: zeros."""
        tables = self.tables
        groups, height, width = nodes.shape
        channels = tables.matrix.shape[1]
        if depth == 0:
            return np.zeros((channels, height, width), np.float32)
        picked = self.vectors[depth][np.arange(groups)[:, None], nodes.reshape(groups, -1)]
        flat = (picked * tables.scale[q][:, None, None]).transpose(0, 2, 1).reshape(channels, -1)
        flat *= tables.inverse[q, depth - 1][:, None]
        found: Floats = (tables.matrix[depth - 1] @ flat).reshape(channels, height, width)
        return found

    def contributions(self, depth: int, q: int) -> Floats:
        """What each node of a depth of 1 or more adds to the base, (G, 2^depth, C): ``residual`` is their sum."""
        tables = self.tables
        groups, _, channels = self.vectors[depth].shape
        flat = self.vectors[depth] * tables.scale[q][:, None, None]
        flat = flat * tables.inverse[q, depth - 1].reshape(groups, 1, channels)
        parts = tables.matrix[depth - 1].reshape(-1, groups, channels)
        found: Floats = np.einsum("ogc,gkc->gko", parts, flat).astype(np.float32)
        return found

    def leaf_table(self, q: int) -> Floats:
        """Leaves (G, K, C / G + 1) with the square root of what each costs: what ``chosen_leaves`` seeks among."""
        return priced_leaves(self.vectors[-1], self.tables.rate, self.tables.price[q])

    def apart_table(self, depth: int, q: int) -> Floats:
        """The same, and one number more: the ancestor of ``depth``, times a distance that no error is worth."""
        table = self.leaf_table(q)
        ends = np.arange(table.shape[1], dtype=np.float32) // (1 << self.tables.depth - depth) * APART
        return np.concatenate([table, np.broadcast_to(ends[None, :, None], (*table.shape[:2], 1))], 2)


def priced_leaves(leaves: Floats, rate: Floats, price: Floats) -> Floats:
    """Leaves (G, K, C / G) with one number more, whose square is what a leaf costs: rate (G, K) at price (G,)."""
    return np.concatenate([leaves, np.sqrt(rate / price[:, None], dtype=np.float32)[:, :, None]], 2)


def chosen_leaves(vectors: Floats, leaves: Floats, rate: Floats, price: Floats) -> NDArray[np.uint8]:
    """The leaves of vectors (N, G, C / G) of which squared error, at ``price`` (G,) bits, and rate are least: (N, G).

    leaves: (G, K, C / G). rate: (G, K), bits. As in entropy-constrained vector quantisation (Chou, Lookabaugh and Gray,
    1989): the nearest ones in a space with one coordinate more, whose square is what a leaf costs.
    """
    beside = np.zeros((*vectors.shape[:2], 1), np.float32)
    return palette.nearest(np.concatenate([vectors, beside], 2), priced_leaves(leaves, rate, price))


def write_changes(changes: NDArray[np.int16], shift: int, class_: int) -> bytes:
    """Payload of a palette section: shift, Gaussian class, then the changes (G, 2^d, C / G) in that class."""
    flat = np.ascontiguousarray(changes.reshape(-1))
    return bytes((shift, class_)) + kernels.encode(flat, np.full(flat.size, class_, np.uint8))


def read_changes(payload: bytes, shape: tuple[int, ...]) -> tuple[NDArray[np.int16], int]:
    """Changes and shift of a palette section. Raises BitstreamError."""
    if len(payload) < 2:
        raise BitstreamError(f"palette section of {len(payload)} bytes, expected 2 or more", offset=0)
    shift, class_ = payload[0], payload[1]
    if shift > MOST_SHIFT or not 1 <= class_ <= _LAST_GAUSSIAN:
        raise BitstreamError(f"palette section with shift {shift} and class {class_}, expected at most {MOST_SHIFT} "
                             f"and 1 to {_LAST_GAUSSIAN}", offset=0)
    decoder = kernels.Decoder(payload[2:])
    symbols = decoder.decode(np.full(int(np.prod(shape)), class_, np.uint8))
    decoder.finish()
    if np.abs(symbols.astype(np.int32)).max(initial=0) > MOST_CHANGE:
        raise BitstreamError(f"palette change beyond +-{MOST_CHANGE}", offset=0)
    return symbols.reshape(shape), shift

"""A tile of a frame while it is written: its nodes go down the trees, and every depth becomes a section's payload."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from duoview.texture.chain import Mask, TileState
from duoview.texture.palettes import Floats, Palettes
from duoview.texture.prior import FrameContext, Nodes, Prior, ancestors
from duoview.texture.section import SectionHead, write_section


class TileWriter(Protocol):
    """What an encoder asks of a tile, wherever its nodes lie.

    Attributes:
        leaves: (G, h, w) uint8, those that nodes are led to; what a state takes over when the frame is done.
    """

    leaves: Any

    def choices(self) -> tuple[Floats, Floats, Mask]:
        """Squared errors (h, w) by the nodes of the frame before and by the leaves; where the former are known (h, w).

        The tile must have had nodes of full depth.
        """

    def hold(self, held: Mask) -> None:
        """Positions (h, w), whole blocks, that keep their nodes of the frame before, which have to be known."""

    def descend(self, head: SectionHead, *, sent: bool) -> bytes:
        """Go to the next depth, the first time to depth 1. The payload of its section, or nothing if it is not sent."""

    def errors(self) -> Floats:
        """Squared errors (h w,) by the nodes of the depth that was reached."""


class HostTileWriter:
    """A tile whose nodes are arrays of numpy.

    Args:
        context: of the tile. vectors: (h, w, G, C / G), of its positions.
    """

    def __init__(self, prior: Prior, palettes: Palettes, state: TileState, context: FrameContext, vectors: Floats
                 ) -> None:
        self._prior, self._palettes, self._state, self._context = prior, palettes, state, context
        self._vectors = np.ascontiguousarray(vectors.reshape(-1, *vectors.shape[2:]))
        self._shape = vectors.shape[:2]
        found = palettes.leaves_of(self._vectors, context.q)
        self.leaves: Nodes = np.ascontiguousarray(found.T.reshape(-1, *self._shape))
        self._deepest = palettes.tables.depth
        self._nodes, self._depth = ancestors(self.leaves, self._deepest), 0
        self._held: Mask | None = None

    def _errors(self, nodes: Nodes, depth: int) -> Floats:
        return self._palettes.errors(self._vectors, nodes.reshape(len(nodes), -1).T, depth, self._context.q)

    def choices(self) -> tuple[Floats, Floats, Mask]:
        """See TileWriter."""
        before, after = (self._errors(nodes, self._deepest).reshape(self._shape)
                         for nodes in (self._state.nodes, self.leaves))
        return before, after, self._state.known

    def hold(self, held: Mask) -> None:
        """See TileWriter."""
        self._held, self.leaves = held, np.where(held, self._state.nodes, self.leaves)

    def descend(self, head: SectionHead, *, sent: bool) -> bytes:
        """See TileWriter."""
        self._depth += 1
        wanted = ancestors(self.leaves, self._deepest - self._depth)
        payload, self._nodes = write_section(self._prior, self._context, self._state, self._nodes, wanted, self._depth,
                                             head, self._held, sent=sent)
        self._take_below(wanted)
        return payload

    def errors(self) -> Floats:
        """See TileWriter."""
        return self._errors(self._nodes, self._depth)

    def _take_below(self, wanted: Nodes) -> None:
        """Where the prior was certain of another node than the leaf's, take the best leaf below it."""
        apart = wanted != self._nodes
        if not apart.any():
            return
        places = apart.any(0)
        found = self.leaves.copy()
        below = self._palettes.leaves_below(np.ascontiguousarray(self._nodes[:, places].T), self._depth,
                                            self._vectors[places.reshape(-1)], self._context.q).T
        found[:, places] = np.where(apart[:, places], below, self.leaves[:, places])
        self.leaves = found

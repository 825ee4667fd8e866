"""Writing the texture of a tile whose nodes lie on a device: see ``duoview.texture.tile_writer``.

The host gets coded bytes, and where it has to decide something, squared errors and what is known, a number a position.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from duoview.device.chain import Chain, DeviceContext, Write
from duoview.device.coding import SectionCoder
from duoview.device.networks import DeviceNetworks
from duoview.device.palettes import DevicePalettes
from duoview.device.texture import DeviceTileState
from duoview.texture.chain import Mask
from duoview.texture.geometry import BLOCK
from duoview.texture.palettes import Floats
from duoview.texture.section import SectionHead, blocks_of


class TileMemory:
    """Memory to write tiles of one size in, (height, width), used again for each; numbers: of a group's vectors."""

    def __init__(self, networks: DeviceNetworks, groups: int, numbers: int, height: int, width: int) -> None:
        empty, positions, shape = networks.empty, height * width, (groups, height, width)
        self.vectors = empty((positions, groups, numbers + 1), np.float32)
        self.vectors_below = empty((positions, groups, numbers + 2), np.float32)
        self.found = empty((positions, groups), np.uint8)
        self.nodes = [empty(shape, np.uint8) for _ in range(2)]
        self.errors, self.held = empty((height, width), np.float32), empty((height, width), np.uint8)
        self.everywhere = networks.array(np.ones((height, width), np.uint8))
        self.status = empty((1,), np.uint64)
        self.coder = SectionCoder(networks, groups * positions + positions // BLOCK**2)


class DeviceTileWriter:
    """A tile of one frame. Leaves are a plane of the state's, which takes them over when the frame is done.

    Args:
        components: (1, C, H, W) of the frame. context: of the tile.

    Raises ValueError where components are not finite, once that is known: before anything of it is coded.
    """

    def __init__(self, chain: Chain, palettes: DevicePalettes, memory: TileMemory, state: DeviceTileState,
                 context: DeviceContext, components: Any) -> None:
        self._chain, self._palettes, self._memory, self._state = chain, palettes, memory, state
        self._networks, self._kernels, self._stream = chain.networks, chain.kernels, chain.stream
        self._context, self._components = context, components
        tile, kernels, stream = state.tile, self._kernels, self._stream
        self._part = tile.top, tile.left, tile.height, tile.width
        self._planes = chain.planes(tile.height, tile.width)
        self._deepest, self._depth, self._held = chain.tables.depth, 0, False
        q = context.q
        kernels.gather_vectors(components, palettes.scale(q), memory.vectors, self._part, cuda_stream=stream)
        kernels.nearest(memory.vectors, palettes.leaves(q, 0), memory.found, memory.status, cuda_stream=stream)
        self.leaves = state.spare()
        kernels.take_leaves(memory.found, self.leaves, cuda_stream=stream)
        self._nodes, self._children = memory.nodes
        kernels.clear(self._nodes, cuda_stream=stream)

    def _errors(self, nodes: Any, depth: int) -> Floats:
        memory, q = self._memory, self._context.q
        self._kernels.node_errors(memory.vectors, nodes, self._palettes.nodes(depth), memory.errors,
                                  scale=self._palettes.scale(q), factor=self._palettes.error(q),
                                  cuda_stream=self._stream)
        return self._networks.get(memory.errors)

    def choices(self) -> tuple[Floats, Floats, Mask]:
        """See TileWriter."""
        self._kernels.check(self._memory.status, cuda_stream=self._stream)
        before, after = (self._errors(nodes, self._deepest) for nodes in (self._state.nodes, self.leaves))
        return before, after, self._networks.get(self._state.known) > 0

    def hold(self, held: Mask) -> None:
        """See TileWriter."""
        self._held = True
        self._networks.put(held.astype(np.uint8), self._memory.held)
        self._networks.put((~blocks_of(held)).reshape(-1).astype(np.int16), self._planes.flags)
        self._kernels.take_leaves(self._memory.found, self.leaves, held=self._memory.held, before=self._state.nodes,
                                  cuda_stream=self._stream)

    def descend(self, head: SectionHead, *, sent: bool) -> bytes:
        """See TileWriter."""
        memory, planes, state = self._memory, self._planes, self._state
        before = None if head.refresh else (state.nodes, state.known, state.depth)
        self._chain.step(self._context, self._nodes, self._children, self._depth, Write(self.leaves, self._deepest),
                         before=before, held=memory.held if self._held else None)
        self._depth += 1
        flagged = self._held and self._depth == 1
        symbols, classes = planes.flagged if flagged else (planes.symbols_row, planes.classes_row)
        payload = head.write() + memory.coder.encode(symbols, classes, [memory.status]) if sent else b""
        self._nodes, self._children = self._children, self._nodes
        if self._chain.tables.certain:
            self._take_below()
        return payload

    def errors(self) -> Floats:
        """See TileWriter."""
        return self._errors(self._nodes, self._depth).reshape(-1)

    def _take_below(self) -> None:
        """Where the prior was certain of another node than the leaf's, take the best leaf below it."""
        kernels, stream, memory, q = self._kernels, self._stream, self._memory, self._context.q
        if self._depth == self._deepest:  # that is the node
            kernels.take_leaves(memory.found, self.leaves, held=memory.everywhere, before=self._nodes,
                                cuda_stream=stream)
            return
        kernels.gather_vectors(self._components, self._palettes.scale(q), memory.vectors_below, self._part,
                               nodes=self._nodes, apart=self._palettes.apart, cuda_stream=stream)
        kernels.nearest(memory.vectors_below, self._palettes.leaves(q, self._depth), memory.found, memory.status,
                        cuda_stream=stream)
        kernels.take_leaves(memory.found, self.leaves, nodes=self._nodes, levels=self._deepest - self._depth,
                            cuda_stream=stream)

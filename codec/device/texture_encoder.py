"""The texture layer's encoder on a device: leaves are chosen and coded there, the host gets sections.

Key frames have texture, all tiles as deep as is asked for. What an encoder weighs on the host is not decided here: it
does not adapt palettes, hold what P frames may keep, or cut tiles to a rate or by what counts. Sections are those of
``duoview.texture.encoder`` with those settings.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from duoview.access_unit import Section, SectionType
from duoview.device.chain import Chain, DeviceContext, Write
from duoview.device.coding import SectionCoder
from duoview.device.networks import DeviceNetworks
from duoview.device.texture import DeviceTextureView
from duoview.sequence import PaletteGeometry
from duoview.texture.depths import Depths, write_map
from duoview.texture.geometry import DEFAULT_TILE_LOG2, Grid, Tile, sub_index
from duoview.texture.palettes import APART, Palettes
from duoview.texture.section import SectionHead
from duoview.texture.view import Seen


class _Memory:
    """Memory to code tiles of one size in."""

    def __init__(self, networks: DeviceNetworks, groups: int, numbers: int, height: int, width: int) -> None:
        empty, positions, shape = networks.empty, height * width, (groups, height, width)
        self.vectors = empty((positions, groups, numbers + 1), np.float32)
        self.vectors_below = empty((positions, groups, numbers + 2), np.float32)
        self.found, self.leaves = empty((positions, groups), np.uint8), empty(shape, np.uint8)
        self.nodes = [empty(shape, np.uint8) for _ in range(2)]
        self.status = empty((1,), np.uint64)
        self.coder = SectionCoder(networks, groups * positions)


class DeviceTextureEncoder:
    """The texture of one stream's key frames.

    Args:
        depths: how deep each tile is sent at most. tile_log2: log2 of a tile's side in latent positions, 3 to 8.

    Raises ProfileError when the profile has no texture layer.
    """

    def __init__(self, networks: DeviceNetworks, depths: Depths, tile_log2: int = DEFAULT_TILE_LOG2) -> None:
        Grid(64, 64, tile_log2)  # a wrong side is told now
        self._networks, self._kernels, self._stream = networks, networks.kernels, networks.stream
        self._chain, self._view = Chain(networks), DeviceTextureView(networks)
        self._analysis = networks["texture_analysis"]
        self._depths, self._tile_log2 = depths, tile_log2
        self._tables = self._chain.tables
        self._palettes = Palettes(self._tables)
        self._memory: dict[tuple[int, int], _Memory] = {}
        self._scales: dict[int, Any] = {}
        #: Leaves by quality index, and by depth of the nodes below which they are sought; 0 for everywhere.
        self._leaves: dict[tuple[int, int], Any] = {}
        self._apart = networks.array(np.array([APART], np.float32))

    @property
    def geometry(self) -> PaletteGeometry:
        """For the sequence header."""
        return PaletteGeometry(self._tables.groups, self._tables.depth, self._tile_log2)

    def encode(self, z: Any, z_m: Any, seen: Seen, width: int, height: int) -> list[Section]:
        """Sections of a key frame. z: E of the picture, z_m: of its section, (1, C, H / 8, W / 8), both on the device.

        Raises ValueError where a network gives what cannot be coded.
        """
        q, grid = seen.q, Grid(width, height, self._tile_log2)
        base = self._view.latent(self._view.picture(z_m))
        (components,) = self._analysis(z=z, base=base, q=self._chain.level(q))
        context = self._chain.frame(seen, grid.shape)
        payloads = [self._tile(tile, components, context.of(tile.area), q) for tile in grid.tiles]
        depths = [len(one) for one in payloads]
        found = sorted((depth, tile.number, payload) for tile, one in zip(grid.tiles, payloads, strict=True)
                       for depth, payload in enumerate(one, 1))
        return [Section(SectionType.DEPTH_MAP, None, write_map(depths))] + [
            Section(SectionType.TEXTURE, sub_index(depth, number), payload) for depth, number, payload in found]

    def _sized(self, tile: Tile) -> _Memory:
        size = tile.height, tile.width
        if size not in self._memory:
            numbers = self._tables.matrix.shape[1] // self._tables.groups
            self._memory[size] = _Memory(self._networks, self._tables.groups, numbers, *size)
        return self._memory[size]

    def _scale(self, q: int) -> Any:
        if q not in self._scales:
            self._scales[q] = self._networks.array(self._tables.scale[q])
        return self._scales[q]

    def _leaf_table(self, q: int, depth: int) -> Any:
        if (q, depth) not in self._leaves:
            table = self._palettes.apart_table(depth, q) if depth else self._palettes.leaf_table(q)
            self._leaves[q, depth] = self._networks.array(table)
        return self._leaves[q, depth]

    def _tile(self, tile: Tile, components: Any, context: DeviceContext, q: int) -> list[bytes]:
        """Payloads of depths 1, 2, ... of a tile."""
        kernels, stream, memory = self._kernels, self._stream, self._sized(tile)
        deepest = self._tables.depth
        part = tile.top, tile.left, tile.height, tile.width
        kernels.gather_vectors(components, self._scale(q), memory.vectors, part, cuda_stream=stream)
        kernels.nearest(memory.vectors, self._leaf_table(q, 0), memory.found, memory.status, cuda_stream=stream)
        kernels.take_leaves(memory.found, memory.leaves, cuda_stream=stream)
        nodes, children = memory.nodes
        kernels.clear(nodes, cuda_stream=stream)
        planes, payloads = self._chain.planes(tile.height, tile.width), []
        head = SectionHead(palette=False, distance=0).write()
        for depth in range(1, min(self._depths.of(tile.number), deepest) + 1):
            self._chain.step(context, nodes, children, depth - 1, Write(memory.leaves, deepest), before=None)
            payloads.append(head + memory.coder.encode(planes.symbols_row, planes.classes_row, [memory.status]))
            nodes, children = children, nodes
            if self._tables.certain and depth < deepest:
                self._find_below(memory, components, nodes, depth, part, q)
        return payloads

    def _find_below(self, memory: _Memory, components: Any, nodes: Any, depth: int, part: tuple[int, int, int, int],
                    q: int) -> None:
        """Where the prior was certain of another node of ``depth`` than the leaf's, take the best leaf below it."""
        kernels, stream = self._kernels, self._stream
        kernels.gather_vectors(components, self._scale(q), memory.vectors_below, part, nodes=nodes, apart=self._apart,
                               cuda_stream=stream)
        kernels.nearest(memory.vectors_below, self._leaf_table(q, depth), memory.found, memory.status,
                        cuda_stream=stream)
        kernels.take_leaves(memory.found, memory.leaves, nodes=nodes, levels=self._tables.depth - depth,
                            cuda_stream=stream)

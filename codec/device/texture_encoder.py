"""The texture layer's encoder on a device: leaves are chosen and coded there, the host gets sections.

Key frames have texture, all tiles as deep as is asked for. Palettes are adapted on the host, to which vectors of key
frames, though no pixels, are copied for it. What else an encoder weighs is not decided here: it does not hold what P
frames may keep, or cut tiles to a rate or by what counts. Sections are those of ``duoview.texture.encoder``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from duoview.access_unit import Section, SectionType
from duoview.device.chain import Chain, DeviceContext, Write
from duoview.device.coding import SectionCoder
from duoview.device.networks import DeviceNetworks
from duoview.device.texture import DeviceTextureView
from duoview.errors import LimitError
from duoview.sequence import PaletteGeometry
from duoview.texture.adaptation import adapt
from duoview.texture.depths import write_map
from duoview.texture.geometry import Grid, Tile, sub_index
from duoview.texture.palettes import APART, Palettes
from duoview.texture.section import SectionHead
from duoview.texture.settings import TextureSettings
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

    Raises LimitError for settings that only ``duoview.Encoder`` can follow, ProfileError when the profile has no
    texture layer.
    """

    def __init__(self, networks: DeviceNetworks, settings: TextureSettings) -> None:
        for name, asked in (("frames='all'", settings.frames != "key"), ("a bit_rate", settings.bit_rate != 0),
                            ("a guide or regions", settings.guided)):
            if asked:
                raise LimitError(f"texture with {name}: decided on the host; expected frames='key' without bit rate, "
                                 "guide and regions, or duoview.Encoder")
        self._settings = settings
        self._networks, self._kernels, self._stream = networks, networks.kernels, networks.stream
        self._chain, self._view = Chain(networks), DeviceTextureView(networks)
        self._analysis = networks["texture_analysis"]
        self._tables = self._chain.tables
        self._palettes = Palettes(self._tables)
        self._memory: dict[tuple[int, int], _Memory] = {}
        self._grid: Grid | None = None  # whose tiles that memory is for
        self._scales: dict[int, Any] = {}
        #: Leaves of the palettes in use, by quality index and by depth of the nodes below which they are sought; 0 for
        #: everywhere.
        self._leaves: dict[tuple[int, int], Any] = {}
        self._vectors: tuple[tuple[int, ...], Any] = ((), None)
        self._apart = networks.array(np.array([APART], np.float32))

    @property
    def geometry(self) -> PaletteGeometry:
        """For the sequence header."""
        return PaletteGeometry(self._tables.groups, self._tables.depth, self._settings.tile_log2)

    def encode(self, z: Any, z_m: Any, seen: Seen, width: int, height: int) -> list[Section]:
        """Sections of a key frame. z: E of the picture, z_m: of its section, (1, C, H / 8, W / 8), both on the device.

        Raises ValueError where a network gives what cannot be coded.
        """
        q, grid = seen.q, Grid(width, height, self._settings.tile_log2)
        if grid != self._grid:
            self._grid = grid
            self._memory.clear()
            self._chain.forget_sizes()
        base = self._view.latent(self._view.picture(z_m))
        (components,) = self._analysis(z=z, base=base, q=self._chain.level(q))
        changes = self._adapt(components, grid, q) if self._settings.palettes else []
        context = self._chain.frame(seen, grid.shape)
        payloads = [self._tile(tile, components, context.of(tile.area), q) for tile in grid.tiles]
        depths = [len(one) for one in payloads]
        found = sorted((depth, tile.number, payload) for tile, one in zip(grid.tiles, payloads, strict=True)
                       for depth, payload in enumerate(one, 1))
        sections = [Section(SectionType.DEPTH_MAP, None, write_map(depths))]
        sections += [Section(SectionType.PALETTE, depth, payload)
                     for depth, payload in enumerate(changes[:max(depths)], 1)]
        return sections + [Section(SectionType.TEXTURE, sub_index(depth, number), payload)
                           for depth, number, payload in found]

    def _adapt(self, components: Any, grid: Grid, q: int) -> list[bytes]:
        """Change the palettes to what a key frame holds, where that pays; payloads of depths 1, 2, ..."""
        rows, columns = grid.shape
        numbers = self._tables.matrix.shape[1] // self._tables.groups
        shape = (rows * columns, self._tables.groups, numbers + 1)
        if self._vectors[0] != shape:
            self._vectors = shape, self._networks.empty(shape, np.float32)
        self._kernels.gather_vectors(components, self._scale(q), self._vectors[1], (0, 0, rows, columns),
                                     cuda_stream=self._stream)
        vectors = np.ascontiguousarray(self._networks.get(self._vectors[1])[:, :, :numbers])
        lagrangian = float(self._networks.profile.lagrangian[q])
        before, (self._palettes, payloads) = self._palettes, adapt(Palettes(self._tables), vectors, q, lagrangian)
        if payloads or before.adapted:
            self._leaves.clear()
        return payloads

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
        for depth in range(1, min(self._settings.depths.of(tile.number), deepest) + 1):
            head = SectionHead(palette=self._palettes.adapted >= depth, distance=0).write()
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

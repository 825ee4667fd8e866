"""The texture layer's encoder on a device: leaves are chosen and coded there, the host gets sections.

What is decided is decided by ``duoview.texture.encoder``, on the host: palettes, for which vectors of key frames are
copied to it; what P frames leave as it was, and where tiles are cut to a bit rate, by squared errors of positions. No
pixels are. Sections are those of that encoder.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from duoview.backends import Backend
from duoview.device.chain import Chain
from duoview.device.networks import ArrayNetwork, DeviceNetworks
from duoview.device.palettes import DevicePalettes
from duoview.device.texture import DeviceTileState
from duoview.device.tile_writer import DeviceTileWriter, TileMemory
from duoview.errors import LimitError
from duoview.profile import Profile
from duoview.texture.chain import TileState
from duoview.texture.encoder import TextureEncoder
from duoview.texture.geometry import Grid
from duoview.texture.palettes import Floats
from duoview.texture.settings import TextureSettings
from duoview.texture.view import Seen


class DeviceTextureEncoder(TextureEncoder):
    """The texture of one stream. Arguments: see TextureEncoder.

    Raises LimitError for a guide or regions, which only ``duoview.Encoder`` can follow, ProfileError when the profile
    has no texture layer.
    """

    def __init__(self, networks: DeviceNetworks, settings: TextureSettings, *, rate: Fraction, gop: int) -> None:
        if settings.guided:
            raise LimitError("texture with a guide or regions: decided on the host; expected neither, or "
                             "duoview.Encoder")
        self._networks, self._kernels, self._stream = networks, networks.kernels, networks.stream  # the base asks
        super().__init__(networks.profile, networks.backend, settings, rate=rate, gop=gop)
        self._chain: Chain = self.prior
        self._tables_in_use = DevicePalettes(networks, self._palettes)
        self._memory: dict[tuple[int, int], TileMemory] = {}
        self._grid: Grid | None = None  # whose tiles that memory is for
        self._components: Any = None
        self._all: tuple[tuple[int, ...], Any] = ((), None)

    def _open(self, profile: Profile, backend: Backend) -> tuple[Any, ArrayNetwork]:
        return Chain(self._networks), self._networks["texture_analysis"]

    def _begin(self, grid: Grid) -> list[TileState]:
        if grid != self._grid:
            self._grid = None  # until its states are there: where memory is refused, those at hand are of no grid
            self._memory.clear()
            self._chain.forget_sizes()
            states: list[TileState] = [DeviceTileState(self._networks, self.tables.groups, tile, self.tables.depth)
                                       for tile in grid.tiles]
            self._grid = grid
            return states
        for state in self._states:
            state.take(state.nodes, 0, 0, 0)
        return self._states

    def _look(self, z: Any, base: Any, grid: Grid, q: int) -> None:
        (self._components,) = self._analysis(z=z, base=base, q=self._chain.level(q))

    @property
    def _numbers(self) -> int:
        """Of a group's vector."""
        return self.tables.matrix.shape[1] // self.tables.groups

    def _all_vectors(self, q: int) -> Floats:
        assert self._grid is not None
        rows, columns = self._grid.shape
        shape = (rows * columns, self.tables.groups, self._numbers + 1)
        if self._all[0] != shape:
            self._all = shape, self._networks.empty(shape, np.float32)
        self._kernels.gather_vectors(self._components, self._tables_in_use.scale(q), self._all[1],
                                     (0, 0, rows, columns), cuda_stream=self._stream)
        return np.ascontiguousarray(self._networks.get(self._all[1])[:, :, :self._numbers])

    def _forget(self, state: TileState, seen: Seen) -> None:
        if seen.moved is not None:
            state.forget(seen.moved)

    def _writer(self, state: TileState, context: Any) -> DeviceTileWriter:
        assert isinstance(state, DeviceTileState)
        self._tables_in_use.use(self._palettes)
        size = state.tile.height, state.tile.width
        if size not in self._memory:
            self._memory[size] = TileMemory(self._networks, self.tables.groups, self._numbers, *size)
        return DeviceTileWriter(self._chain, self._tables_in_use, self._memory[size], state,
                                context.of(state.tile.area), self._components)

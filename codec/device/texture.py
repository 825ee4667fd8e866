"""The texture layer on a device: sections to nodes, and nodes to what the base lacks, all of which stays there.

Rules, tiles and faults are those of ``duoview.texture.decoder``; here is what it does to arrays. Of a section, the host
reads the head; the palettes' changes, a few hundred numbers a group of pictures, are read there too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from duoview.access_unit import AccessUnit
from duoview.backends import Backend
from duoview.device.chain import Chain, DeviceContext, Draw, Read
from duoview.device.coding import check, most_chunks
from duoview.device.networks import DeviceNetworks
from duoview.errors import BitstreamError
from duoview.profile import Profile
from duoview.texture.chain import TileState
from duoview.texture.decoder import TextureDecoder, draw_shares
from duoview.texture.depths import Depths
from duoview.texture.geometry import BLOCK, Grid, Tile
from duoview.texture.palettes import Palettes
from duoview.texture.section import BLOCK_CLASS, SectionHead
from duoview.texture.view import Seen


@dataclass(frozen=True, eq=False)
class Residual:
    """What a base lacks, (1, C, H, W) float32 on the device. known: whether anything of it may be other than 0."""

    planes: Any
    known: bool


class DeviceTileState(TileState):
    """A tile's state with nodes (G, h, w) and ``known`` (h, w), uint8 each, on the device."""

    def __init__(self, networks: DeviceNetworks, groups: int, tile: Tile, deepest: int) -> None:
        super().__init__(groups, tile, deepest)
        self._kernels, self._stream = networks.kernels, networks.stream
        self._planes = [networks.empty((groups, tile.height, tile.width), np.uint8) for _ in range(3)]
        self.nodes: Any = self._planes[0]
        self.known: Any = networks.empty((tile.height, tile.width), np.uint8)
        self.clear(self.nodes)
        self._know(False)

    def clear(self, plane: Any) -> Any:
        """The plane with the only node of depth 0 everywhere."""
        self._kernels.clear(plane, cuda_stream=self._stream)
        return plane

    def spare(self, *used: Any) -> Any:
        """Memory for nodes that holds none of these, nor those of the frame before."""
        return next(one for one in self._planes if all(one is not other for other in (self.nodes, *used)))

    def forget(self, moved: Any) -> None:
        """moved: (rows, columns) uint8, of the whole picture."""
        self._kernels.without_marked(self.known, moved, self.known, top=self.tile.top, left=self.tile.left,
                                     cuda_stream=self._stream)

    def _know(self, known: bool) -> None:
        self._kernels.mark_positions(self.known, int(known), (0, 0, self.tile.height, self.tile.width),
                                     cuda_stream=self._stream)


class _Sections:
    """Memory to read the sections of tiles of one size with."""

    def __init__(self, networks: DeviceNetworks, groups: int, height: int, width: int) -> None:
        empty, kernels = networks.empty, networks.kernels
        blocks, symbols = height * width // BLOCK**2, groups * height * width
        self.state = empty((kernels.decode_state_bytes(most_chunks(blocks + symbols)),), np.uint8)
        self.scratch = empty((kernels.decode_scratch_bytes(max(blocks, symbols)),), np.uint8)
        self.flag_classes = networks.array(np.full(blocks, BLOCK_CLASS, np.uint8))
        self.flags, self.status = empty((blocks,), np.int16), empty((1,), np.uint64)
        self.held = empty((height, width), np.uint8)


class DeviceTextureDecoder(TextureDecoder):
    """The texture of one stream, whose nodes, residual and depths lie on a device. Arguments: see TextureDecoder."""

    def __init__(self, networks: DeviceNetworks, *, limit: Depths | None = None, fill: str = "mean", seed: int = 0
                 ) -> None:
        self._networks, self._kernels, self._stream = networks, networks.kernels, networks.stream  # the base asks
        super().__init__(networks.profile, networks.backend, limit=limit, fill=fill, seed=seed)
        #: Those of all depths at which there are draws: all have the same.
        self._share_arrays = [networks.array(np.array([share], np.float32))
                              for share in draw_shares(0, self.tables.depth)]
        self._memory: dict[tuple[int, int], _Sections] = {}
        self._contributions: dict[tuple[int, int, int], Any] = {}
        #: Two of each: those that were given out with a frame stay until the next one's are, however many units fail.
        self._pairs: list[tuple[Any, Any]] = []
        self._given: Any = None
        self._shape: tuple[int, int] | None = None
        self._unmarked: Any = None
        self._fresh = False

    def _open_prior(self, profile: Profile, backend: Backend) -> Chain:
        return Chain(self._networks)

    def decode(self, unit: AccessUnit, seen: Seen) -> Any:
        """What the base of a unit lacks, as far as is known: a Residual, the same one if it is as before."""
        self._fresh = False
        found: Residual = super().decode(unit, seen)
        self._given = found.planes
        return found

    def _spare(self) -> tuple[Any, Any]:
        """The pair that was not given out with the last frame that was decoded."""
        return next(pair for pair in self._pairs if pair[0] is not self._given)

    def _flip(self, marked: Any) -> None:
        """To the other pair of arrays, with what there was but where positions are marked."""
        residual, depths = self._spare()
        for before, after in ((self._residual.planes, residual), (self.depths, depths)):
            self._kernels.without_marked(before, marked, after, cuda_stream=self._stream)
        self._residual, self.depths, self._fresh = Residual(residual, self._residual.known), depths, True

    def _clear(self, grid: Grid) -> None:
        networks, tables = self._networks, self.tables
        if grid.shape != self._shape or [state.tile for state in self.states] != list(grid.tiles):
            self._shape = None  # until all of it is there: where memory is refused, what is at hand is of no size
            self._memory.clear()
            self.prior.forget_sizes()
            shape = (1, tables.matrix.shape[1], *grid.shape)
            self._pairs = [(networks.empty(shape, np.float32), networks.empty(grid.shape, np.uint8)) for _ in range(2)]
            self._unmarked = networks.array(np.zeros(grid.shape, np.uint8))
            self.states = [DeviceTileState(networks, tables.groups, tile, tables.depth) for tile in grid.tiles]
            self._shape = grid.shape
        else:
            for state in self.states:
                state.take(state.nodes, 0, 0, 0)
        residual, depths = self._spare()
        for plane in (residual, depths):
            self._kernels.clear(plane, cuda_stream=self._stream)
        self._residual, self.depths, self._fresh = Residual(residual, False), depths, True
        self._contributions = {key: table for key, table in self._contributions.items() if not key[0]}

    def _forget(self, seen: Seen) -> None:
        moved: Any = seen.moved
        if moved is None:
            return
        for state in self.states:
            state.forget(moved)
        self._flip(moved)

    def _renew(self) -> None:
        if not self._fresh:
            self._flip(self._unmarked)

    def _roots(self, state: TileState) -> Any:
        assert isinstance(state, DeviceTileState)
        return state.clear(state.spare())

    def _sections(self, tile: Tile) -> _Sections:
        size = tile.height, tile.width
        if size not in self._memory:
            self._memory[size] = _Sections(self._networks, self.tables.groups, *size)
        return self._memory[size]

    def _read(self, context: Any, state: TileState, nodes: Any, depth: int, head: SectionHead, symbols: bytes,
              index: int, held: Any) -> tuple[Any, Any]:
        assert isinstance(state, DeviceTileState) and isinstance(context, DeviceContext)
        kernels, stream, memory = self._kernels, self._stream, self._sections(state.tile)
        data = self._networks.array(np.frombuffer(symbols, np.uint8))
        decoder = kernels.decoder(data, memory.state, cuda_stream=stream)
        previous = None
        if not head.refresh:
            head.check_continues(state, depth, index)
            if depth == 1:
                held = memory.held
                decoder.decode(memory.flag_classes, memory.flags, memory.scratch, cuda_stream=stream)
                kernels.held_positions(memory.flags, state.known, held, memory.status, cuda_stream=stream)
                check(decoder, stream)
                try:
                    kernels.check(memory.status, cuda_stream=stream)
                except ValueError:
                    raise BitstreamError(f"tile {state.tile.number} keeps nodes that nobody knows", offset=0) from None
            previous = state.nodes, state.known, state.depth
        children = state.spare(nodes)
        self.prior.step(context, nodes, children, depth - 1, Read(decoder, memory.scratch), before=previous, held=held)
        decoder.finish(cuda_stream=stream)
        check(decoder, stream)
        return children, held

    def _table(self, palettes: Palettes, depth: int, q: int) -> Any:
        """What nodes of a depth add to the base; None for depth 0."""
        if depth == 0:
            return None
        key = palettes.adapted, depth, q
        if key not in self._contributions:
            self._contributions[key] = self._networks.array(palettes.contributions(depth, q))
        return self._contributions[key]

    def _place(self, state: TileState, nodes: Any, depth: int, held: Any, context: Any, palettes: Palettes) -> None:
        assert isinstance(state, DeviceTileState)
        tile, q = state.tile, context.q

        def put(first: Any, table: Any, **second: Any) -> None:
            self._kernels.look_up_nodes(first, table, self._residual.planes, top=tile.top, left=tile.left, held=held,
                                        **second, cuda_stream=self._stream)

        put(nodes, self._table(palettes, depth, q))
        shares = self._share_arrays if self._shares(depth) else []
        for number, share in enumerate(shares):
            leaves = self.prior.sampled(context, nodes, depth, state, Draw(self.seed, tile, number))
            put(None, None, others=leaves, other_table=self._table(palettes, self.tables.depth, q), share=share)
        self._kernels.mark_positions(self.depths, depth, (tile.top, tile.left, tile.height, tile.width), held=held,
                                     cuda_stream=self._stream)
        if not self._residual.known and (depth or shares):
            self._residual = Residual(self._residual.planes, True)


class DeviceTextureView:
    """E and D around the machine view on a device: see ``duoview.texture.view.TextureView``."""

    def __init__(self, networks: DeviceNetworks) -> None:
        self._networks, self._encoder, self._decoder = networks, networks["encoder"], networks["decoder"]
        self._changed: tuple[tuple[int, ...], Any] = ((), None)

    def latent(self, picture: Any) -> Any:
        """E of a picture (1, 3, H, W): (1, C, H / 8, W / 8)."""
        return self._encoder(picture=picture)[0]

    def picture(self, latent: Any) -> Any:
        """D of a latent: (1, 3, H, W)."""
        return self._decoder(z=latent)[0]

    def show(self, machine: Any, residual: Residual, base: Any = None) -> Any:
        """The texture view of a machine view (1, 3, H, W) with what its latent lacks; itself where that is nothing."""
        if not residual.known:
            return machine
        networks = self._networks
        kernels, stream = networks.kernels, networks.stream
        if base is None:
            base = self.latent(machine)
        shape = networks.driver.array("base", base).shape
        if self._changed[0] != shape:
            self._changed = shape, networks.empty(shape, np.float32)
        changed = self._changed[1]
        kernels.add_scaled(base, residual.planes, changed, cuda_stream=stream)
        output = networks.empty(networks.driver.array("machine", machine).shape, np.uint8)
        kernels.apply_change(machine, self.picture(changed), self.picture(base), output, cuda_stream=stream)
        return output

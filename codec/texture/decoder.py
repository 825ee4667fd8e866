"""The texture layer's decoder: from the sections that are there to what a texture view adds to the base.

What is missing, damaged or breaks a rule costs that depth of that tile and what depends on it, and is told in
``faults``; the machine view never depends on any of this.

The rules are here; what is done to arrays are the methods that ``duoview.device`` does on a device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview.access_unit import AccessUnit, SectionType
from duoview.backends import Backend
from duoview.errors import BitstreamError, LimitError, ProfileError
from duoview.kernels.palette import MAX_DEPTH
from duoview.profile import Profile
from duoview.sequence import PaletteGeometry, SequenceHeader
from duoview.texture.chain import TileState, sampled
from duoview.texture.depths import Depths, read_map
from duoview.texture.geometry import Grid, depth_and_tile, grid_of
from duoview.texture.palettes import Palettes, read_changes
from duoview.texture.prior import FrameContext, Prior
from duoview.texture.section import SectionHead, read_section
from duoview.texture.view import Seen

#: What stands for the depths that were not sent: the mean of all that may be there, or draws from it.
FILLS = ("mean", "sample")
#: What is shown of depths that were not sent lies this far from their mean towards the mean of so many draws. A draw by
#: itself knows nothing of its neighbours beyond the prior, and shows as noise; half of four comes nearer to the source
#: by perceptual distance than an eighth, a quarter or a half of one (docs/texture.md).
SAMPLE_SHARE, SAMPLE_DRAWS = 0.5, 4
#: With so few depths missing no draw comes nearer than the mean: none is made.
LAST_MEAN = 2


def draw_shares(depth: int, deepest: int) -> tuple[np.float32, ...]:
    """How far what is shown goes towards one draw after the other, where nodes of ``depth`` are known.

    In the end each draw counts SAMPLE_SHARE / SAMPLE_DRAWS, the mean of what may be there the rest.
    """
    if depth >= deepest - LAST_MEAN:
        return ()
    each = SAMPLE_SHARE / SAMPLE_DRAWS
    return tuple(np.float32(each / (1 - SAMPLE_SHARE + each * (number + 1))) for number in range(SAMPLE_DRAWS))


class TextureDecoder:
    """The texture of one stream.

    Args:
        limit: use at most these depths. fill: ``mean`` or ``sample``. seed: of the samples, 0..2^64 - 1.

    Raises ProfileError when the profile has no texture layer.
    """

    def __init__(self, profile: Profile, backend: Backend, *, limit: Depths | None = None, fill: str = "mean",
                 seed: int = 0) -> None:
        if fill not in FILLS:
            raise ValueError(f"fill={fill!r}: expected one of {', '.join(FILLS)}")
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"seed={seed}: expected 0 to 2^64 - 1")
        self.prior = self._open_prior(profile, backend)
        self.limit, self.fill, self.seed = limit or Depths(MAX_DEPTH), fill, seed
        self.tables = self.prior.tables
        self._grid: Grid | None = None
        #: Those in use, by how many depths of them the group of pictures has changed.
        self.palettes = [Palettes(self.tables)]
        self.states: list[TileState] = []
        #: How deep each tile goes at most; None where nothing says.
        self.depth_map: list[int] | None = None
        self._residual: Any = np.zeros((1, 0, 0, 0), np.float32)
        #: How deep each position of what `decode` gave is known, (H, W) uint8; another array where it is another.
        self.depths: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
        #: Whether anything was drawn since the last key unit.
        self.sampled = False
        #: Of the last unit: what was refused, and why.
        self.faults: list[str] = []

    def _open_prior(self, profile: Profile, backend: Backend) -> Any:
        return Prior(profile, backend)

    def begin(self, sequence: SequenceHeader) -> None:
        """Take over a sequence's geometry.

        Raises LimitError where there is no texture, ProfileError where it is not the profile's, BitstreamError where no
        stream may have it.
        """
        palette = sequence.palette
        if palette == PaletteGeometry():
            raise LimitError("view='texture': this stream has no texture layer; expected one that was encoded with a "
                             "texture of 1 or more, or view='machine'")
        if (palette.groups, palette.depth) != (self.tables.groups, self.tables.depth):
            raise ProfileError(f"the stream's palettes have {palette.groups} groups and depth {palette.depth}, the "
                               f"profile's {self.tables.groups} and {self.tables.depth}")
        self._grid = grid_of(sequence)

    def decode(self, unit: AccessUnit, seen: Seen) -> Any:
        """What the base (1, C, H, W) of a unit lacks, as far as is known; the same float32 array if it is as before."""
        assert self._grid is not None
        self.faults = []
        if unit.key:
            self._start(unit)
        else:
            self._forget(seen)
        payloads = self._payloads(unit)
        context: FrameContext | None = None
        for state in self.states:
            found = payloads.get(state.tile.number, {})
            if not found and not (unit.key and self.fill == "sample"):
                continue
            if context is None:
                context = self.prior.frame(seen, self._grid.shape)
                self._renew()
            self._tile(state, found, context.of(state.tile.area), unit.index)
        return self._residual

    def _start(self, unit: AccessUnit) -> None:
        """A key unit: nothing of before counts any more."""
        assert self._grid is not None
        self._clear(self._grid)
        self.palettes, self.depth_map, self.sampled = [Palettes(self.tables)], None, False
        deepest = min(self.limit.most(), self.tables.depth)
        for damage in unit.damaged:
            if damage.type == SectionType.DEPTH_MAP and deepest:
                self.faults.append(f"depth map: {damage.reason}")
            elif damage.type == SectionType.PALETTE and 1 <= (damage.sub_index or 0) <= deepest:
                self.faults.append(f"palette of depth {damage.sub_index}: {damage.reason}")
        coded = unit.payload(SectionType.DEPTH_MAP)
        if coded is not None and deepest:
            try:
                self.depth_map = read_map(coded, len(self.states), self.tables.depth)
            except BitstreamError as error:
                self.faults.append(str(error))
        for depth in range(1, deepest + 1):
            payload = unit.payload(SectionType.PALETTE, depth)
            if payload is None:
                break
            try:
                changes, shift = read_changes(payload, self.tables.nodes[depth].shape)
            except BitstreamError as error:
                self.faults.append(f"palette of depth {depth}: {error}")
                break
            self.palettes.append(self.palettes[-1].changed(depth, changes, shift))

    def _payloads(self, unit: AccessUnit) -> dict[int, dict[int, bytes | None]]:
        """By tile and depth, the texture sections that are wanted; None for those that are damaged."""
        found: dict[int, dict[int, bytes | None]] = {}
        sent: list[tuple[int | None, bytes | None]] = [
            (damage.sub_index, None) for damage in unit.damaged if damage.type == SectionType.TEXTURE]
        sent += [(section.sub_index, section.payload) for section in unit.sections
                 if section.type == SectionType.TEXTURE]
        for index, payload in sent:
            depth, tile = depth_and_tile(index or 0)
            if tile >= len(self.states) or not 1 <= depth <= self.tables.depth:
                self.faults.append(f"texture of depth {depth}, tile {tile}: there are {len(self.states)} tiles and "
                                   f"depths 1 to {self.tables.depth}")
            elif depth <= self.limit.of(tile):  # what is deeper is as good as cut, whatever became of it
                found.setdefault(tile, {})[depth] = payload
        return found

    def _tile(self, state: TileState, found: dict[int, bytes | None], context: FrameContext, index: int) -> None:
        """Go down one tile's chain as far as it reaches."""
        most = self.tables.depth if self.depth_map is None else self.depth_map[state.tile.number]
        wanted = min(self.limit.of(state.tile.number), self.tables.depth)
        nodes: Any = self._roots(state)
        depth, held, refresh = 0, None, True
        for depth in range(1, wanted + 1):
            payload = found.get(depth)
            try:
                if payload is None:
                    if any(deeper >= depth for deeper in found):
                        raise BitstreamError("missing or damaged", offset=0)
                    depth -= 1
                    break
                if depth > most:
                    raise BitstreamError(f"deeper than the {most} of the depth map", offset=0)
                head, at = SectionHead.read(payload)
                if depth > 1 and head.refresh != refresh:
                    raise BitstreamError("refreshes, or not, other than the depth before", offset=0)
                if context.key and not head.refresh:
                    raise BitstreamError("needs the frame before, in a key unit", offset=0)
                if head.palette != (len(self.palettes) > depth):
                    raise BitstreamError("its palette was changed by a section that is not there", offset=0)
                refresh = head.refresh
                nodes, held = self._read(context, state, nodes, depth, head, payload[at:], index, held)
            except BitstreamError as error:
                self.faults.append(f"texture of depth {depth}, tile {state.tile.number}: {error}")
                depth -= 1
                break
        state.take(nodes, depth, depth, index)
        self.sampled |= bool(self._shares(depth))
        # Below what was sent, nodes move with their parents, also where other tiles know better: a cut knows no more.
        self._place(state, nodes, depth, held, context, self.palettes[min(depth, len(self.palettes) - 1)])

    def _shares(self, depth: int) -> tuple[np.float32, ...]:
        """Of the draws that are made below nodes of ``depth``."""
        return draw_shares(depth, self.tables.depth) if self.fill == "sample" else ()

    # What is done to arrays

    def _clear(self, grid: Grid) -> None:
        """Tiles of which nothing is known."""
        self.states = [TileState(self.tables.groups, tile, self.tables.depth) for tile in grid.tiles]
        self._residual = np.zeros((1, self.tables.matrix.shape[1], *grid.shape), np.float32)
        self.depths = np.zeros(grid.shape, np.uint8)

    def _forget(self, seen: Seen) -> None:
        """The machine layer knows better where it changed something than what texture said of the frame before."""
        if not seen.moved.any():
            return
        for state in self.states:
            state.forget(seen.moved[state.tile.area])
        self._residual = np.where(seen.moved, 0, self._residual)
        self.depths = np.where(seen.moved, np.uint8(0), self.depths)

    def _renew(self) -> None:
        """Arrays of the residual and the depths that may be written to: others than those that were given out."""
        self._residual, self.depths = self._residual.copy(), self.depths.copy()

    def _roots(self, state: TileState) -> Any:
        """Nodes of depth 0 of a tile."""
        return np.zeros_like(state.nodes)

    def _read(self, context: FrameContext, state: TileState, nodes: Any, depth: int, head: SectionHead, symbols: bytes,
              index: int, held: Any) -> tuple[Any, Any]:
        """See ``read_section``."""
        return read_section(self.prior, context, state, nodes, depth, head, symbols, index, held)

    def _place(self, state: TileState, nodes: Any, depth: int, held: Any, context: FrameContext, palettes: Palettes
               ) -> None:
        """Put what the nodes of a tile, of ``depth``, stand for into the residual, and how deep they are."""
        rows, columns = state.tile.area
        residual = palettes.residual(nodes, depth, context.q)
        for number, share in enumerate(self._shares(depth)):
            leaves = sampled(self.prior, context, nodes, depth, state.tile, self.seed, number)
            residual = residual + share * (palettes.residual(leaves, self.tables.depth, context.q) - residual)
        if held is not None:  # what is held keeps all that was known of it, also where less is sent now
            residual = np.where(held, self._residual[0, :, rows, columns], residual)
        self._residual[0, :, rows, columns] = residual
        reached = np.uint8(depth)
        self.depths[rows, columns] = reached if held is None else np.where(held, self.depths[rows, columns], reached)

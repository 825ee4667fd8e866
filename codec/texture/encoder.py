"""The texture layer's encoder: what the machine view's latent lacks, to sections.

No decision depends on how deep the texture will be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview.access_unit import Section, SectionType
from duoview.backends import Backend, Network
from duoview.profile import Profile
from duoview.sequence import PaletteGeometry
from duoview.texture.adaptation import adapt
from duoview.texture.chain import TileState
from duoview.texture.depths import write_map
from duoview.texture.geometry import BLOCK, LATENT_PIXELS, Grid, sub_index
from duoview.texture.palettes import Floats, Palettes
from duoview.texture.prior import Prior
from duoview.texture.section import SectionHead, positions_of
from duoview.texture.settings import TextureSettings
from duoview.texture.tables import TextureTables
from duoview.texture.tile_writer import HostTileWriter, TileWriter
from duoview.texture.truncation import Budget, cut_to, worth
from duoview.texture.view import Seen

#: Bits that a child decision is taken to cost when a P frame decides what to leave as it was.
_DECISION_BITS = 0.75
#: Bytes of a section beside its payload: type, sub-index, length, CRC.
_SECTION_BYTES = 10


@dataclass
class _CodedTile:
    """Payloads of depths 1, 2, ... of one tile in one frame.

    Of depths 0, 1, 2, ... squared errors, where they count.
    """

    state: TileState
    leaves: Any
    payloads: list[bytes]
    errors: list[float]


class TextureEncoder:
    """The texture of one stream. Raises ProfileError when the profile has no texture layer.

    What it decides stands here; what is done to arrays are the methods that ``duoview.device`` does on a device.

    Args:
        rate: frames per second, until their times tell. gop: frames from key frame to key frame.
    """

    def __init__(self, profile: Profile, backend: Backend, settings: TextureSettings, *, rate: Fraction, gop: int
                 ) -> None:
        self.settings = settings
        self.prior, self._analysis = self._open(profile, backend)
        self.tables: TextureTables = self.prior.tables
        self._lagrangian = profile.lagrangian
        self._budget = Budget(settings.bit_rate, rate, gop, settings.frames == "all") if settings.bit_rate else None
        self._states: list[TileState] = []
        self._kept: list[int] = []
        self._default = self._palettes = Palettes(self.tables)
        self._vectors: Any = None
        self._q = -1
        # Of the unit, counted from its key unit.
        self._index = 0

    def _open(self, profile: Profile, backend: Backend) -> tuple[Any, Network]:
        """The prior, and the network that finds what is to be coded."""
        return Prior(profile, backend), profile.load("texture_analysis", backend)

    @property
    def geometry(self) -> PaletteGeometry:
        """For the sequence header."""
        return PaletteGeometry(self.tables.groups, self.tables.depth, self.settings.tile_log2)

    def wants(self, key: bool) -> bool:
        """Whether a unit has texture: if not, no more than its coming is told."""
        return key or self.settings.frames == "all"

    def tell(self, seconds: float | None) -> None:
        """The presentation time of the unit that comes next, whether it has texture or not; None where it has none."""
        if self._budget is not None:
            self._budget.tell(seconds)

    def skip(self) -> None:
        """A unit that has no texture goes by."""
        self._index += 1

    def encode(self, z: Any, base: Any, seen: Seen, width: int, height: int,
               weights: Floats | None = None) -> list[Section]:
        """Sections of the next unit. z, base: E of the picture and of its machine view, (1, C, H / 8, W / 8).

        weights: what errors at the picture's positions count, (rows, columns); tiles then go as deep as is worth it.
        """
        key, q = seen.key, seen.q
        self._index = 0 if key else self._index + 1
        grid = Grid(width, height, self.settings.tile_log2)
        if key:
            self._states, self._palettes = self._begin(grid), self._default
            self._kept = [0] * len(self._states)
        self._look(z, base, grid, q)
        sections: list[Section] = []
        if key and self.settings.palettes and self.settings.depths.most():
            self._palettes, payloads = adapt(self._palettes, self._all_vectors(q), q, float(self._lagrangian[q]))
            sections += [Section(SectionType.PALETTE, depth, payload) for depth, payload in enumerate(payloads, 1)]
        context = self.prior.frame(seen, grid.shape)
        counts = None
        if weights is not None:
            around = [(0, whole - part) for whole, part in zip(grid.shape, weights.shape, strict=True)]
            counts = np.pad(weights, around, mode="edge")
        elif self._budget is not None:
            counts = np.ones(grid.shape, np.float32)
        coded = []
        for state in self._states:
            if not key:
                self._forget(state, seen)
            one = self._tile(state, context, counts)
            if one is not None:
                coded.append(one)
        self._q = q
        beside = sum(len(section.payload) + _SECTION_BYTES for section in sections)
        depths = self._cut(coded, seen, weights is not None, beside)
        if key:
            self._kept = list(depths)
            deepest = max(depths, default=0)
            sections = [section for section in sections if (section.sub_index or 0) <= deepest]
            sections.insert(0, Section(SectionType.DEPTH_MAP, None, write_map(depths)))
        return sections + self._sections(coded, depths)

    def _begin(self, grid: Grid) -> list[TileState]:
        """States of the tiles of a key unit: nothing of before counts any more."""
        return [TileState(self.tables.groups, tile, self.tables.depth) for tile in grid.tiles]

    def _look(self, z: Any, base: Any, grid: Grid, q: int) -> None:
        """Find what is to be coded of a frame."""
        (components,) = self._analysis(z=z, base=base, q=np.array([q], np.int64))
        vectors = self._palettes.vectors_of(components[0], q)
        self._vectors = vectors.reshape(*grid.shape, *vectors.shape[1:])

    def _all_vectors(self, q: int) -> Floats:
        """Of the frame, (N, G, C / G)."""
        found: Floats = self._vectors.reshape(-1, *self._vectors.shape[2:])
        return found

    def _forget(self, state: TileState, seen: Seen) -> None:
        """What a P frame has moved is not known any more."""
        state.forget(seen.moved[state.tile.area])

    def _writer(self, state: TileState, context: Any) -> TileWriter:
        return HostTileWriter(self.prior, self._palettes, state, context.of(state.tile.area),
                              self._vectors[state.tile.area])

    def _tile(self, state: TileState, context: Any, counts: Floats | None) -> _CodedTile | None:
        """Code a tile of a frame as deep as it may be kept; None where nothing is to be sent.

        counts: what errors count, (rows, columns) of the frame; None where they do not.
        """
        key, number, deepest = context.key, state.tile.number, self.tables.depth
        counted = None if counts is None else counts[state.tile.area].reshape(-1)
        most = min(self.settings.depths.of(number), deepest)
        most = most if key else min(most, self._kept[number])
        refresh = key or context.q != self._q or state.depth == 0
        writer = self._writer(state, context)
        if not refresh:
            held = self._held(writer, context.q)
            if held.all():
                return None
            writer.hold(held)
        payloads: list[bytes] = []
        errors = [] if counted is None else [float(writer.errors() @ counted)]
        # Leaves are what the next frame decides by: what is certain of them counts, however deep they are sent.
        whole = self.tables.certain and self.settings.frames == "all"
        for depth in range(1, (deepest if whole else most) + 1):
            sent = depth <= most
            distance = 0 if refresh else self._distance(state, depth) if sent else 1
            payload = writer.descend(SectionHead(self._palettes.adapted >= depth, distance), sent=sent)
            if sent:
                payloads.append(payload)
                if counted is not None:
                    errors.append(float(writer.errors() @ counted))
        return _CodedTile(state, writer.leaves, payloads, errors)

    def _distance(self, state: TileState, depth: int) -> int:
        before = state.indices[depth]
        assert before is not None  # it is kept no deeper than its chain goes
        return self._index - before

    def _held(self, writer: TileWriter, q: int) -> NDArray[np.bool_]:
        """Where a P frame keeps its nodes, (h, w), whole blocks: where coding them would not be worth the bits."""
        before, after, known = writer.choices()

        def by_block(values: NDArray[Any]) -> NDArray[Any]:
            rows, columns = values.shape
            return values.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)

        gain = by_block(before - after).sum((1, 3))
        bits = _DECISION_BITS * self.tables.groups * self.tables.depth * BLOCK * BLOCK
        pays = float(self._lagrangian[q]) * LATENT_PIXELS**2 * gain > bits
        return positions_of(by_block(known).all((1, 3)) & ~pays)

    def _cut(self, coded: list[_CodedTile], seen: Seen, guided: bool, beside: int) -> list[int]:
        """How deep each of the coded tiles is sent."""
        if self._budget is None and not guided:
            return [len(one.payloads) for one in coded]
        sizes = [[len(payload) + _SECTION_BYTES for payload in one.payloads] for one in coded]
        if self._budget is None:
            return [worth(size, one.errors, self.tables.worth(seen.q) / 8)
                    for size, one in zip(sizes, coded, strict=True)]
        depths = cut_to(self._budget.grant(seen.key) - beside,
                        [(size, one.errors) for size, one in zip(sizes, coded, strict=True)])
        self._budget.spend(sum(sum(size[:depth]) for size, depth in zip(sizes, depths, strict=True)) + beside)
        return depths

    def _sections(self, coded: list[_CodedTile], depths: list[int]) -> list[Section]:
        """Those that are sent, coarse ones first, so that a unit cut short loses the finest; states move on."""
        found = [(depth, one.state.tile.number, one.payloads[depth - 1])
                 for one, most in zip(coded, depths, strict=True) for depth in range(1, most + 1)]
        for one, most in zip(coded, depths, strict=True):
            # All of its leaves, however deep they are sent: what is decided next is blind to that.
            one.state.take(one.leaves, self.tables.depth, most, self._index)
            self._kept[one.state.tile.number] = most
        return [Section(SectionType.TEXTURE, sub_index(depth, tile), payload)
                for depth, tile, payload in sorted(found, key=lambda item: item[:2])]

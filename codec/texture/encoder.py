"""The texture layer's encoder: what the machine view's latent lacks, to sections.

No decision depends on how deep the texture will be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from duoview.access_unit import Section, SectionType
from duoview.backends import Backend
from duoview.profile import Profile
from duoview.sequence import PaletteGeometry
from duoview.texture.adaptation import adapt
from duoview.texture.chain import TileState
from duoview.texture.depths import write_map
from duoview.texture.geometry import BLOCK, LATENT_PIXELS, Grid, sub_index
from duoview.texture.palettes import Floats, Palettes
from duoview.texture.prior import FrameContext, Nodes, Prior, ancestors
from duoview.texture.section import SectionHead, positions_of, write_section
from duoview.texture.settings import TextureSettings
from duoview.texture.truncation import Budget, cut_to, worth
from duoview.texture.view import Seen

#: Bits that a child decision is taken to cost when a P frame decides what to leave as it was.
_DECISION_BITS = 0.75
#: Bytes of a section beside its payload: type, sub-index, length, CRC.
_SECTION_BYTES = 10


@dataclass
class _CodedTile:
    """Payloads of depths 1, 2, ..., squared errors of depths 0, 1, 2, ... of one tile in one frame."""

    state: TileState
    leaves: Nodes
    payloads: list[bytes]
    errors: list[float]


class TextureEncoder:
    """The texture of one stream. Raises ProfileError when the profile has no texture layer.

    Args:
        rate: frames per second, until their times tell. gop: frames from key frame to key frame.
    """

    def __init__(self, profile: Profile, backend: Backend, settings: TextureSettings, *, rate: Fraction, gop: int
                 ) -> None:
        self.settings, self.prior = settings, Prior(profile, backend)
        self._analysis = profile.load("texture_analysis", backend)
        self.tables = self.prior.tables
        self._lagrangian = profile.lagrangian
        self._budget = Budget(settings.bit_rate, rate, gop, settings.frames == "all") if settings.bit_rate else None
        self._states: list[TileState] = []
        self._kept: list[int] = []
        self._palettes = Palettes(self.tables)
        self._q = -1
        # Of the unit, counted from its key unit.
        self._index = 0

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

    def encode(self, z: Floats, base: Floats, seen: Seen, width: int, height: int,
               weights: Floats | None = None) -> list[Section]:
        """Sections of the next unit. z, base: E of the picture and of its machine view, (1, C, H / 8, W / 8).

        weights: what errors at the picture's positions count, (rows, columns); tiles then go as deep as is worth it.
        """
        key, q = seen.key, seen.q
        self._index = 0 if key else self._index + 1
        grid = Grid(width, height, self.settings.tile_log2)
        sections: list[Section] = []
        (components,) = self._analysis(z=z, base=base, q=np.array([q], np.int64))
        if key:
            self._states = [TileState(self.tables.groups, tile, self.tables.depth) for tile in grid.tiles]
            self._kept = [0] * len(self._states)
            self._palettes = Palettes(self.tables)
        vectors = self._palettes.vectors_of(components[0], q)
        if key and self.settings.palettes and self.settings.depths.most():
            self._palettes, payloads = adapt(self._palettes, vectors, q, float(self._lagrangian[q]))
            sections += [Section(SectionType.PALETTE, depth, payload) for depth, payload in enumerate(payloads, 1)]
        leaves = self._palettes.leaves_of(vectors, q).reshape(*grid.shape, -1).transpose(2, 0, 1)
        grid_vectors = vectors.reshape(*grid.shape, *vectors.shape[1:])
        context = self.prior.frame(seen, grid.shape)
        counts = np.ones(grid.shape, np.float32)
        if weights is not None:
            around = [(0, whole - part) for whole, part in zip(grid.shape, weights.shape, strict=True)]
            counts = np.pad(weights, around, mode="edge")
        coded = []
        for state in self._states:
            if not key:
                state.forget(seen.moved[state.tile.area])
            rows, columns = state.tile.area
            one = self._tile(state, np.ascontiguousarray(leaves[:, rows, columns]), grid_vectors[rows, columns],
                             context, counts[rows, columns])
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

    def _tile(self, state: TileState, chosen: Nodes, vectors: Floats, context: FrameContext, counts: Floats
              ) -> _CodedTile | None:
        """Code a tile of a frame as deep as it may be kept; None where nothing is to be sent."""
        key, counted = context.key, counts.reshape(-1)
        number, deepest = state.tile.number, self.tables.depth
        most = min(self.settings.depths.of(number), deepest)
        most = most if key else min(most, self._kept[number])
        refresh = key or context.q != self._q or state.depth == 0
        held = None if refresh else self._held(state, chosen, vectors, context.q)
        if held is not None and held.all():
            return None
        leaves = chosen if held is None else np.where(held, state.nodes, chosen)
        part = context.of(state.tile.area)
        payloads: list[bytes] = []
        flat = vectors.reshape(-1, *vectors.shape[2:])
        by_position = leaves.reshape(len(leaves), -1).T
        errors = [float(self._palettes.errors(flat, by_position, 0, context.q) @ counted)]
        # Leaves are what the next frame decides by: what is certain of them counts, however deep they are sent.
        whole = self.tables.certain and self.settings.frames == "all"
        nodes = ancestors(leaves, deepest)
        for depth in range(1, (deepest if whole else most) + 1):
            up = deepest - depth
            distance = 0 if refresh else self._distance(state, depth) if depth <= most else 1
            head = SectionHead(self._palettes.adapted >= depth, distance)
            payload, nodes = write_section(self.prior, part, state, nodes, ancestors(leaves, up), depth, head, held)
            leaves = self._below(nodes, depth, leaves, vectors, context.q)
            if depth <= most:
                payloads.append(payload)
                by_node = nodes.reshape(len(nodes), -1).T
                errors.append(float(self._palettes.errors(flat, by_node, depth, context.q) @ counted))
        return _CodedTile(state, leaves, payloads, errors)

    def _below(self, nodes: Nodes, depth: int, leaves: Nodes, vectors: Floats, q: int) -> Nodes:
        """Leaves (G, h, w); where the prior was certain of another node of ``depth`` than theirs, the best below it."""
        apart = ancestors(leaves, self.tables.depth - depth) != nodes
        if not apart.any():
            return leaves
        places = apart.any(0)
        found = leaves.copy()
        below = self._palettes.leaves_below(np.ascontiguousarray(nodes[:, places].T), depth, vectors[places], q).T
        found[:, places] = np.where(apart[:, places], below, leaves[:, places])
        return found

    def _distance(self, state: TileState, depth: int) -> int:
        before = state.indices[depth]
        assert before is not None  # it is kept no deeper than its chain goes
        return self._index - before

    def _held(self, state: TileState, chosen: Nodes, vectors: Floats, q: int) -> NDArray[np.bool_]:
        """Where a P frame keeps its nodes, (h, w), whole blocks: where coding them would not be worth the bits."""
        flat = vectors.reshape(-1, *vectors.shape[2:])

        def error(nodes: Nodes) -> Floats:
            found = self._palettes.errors(flat, nodes.reshape(len(nodes), -1).T, self.tables.depth, q)
            return found.reshape(state.tile.height, state.tile.width)

        def by_block(values: NDArray[np.generic]) -> NDArray[np.generic]:
            return values.reshape(state.tile.height // BLOCK, BLOCK, state.tile.width // BLOCK, BLOCK)

        gain = by_block(error(state.nodes) - error(chosen)).sum((1, 3))
        bits = _DECISION_BITS * self.tables.groups * self.tables.depth * BLOCK * BLOCK
        pays = float(self._lagrangian[q]) * LATENT_PIXELS**2 * gain > bits
        known = by_block(state.known).all((1, 3))
        return positions_of(known & ~pays)

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

"""Cutting access units: sections are dropped, nothing is coded again, no network is needed."""

from __future__ import annotations

import dataclasses

from duoview.access_unit import AccessUnit, Section, SectionType, UnitHeader
from duoview.errors import BitstreamError
from duoview.sequence import PaletteGeometry, SequenceHeader
from duoview.texture.depths import Depths, read_map, write_map
from duoview.texture.geometry import depth_and_tile, grid_of

_TEXTURE = (SectionType.PALETTE, SectionType.TEXTURE, SectionType.DEPTH_MAP)


_CRC_BYTES = 4  # behind every section


def texture_bytes(header: UnitHeader) -> int:
    """What the texture of a unit takes in it."""
    return sum(entry.length + _CRC_BYTES for entry in header.entries if entry.type in _TEXTURE)


class TextureCutter:
    """Cuts the texture of a stream's units to depths at most, unit by unit.

    What is left refers to nothing that was dropped, as long as every unit of a group of pictures is cut alike. With all
    depths 0 the texture layer goes altogether, from the sequence header too.
    """

    def __init__(self, depths: Depths) -> None:
        self.depths = depths
        #: The last sequence header that was seen.
        self.sequence: SequenceHeader | None = None

    def cut(self, unit: AccessUnit) -> AccessUnit:
        """The unit with less texture.

        Raises BitstreamError where its depth map or geometry cannot be read, or what is damaged would have to stay:
        left out, it would be taken for what was never sent.
        """
        if unit.sequence is not None:
            self.sequence = unit.sequence
        for damage in unit.damaged:
            if damage.type and not self._drops(damage.type, damage.sub_index):
                raise BitstreamError(f"section of type {damage.type}: {damage.reason}", offset=0)
        if not self.depths.most():
            sequence = unit.sequence
            if sequence is not None:
                sequence = dataclasses.replace(sequence, palette=PaletteGeometry())
            return dataclasses.replace(unit, sequence=sequence, sections=tuple(
                section for section in unit.sections if section.type not in _TEXTURE))
        kept = []
        for section in unit.sections:
            if not self._drops(section.type, section.sub_index):
                kept.append(self._map(section) if section.type == SectionType.DEPTH_MAP else section)
        return dataclasses.replace(unit, sections=tuple(kept))

    def _drops(self, type_: int, sub_index: int | None) -> bool:
        if type_ == SectionType.TEXTURE:
            depth, tile = depth_and_tile(sub_index or 0)
            return depth > self.depths.of(tile)
        if type_ == SectionType.PALETTE:
            return (sub_index or 0) > self.depths.most()
        return type_ == SectionType.DEPTH_MAP and not self.depths.most()

    def _map(self, section: Section) -> Section:
        if self.sequence is None or self.sequence.palette == PaletteGeometry():
            raise BitstreamError("depth map without a sequence header that has a palette geometry", offset=0)
        palette = self.sequence.palette
        depths = read_map(section.payload, grid_of(self.sequence).count, palette.depth)
        return dataclasses.replace(section, payload=write_map(
            [min(depth, self.depths.of(tile)) for tile, depth in enumerate(depths)]))

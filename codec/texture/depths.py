"""How deep each tile goes: as people write it (``2,0=6,3=0``), and as the depth map of a stream."""

from __future__ import annotations

import re
from dataclasses import dataclass

from duoview import varint
from duoview.errors import BitstreamError, LimitError
from duoview.kernels.palette import MAX_DEPTH

_MOST_TILE = (1 << 16) - 1


@dataclass(frozen=True)
class Depths:
    """Depth of every tile: ``tiles`` are pairs of a tile's number and its depth, ``other`` is that of all the others.

    Raises LimitError for a depth beyond 0..8, a number beyond 0..65535, or a tile named twice.
    """

    other: int
    tiles: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for depth in (self.other, *(depth for _, depth in self.tiles)):
            if not 0 <= depth <= MAX_DEPTH:
                raise LimitError(f"texture depth {depth}: expected 0 to {MAX_DEPTH}")
        numbers = [number for number, _ in self.tiles]
        for number in numbers:
            if not 0 <= number <= _MOST_TILE:
                raise LimitError(f"tile {number}: expected 0 to {_MOST_TILE}")
            if numbers.count(number) > 1:
                raise LimitError(f"tile {number} is named twice")

    @classmethod
    def parse(cls, text: str) -> Depths:
        """Read ``2`` or ``2,0=6,3=0``. Raises LimitError."""
        if not re.fullmatch(r"\d{1,3}(,\d{1,5}=\d{1,3})*", text):
            raise LimitError(f"texture depths {text!r}: expected a depth, and TILE=DEPTH for tiles that differ, "
                             "as in 2 or 2,0=6,3=0")
        other, *pairs = text.split(",")
        tiles = [tuple(int(part) for part in pair.split("=")) for pair in pairs]
        return cls(int(other), tuple((number, depth) for number, depth in tiles))

    def of(self, tile: int) -> int:
        """Depth of one tile."""
        return dict(self.tiles).get(tile, self.other)

    def most(self) -> int:
        """Greatest depth of all."""
        return max((self.other, *(depth for _, depth in self.tiles)))

    def __str__(self) -> str:
        return ",".join((str(self.other), *(f"{number}={depth}" for number, depth in self.tiles)))


def write_map(depths: list[int]) -> bytes:
    """Payload of a depth map: runs of tiles of one depth, in their order, a varint (length - 1) << 4 | depth each."""
    out = bytearray()
    start = 0
    for end in range(1, len(depths) + 1):
        if end == len(depths) or depths[end] != depths[start]:
            varint.write(out, end - start - 1 << 4 | depths[start])
            start = end
    return bytes(out)


def read_map(payload: bytes, tiles: int, deepest: int) -> list[int]:
    """Depths of all ``tiles``.

    Raises BitstreamError for another number of tiles, a depth beyond ``deepest``, another form than ``write_map``'s.
    """
    depths: list[int] = []
    offset = 0
    while offset < len(payload):
        run, end = varint.read(payload, offset)
        length, depth = (run >> 4) + 1, run & 15
        if depth > deepest:
            raise BitstreamError(f"depth map: depth {depth}, at most {deepest} is there", offset=offset)
        if len(depths) + length > tiles:
            raise BitstreamError(f"depth map: more than the {tiles} tiles that are there", offset=offset)
        if depths and depths[-1] == depth:
            raise BitstreamError("depth map: two runs of one depth, expected one", offset=offset)
        depths += [depth] * length
        offset = end
    if len(depths) != tiles:
        raise BitstreamError(f"depth map: {len(depths)} tiles, expected {tiles}", offset=offset)
    return depths

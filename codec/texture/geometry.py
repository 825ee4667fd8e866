"""Tiles of the latent, and the sub-index by which a texture section names its depth and tile."""

from __future__ import annotations

from dataclasses import dataclass

from duoview.errors import BitstreamError, LimitError
from duoview.kernels.palette import MAX_DEPTH
from duoview.picture import UNIT, padded
from duoview.sequence import SequenceHeader

#: Side of a tile, as its log2 in latent positions; 6 is 512 pixels.
LEAST_TILE_LOG2, MOST_TILE_LOG2, DEFAULT_TILE_LOG2 = 3, 8, 6
#: Side of what a P frame codes or leaves as it was, in latent positions; a tile's side is a multiple of it.
BLOCK = 8
#: Pixels of a latent position, each way.
LATENT_PIXELS = 8
_TILE_BITS = 16


@dataclass(frozen=True)
class Tile:
    """A rectangle of the latent: its number, first row and column, and size."""

    number: int
    top: int
    left: int
    height: int
    width: int

    @property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array (..., H, W)."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Grid:
    """The tiles of a picture of ``width`` x ``height`` pixels, numbered row by row.

    Raises LimitError for a side of the tiles that is no stream's.
    """

    width: int
    height: int
    tile_log2: int = DEFAULT_TILE_LOG2

    def __post_init__(self) -> None:
        if not LEAST_TILE_LOG2 <= self.tile_log2 <= MOST_TILE_LOG2:
            raise LimitError(f"log2 of a tile's side is {self.tile_log2}, expected {LEAST_TILE_LOG2} to "
                             f"{MOST_TILE_LOG2}")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the latent, whole coding units."""
        assert UNIT % (LATENT_PIXELS * BLOCK) == 0
        return padded(self.height) // LATENT_PIXELS, padded(self.width) // LATENT_PIXELS

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles."""
        side = 1 << self.tile_log2
        rows, columns = self.shape
        places = [(top, left) for top in range(0, rows, side) for left in range(0, columns, side)]
        return tuple(Tile(number, top, left, min(side, rows - top), min(side, columns - left))
                     for number, (top, left) in enumerate(places))

    @property
    def count(self) -> int:
        """Number of tiles."""
        side = 1 << self.tile_log2
        rows, columns = self.shape
        return -(-rows // side) * -(-columns // side)


def grid_of(sequence: SequenceHeader) -> Grid:
    """The tiles of a sequence that was read. Raises BitstreamError where its geometry has a side that none may have."""
    try:
        return Grid(sequence.width, sequence.height, sequence.palette.tile_log2)
    except LimitError as error:
        raise BitstreamError(f"sequence header: {error}", offset=0) from error


def sub_index(depth: int, tile: int) -> int:
    """The sub-index of a texture section."""
    if not 1 <= depth <= MAX_DEPTH or not 0 <= tile < 1 << _TILE_BITS:
        raise LimitError(f"texture of depth {depth}, tile {tile}: expected 1 to {MAX_DEPTH} and 0 to 65535")
    return depth << _TILE_BITS | tile


def depth_and_tile(index: int) -> tuple[int, int]:
    """Depth and tile of a sub-index; whether the stream has them is for the reader to check."""
    return index >> _TILE_BITS, index & (1 << _TILE_BITS) - 1

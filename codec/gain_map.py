"""Gain maps: parts of a picture that the neural codec quantises finer or coarser than its quality index says.

A level changes the quantiser's step in one cell of 32x32 pixels. Networks know nothing of it: the difference between a
value and its mean is scaled before it is rounded and, in integers, scaled back behind the decoder; the table class,
whose scales are a geometric series, moves by as many steps. So decoding stays exact, with any profile.
Syntax: docs/bitstream.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.errors import BitstreamError, LimitError

#: Side of a cell in pixels, and in positions of the symbols' grid.
CELL, CELL_POSITIONS = 32, 2
#: Levels go from -LIMIT, coarsest, to LIMIT.
LIMIT = 8
#: Table classes that a level moves. The standard deviation of class c + 1 is 1.0958 times that of class c.
CLASSES = 2
_LAST_CLASS = 63
#: Octaves by which a level changes the step.
GAIN_OCTAVES = float(CLASSES * np.log2(32 / 0.11) / 62)
#: By level + LIMIT: what a value is multiplied by, and, of 4096, what its symbol is multiplied by on the way back.
GAINS = ((32 / 0.11) ** (CLASSES * np.arange(-LIMIT, LIMIT + 1) / 62)).astype(np.float32)
RESTORED = np.array([17708, 14747, 12281, 10227, 8517, 7092, 5906, 4919, 4096, 3411, 2841, 2366, 1970, 1641, 1366, 1138,
                     947], np.int64)
#: Classes of decisions: another level than both neighbours', which agree; the one above; the one to the left; a bit.
_OTHER, _ABOVE, _LEFT, _BIT = 70, 127, 178, 127
_BITS = 5

Levels = NDArray[np.int8]


def grid(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the map of a picture."""
    return -(-height // CELL), -(-width // CELL)


@dataclass(frozen=True)
class GainMap:
    """Levels (rows, columns) int8 of a picture's cells, -LIMIT to LIMIT; 0 is the quality index's own step."""

    levels: Levels

    def __post_init__(self) -> None:
        if self.levels.ndim != 2 or self.levels.dtype != np.int8:
            raise ValueError(f"levels {self.levels.dtype} {self.levels.shape}: expected int8 (rows, columns)")
        if self.levels.size and int(np.abs(self.levels.astype(np.int16)).max()) > LIMIT:
            raise LimitError(f"gain levels {self.levels.min()} to {self.levels.max()}: expected -{LIMIT} to {LIMIT}")

    def write(self) -> bytes:
        """What stands behind q in the quality section; nothing where all levels are 0."""
        if not self.levels.any():
            return b""
        symbols: list[int] = []
        classes: list[int] = []

        def put(symbol: int, of: int) -> None:
            symbols.append(symbol)
            classes.append(of)

        rows = self.levels.tolist()
        for y, row in enumerate(rows):
            for x, level in enumerate(row):
                left, above = _neighbours(rows, y, x)
                if left == above:
                    put(level != left, _OTHER)
                    if level == left:
                        continue
                else:
                    put(level == above, _ABOVE)
                    if level == above:
                        continue
                    put(level == left, _LEFT)
                    if level == left:
                        continue
                for bit in range(_BITS):
                    put(level + LIMIT >> bit & 1, _BIT)
        return kernels.encode(np.array(symbols, np.int16), np.array(classes, np.uint8))

    @classmethod
    def read(cls, data: bytes, width: int, height: int) -> GainMap:
        """The map of a picture of this size. Raises BitstreamError for what `write` does not write."""
        decoder = kernels.Decoder(data)
        wanted = {of: np.array([of], np.uint8) for of in (_OTHER, _ABOVE, _LEFT, _BIT)}

        def get(of: int) -> int:
            return int(decoder.decode(wanted[of])[0])

        rows, columns = grid(width, height)
        found = [[0] * columns for _ in range(rows)]
        for y in range(rows):
            for x in range(columns):
                left, above = _neighbours(found, y, x)
                if left == above:
                    if not get(_OTHER):
                        found[y][x] = left
                        continue
                elif get(_ABOVE):
                    found[y][x] = above
                    continue
                elif get(_LEFT):
                    found[y][x] = left
                    continue
                level = sum(get(_BIT) << bit for bit in range(_BITS)) - LIMIT
                if level > LIMIT or level in (left, above):
                    raise BitstreamError(f"level {level} at row {y}, column {x}: expected another than its "
                                         f"neighbours', at most {LIMIT}", offset=0)
                found[y][x] = level
        decoder.finish()
        if not any(map(any, found)):
            raise BitstreamError("zeros alone: expected no map", offset=0)
        return cls(np.array(found, np.int8))

    def positions(self, height: int, width: int) -> Scaling:
        """What it does to symbols (C, H, W) of a padded picture; the padding goes with the nearest cell."""
        wide = self.levels.repeat(CELL_POSITIONS, 0).repeat(CELL_POSITIONS, 1)
        rows = np.minimum(np.arange(height), wide.shape[0] - 1)
        columns = np.minimum(np.arange(width), wide.shape[1] - 1)
        return Scaling(wide[rows][:, columns].astype(np.int64))


def _neighbours(rows: list[list[int]], y: int, x: int) -> tuple[int, int]:
    """Levels to the left and above; outside of the map the other one's, 0 at the first cell."""
    if x and y:
        return rows[y][x - 1], rows[y - 1][x]
    if x:
        return rows[y][x - 1], rows[y][x - 1]
    return (rows[y - 1][x], rows[y - 1][x]) if y else (0, 0)


class Scaling:
    """A gain map at the positions of symbols.

    Attributes:
        levels: (H, W) int8.
    """

    def __init__(self, levels: NDArray[np.int64]) -> None:
        self.levels = np.ascontiguousarray(levels, np.int8)
        self._classes = (CLASSES * levels).astype(np.int16)
        self._gains, self._restored = GAINS[levels + LIMIT], RESTORED[levels + LIMIT]

    def classes(self, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Table classes (C, H, W) of the scaled differences; class 0, always zero, stays."""
        moved = np.clip(classes + self._classes, 1, _LAST_CLASS)
        return np.where(classes > 0, moved, 0).astype(np.uint8)

    def values(self, values: NDArray[np.float32], means: NDArray[np.int16]) -> NDArray[np.float32]:
        """Scaled differences of values (C, H, W) from their means, in sixteenths."""
        return (values - means.astype(np.float32) * np.float32(1 / 16)) * self._gains

    def decoded(self, symbols: NDArray[np.int16], means: NDArray[np.int16]) -> NDArray[np.float32]:
        """Decoded values (C, H, W) in sixteenths: the mean, and the symbol's share of 4096, rounded to nearest."""
        scaled = 16 * symbols.astype(np.int64) * self._restored
        return (means + (scaled + 2048 >> 12)).astype(np.float32)

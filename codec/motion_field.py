"""Motion fields of P frames: where in the frame before each cell of 16x16 pixels comes from, and their syntax.

A field stands in front of a P frame's symbols, in the same payload; see docs/bitstream.md. What probabilities depend on
is known before the first vector is: which cells move, and which moved in the frame before. So a field is read in some
twenty calls of the coder, whatever its size. Probabilities are those that fields of training clips had.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview.errors import BitstreamError, LimitError
from duoview.kernels import Decoder

#: Side of a cell in pixels, cells on the side of a block, and half pixels that a component of a vector may have.
CELL, BLOCK_CELLS, LIMIT = 16, 4, 64
#: Classes of decisions: that anything moves; that a block has cells that move, where none and where some did before;
#: that its vector is the expected one; a sign or a lower bit.
_ANY, _BLOCK, _SAME, _EVEN = 178, np.array((82, 180)), 146, 127
#: That a cell of a moving block moves. The first half of a checkerboard by whether it moved before, the second also by
#: how many of the four cells beside it move.
_FIRST, _SECOND = np.array((86, 164)), np.array(((65, 80, 117, 154, 175), (127, 132, 157, 175, 187)))
#: That the bit length of a component's difference is more than 0, 1, ..., from a prediction and from zero.
_LONGER = np.array(((155, 136, 129, 122, 125, 130, 89, 65), (171, 159, 147, 131, 118, 97, 78, 65)))
_LENGTHS = _LONGER.shape[1]

Vectors = NDArray[np.int8]
Flags = NDArray[np.bool_]
#: Vertical and horizontal half pixels.
Vector = tuple[int, int]
#: Symbols and their classes.
Part = tuple[NDArray[np.int16], NDArray[np.uint8]]
#: Codes decisions: from classes, and from what they are where that is known already, to what they are.
_Coder = Callable[[NDArray[np.int64], NDArray[np.generic] | None], Flags]


@dataclass(frozen=True)
class MotionField:
    """Vectors (rows, columns, 2) int8 of (vertical, horizontal) half pixels; a cell is what was there, that far away.

    Rows and columns are multiples of BLOCK_CELLS, as padded pictures have them.
    """

    vectors: Vectors

    def __post_init__(self) -> None:
        shape = self.vectors.shape
        if self.vectors.dtype != np.int8 or len(shape) != 3 or shape[2] != 2 or shape[0] % BLOCK_CELLS or (
                shape[1] % BLOCK_CELLS):
            raise ValueError(f"vectors {self.vectors.dtype} {shape}: expected int8 (rows, columns, 2), rows and "
                             f"columns multiples of {BLOCK_CELLS}")
        if self.vectors.size and max(int(self.vectors.max()), -int(self.vectors.min())) > LIMIT:
            raise LimitError(f"vectors of {self.vectors.min()} to {self.vectors.max()} half pixels: expected -{LIMIT} "
                             f"to {LIMIT}")

    @classmethod
    def still(cls, rows: int, columns: int) -> MotionField:
        """The field in which nothing moves."""
        return cls(np.zeros((rows, columns, 2), np.int8))

    @functools.cached_property
    def moving(self) -> Flags:
        """(rows, columns), True where the vector is not zero."""
        return _not_zero(self.vectors)

    def write(self, before: MotionField) -> list[Part]:
        """Symbols and classes, to be coded one after the other. before: the field of the frame before."""
        parts: list[Part] = []

        def put(classes: NDArray[np.int64], known: NDArray[np.generic] | None) -> Flags:
            assert known is not None
            parts.append((known.astype(np.int16), classes.astype(np.uint8)))
            return known.astype(np.bool_)

        moving, moved = self.moving, before.moving
        _code_moving(put, moving, moved)
        if not moving.any():
            return parts
        there = expectable(moving, moved)[moving]
        expected, predicted = _surroundings(self.vectors, before.vectors)
        same = ~_not_zero(self.vectors - expected)[moving]
        put(np.full(int(there.sum()), _SAME), same[there])
        _code_differences(put, ~there[~same], (self.vectors - predicted)[moving][~same])
        return parts

    @classmethod
    def read(cls, decoder: Decoder, before: MotionField) -> MotionField:
        """The field that comes next in a payload. Raises BitstreamError for what ``write`` does not write."""

        def get(classes: NDArray[np.int64], known: NDArray[np.generic] | None) -> Flags:
            return decoder.decode(classes.astype(np.uint8)).astype(np.bool_)

        moved = before.moving
        moving = _code_moving(get, None, moved)
        if not moving.any():
            return cls(np.zeros_like(before.vectors))
        there = expectable(moving, moved)[moving]
        same = np.zeros(len(there), np.bool_)
        same[there] = get(np.full(int(there.sum()), _SAME), None)
        following = iter(_code_differences(get, ~there[~same], None).tolist())
        old = before.vectors.tolist()
        vectors = _Rows(*moved.shape)
        for (y, x), is_same in zip(np.argwhere(moving).tolist(), same.tolist(), strict=True):
            expected, (dy, dx) = vectors.around(y, x, old[y][x])
            if is_same and expected is not None:  # which it is, where it was asked for
                vectors.put(y, x, expected)
                continue
            more_y, more_x = next(following)
            found = dy + more_y, dx + more_x
            if max(map(abs, found)) > LIMIT or found in ((0, 0), expected):
                raise BitstreamError(f"motion field: vector {list(found)} at row {y}, column {x}: expected one "
                                     f"other than 0 and the expected one, within +-{LIMIT}", offset=0)
            vectors.put(y, x, found)
        field = np.zeros_like(before.vectors)
        field[moving] = vectors.in_order
        return cls(field)


def expectable(moving: Flags, moved: Flags) -> Flags:
    """Where a vector can be expected: the cell to the left or above moves, or the cell itself moved before."""
    found = moved.copy()
    found[:, 1:] |= moving[:, :-1]
    found[1:] |= moving[:-1]
    return found


class _Rows:
    """The vectors of a field that is being read, row by row: plain numbers, which Python is quickest with.

    None where nothing moves, also in the border of one cell to the left, above and to the right. in_order: all so far.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self._rows: list[list[Vector | None]] = [[None] * (columns + 2) for _ in range(rows + 1)]
        self.in_order: list[Vector] = []

    def put(self, y: int, x: int, vector: Vector) -> None:
        self._rows[y + 1][x + 1] = vector
        self.in_order.append(vector)

    def around(self, y: int, x: int, old: list[int]) -> tuple[Vector | None, Vector]:
        """The vector that is expected, None where none is, and what another one is near.

        Expected is that to the left where there is one, else that above, else the cell's own of the frame before. Near
        is the median of left, above and above right where all move, else the expected one, else 0.
        """
        above_row = self._rows[y]
        left, above, right = self._rows[y + 1][x], above_row[x + 1], above_row[x + 2]
        if left is not None and above is not None and right is not None:
            return left, (sorted((left[0], above[0], right[0]))[1], sorted((left[1], above[1], right[1]))[1])
        expected = left or above or ((old[0], old[1]) if old[0] or old[1] else None)
        return expected, expected or (0, 0)


def _not_zero(vectors: NDArray[np.signedinteger]) -> Flags:
    """Where vectors (rows, columns, 2) are not zero. any(2) takes many times as long: its rows are of two."""
    return np.asarray((vectors[..., 0] | vectors[..., 1]) != 0)


def _surroundings(vectors: Vectors, old: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of every cell of a field that is known, what ``_Rows.around`` gives; 0 where no vector is expected."""
    left, above, right = (np.zeros(vectors.shape, np.int64) for _ in range(3))
    left[:, 1:], above[1:], right[1:, :-1] = vectors[:, :-1], vectors[:-1], vectors[:-1, 1:]
    moving = [_not_zero(beside)[..., None] for beside in (left, above, right)]
    expected = np.where(moving[0], left, np.where(moving[1], above, old))
    median = np.maximum(np.minimum(left, above), np.minimum(np.maximum(left, above), right))
    return expected, np.where(moving[0] & moving[1] & moving[2], median, expected)


def _code_moving(code: _Coder, moving: Flags | None, moved: Flags) -> Flags:
    """Which cells move; ``moving`` is that where it is known already."""
    if not code(np.array([_ANY]), None if moving is None else np.array([moving.any()]))[0]:
        return np.zeros_like(moved)
    blocks = _blocks(moved)
    known = None if moving is None else _blocks(moving).reshape(-1)
    blocks = code(_BLOCK[blocks.astype(int)].reshape(-1), known).reshape(blocks.shape)
    inside = blocks.repeat(BLOCK_CELLS, 0).repeat(BLOCK_CELLS, 1)
    first, found = _first_half(*moved.shape), np.zeros_like(moved)
    for half in (0, 1):
        here = inside & (first if half == 0 else ~first)
        if half == 0:
            classes = _FIRST[moved[here].astype(int)]
        else:
            wide = np.zeros((moved.shape[0] + 2, moved.shape[1] + 2), int)
            wide[1:-1, 1:-1] = found
            beside = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
            classes = _SECOND[moved[here].astype(int), beside[here]]
        found[here] = code(classes, None if moving is None else moving[here])
    if not blocks.any() or (_blocks(found) != blocks).any():
        raise BitstreamError("motion field: a block that moves has no cell that does", offset=0)
    return found


@functools.lru_cache(maxsize=16)
def _first_half(rows: int, columns: int) -> Flags:
    """Cells of the first half of a checkerboard; read only."""
    found: Flags = np.indices((rows, columns)).sum(0) % 2 == 0
    found.flags.writeable = False
    return found


def _code_differences(code: _Coder, far: Flags, differences: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Differences (n, 2) from predictions, ``far`` (n,) where there is none; ``differences`` where they are known.

    Bit lengths of the magnitudes in unary, then bits below the highest from the top, then signs.
    """
    kind = far.repeat(2).astype(int)
    known = None if differences is None else differences.reshape(-1)
    wanted = None if known is None else np.frexp(np.abs(known))[1]
    lengths = np.zeros(len(kind), int)
    for length in range(_LENGTHS):
        here = np.flatnonzero(lengths == length)
        if len(here):
            longer = code(_LONGER[kind[here], length], None if wanted is None else wanted[here] > length)
            lengths[here] += longer
    magnitudes = (lengths > 0).astype(np.int64)
    for length in range(2, _LENGTHS + 1):
        here = np.flatnonzero(lengths >= length)
        if len(here):
            bit = code(np.full(len(here), _EVEN),
                       None if known is None else np.abs(known[here]) >> (lengths[here] - length) & 1)
            magnitudes[here] = 2 * magnitudes[here] + bit
    some = np.flatnonzero(magnitudes)
    if len(some):
        negative = code(np.full(len(some), _EVEN), None if known is None else known[some] < 0)
        magnitudes[some[negative]] *= -1
    return magnitudes.reshape(-1, 2)


def _blocks(cells: Flags) -> Flags:
    """Which blocks have cells of these, (rows / BLOCK_CELLS, columns / BLOCK_CELLS)."""
    rows, columns = (side // BLOCK_CELLS for side in cells.shape)
    return np.asarray(cells.reshape(rows, BLOCK_CELLS, columns, BLOCK_CELLS).any((1, 3)))

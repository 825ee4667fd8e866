"""Motion fields of P frames: where in the frame before each cell of 16x16 pixels comes from, and their syntax.

A field stands in front of a P frame's symbols, in the same payload; see docs/bitstream.md. What probabilities depend on
is known before the first vector is: which cells move, and which moved in the frame before. So a field is read in five
calls of the coder, whatever its size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview.errors import BitstreamError, LimitError
from duoview.kernels import Decoder

#: Side of a cell in pixels, cells on the side of a block, and half pixels that a component of a vector may have.
CELL, BLOCK_CELLS, LIMIT = 16, 4, 64
#: Classes of decisions: that anything moves; that a block has cells that move, where none and where some did before;
#: that a cell in it moves, where it did not and where it did; that its vector is the predicted one.
_ANY, _BLOCK, _CELL, _SAME = 80, (70, 110), (80, 140), 130
#: Classes of a component's difference from its prediction, where there is one and where there is none.
NEAR, FAR = 38, 50

Vectors = NDArray[np.int8]
Flags = NDArray[np.bool_]
_Part = tuple[NDArray[np.int16], NDArray[np.uint8]]


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
        if self.vectors.size and int(np.abs(self.vectors.astype(np.int16)).max()) > LIMIT:
            raise LimitError(f"vectors of {self.vectors.min()} to {self.vectors.max()} half pixels: expected -{LIMIT} "
                             f"to {LIMIT}")

    @classmethod
    def still(cls, rows: int, columns: int) -> MotionField:
        """The field in which nothing moves."""
        return cls(np.zeros((rows, columns, 2), np.int8))

    @property
    def moving(self) -> Flags:
        """(rows, columns), True where the vector is not zero."""
        found: Flags = self.vectors.any(2)
        return found

    def write(self, before: MotionField) -> list[_Part]:
        """Symbols and classes, to be coded one after the other. before: the field of the frame before."""
        moving, moved = self.moving, before.moving
        parts = [_decisions(moving.any(keepdims=True), np.array([_ANY]))]
        if not moving.any():
            return parts
        blocks = _blocks(moving)
        parts.append(_decisions(blocks, np.array(_BLOCK)[_blocks(moved).astype(int)]))
        inside = _cells(blocks)
        parts.append(_decisions(moving[inside], np.array(_CELL)[moved[inside].astype(int)]))
        predicted, differences = [], []
        known = predictable(moving, moved)
        vectors, old = self.vectors.astype(np.int16), before.vectors.astype(np.int16)
        for y, x in np.argwhere(moving):
            guess = _prediction(vectors, old, moving, moved, y, x)
            same = bool(known[y, x]) and bool((vectors[y, x] == guess).all())
            predicted.append(same)
            if not same:
                differences.append(vectors[y, x] - guess)
        there = known[moving]
        parts.append(_decisions(np.array(predicted)[there], np.full(int(there.sum()), _SAME)))
        rest = ~np.array(predicted)
        if differences:
            classes = np.where(there[rest], NEAR, FAR).repeat(2)
            parts.append((np.concatenate(differences).astype(np.int16), classes.astype(np.uint8)))
        return parts

    @classmethod
    def read(cls, decoder: Decoder, before: MotionField) -> MotionField:
        """The field that comes next in a payload. Raises BitstreamError for what ``write`` does not write."""
        moved = before.moving
        if not _read(decoder, np.array([_ANY]))[0]:
            return cls(np.zeros_like(before.vectors))
        old_blocks = _blocks(moved)
        blocks = _read(decoder, np.array(_BLOCK)[old_blocks.astype(int)].reshape(-1)).reshape(old_blocks.shape)
        inside = _cells(blocks)
        moving = np.zeros_like(moved)
        moving[inside] = _read(decoder, np.array(_CELL)[moved[inside].astype(int)])
        if not blocks.any() or (_blocks(moving) != blocks).any():
            raise BitstreamError("motion field: a block that moves has no cell that does", offset=0)
        known = predictable(moving, moved)
        there = known[moving]
        same = np.zeros(len(there), np.bool_)
        same[there] = _read(decoder, np.full(int(there.sum()), _SAME))
        differences = decoder.decode(np.where(there[~same], NEAR, FAR).repeat(2).astype(np.uint8)).reshape(-1, 2)
        vectors, old = np.zeros(before.vectors.shape, np.int16), before.vectors.astype(np.int16)
        following = iter(differences.astype(np.int32))
        for (y, x), is_same in zip(np.argwhere(moving), same, strict=True):
            guess = _prediction(vectors, old, moving, moved, y, x)
            found = guess.astype(np.int32) if is_same else guess + next(following)
            if np.abs(found).max() > LIMIT or not found.any() or (
                    not is_same and known[y, x] and (found == guess).all()):
                raise BitstreamError(f"motion field: vector {found.tolist()} at row {y}, column {x}: expected one "
                                     f"other than 0 and the predicted, within +-{LIMIT}", offset=0)
            vectors[y, x] = found
        return cls(vectors.astype(np.int8))


def predictable(moving: Flags, moved: Flags) -> Flags:
    """Where a vector has a prediction: the cell to the left or above moves, or the cell itself moved before."""
    found = moved.copy()
    found[:, 1:] |= moving[:, :-1]
    found[1:] |= moving[:-1]
    return found


def _prediction(vectors: NDArray[np.int16], old: NDArray[np.int16], moving: Flags, moved: Flags, y: int, x: int
                ) -> NDArray[np.int16]:
    """The vector to the left where there is one, else that above, else the cell's own of the frame before, else 0."""
    if x and moving[y, x - 1]:
        return vectors[y, x - 1]
    if y and moving[y - 1, x]:
        return vectors[y - 1, x]
    return old[y, x]  # 0 where it did not move


def _blocks(cells: Flags) -> Flags:
    """Which blocks have cells of these, (rows / BLOCK_CELLS, columns / BLOCK_CELLS)."""
    rows, columns = (side // BLOCK_CELLS for side in cells.shape)
    found: Flags = cells.reshape(rows, BLOCK_CELLS, columns, BLOCK_CELLS).any((1, 3))
    return found


def _cells(blocks: Flags) -> Flags:
    return blocks.repeat(BLOCK_CELLS, 0).repeat(BLOCK_CELLS, 1)


def _decisions(flags: Flags, classes: NDArray[np.int64]) -> _Part:
    return flags.reshape(-1).astype(np.int16), classes.reshape(-1).astype(np.uint8)


def _read(decoder: Decoder, classes: NDArray[np.int64]) -> Flags:
    return decoder.decode(classes.astype(np.uint8)).astype(np.bool_)

"""Which motion field an encoder takes: vectors that source pictures suggest, where the latent gains what they cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.decision import BLOCK_PIXELS
from duoview.motion_compensation import Floats, ShiftOperators
from duoview.motion_field import CELL, LIMIT, Cell, MotionField, Vector

#: Bits of a cell that stays among others that move, of one that moves as expected, and of one that moves otherwise,
#: beside those of the difference: of a component, and of each bit of its length.
_STAY, _SAME, _OTHER, _COMPONENT, _LENGTH = 0.6, 1.2, 2.0, 0.8, 2.0
#: Share of the error that a vector takes away which symbols would not have taken away for as many bits. Of .08, .15, .3
#: and 1, .15 and .3 gave the smallest P frames of equal error on four training clips.
_SHARE = 0.25
#: Positions of the latent in a cell.
_POSITIONS = 4
_PIECE = 64

Plane = NDArray[np.uint8]


def luma(picture: NDArray[np.uint8]) -> Plane:
    """A plane (H, W) to look for motion in, of a picture (1, 3, H, W) in RGB: (R + 2 G + B + 2) / 4."""
    red, green, blue = picture[0].astype(np.uint16)
    found: Plane = (red + 2 * green + blue + 2 >> 2).astype(np.uint8)
    return found


class Reference:
    """The source as it was when z_m was last changed, place by place: what z_m shows, as well as an encoder knows."""

    def __init__(self) -> None:
        self.plane: Plane | None = None

    def update(self, plane: Plane, changed: NDArray[np.bool_]) -> None:
        """Take in a frame where it changed z_m, (H / 8, W / 8)."""
        if self.plane is None or changed.all():
            self.plane = plane
            return
        wide = changed.repeat(8, 0).repeat(8, 1)
        self.plane = np.where(wide, plane, self.plane)


class MotionSearch:
    """The encoder's side of motion compensation. weight: as ``Profile.latent_weight``."""

    def __init__(self, operators: ShiftOperators, weight: Floats, threads: int = 1) -> None:
        self._operators, self._weight, self._threads = operators, weight, threads

    def field(self, reference: Plane, plane: Plane, z: Floats, z_m: Floats, before: MotionField, worth: float
              ) -> MotionField:
        """The field for a frame with latent z (1, latent, h, w) after z_m.

        reference, plane: luma (H, W) of what z_m shows, and of the frame. before: the field of the frame before.
        worth: bits that a squared error of one 8-bit step is worth in a pixel.
        """
        found, _ = kernels.block_motion(reference, plane, cell=CELL, reach=LIMIT // 2, threads=self._threads)
        still = np.zeros_like(found)
        offered = np.stack([still, found, *_beside(found), before.vectors])
        cells = np.argwhere(offered.any((0, 3)))
        if not len(cells):
            return MotionField(still)
        vectors = offered[:, cells[:, 0], cells[:, 1]]
        return self._choose(cells, vectors, self._errors(z, z_m, cells, vectors), before, worth)

    def _errors(self, z: Floats, z_m: Floats, cells: NDArray[np.int64], vectors: NDArray[np.int8]) -> Floats:
        """What squared error of the picture each vector (k, n, 2) leaves in its cell, mean over its pixels: (k, n).

        The first vectors are 0. A vector that is offered twice has an infinite error the second time.
        """
        errors = np.full(vectors.shape[:2], np.inf, np.float32)
        wanted = _cut(z, cells)
        errors[0] = self._error(wanted - _cut(z_m, cells))
        new = np.zeros(vectors.shape[:2], np.bool_)
        for number in range(1, len(vectors)):
            new[number] = (vectors[number] != vectors[:number]).any(2).all(0)
        which, of = np.nonzero(new)
        if len(of):
            moved = self._operators.cells(z_m, cells[of], vectors[which, of], self._threads)
            errors[which, of] = self._error(wanted[of] - moved)
        return errors

    def _error(self, error: Floats) -> Floats:
        """As ``decision.picture_error``, the neighbourhood being the cell: (n, latent, 2, 2) -> (n,)."""
        places = error.reshape(*error.shape[:2], _POSITIONS).transpose(0, 2, 1)
        flat = places.mean(1, keepdims=True)
        return _form(places - flat, self._weight[0]).mean(1) + _form(flat, self._weight[1])[:, 0]

    def _choose(self, cells: NDArray[np.int64], offered: NDArray[np.int8], errors: Floats, before: MotionField,
                worth: float) -> MotionField:
        """Cell by cell, in the order of coding: least bits and error, given what was chosen to the left and above."""
        costs = (errors * np.float32(_SHARE * worth * BLOCK_PIXELS)).T.tolist()
        choices, old = offered.transpose(1, 0, 2).tolist(), before.by_cell()
        chosen: dict[Cell, Vector] = {}
        for (y, x), vectors, cost in zip(cells.tolist(), choices, costs, strict=True):
            expected = chosen.get((y, x - 1)) or chosen.get((y - 1, x)) or old.get((y, x))
            best, least = 0, cost[0] + _STAY
            for at in range(1, len(vectors)):
                if cost[at] < least:
                    total = cost[at] + _bits(vectors[at][0], vectors[at][1], expected)
                    if total < least:
                        best, least = at, total
            if best:
                chosen[y, x] = vectors[best][0], vectors[best][1]
        field = np.zeros_like(before.vectors)
        if chosen:
            field[tuple(np.array(list(chosen)).T)] = list(chosen.values())
        return MotionField(field)


def _beside(vectors: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Of every cell, the vectors of those to the left and above."""
    left, above = np.zeros_like(vectors), np.zeros_like(vectors)
    left[:, 1:], above[1:] = vectors[:, :-1], vectors[:-1]
    return left, above


def _bits(dy: int, dx: int, expected: Vector | None) -> float:
    """About what a motion field spends on a vector."""
    if expected is not None:
        dy, dx = dy - expected[0], dx - expected[1]
        if not dy and not dx:
            return _SAME
    return _OTHER + 2 * _COMPONENT + _LENGTH * (abs(dy).bit_length() + abs(dx).bit_length())


def _cut(z: Floats, cells: NDArray[np.int64]) -> Floats:
    """The latent (1, C, h, w) in cells (n, 2) of 2x2 positions: (n, C, 2, 2)."""
    _, channels, height, width = z.shape
    return z[0].reshape(channels, height // 2, 2, width // 2, 2)[:, cells[:, 0], :, cells[:, 1]]


def _form(error: Floats, weight: Floats) -> Floats:
    """The quadratic form of (n, m, C) by (C, C): (n, m). In pieces that BLAS multiplies in the calling thread."""
    rows = error.reshape(-1, error.shape[2])
    filled = np.zeros((-(-len(rows) // _PIECE) * _PIECE, rows.shape[1]), np.float32)
    filled[:len(rows)] = rows
    weighted = (filled.reshape(-1, _PIECE, rows.shape[1]) @ weight).reshape(len(filled), -1)
    return (weighted * filled).sum(1)[:len(rows)].reshape(error.shape[:2])

"""Motion compensation of the latent z_m, by shift operators: what E would give for the picture, moved.

E of a picture that is moved by a few pixels is, to within 2 % of its energy, a linear function of 3x3 neighbours of E
of the picture. So there is one matrix for every shift within half a latent position; whole positions are a matter of
indices, half pixels the mean of the two or four around. Weights are integers of 1/512 and z_m is in 1/64: the result is
a sum of integers, rounded once, and the same on every machine.
"""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duoview.errors import ProfileError
from duoview.motion_field import CELL, LIMIT, MotionField

#: Pixels of a latent position; shifts go from -REACH to REACH pixels, vertical first; neighbours that are looked at.
PIXELS, REACH, SIDE = 8, 4, 3
SHIFTS = 2 * REACH + 1
#: Fraction bits of weights and of z_m, and the magnitude that z_m is kept within.
WEIGHT_BITS, STATE_BITS, STATE_LIMIT = 9, 6, 16
#: Latent positions on the side of a cell, and how far beyond its edges a picture is looked at.
_POSITIONS = CELL // PIXELS
_MARGIN = -(-LIMIT // (2 * PIXELS)) + 2
#: Rows that are multiplied at once: few enough that BLAS does so in the calling thread, see ``decision._form``.
_PIECE = 8

Floats = NDArray[np.float32]


class ShiftOperators:
    """The operators of a profile.

    weights: int16 (SHIFTS, SHIFTS, latent * 9, latent), by vertical, horizontal shift; inputs by channel, then place.
    """

    def __init__(self, weights: NDArray[np.int16]) -> None:
        latent = weights.shape[-1]
        expected = (SHIFTS, SHIFTS, latent * SIDE * SIDE, latent)
        if weights.dtype != np.int16 or weights.shape != expected or not latent:
            raise ValueError(f"shift operators {weights.dtype} {weights.shape}: expected int16 {expected}")
        self.weights, self.latent = weights, latent
        self._matrix = functools.lru_cache(maxsize=64)(self._matrix_of)

    @classmethod
    def read(cls, path: Path, latent: int) -> ShiftOperators:
        """Those of a profile's file. Raises ProfileError for a file of another kind or size."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = cls(arrays["weights"])
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ProfileError(f"{path}: not the shift operators of a profile ({error})") from None
        if found.latent != latent:
            raise ProfileError(f"{path}: shift operators of {found.latent} channels, the latent has {latent}")
        return found

    def _matrix_of(self, dy: int, dx: int) -> NDArray[np.float64]:
        """The operator of a shift within a position, in half pixels from -2 REACH on: four times its weights."""
        total = np.zeros(self.weights.shape[2:], np.float64)
        for y in (dy >> 1, dy + 1 >> 1):
            for x in (dx >> 1, dx + 1 >> 1):
                total += self.weights[y + REACH, x + REACH]
        return total

    def compensate(self, z_m: Floats, field: MotionField) -> Floats:
        """z_m (1, latent, h, w) as the field (h / 2, w / 2 cells) moves it; where that is zero, as it was to the bit.

        What lies beyond an edge is what is at the edge.
        """
        cells = np.argwhere(field.moving)
        if tuple(_POSITIONS * side for side in field.vectors.shape[:2]) != z_m.shape[2:]:
            raise ValueError(f"field of {field.vectors.shape[:2]} cells for z_m {z_m.shape}: expected half its sides")
        if not len(cells):
            return z_m
        moved = z_m.copy()
        cut = moved[0].reshape(self.latent, -1, _POSITIONS, moved.shape[3] // _POSITIONS, _POSITIONS)
        found = self.cells(z_m, cells, field.vectors[cells[:, 0], cells[:, 1]])
        cut[:, cells[:, 0], :, cells[:, 1]] = found
        return moved

    def cells(self, z_m: Floats, cells: NDArray[np.int64], vectors: NDArray[np.int8]) -> Floats:
        """What comes to cells (n, 2) of row and column by vectors (n, 2): (n, latent, 2, 2)."""
        offsets = np.argwhere(np.ones((_POSITIONS, _POSITIONS)))
        places = (cells[:, None] * _POSITIONS + offsets).reshape(-1, 2)
        wanted = vectors.astype(np.int64).repeat(len(offsets), 0)
        whole = wanted + 2 * REACH >> 4  # positions: 16 half pixels each
        inside = wanted - 16 * whole
        state = np.pad(np.rint(z_m[0].astype(np.float64) * (1 << STATE_BITS)), ((0, 0), (_MARGIN,) * 2, (_MARGIN,) * 2),
                       mode="edge")
        around = np.lib.stride_tricks.sliding_window_view(state, (SIDE, SIDE), axis=(1, 2))
        top = places + whole + _MARGIN - SIDE // 2
        found = np.empty((len(places), self.latent), np.float32)
        kinds = (inside[:, 0] + 2 * REACH) * 4 * REACH + inside[:, 1] + 2 * REACH
        for kind in np.unique(kinds):
            of = np.flatnonzero(kinds == kind)
            dy, dx = (int(one) for one in inside[of[0]])
            taken = around[:, top[of, 0], top[of, 1]].transpose(1, 0, 2, 3).reshape(len(of), -1)
            values = _multiply(taken, self._matrix(dy, dx))
            # Four times the weights: the mean of the four around, which are two twice or one four times.
            values = np.floor(values / (1 << WEIGHT_BITS + 2) + 0.5) / (1 << STATE_BITS)
            found[of] = np.clip(values, -STATE_LIMIT, STATE_LIMIT)
        return found.reshape(len(cells), _POSITIONS, _POSITIONS, self.latent).transpose(0, 3, 1, 2)


def _multiply(rows: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Products of (n, k) and (k, m), whole numbers below 2^53 and so exact in any order."""
    filled = np.zeros((-(-len(rows) // _PIECE) * _PIECE, rows.shape[1]))
    filled[:len(rows)] = rows
    product: NDArray[np.float64] = (filled.reshape(-1, _PIECE, rows.shape[1]) @ matrix).reshape(len(filled), -1)
    return product[:len(rows)]

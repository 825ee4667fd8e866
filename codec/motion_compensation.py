"""Motion compensation of the latent z_m, by shift operators: what E would give for the picture, moved.

E of a picture that is moved by a few pixels is, to within 2 % of its energy, a linear function of 3x3 neighbours of E
of the picture. So there is one matrix for every shift within half a latent position; whole positions are a matter of
indices, half pixels the mean of the two or four around. Weights are integers of 1/512 and z_m is in 1/64: the result is
a sum of integers, rounded once, and the same on every machine.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.errors import ProfileError
from duoview.motion_field import CELL, MotionField

#: Pixels of a latent position; shifts go from -REACH to REACH pixels, vertical first; neighbours that are looked at.
PIXELS, REACH, SIDE = 8, 4, 3
SHIFTS = 2 * REACH + 1
#: Fraction bits of weights and of z_m, and the magnitude that z_m is kept within.
WEIGHT_BITS, STATE_BITS, STATE_LIMIT = 9, 6, 16
#: Latent positions on the side of a cell, and what z_m is multiplied by to be whole numbers.
_POSITIONS, _STATE_SCALE = CELL // PIXELS, 1 << STATE_BITS

Floats = NDArray[np.float32]


class ShiftOperators:
    """The operators of a profile.

    weights: int16 (SHIFTS, SHIFTS, latent * 9, latent), by vertical and horizontal shift; inputs by channel, then
    place. Raises TypeError or ValueError for weights of another kind, and where sums of products could overflow.
    """

    def __init__(self, weights: NDArray[np.int16]) -> None:
        self._kernel = kernels.ShiftOperators(weights)
        self.latent = self._kernel.channels

    @classmethod
    def read(cls, path: Path, latent: int) -> ShiftOperators:
        """Those of a profile's file. Raises ProfileError for a file of another kind or size."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = cls(arrays["weights"])
        except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise ProfileError(f"{path}: not the shift operators of a profile ({error})") from None
        if found.latent != latent:
            raise ProfileError(f"{path}: shift operators of {found.latent} channels, the latent has {latent}")
        return found

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
        found = self.cells(z_m, cells, field.vectors[cells[:, 0], cells[:, 1]])
        # The two positions of a row of a cell as one element: fewer places to go to.
        rows = moved[0].view(np.complex64).reshape(self.latent, -1, _POSITIONS, moved.shape[3] // _POSITIONS)
        rows[:, cells[:, 0], :, cells[:, 1]] = found.view(np.complex64)[..., 0]
        return moved

    def errors(self, forms: kernels.ErrorForms, z: Floats, z_m: Floats, offered: NDArray[np.int8], threads: int = 1
               ) -> Floats:
        """What squared error of the picture offered vectors (n, rows, columns, 2) leave in cells where z is wanted.

        z, z_m: (1, latent, h, w). As ``decision.picture_error``, but of integers, and the neighbourhood is the cell.
        Returns (n, rows, columns), infinite as ``kernels.ErrorForms.errors`` says.
        """
        return forms.errors(self._kernel, z[0], z_m[0], np.ascontiguousarray(offered), threads=threads)

    def cells(self, z_m: Floats, cells: NDArray[np.int64], vectors: NDArray[np.int8], threads: int = 1) -> Floats:
        """What comes to cells (n, 2) of row and column by vectors (n, 2): (n, latent, 2, 2)."""
        # Synthesis networks bound z_m and round it to this grid: scaling is exact, and nothing is cut off.
        scaled = np.clip(np.rint(z_m[0] * np.float32(_STATE_SCALE)), -STATE_LIMIT * _STATE_SCALE,
                         STATE_LIMIT * _STATE_SCALE)
        found = self._kernel.shift(np.ascontiguousarray(scaled, np.int16), np.ascontiguousarray(cells),
                                   np.ascontiguousarray(vectors), threads=threads)
        return found * np.float32(1 / _STATE_SCALE)

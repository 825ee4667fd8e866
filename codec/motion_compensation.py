"""Motion compensation of the latent z_m, by shift operators: what E would give for the picture, moved.

E of a picture that is moved by a few pixels is, to within 2 % of its energy, a linear function of 3x3 neighbours of E
of the picture. So there is one matrix for every shift within half a latent position; whole positions are a matter of
indices, half pixels the mean of the two or four around. Weights are integers of 1/512 and z_m is in 1/64: the result is
a sum of integers, rounded once, and the same on every machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.errors import ProfileError
from duoview.literals import stored_arrays
from duoview.motion_field import CELL, MotionField

#: Pixels of a latent position; shifts go from -REACH to REACH pixels, vertical first; neighbours that are looked at.
PIXELS, REACH, SIDE = 8, 4, 3
SHIFTS = 2 * REACH + 1
#: Fraction bits of weights and of z_m, and the magnitude that z_m is kept within.
WEIGHT_BITS, STATE_BITS, STATE_LIMIT = 9, 6, 16
#: Latent positions on the side of a cell.
_POSITIONS = CELL // PIXELS

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
            found = cls(stored_arrays(path)["weights"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ProfileError(f"{path}: not the shift operators of a profile ({error})") from None
        if found.latent != latent:
            raise ProfileError(f"{path}: shift operators of {found.latent} channels, the latent has {latent}")
        return found

    def summed(self) -> NDArray[np.uint32]:
        """The operators as kernels on a device read them: ``kernels.ShiftOperators.summed``."""
        return self._kernel.summed()

    def compensate(self, z_m: Floats, field: MotionField, threads: int = 1) -> Floats:
        """z_m (1, latent, h, w) as the field (h / 2, w / 2 cells) moves it; where that is zero, as it was to the bit.

        What lies beyond an edge is what is at the edge. Synthesis networks bound z_m and round it to 1/64: nothing is
        rounded again or cut off.
        """
        if tuple(_POSITIONS * side for side in field.vectors.shape[:2]) != z_m.shape[2:]:
            raise ValueError(f"field of {field.vectors.shape[:2]} cells for z_m {z_m.shape}: expected half its sides")
        if not field.vectors.any():
            return z_m
        return self._kernel.compensate(z_m[0], np.ascontiguousarray(field.vectors), threads=threads)[None]

    def errors(self, forms: kernels.ErrorForms, z: Floats, z_m: Floats, offered: NDArray[np.int8], threads: int = 1
               ) -> Floats:
        """What squared error of the picture offered vectors (n, rows, columns, 2) leave in cells where z is wanted.

        z, z_m: (1, latent, h, w). As ``decision.picture_gain``, but of integers, and the neighbourhood is the cell.
        Returns (n, rows, columns), infinite as ``kernels.ErrorForms.errors`` says.
        """
        return forms.errors(self._kernel, z[0], z_m[0], np.ascontiguousarray(offered), threads=threads)

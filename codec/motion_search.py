"""Which motion field an encoder takes: vectors that source pictures suggest, where the latent gains what they cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.decision import BLOCK_PIXELS
from duoview.kernels.motion import MOST_WORTH
from duoview.motion_compensation import PIXELS, Floats, ShiftOperators
from duoview.motion_field import CELL, LIMIT, MotionField

#: Bits of a cell that stays among others that move, of one that moves as expected, and of one that moves otherwise,
#: beside those of the difference: .8 for each of its components, and 2 for each bit of its length.
_PRICES = kernels.VectorPrices(stay=0.6, same=1.2, other=2.0 + 2 * 0.8, length=2.0)
#: Share of the error that a vector takes away which symbols would not have taken away for as many bits. Of .08, .15, .3
#: and 1, .15 and .3 gave the smallest P frames of equal error on four training clips.
_SHARE = 0.25

#: Vectors that a cell is offered.
OFFERED = 5

Plane = NDArray[np.uint8]


class Reference:
    """The source as it was when z_m was last changed, place by place: what z_m shows, as well as an encoder knows."""

    def __init__(self) -> None:
        self.plane: Plane | None = None

    def update(self, plane: Plane, changed: NDArray[np.bool_]) -> None:
        """Take in a frame where it changed z_m, (H / 8, W / 8)."""
        if self.plane is None or changed.all():
            self.plane = plane
            return
        # The eight pixels of a row of a position as one element: as many fewer places to choose at.
        new, old = (one.view(np.uint64).reshape(len(changed), PIXELS, -1) for one in (plane, self.plane))
        self.plane = np.where(changed[:, None], new, old).view(np.uint8).reshape(plane.shape)


class MotionSearch:
    """The encoder's side of motion compensation. weight: as ``Profile.latent_weight``."""

    def __init__(self, operators: ShiftOperators, weight: Floats, threads: int = 1) -> None:
        self._operators, self._threads = operators, threads
        self._forms = kernels.ErrorForms(np.ascontiguousarray(weight, np.float32))

    def field(self, reference: Plane, plane: Plane, z: Floats, z_m: Floats, before: MotionField, worth: float
              ) -> MotionField:
        """The field for a frame with latent z (1, latent, h, w) after z_m.

        reference, plane: luma (H, W) of what z_m shows, and of the frame. before: the field of the frame before.
        worth: bits that a squared error of one 8-bit step is worth in a pixel.
        """
        found, _ = kernels.block_motion(reference, plane, cell=CELL, reach=LIMIT // 2, threads=self._threads)
        vectors = offered_vectors(found, before)
        if not vectors.any():
            return MotionField.still(*found.shape[:2])
        errors = self._operators.errors(self._forms, z, z_m, vectors, self._threads)
        return chosen_field(vectors, errors, before, worth)


def offered_vectors(found: NDArray[np.int8], before: MotionField) -> NDArray[np.int8]:
    """The vectors that cells may take, (OFFERED, rows, columns, 2), 0 first.

    found: (rows, columns, 2), those that a search found: the cell's own, those to the left and above. before: the field
    of the frame before, whose vector comes last.
    """
    return np.stack([np.zeros_like(found), found, *_beside(found), before.vectors])


def chosen_field(vectors: NDArray[np.int8], errors: Floats, before: MotionField, worth: float) -> MotionField:
    """Of offered vectors those that a field takes. errors: (OFFERED, rows, columns). worth: as of MotionSearch."""
    most = min(_SHARE * worth * BLOCK_PIXELS, MOST_WORTH)  # beyond it bits count for nothing beside errors
    return MotionField(kernels.choose_motion(vectors, errors, before.vectors, worth=most, prices=_PRICES))


def _beside(vectors: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Of every cell, the vectors of those to the left and above."""
    left, above = np.zeros_like(vectors), np.zeros_like(vectors)
    left[:, 1:], above[1:] = vectors[:, :-1], vectors[:-1]
    return left, above

"""Shifting cells of a latent by vectors, through one matrix for every shift within a position: motion compensation.

All arithmetic is of integers and the result is rounded once, so it is the same on every path, machine and number of
threads: a decoder depends on it. The errors that vectors leave are for encoders, and the same everywhere as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoview.kernels import _native
from duoview.kernels.arrays import checked, checked_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHIFTS = 9
"""Operators along an axis: shifts by -4 to 4 pixels, of the 8 that a position of the latent is wide."""

TAPS = 9
"""Neighbours of a position that make up what it becomes, 3x3, row by row."""


class ShiftOperators:
    """The operators of a latent, held in the order in which they are multiplied. Threads can share one.

    Attributes:
        channels: C, of the latent.
    """

    def __init__(self, weights: NDArray[np.int16], *, path: str = "auto") -> None:
        """Packs the weights and proves that no sum of products can overflow.

        Args:
            weights: (9, 9, C * 9, C) int16, contiguous, in 1/512: by vertical and horizontal shift, from -4 pixels on;
                inputs by channel, then neighbour. A shift by half pixels is the mean of the two or four operators
                around it. Of every four that are averaged, added up, each weight fits 16 bits, and the magnitudes of
                an output's weights sum to at most 2097150: a latent within +-1024 cannot overflow 32 bits then.
            path: ``"auto"``, or one of ``noise.paths()`` to force it. All give the same.

        Raises:
            TypeError: ``weights`` is no array of int16.
            ValueError: its shape, contiguity or alignment; weights that could overflow (with their shift); ``path``.
        """
        shape = checked("weights", weights, (np.int16,), "(9, 9, C * 9, C)")
        self.channels = shape[3]
        if not self.channels or shape != (SHIFTS, SHIFTS, self.channels * TAPS, self.channels):
            raise ValueError(f"weights has shape {shape}; (9, 9, C * 9, C) is needed, C at least 1")
        self._native = _native.ShiftOperators(weights, path)

    def summed(self) -> NDArray[np.uint32]:
        """The operators as kernels on a device read them, added up for every shift within a position.

        Returns:
            (256, pairs, 9, C) uint32: by half pixels down and to the right from (-8, -8) on, pairs of input channels,
            neighbours and outputs; the weight of the even channel is in the lower 16 bits, that of the other one above.
        """
        return self._native.summed().view(np.uint32)[..., 0]

    def shift(
        self,
        state: NDArray[np.int16],
        cells: NDArray[np.int32] | NDArray[np.int64],
        vectors: NDArray[np.int8],
        *,
        threads: int = 1,
    ) -> NDArray[np.int16]:
        """What comes to cells of 2x2 positions by their vectors.

        A vector is cut into whole positions, 16 half pixels each, and -8..7 half pixels, the operator's share. What
        lies beyond an edge of the latent is what is at the edge.

        Args:
            state: (C, h, w) int16, contiguous, h and w even: the latent in 1/64, each number within -1024..1024.
            cells: (n, 2) int32 or int64, contiguous: row and column of each cell, in cells.
            vectors: (n, 2) int8, contiguous: half pixels, down and to the right, where each cell comes from, within
                -64..64.
            threads: 1..256. Any number gives the same.

        Returns:
            (n, C, 2, 2) int16 in 1/64: (weights times neighbours + 1024) >> 11 of four added operators, kept within
            -1024..1024.

        Raises:
            TypeError: an array is of another dtype.
            ValueError: shape, contiguity or alignment; a number of the latent, a cell or a vector out of its range
                (with its place); ``threads``.
        """
        shape = checked("state", state, (np.int16,), "(C, h, w)")
        if shape[0] != self.channels or shape[1] % 2 or shape[2] % 2:
            raise ValueError(f"state has shape {shape}; ({self.channels}, h, w) is needed, h and w even")
        count = checked("cells", cells, (np.int32, np.int64), "(n, 2)")
        found = checked("vectors", vectors, (np.int8,), "(n, 2)")
        if count[1] != 2:
            raise ValueError(f"cells has shape {count}; (n, 2) is needed")
        if found != count:
            raise ValueError(f"vectors has shape {found}; {count} is needed, as cells has")
        return self._native.shift(state, cells, vectors, checked_threads(threads))

    def compensate(
        self, state: NDArray[np.float32], vectors: NDArray[np.int8], *, threads: int = 1
    ) -> NDArray[np.float32]:
        """The latent as its cells of 2x2 positions are moved by their vectors.

        Args:
            state: (C, h, w) float32, contiguous, h and w even.
            vectors: (h / 2, w / 2, 2) int8, contiguous: half pixels, down and to the right, where each cell comes from,
                within -64..64.
            threads: 1..256. Any number gives the same.

        Returns:
            (C, h, w) float32: where a vector is 0 the state to the bit, elsewhere what ``shift`` gives for the state in
            1/64, rounded (halves to even) and kept within -16..16.

        Raises:
            TypeError: an array is of another dtype.
            ValueError: shape, contiguity or alignment; a vector out of its range or, where any is not 0, a state that
                is not finite (with its place); ``threads``.
        """
        shape = checked("state", state, (np.float32,), "(C, h, w)")
        if shape[0] != self.channels or shape[1] % 2 or shape[2] % 2:
            raise ValueError(f"state has shape {shape}; ({self.channels}, h, w) is needed, h and w even")
        found = checked("vectors", vectors, (np.int8,), "(rows, columns, 2)")
        if found != (shape[1] // 2, shape[2] // 2, 2):
            raise ValueError(f"vectors has shape {found}; {(shape[1] // 2, shape[2] // 2, 2)} is needed, for a state "
                             f"{shape}")
        return self._native.compensate(state, vectors, checked_threads(threads))


class ErrorForms:
    """What a difference of latents is seen as: a quadratic form of what is different within a cell, one of its mean.

    Threads can share one.

    Attributes:
        channels: C, of the latent.
        fraction_bits: of the weights, which are held as integers: as many as 32 bits for sums of products allow, up
            to 30.
        unit_bits: errors are whole multiples of 2^-unit_bits, before they become float32.
    """

    def __init__(self, weights: NDArray[np.float32], *, path: str = "auto") -> None:
        """Rounds the weights to integers.

        Args:
            weights: (2, C, C) float32, contiguous: the form of a position's difference from the mean of its cell, and
                that of the mean.
            path: ``"auto"``, or one of ``noise.paths()`` to force it. All give the same.

        Raises:
            TypeError: ``weights`` is no array of float32.
            ValueError: its shape, contiguity or alignment; a weight that is not finite (with its place); ``path``.
        """
        shape = checked("weights", weights, (np.float32,), "(2, C, C)")
        self.channels = shape[2]
        if not self.channels or shape != (2, self.channels, self.channels):
            raise ValueError(f"weights has shape {shape}; (2, C, C) is needed, C at least 1")
        self._native = _native.ErrorForms(weights, path)
        self.fraction_bits, self.unit_bits = self._native.fraction_bits, self._native.unit_bits

    def integers(self) -> NDArray[np.int16]:
        """The weights as they are held: (2, C, C) int16, inputs by outputs."""
        return self._native.integers()

    def errors(
        self,
        operators: ShiftOperators,
        wanted: NDArray[np.float32],
        state: NDArray[np.float32],
        offered: NDArray[np.int8],
        *,
        threads: int = 1,
    ) -> NDArray[np.float32]:
        """The error that each vector would leave in its cell of 2x2 positions, mean over the positions.

        Of a cell with differences d from what is wanted and their mean m that is the mean of (d - m)' A (d - m), plus
        m' B m. Latents are rounded to 1/64, the state kept within -16..16 and what is wanted within -32..32. The vector
        0 leaves the state as it is, others shift it as ``ShiftOperators.shift`` does.

        Args:
            operators: of as many channels.
            wanted: (C, h, w) float32, contiguous, h and w even: what cells should be like.
            state: (C, h, w) float32, contiguous: what they are made of.
            offered: (n, h / 2, w / 2, 2) int8, contiguous: half pixels, down and to the right, within -64..64.
            threads: 1..256. Any number gives the same.

        Returns:
            (n, h / 2, w / 2) float32. Infinite for a vector that was offered to the cell before, and in cells that are
            offered nothing but 0, where there is nothing to choose.

        Raises:
            TypeError: an array is of another dtype, or ``operators`` are none.
            ValueError: shape, contiguity or alignment; operators of another number of channels; a vector out
                of its range or, where any is not 0, a latent that is not finite (with its place); ``threads``.
        """
        if not isinstance(operators, ShiftOperators):
            raise TypeError(f"operators is a {type(operators).__name__}; ShiftOperators are needed")
        if operators.channels != self.channels:
            raise ValueError(f"operators are of {operators.channels} channels; {self.channels} are needed")
        shape = checked("offered", offered, (np.int8,), "(n, rows, columns, 2)")
        if shape[3] != 2:
            raise ValueError(f"offered has shape {shape}; (n, rows, columns, 2) is needed")
        expected = self.channels, 2 * shape[1], 2 * shape[2]
        for name, latent in (("wanted", wanted), ("state", state)):
            found = checked(name, latent, (np.float32,), "(C, h, w)")
            if found != expected:
                raise ValueError(f"{name} has shape {found}; {expected} is needed, for cells {shape[1:3]}")
        return self._native.errors(operators._native, wanted, state, offered, checked_threads(threads))

"""Between exact networks and the entropy coder: coding order, rounding to symbols, and back.

Exact networks give planes: a table class and a mean, in sixteenths, for every position of (C, H, W). Positions are
coded in two halves, since the parameters of the second are computed from what was decoded of the first: half 0 holds
the even places (row + column) of the channels below C // 2 and the odd ones of the others, half 1 the rest. Within a
half the order is that of memory: channel, row, column. All arithmetic is defined to the bit: integers, and single
float32 operations that every device rounds alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

import numpy as np

from duoview.kernels import _native
from duoview.kernels.arrays import checked, checked_integer, checked_output

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_SIDE = 1 << 20
"""Greatest number of channels, rows or columns of a shape."""

_PLANES = "(C, H, W)"


def _checked_half(half: int) -> int:
    return checked_integer("half", half, 0, 1)


def _same_shape(shape: tuple[int, ...], name: str, other: tuple[int, ...]) -> None:
    if shape != other:
        raise ValueError(f"{name} has shape {other}; {shape} is needed, as the planes beside it have")


def size(shape: tuple[int, int, int], half: int) -> int:
    """Positions of a half of planes of this shape, (C, H, W)."""
    channels, height, width = (checked_integer("shape", number, 0, MAX_SIDE) for number in shape)
    return _native.checkerboard_size(channels, height, width, _checked_half(half))


@overload
def gather(planes: NDArray[np.uint8], half: int) -> NDArray[np.uint8]: ...
@overload
def gather(planes: NDArray[np.int16], half: int) -> NDArray[np.int16]: ...
def gather(planes: NDArray[np.uint8] | NDArray[np.int16], half: int) -> NDArray[np.uint8] | NDArray[np.int16]:
    """The elements of a half in coding order.

    Args:
        planes: (C, H, W) uint8 or int16, contiguous.
        half: 0 or 1.

    Returns:
        (N,), of the dtype given.
    """
    checked("planes", planes, (np.uint8, np.int16), _PLANES)
    return _native.checkerboard_gather(planes, _checked_half(half))


def quantise(
    values: NDArray[np.float32],
    classes: NDArray[np.uint8],
    means: NDArray[np.int16],
    half: int,
    *,
    margins: NDArray[np.float32],
    symbols: NDArray[np.int16],
    decoded: NDArray[np.float32],
    keep: NDArray[np.bool_] | None = None,
) -> None:
    """Rounds the values of a half to symbols, and says what a decoder will make of them.

    Symbol and decoded value of a position with mean m are s = round(value - m / 16) and 16 s + m. s is lowered by one
    in magnitude where the rest is less than ``margin`` (2 |s| - 1) above the midpoint: rate-distortion optimised
    rounding with one number for each class. s is 0 where the class is 0, and where ``keep`` says so.

    Args:
        values: (C, H, W) float32, contiguous, finite; symbols end at +-32767.
        classes: (C, H, W) uint8, 0..63.
        means: (C, H, W) int16, sixteenths.
        half: 0 or 1; other positions are neither read nor written.
        margins: (64,) float32, by class; 0 rounds to the nearest integer.
        symbols: (C, H, W) int16, written at the half's positions.
        decoded: (C, H, W) float32, written at the half's positions, in sixteenths.
        keep: (H, W) bool; None codes everywhere.

    Raises:
        TypeError: an argument is not an array of its dtype.
        ValueError: a shape, contiguity or alignment, a class above 63, a value that is not finite (with its place).
    """
    shape = checked("values", values, (np.float32,), _PLANES)
    _same_shape(shape, "classes", checked("classes", classes, (np.uint8,), _PLANES))
    _same_shape(shape, "means", checked("means", means, (np.int16,), _PLANES))
    if checked("margins", margins, (np.float32,), "(64,)") != (64,):
        raise ValueError(f"margins has shape {margins.shape}; (64,) is needed, one for each class")
    if keep is not None and checked("keep", keep, (np.bool_,), "(H, W)") != shape[1:]:
        raise ValueError(f"keep has shape {keep.shape}; {shape[1:]} is needed")
    checked_output("symbols", symbols, np.int16, shape, _PLANES)
    checked_output("decoded", decoded, np.float32, shape, _PLANES)
    _native.checkerboard_quantise(values, classes, means, _checked_half(half), margins, keep, symbols, decoded)


def dequantise(
    coded: NDArray[np.int16],
    means: NDArray[np.int16],
    half: int,
    *,
    symbols: NDArray[np.int16],
    decoded: NDArray[np.float32],
) -> None:
    """Spreads decoded symbols over the planes, and adds the means: the other side of ``quantise``.

    Args:
        coded: (N,) int16, the symbols of the half in coding order; N is ``size(means.shape, half)``.
        means: (C, H, W) int16, sixteenths.
        half: 0 or 1.
        symbols: as in ``quantise``.
        decoded: as in ``quantise``.

    Raises:
        TypeError, ValueError: an argument is not as described.
    """
    checked("coded", coded, (np.int16,), "(N,)")
    shape = checked("means", means, (np.int16,), _PLANES)
    channels, height, width = shape
    wanted = size((channels, height, width), half)
    if coded.size != wanted:
        raise ValueError(f"coded has {coded.size} symbols; half {half} of {shape} has {wanted}")
    checked_output("symbols", symbols, np.int16, shape, _PLANES)
    checked_output("decoded", decoded, np.float32, shape, _PLANES)
    _native.checkerboard_dequantise(coded, means, _checked_half(half), symbols, decoded)
